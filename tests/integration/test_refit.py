"""The recommended candidate trained again on more images: with what its job chose, without a score that nobody measured."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness import predict, refit
from harness.study.models import Models
from tests.integration.commands import TINY, Command, Ended
from tests.integration.conftest import _run

Refit = Callable[..., Ended]
TRAINED = (*TINY, "backbone=test_resnet", "train.head_init=random", "train.lr_search=[1]", "train.lr=0.01")


@pytest.fixture
def run_refit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Refit:
    """`python -m harness.refit ...` on the results of `run_sweep`."""

    def run(*arguments: str) -> Ended:
        status = _run(refit.main, [f"results_dir={tmp_path / 'results'}", *arguments], monkeypatch)
        return Ended(status, *capfd.readouterr(), tmp_path / "results")

    return run


@pytest.mark.parametrize("recipe", [("freeze=none",), ("freeze=all",), ("freeze=0.5", "train.augment=flip", "train.views=2")])
def test_a_candidate_is_trained_on_more_images(run_sweep: Command, run_refit: Refit, recipe: tuple[str, ...]) -> None:
    """On train and val, or on all: another model each time, by the epoch, rate and temperature of its job, which stays as it is."""
    swept = run_sweep(*TRAINED, *recipe)
    (row,) = swept.rows()
    before = swept.study().row_path(row.job_id).read_bytes()
    models = Models(swept.study())
    assert row.n_train is not None
    assert row.n_val is not None
    assert row.n_test is not None
    found = []
    for on, number in (("train_val", row.n_train + row.n_val), ("train_val", row.n_train + row.n_val), ("all", 60)):
        ended = run_refit(f"on={on}")
        assert ended.status == 0, ended.err
        assert f"trained on {number} images instead of {row.n_train}; how good it is has not been measured" in ended.out
        file = models.refitted.read(row.job_id)
        assert (file.header.trained_on, file.header.num_trained_on) == (on, number)
        assert file.header.temperature == row.temperature
        found.append(file.header.model_blake2b)
    assert found[0] == found[1]
    assert len({*found, row.model_blake2b}) == 3
    assert swept.study().row_path(row.job_id).read_bytes() == before
    assert models.damaged(row) is None
    assert models.refitted.damaged(row) is None


def test_an_epoch_in_the_middle_is_the_last_of_the_refit(run_sweep: Command, run_refit: Refit) -> None:
    """Where the rate is constant any epoch may have been chosen; training again ends there."""
    swept = run_sweep(*TRAINED, "freeze=all", "train.schedule=constant", "train.epochs=12", "train.lr=1", "data.max_images=200")
    (row,) = swept.rows()
    assert row.chosen_epoch is not None
    assert 0 < row.chosen_epoch < 12
    assert run_refit().status == 0
    header = Models(swept.study()).refitted.read(row.job_id).header
    assert header.job_id == row.job_id


def test_other_images_are_refused(run_sweep: Command, run_refit: Refit, tmp_path: Path) -> None:
    """A picture that was added since then: the candidate is that of other images."""
    rng = np.random.default_rng(0)
    for number in range(40):
        folder = tmp_path / "photos" / f"class {number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    options = [part for part in TRAINED if part not in ("data=digits", "data.max_images=60")]
    swept = run_sweep(*options, "freeze=all", "data=folder", f"data.root={tmp_path / 'photos'}", "study=digits")
    assert swept.status == 0, swept.err
    Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / "photos" / "class 0" / "new.png")
    refused = run_refit()
    assert (refused.status, "its images are others than when it ran" in refused.err) == (2, True)


def test_predict_takes_the_refitted_model_and_says_so(
    run_sweep: Command, run_refit: Refit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads a score must know that the study's own images are no test of it; refit=false asks for the measured one."""
    run_sweep(*TRAINED, "freeze=all")
    run_refit("on=all")
    image = tmp_path / "a.png"
    Image.new("RGB", (16, 16)).save(image)
    said = {}
    for key in ("null", "true", "false"):
        options = [f"results_dir={tmp_path / 'results'}", f"images={image}", f"to={tmp_path / 'said.csv'}", f"refit={key}"]
        assert _run(predict.main, options, monkeypatch) == 0
        said[key] = (capfd.readouterr().out, (tmp_path / "said.csv").read_text())
    assert "trained again on its train, val and test" in said["null"][0]
    assert said["null"] == said["true"] != said["false"]
    assert "trained again" not in said["false"][0]
