"""From a sweep to a model in use: the recommended model says of images what it said in the study."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from harness import predict
from harness.study.models import Models
from tests.integration.commands import QUICK, Command, Ended
from tests.integration.conftest import _run


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three digits as pictures of 40 pixels, 40 of each, with an official test split."""
    root = tmp_path_factory.mktemp("digits") / "photos"
    pixels, labels = load_digits(return_X_y=True)
    for digit in range(3):
        for number, values in enumerate(pixels[labels == digit][:40]):
            folder = root / ("test" if number % 4 == 0 else "train") / f"digit {digit}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray((values.reshape(8, 8) * 15).astype(np.uint8)).resize((40, 40)).save(folder / f"{number}.png")
    return root


Predict = Callable[..., Ended]
SWEEP = (*QUICK, "weights=random", "backbone=test_resnet,test_vit", "train.epochs=1", "data.image_size=32", "study=digits")


@pytest.fixture
def run_predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Predict:
    """`python -m harness.predict ...` on the results of `run_sweep`."""

    def run(*arguments: str) -> Ended:
        status = _run(predict.main, [f"results_dir={tmp_path / 'results'}", f"to={tmp_path / 'answers.csv'}", *arguments], monkeypatch)
        return Ended(status, *capfd.readouterr(), tmp_path / "results")

    return run


def test_a_model_says_what_it_said_in_the_study(run_sweep: Command, run_predict: Predict, photos: Path, tmp_path: Path) -> None:
    """At every depth of a convolutional network and a transformer: the sealed test predictions are found again from the files of the images."""
    swept = run_sweep(*SWEEP, f"data.root={photos}", "freeze=all,0.5,none", "train.head_init=random", "train.epochs=2", "model.keep=all")
    assert swept.status == 0, swept.err
    study = swept.study()
    assert sum(bool(row.is_trained) for row in study.rows()) == 4
    for row in study.rows():
        said = run_predict("study=digits", f"images={photos / 'test'}", f"candidate={row.backbone} {row.freeze}")
        assert said.status == 0, said.err
        frame = pd.read_csv(tmp_path / "answers.csv")
        with np.load(study.predictions_path(row.job_id)) as arrays:
            ids, log_probs = [str(each) for each in arrays["test_ids"]], arrays["test_log_probs"]
        order = [ids.index(f"test/{path}") for path in frame["path"]]
        own = frame[[f"prob_{name}" for name in row.details.class_names]].to_numpy()
        assert np.abs(own - np.exp(log_probs[order])).max() < 1e-5
        assert frame["given_label"].tolist() == [Path(path).parent.name for path in frame["path"]]
        assert "Against the labels given for 30 images" in said.out


def test_what_cannot_be_read_is_named_and_left_out(run_sweep: Command, run_predict: Predict, photos: Path, tmp_path: Path) -> None:
    """Damaged files cost their own lines; nothing but them costs an error."""
    assert run_sweep(*SWEEP, f"data.root={photos}", "freeze=all").status == 0
    new = tmp_path / "new"
    shutil.copytree(photos / "test" / "digit 1", new)
    (new / "0 damaged.png").write_bytes(b"\x89PNG no picture")
    said = run_predict(f"images={new}", f"to={tmp_path / 'answers.parquet'}")
    assert (said.status, len(pd.read_parquet(tmp_path / "answers.parquet"))) == (0, 10)
    assert "0 damaged.png: " in said.out
    alone = run_predict(f"images={new / '0 *.png'}")
    assert (alone.status, "none of 1 image can be read" in alone.err) == (2, True)


def test_a_changed_model_is_refused_by_name(run_sweep: Command, run_predict: Predict, photos: Path) -> None:
    """One byte of a tensor, and a model that is gone: each is said with what to do."""
    swept = run_sweep(*SWEEP, f"data.root={photos}", "freeze=all", "backbone=test_vit")
    (row,) = swept.rows()
    path = Models(swept.study()).path(row.job_id)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    changed = run_predict(f"images={photos}")
    assert (changed.status, f"{path}: is not as it was written" in changed.err) == (2, True)
    path.unlink()
    gone = run_predict(f"images={photos}")
    assert (gone.status, "there is no such model" in gone.err, "model.keep=all" in gone.err) == (2, True, True)


def test_candidates_that_are_not_there_are_named(run_sweep: Command, run_predict: Predict, photos: Path) -> None:
    """Who there is, and what is nearest."""
    assert run_sweep(*SWEEP, f"data.root={photos}", "freeze=all").status == 0
    wrong = run_predict(f"images={photos}", "candidate=test_vit none")
    assert (wrong.status, "did you mean 'test_vit all'" in wrong.err) == (2, True)
    assert "images=: give a folder" in run_predict().err
