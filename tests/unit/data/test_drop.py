"""Images that a table names are left out of any data set, counted and said."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.config import DataConfig, SweepConfig
from harness.data.dataset import Dataset
from harness.data.load import load_dataset
from harness.errors import ConfigError, DataError


def _load(root: Path, drop: Path | None, **options: int) -> Dataset:
    cfg = DataConfig(name="mine", source="folder", root=str(root), drop=None if drop is None else str(drop), **options)
    return load_dataset(cfg, root.parent / "cache")


def _ids(data: Dataset) -> set[str]:
    return {image.id for split in (data.train, data.val, data.test) for image in split.images}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of eight images; one name would run in a spreadsheet."""
    random = np.random.default_rng(0)
    for name in ("a", "=b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(8):
            Image.fromarray(random.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(tmp_path / "images" / name / f"{number}.png")
    return tmp_path / "images"


def test_named_images_are_left_out_and_said(root: Path, tmp_path: Path) -> None:
    """Once each, with or without the guard of spreadsheets; the profile says how many, and which names are of no image."""
    drop = tmp_path / "drop.csv"
    drop.write_text("path,problem\na/1.png,near copy\na/1.png,suspect label\n'=b/2.png,dark\na/99.png,dark\n")
    whole, less = _load(root, None), _load(root, drop)
    assert _ids(whole) - _ids(less) == {"a/1.png", "=b/2.png"}
    assert (less.profile.num_found, less.profile.num_dropped, less.profile.num_used) == (16, 2, 14)
    assert less.profile.left_out == [f"Images left out by data.drop={drop}: 2."]
    assert less.profile.remarks == ["data.drop names 1 image not among those that were found: 'a/99.png'."]
    assert less.profile.notes[0] == "16 images found; 14 used."
    assert less.fingerprint != whole.fingerprint


def test_a_draw_is_made_of_the_others(root: Path, tmp_path: Path) -> None:
    """`data.max_images` counts what is left, and the profile tells what was not drawn from what was left out."""
    drop = tmp_path / "drop.csv"
    drop.write_text("path\na/1.png\n")
    found = _load(root, drop, max_images=10)
    assert found.profile.num_used == 10
    assert "a/1.png" not in _ids(found)
    assert found.profile.left_out[0] == "5 of 16 images, by data.max_images=10 (null takes all)."


@pytest.mark.parametrize(
    ("content", "wrong"), [("path\nother/1.png\n", "names none of the 16 images"), ("label\na\n", "has no column path"), (None, "drop.csv")]
)
def test_a_table_that_cannot_be_meant_is_refused(root: Path, tmp_path: Path, content: str | None, wrong: str) -> None:
    """It is missing, has no paths, or is of another data set."""
    drop = tmp_path / "drop.csv"
    if content is not None:
        drop.write_text(content)
    with pytest.raises(DataError, match=wrong):
        _load(root, drop)


def test_a_table_in_the_own_study_is_refused(tmp_path: Path) -> None:
    """The sweep would replace it, and the same command would mean other images."""

    def config(study: str) -> SweepConfig:
        data = DataConfig(name="mine", source="folder", drop=str(tmp_path / "mine" / "report" / "audit.csv"))
        return SweepConfig(backbone="resnet18", data=data, results_dir=str(tmp_path), study=study)

    config("other")
    with pytest.raises(ConfigError, match="copy it elsewhere"):
        config("mine")
