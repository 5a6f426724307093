"""Adapters through the real command line: swept, ranked, kept, used, refitted and exported like any other candidate."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
from safetensors.numpy import load_file

from harness import export, predict, refit
from harness.study.models import Models
from tests.integration.commands import QUICK, Command, Ended
from tests.integration.conftest import _run
from tests.integration.test_predict import photos

__all__ = ["photos"]

Run = Callable[..., Ended]
SWEEP = (*QUICK, "data.image_size=32", "study=digits", "train.epochs=2", "train.head_init=random", "train.lr_search=[1]", "train.lr=0.01")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """A command on the results of `run_sweep`."""

    def run(main: Callable[[], None], *arguments: str) -> Ended:
        status = _run(main, [f"results_dir={tmp_path / 'results'}", *arguments], monkeypatch)
        return Ended(status, *capfd.readouterr(), tmp_path / "results")

    return run


@pytest.mark.parametrize("backbone", ["tf_efficientnet_lite0", "test_vit"])
def test_an_adapted_model_is_used_like_any_other(run_sweep: Command, run: Run, photos: Path, tmp_path: Path, backbone: str) -> None:
    """Pretrained and convolutional, random and attending: rows, names, sealed predictions found again, merged exports in plain timm, refits."""
    weights = "pretrained" if backbone.startswith("tf") else "random"
    swept = run_sweep(*SWEEP, f"backbone={backbone}", f"weights={weights}", f"data.root={photos}", "freeze=all", "adapter=none,norm,lora")
    assert swept.status == 0, swept.err
    study = swept.study()
    rows = {row.adapter: row for row in study.rows()}
    assert list(map(str, sorted(rows, key=str))) == ["None", "lora", "norm"]
    assert all(row.frozen_ok for row in rows.values())
    trained = {name: row.trainable_params_m or 0.0 for name, row in rows.items()}
    assert trained[None] < trained["norm"] < trained["lora"] < (rows[None].params_m or 0.0)
    assert len({row.params_m for row in rows.values()}) == len({row.gmacs for row in rows.values()}) == 1
    assert len({row.latency_key for row in rows.values()}) == 1, "merged, all are one model to time"
    assert (rows[None].frozen_macs_frac or 0.0) > 0.9 > (rows["lora"].frozen_macs_frac or 0.0)
    report = (study.root / "report" / "report.md").read_text()
    assert f"{backbone}{' (random weights)' if weights == 'random' else ''} · all · lora" in report
    for adapter in ("norm", "lora"):
        row = rows[adapter]
        assert (row.is_trained, row.chosen_epoch) == (True, 2)
        file = Models(study).read(row.job_id)
        assert file.header.adapter == adapter
        assert not any("lora" in name for name in file.tensors)
        said = run(predict.main, f"images={photos / 'test'}", f"candidate={backbone} all {adapter}", f"to={tmp_path / 'answers.csv'}")
        assert said.status == 0, said.err
        frame = pd.read_csv(tmp_path / "answers.csv")
        with np.load(study.predictions_path(row.job_id)) as arrays:
            ids, log_probs = [str(each) for each in arrays["test_ids"]], arrays["test_log_probs"]
        own = frame[[f"prob_{name}" for name in row.details.class_names]].to_numpy()
        assert np.abs(own - np.exp(log_probs[[ids.index(f"test/{path}") for path in frame["path"]]])).max() < 1e-5
    done = run(export.main, f"candidate={backbone} all lora", "formats=timm")
    assert done.status == 0, done.err
    assert "0 decisions changed" in done.out
    folder = study.root / "export" / f"{backbone}-all-lora"
    plain = timm.create_model(f"local-dir:{folder}", pretrained=True)
    assert (
        plain.state_dict().keys()
        == timm.create_model(backbone, num_classes=3).state_dict().keys()
        == load_file(folder / "model.safetensors").keys()
    )
    assert all(type(module).__module__.startswith(("torch.", "timm.")) for module in plain.modules())
    again = run(refit.main, f"candidate={backbone} all lora")
    assert again.status == 0, again.err
    assert Models(study).refitted.read(rows["lora"].job_id).header.adapter == "lora"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("freeze=none",), "adapter=lora freeze=none: nothing is frozen that it could adapt; sweep adapters with freeze=all, 0.5 or -4."),
        (("freeze=all", "train.release=none", "train.release_epochs=1"), "give one of the two"),
        (("freeze=all", "search=staged"), "search=staged: predicts and judges freeze depths, not adapters"),
        (("freeze=all", "backbone=alexnet", "adapter=norm", "data.image_size=64"), "of this backbone have no normalisation layer"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_runs(run_sweep: Command, photos: Path, given: tuple[str, ...], said: str) -> None:
    """In one line, with what to type instead."""
    asked = {
        part.partition("=")[0]: part
        for part in ("backbone=test_vit", "adapter=lora", *SWEEP, f"data.root={photos}", "weights=random", *given)
    }
    ended = run_sweep(*asked.values())
    assert (ended.status, said in ended.err) == (2, True), ended.err
