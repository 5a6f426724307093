"""A sweep says what is wrong with single images, and the next one does without them."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from tests.integration.commands import QUICK, Command
from tests.unit.measure.test_near_copies import changed, picture

PLAIN = (*QUICK, "weights=random", "backbone=test_resnet", "freeze=all", "data.image_size=32", "train.epochs=1")
NUM_PATIENTS = 12


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert("RGB").save(path)


def _patients(root: Path) -> Path:
    """Twelve patients of two classes, six near copies of each; one file name is markup."""
    for seed in range(NUM_PATIENTS):
        first = picture(seed)
        for number, image in enumerate([first, *changed(first), ImageEnhance.Contrast(first).enhance(1.2)]):
            _save(image, root / ("ill", "well")[seed % 2] / f"p{seed:02d}<b>_{number}.png")
    return root


def _lines(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_near_copies_across_splits_are_an_alarm_until_they_are_left_out(tmp_path: Path, run_sweep: Command) -> None:
    """Patients that were split at random: the first screen and step 1 warn and name the remedies; without the copies nobody warns."""
    options = (*PLAIN, f"data.root={_patients(tmp_path / 'images')}")
    ended = run_sweep(*options, "study=before")
    assert ended.status == 0
    folder = ended.study("before").report_dir
    page = (folder / "report.md").read_text(encoding="utf-8")
    assert "**Splits share near copies, so that scores may be optimistically biased: see step 1.**" in page
    assert "val images have a near copy in train" in page
    assert "data.group=COLUMN" in page
    assert "data.drop=THAT.csv" in page
    assert "<b>_" not in (folder / "index.html").read_text(encoding="utf-8")
    found = [line for line in _lines((folder / "audit.csv").read_text(encoding="utf-8")) if line["problem"] == "near copy"]
    assert 4.5 * NUM_PATIENTS <= len(found) <= 5 * NUM_PATIENTS
    assert all(line["path"].rpartition("_")[0] == line["other_path"].rpartition("_")[0] for line in found)
    assert {(line["split"], line["other_split"]) for line in found} >= {("train", "test"), ("val", "test")}
    (tmp_path / "drop.csv").write_text("path\n" + "".join(f"{line['path']}\n" for line in found))
    again = run_sweep(*options, "study=after", f"data.drop={tmp_path / 'drop.csv'}")
    assert again.status == 0
    after = (again.study("after").report_dir / "report.md").read_text(encoding="utf-8")
    assert "near copy" not in after
    assert f"{len(found)} named by data.drop" in after
    assert again.rows("after")[0].details.profile["num_used"] == 6 * NUM_PATIENTS - len(found)


def test_different_pictures_of_alike_things_raise_no_alarm(tmp_path: Path, run_sweep: Command, run_report: Command) -> None:
    """A set without copies does not warn; a study without an audit, as earlier versions wrote it, is still reported."""
    for seed in range(40):
        _save(picture(seed), tmp_path / "images" / ("ill", "well")[seed % 2] / f"{seed}.png")
    ended = run_sweep(*PLAIN, f"data.root={tmp_path / 'images'}", "study=plain")
    study = ended.study("plain")
    (audit,) = (study.root / "audit").iterdir()
    found = study.findings(audit.stem)
    assert found is not None
    assert [each for each in found.findings if each.problem == "near copy"] == []
    assert "near copy" not in (study.report_dir / "report.md").read_text(encoding="utf-8")
    audit.unlink()
    assert run_report("study=plain").status == 0
    audit.write_text("{}")
    assert run_report("study=plain").status == 0
    assert "is not as it was written" in (study.report_dir / "report.md").read_text(encoding="utf-8")


def test_flipped_labels_are_named_with_what_they_should_be(tmp_path: Path, run_sweep: Command) -> None:
    """Bright and dark pictures, three of them in the wrong class: all three are found, in train and in val alike."""
    flipped = {"dim/3.png", "dim/17.png", "bright/24.png"}
    rng = np.random.default_rng(0)
    for seed in range(40):
        grey = rng.normal(60 if seed % 2 else 190, 8, (48, 48, 3)).clip(0, 255).astype(np.uint8)
        name = ("bright", "dim")[seed % 2]
        wrong = {3: "bright", 17: "bright", 24: "dim"}.get(seed, name)
        _save(Image.fromarray(grey), tmp_path / "images" / wrong / f"{seed}.png")
    ended = run_sweep(*PLAIN, f"data.root={tmp_path / 'images'}", "data.test_frac=0", "study=flipped")
    lines = _lines((ended.study("flipped").report_dir / "audit.csv").read_text(encoding="utf-8"))
    found = {f"{line['suggested_label']}/{Path(line['path']).name}" for line in lines if line["problem"] == "suspect label"}
    assert found == flipped


@pytest.mark.parametrize("name", ["missing.csv"])
def test_a_drop_file_that_is_not_there_is_one_line(tmp_path: Path, run_sweep: Command, name: str) -> None:
    """Before the first job."""
    ended = run_sweep(*PLAIN, "data=digits", f"data.drop={tmp_path / name}")
    assert ended.status == 2
    assert f"{name}: cannot be read as a table" in ended.err
