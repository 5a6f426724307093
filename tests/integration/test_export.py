"""From a sweep to a folder that other programs load: it decides as the model does, and says so only where it does."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from huggingface_hub import ModelCard
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from harness import export, predict
from harness.compute.runtime import resolve_runtime
from harness.config import Device, Metric, Precision
from harness.data.transforms import eval_transform
from harness.errors import TableError
from harness.models import export as exporting
from harness.models.load_export import load_export
from harness.models.onnx_runtime import OnnxModel
from harness.study.row_objective import objective_of
from harness.study.store import Study
from tests.integration.commands import QUICK, Command, Ended
from tests.integration.conftest import _run

Run = Callable[..., Ended]
SWEEP = (*QUICK, "weights=random", "data.image_size=32", "study=digits", "model.keep=all", "train.epochs=1", "evidence.minutes=0")


def _sweep(root: Path, results: Path, *arguments: str) -> None:
    """A sweep whose results outlive a test."""
    command = [sys.executable, "-m", "harness.sweep", *SWEEP, f"data.root={root}", f"results_dir={results}", *arguments]
    done = subprocess.run(
        [*command, f"cache_dir={results / 'cache'}"], env=os.environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def swept(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a sweep of one small candidate, classes imbalanced so that the prior is divided out of decisions."""
    results = tmp_path_factory.mktemp("swept") / "results"
    _sweep(photos, results, "backbone=test_vit", "freeze=all")
    return results


@pytest.fixture
def study(swept: Path, tmp_path: Path) -> Study:
    """The same, for one test."""
    shutil.copytree(swept, tmp_path / "results")
    return Study(tmp_path / "results" / "digits")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of 40 pixels of three digits with an official test split; of the last digit there are few."""
    root = tmp_path_factory.mktemp("digits") / "photos"
    pixels, labels = load_digits(return_X_y=True)
    for digit, count in enumerate((40, 40, 16)):
        for number, values in enumerate(pixels[labels == digit][:count]):
            folder = root / ("test" if number % 4 == 0 else "train") / f"digit {digit}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((values.reshape(8, 8) * 15).astype(np.uint8)).resize((40, 40)).save(folder / f"{number}.png")
    return root


@pytest.fixture
def run_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """`python -m harness.export ...` on the results of `run_sweep`."""

    def run(*arguments: str) -> Ended:
        capfd.readouterr()
        status = _run(export.main, [f"results_dir={tmp_path / 'results'}", *arguments], monkeypatch)
        return Ended(status, *capfd.readouterr(), tmp_path / "results")

    return run


def _written(done: Ended, name: str) -> Path:
    return done.results / "digits" / "export" / name


def _pictures(photos: Path) -> list[Path]:
    return sorted((photos / "test").rglob("*.png"))


@pytest.mark.slow
def test_every_form_at_every_depth_decides_alike(run_sweep: Command, run_export: Run, photos: Path) -> None:
    """A convolutional network and a transformer: timm, onnxruntime and torch.export say of all val images what the model says, and
    no exporter prints anything.
    """
    depths = "freeze=all,0.5,none"
    swept = run_sweep(*SWEEP, f"data.root={photos}", "backbone=test_resnet,test_vit", depths, "train.head_init=random", "train.epochs=3")
    assert swept.status == 0, swept.err
    assert len({row.model_blake2b for row in swept.rows()}) == 6
    for row in swept.rows():
        done = run_export(f"candidate={row.backbone} {row.freeze}")
        assert (done.status, done.err) == (0, ""), done.out
        assert sorted(path.name for path in _written(done, f"{row.backbone}-{row.freeze}").iterdir()) == [
            *("README.md", "config.json", "model.onnx", "model.pt2", "model.safetensors", "preprocessing.json")
        ]
        assert f"Checked on the {row.n_val} val images of the study" in done.out
        largest = re.findall(r"(model\.\w+): largest difference of a probability (\S+), 0 decisions changed", done.out)
        assert [name for name, _ in largest] == ["model.safetensors", "model.pt2", "model.onnx"]
        assert max(float(value) for _, value in largest) < 1e-5
        assert len(done.out.splitlines()) == 6


def test_the_card_says_what_is_true_and_its_programs_run(study: Study, run_export: Run, photos: Path, tmp_path: Path) -> None:
    """Each program on the card runs in the folder; timm, onnxruntime and the harness say the same of one picture, with a prior to divide
    out as well. The folder needs neither study nor images, and states only scores that were measured.
    """
    done = run_export(f"to={tmp_path / 'lesions'}")
    assert done.status == 0, done.out + done.err
    (row,) = study.rows()
    val = study.val_predictions(row.job_id)
    folder = (tmp_path / "lesions").rename(tmp_path / "elsewhere")
    shutil.move(tmp_path / "results", tmp_path / "gone")
    shutil.copy(_pictures(photos)[3], folder / "image.jpg")
    card = (folder / "README.md").read_text(encoding="utf-8")
    said = []
    for language, code in re.findall(r"```(python|sh)\n(.*?)\n```", card, flags=re.DOTALL):
        if "harness.sweep" in code:
            continue
        command = [sys.executable, "-W", "ignore", "-c", code] if language == "python" else [sys.executable, *code.split()[1:]]
        ran = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=120, check=False)
        assert ran.returncode == 0, ran.stderr
        said.append(ran.stdout.splitlines())
    (of_timm, called), (of_onnx, called_by_onnx), _, _ = said
    answer = pd.read_csv(folder / "answers.csv").iloc[0]
    for text in (of_timm, of_onnx):
        stated = eval(text)
        assert [stated[name] for name in row.details.class_names] == pytest.approx(
            [answer[f"prob_{name}"] for name in row.details.class_names], abs=2e-4
        )
    assert called == called_by_onnx == answer["label"]
    assert row.primary_metric == "balanced_accuracy"
    assert "argmax of log(probability) - log(share)" in card
    matter: Any = ModelCard(card).data  # without types
    scores = matter.to_dict()["model-index"][0]["results"]
    assert [found["dataset"]["split"] for found in scores] == ["val", "test"]  # a sweep that ends opens what it recommends
    assert scores[0]["metrics"][0]["value"] == pytest.approx(
        objective_of(row).score(val.log_probs_NC, val.labels_N, Metric.balanced_accuracy), abs=1e-5
    )
    assert str(tmp_path) not in card + (folder / "preprocessing.json").read_text(encoding="utf-8")


def test_what_timm_cannot_hold_is_said(run_sweep: Command, run_export: Run, photos: Path) -> None:
    """Torchvision's models and hidden layers: the other files are written; to ask for timm is then an unmet wish. The folder loads without it."""
    size = "data.image_size=64"
    assert run_sweep(*SWEEP, f"data.root={photos}", size, "backbone=squeezenet1_1", "freeze=all").status == 0
    done = run_export()
    assert done.status == 0, done.out + done.err
    assert "No timm: squeezenet1_1 is torchvision's, and timm has no such architecture." in done.out
    folder = _written(done, "squeezenet1_1-all")
    assert not (folder / "config.json").exists()
    assert run_export("formats=timm,onnx").status == 3
    again = load_export(folder, resolve_runtime(Device.cpu, Precision.float32))
    images_BCHW = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        probabilities_BC, _ = OnnxModel(folder / "model.onnx")(images_BCHW.numpy())
        assert np.abs(np.exp(again.log_probs(images_BCHW)) - probabilities_BC).max() < 1e-5


def test_8_bit_numbers_come_with_what_they_lose(study: Study, run_export: Run) -> None:
    """Both ways, with the paired interval of the loss; decisions that they change are no fault."""
    for how in ("dynamic", "static"):
        done = run_export(f"quantize={how}", "formats=onnx")
        assert done.status == 0, done.out + done.err
        assert re.search(
            r"model\.int8\.onnx loses \S+ \(\S+ to \S+\) points of balanced accuracy on the val images \(95.% interval, paired\)", done.out
        )
        folder = _written(done, "test_vit-all")
        assert (folder / "model.int8.onnx").stat().st_size < 0.6 * (folder / "model.onnx").stat().st_size


def test_a_changed_decision_is_loud(study: Study, run_export: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that decides otherwise: a warning, the number, exit status 3."""

    class Wrong(torch.nn.Module):
        def forward(self, images_BCHW: Tensor) -> Tensor:
            return torch.eye(3)[torch.zeros(len(images_BCHW), dtype=torch.long)]

    monkeypatch.setattr(exporting, "load_folder", lambda _: Wrong())
    done = run_export("formats=timm")
    assert done.status == 3
    assert re.search(r"WARNING: model\.safetensors calls \d+ of 14 images another class than the model does; do not use it\.", done.out)


def test_images_that_are_gone_are_said(study: Study, run_export: Run, photos: Path) -> None:
    """The check then is on noise, and says so on the terminal and on the card."""
    photos.rename(photos.with_name("moved"))
    done = run_export("formats=onnx")
    photos.with_name("moved").rename(photos)
    assert done.status == 0, done.out + done.err
    assert "64 images of random noise, as the images of the study are not here" in done.out
    assert "random noise" in (_written(done, "test_vit-all") / "README.md").read_text(encoding="utf-8")


def test_only_an_earlier_export_is_replaced(study: Study, run_export: Run, tmp_path: Path) -> None:
    """Anything else in the folder's place is left as it is; so are exports that a failed one was to replace."""
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.tex").write_text("mine")
    refused = run_export(f"to={taken}", "formats=timm")
    assert (refused.status, "is there and no earlier export" in refused.err) == (2, True)
    assert [path.name for path in taken.iterdir()] == ["thesis.tex"]
    assert (run_export("formats=timm").status, run_export("formats=onnx").status) == (0, 0)
    left = _written(refused, "test_vit-all")
    assert (left / "model.onnx").exists()
    assert not (left / "config.json").exists()
    assert [path.name for path in left.parent.iterdir()] == ["test_vit-all"]
    wrong = run_export("formats=tflite")
    assert (wrong.status, "formats=tflite" in wrong.err) == (2, True)


def test_a_changed_folder_is_refused(
    study: Study, run_export: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One byte of a tensor, or a folder that is no export: each is said with what to do."""
    folder = _written(run_export("formats=timm"), "test_vit-all")
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(TableError, match=r"model\.safetensors: is not the file that the export wrote"):
        load_export(folder, resolve_runtime(Device.cpu, Precision.float32))
    status = _run(predict.main, [f"folder={tmp_path}", f"images={tmp_path}", f"to={tmp_path / 'a.csv'}"], monkeypatch)
    assert (status, "is no exported model" in capfd.readouterr().err) == (2, True)


def test_timm_prepares_images_as_the_study_did(study: Study, run_export: Run, photos: Path) -> None:
    """The transform that timm makes of config.json gives the pixels that the harness gives."""
    folder = _written(run_export("formats=timm"), "test_vit-all")
    of_timm: Any = timm.data  # without types
    prepare = of_timm.create_transform(**of_timm.resolve_model_data_config(timm.create_model(f"local-dir:{folder}", pretrained=True)))
    own = eval_transform(load_export(folder, resolve_runtime(Device.cpu, Precision.float32)).preprocess)
    for path in _pictures(photos)[:5]:
        picture = Image.open(path).convert("RGB").resize((57, 43))
        assert torch.equal(prepare(picture), own(picture))
    assert json.loads((folder / "config.json").read_bytes())["label_names"] == ["digit 0", "digit 1", "digit 2"]
