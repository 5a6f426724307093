"""Images that a CSV names: classes and splits are what its lines say."""

from pathlib import Path

import pandas as pd
import pytest

from harness.config import DataConfig
from harness.data.dataset import Dataset
from harness.data.load import load_dataset
from harness.errors import ConfigError, DataError
from tests.unit.data.pictures import draw, fill


def _load(table: Path) -> Dataset:
    return load_dataset(DataConfig(name="mine", source="table", root=str(table)), table.parent / "cache")


def _table(root: Path, count: int = 10, **columns: list[object]) -> pd.DataFrame:
    """Pictures of two classes in one folder, and the lines that name them."""
    paths = [draw(root / "pictures" / f"{number}.png").relative_to(root).as_posix() for number in range(count)]
    return pd.DataFrame({"path": paths, "label": ["b", "a"] * (count // 2)} | columns)


def _write(root: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(root / "images.csv", index=False)
    return root / "images.csv"


def _refused(root: Path, frame: pd.DataFrame) -> str:
    with pytest.raises(DataError) as caught:
        _load(_write(root, frame))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_labels_are_what_the_table_says(tmp_path: Path) -> None:
    """Splits are carved out as of a folder; images are named as in the table, relative to it; other columns play no part."""
    frame = _table(tmp_path, 20, label=["b", "a"] * 10, doctor=["x"] * 20)
    data = _load(_write(tmp_path, frame))
    assert (data.class_names, len(data.train), len(data.val), len(data.test)) == (("a", "b"), 12, 4, 4)
    label_of = dict(zip(frame["path"], frame["label"], strict=True))
    for split in (data.train, data.val, data.test):
        assert [data.class_names[label] for label in split.labels] == [label_of[image.id] for image in split.images]


def test_the_same_images_are_the_same_task_as_in_folders(tmp_path: Path) -> None:
    """Fingerprint and splits do not depend on how the images are named."""
    root = fill(tmp_path / "root", "cat", "dog", count=8)
    lines = [(path.relative_to(tmp_path).as_posix(), path.parent.name) for path in sorted(root.rglob("*.png"))]
    data = _load(_write(tmp_path, pd.DataFrame(lines, columns=["path", "label"])))
    folder = load_dataset(DataConfig(name="mine", source="folder", root=str(root)), tmp_path / "cache")
    assert data.fingerprint == folder.fingerprint


def test_splits_are_kept(tmp_path: Path) -> None:
    """By any of the words for them; test is carved where none is given."""
    frame = _table(tmp_path, 20, label=["b", "a"] * 10).assign(split=["train"] * 12 + ["valid"] * 4 + ["Test"] * 4)
    data = _load(_write(tmp_path, frame))
    assert [image.id for image in data.val.images] == [f"pictures/{number}.png" for number in range(12, 16)]
    assert (len(data.train), len(data.test)) == (12, 4)


def test_absolute_paths_are_taken(tmp_path: Path) -> None:
    """A table may lie anywhere."""
    frame = _table(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    data = _load(_write(tmp_path / "elsewhere", frame.assign(path=[str(tmp_path / path) for path in frame["path"]])))
    assert len(data.train) == 6


def test_what_is_wrong_is_named_and_nothing_is_dropped(tmp_path: Path) -> None:
    """The first few and how many."""
    frame = _table(tmp_path)
    missing = frame.assign(path=[f"{path}.gone" if place > 2 else path for place, path in enumerate(frame["path"])])
    assert "images that are not there (7): pictures/3.png.gone; pictures/4.png.gone" in _refused(tmp_path, missing)
    assert "lines without a label (1): line 4." in _refused(tmp_path, frame.assign(label=["a", "b", "", *"abababa"]))
    assert "images on several lines (1): pictures/0.png." in _refused(tmp_path, pd.concat([frame, frame[:1]]))
    assert "has no column label; its columns are 'path', 'class'" in _refused(tmp_path, frame.rename(columns={"label": "class"}))
    assert "(9): line 3 ('')" in _refused(tmp_path, frame.assign(split=["train"] + [""] * 9))
    assert "no line with split train" in _refused(tmp_path, frame.assign(split="test"))
    unknown = frame.assign(split=["train"] * 9 + ["val"], label=["a", "b"] * 4 + ["a", "c"])
    assert "class 'c': has images in val and none in train" in _refused(tmp_path, unknown)
    assert "names no image" in _refused(tmp_path, frame[:0])


def test_a_table_has_to_be_there(tmp_path: Path) -> None:
    """A missing key and a missing file are two things."""
    with pytest.raises(DataError, match=r"nowhere\.csv: cannot be read as a CSV"):
        _load(tmp_path / "nowhere.csv")
    with pytest.raises(ConfigError, match=r"type data=table data.root=FILE.csv"):
        load_dataset(DataConfig(name="mine", source="table"), tmp_path)
