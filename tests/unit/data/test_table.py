"""Images that a table names: classes, splits and groups are what its lines say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from harness.api.sweeping import _written
from harness.cli.own_images import with_source
from harness.config import DataConfig, TableConfig
from harness.data.dataset import Dataset
from harness.data.load import load_dataset
from harness.errors import ConfigError, DataError
from harness.models.new_images import NewColumns, list_images
from tests.unit.data.pictures import draw, fill


def _load(table: Path, **options: Any) -> Dataset:
    return load_dataset(TableConfig(name="mine", source="table", root=str(table), **options), table.parent / "cache")


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
    assert "has no column label; its columns are 'path', 'kind'" in _refused(tmp_path, frame.rename(columns={"label": "kind"}))
    assert "(9): line 3 ('')" in _refused(tmp_path, frame.assign(split=["train"] + [""] * 9))
    assert "no line with split train" in _refused(tmp_path, frame.assign(split="test"))
    unknown = frame.assign(split=["train"] * 9 + ["val"], label=["a", "b"] * 4 + ["a", "c"])
    assert "class 'c': has images in val and none in train" in _refused(tmp_path, unknown)
    assert "names no image" in _refused(tmp_path, frame[:0])


def test_a_table_has_to_be_there(tmp_path: Path) -> None:
    """A missing key and a missing file are two things."""
    with pytest.raises(DataError, match=r"nowhere\.csv: cannot be read as a table"):
        _load(tmp_path / "nowhere.csv")
    with pytest.raises(ConfigError, match=r"type data=table data.root=FILE.csv"):
        load_dataset(DataConfig(name="mine", source="table"), tmp_path)


def _as_parquet(frame: pd.DataFrame, path: Path) -> None:
    frame.to_parquet(path)


def _as_lines(frame: pd.DataFrame, path: Path) -> None:
    frame.to_json(path, orient="records", lines=True)


def _as_list(frame: pd.DataFrame, path: Path) -> None:
    frame.to_json(path, orient="records")


def _as_tsv(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False, sep="\t")


def _as_spreadsheet(frame: pd.DataFrame, path: Path) -> None:
    """As Excel writes it where a comma is part of numbers, with its hint at the separator."""
    path.write_bytes(("sep=;\r\n" + frame.to_csv(index=False, sep=";", lineterminator="\r\n")).encode("utf-16"))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("images.parquet", _as_parquet),
        ("images.jsonl", _as_lines),
        ("images.json", _as_list),
        ("images.tsv", _as_tsv),
        ("images.csv", _as_spreadsheet),
    ],
)
def test_every_format_is_the_same_task(tmp_path: Path, name: str, write: Callable[[pd.DataFrame, Path], None]) -> None:
    """Labels that are numbers are the text of these numbers in each of them; names of images are as in a CSV."""
    frame = _table(tmp_path, label=[0, 1] * 5)
    write(frame, tmp_path / name)
    found = _load(tmp_path / name)
    assert found.class_names == ("0", "1")
    plain = _load(_write(tmp_path, frame))
    assert (found.fingerprint, [image.id for image in found.train.images]) == (
        plain.fingerprint,
        [image.id for image in plain.train.images],
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_spreadsheets_of_europe_are_read(tmp_path: Path, encoding: str, separator: str) -> None:
    """Whatever the office program writes; accents in names of classes survive, and a guessed encoding is said."""
    frame = _table(tmp_path, label=["Größe", "Maß, klein"] * 5)
    (tmp_path / "images.csv").write_bytes(frame.to_csv(index=False, sep=separator).encode(encoding))
    found = _load(tmp_path / "images.csv")
    assert found.class_names == ("Größe", "Maß, klein")
    assert any("Windows-1252" in each for each in found.profile.remarks) == (encoding == "cp1252")


def test_columns_are_found_by_usual_names_or_told(tmp_path: Path) -> None:
    """What was found under another name is said; two that may be meant are refused, with the key that decides; `label` stands above others."""
    frame = _table(tmp_path)
    found = _load(_write(tmp_path, frame.rename(columns={"path": "Filename", "label": "class"})))
    assert "Columns of the table: path is 'Filename', label is 'class'." in found.profile.remarks
    double = frame.rename(columns={"label": "class"}).assign(target=["x", "y"] * 5)
    assert "'class' and 'target' may each be its label; say which: data.label_column=COLUMN" in _refused(tmp_path, double)
    assert _load(tmp_path / "images.csv", label_column="target").class_names == ("x", "y")
    assert _load(_write(tmp_path, frame.assign(target=["x", "y"] * 5))).class_names == ("a", "b")
    with pytest.raises(DataError, match=r"data\.path_column=where: .* has no such column; its columns are 'path'"):
        _load(tmp_path / "images.csv", path_column="where")


def test_paths_may_be_meant_from_another_folder(tmp_path: Path) -> None:
    """`data.image_root`: the table lies elsewhere."""
    frame = _table(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    table = _write(tmp_path / "elsewhere", frame.assign(path=[path.removeprefix("pictures/") for path in frame["path"]]))
    assert len(_load(table, image_root=str(tmp_path / "pictures")).train) == 6


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("t.csv", b"path,label\n1.png,a,b\n", "line 2 has 3 cells"),
        ("t.csv", b"path,path\n1.png,a\n", "several columns are called 'path'"),
        ("t.csv", "path,label".encode("utf-16-le"), "zero bytes"),
        ("t.jsonl", b'{"path": "1.png", "label": [["a", "b"]]}\n', "a cell holds list"),
        ("t.jsonl", b"[1]\n", "a line is a int"),
        ("t.jsonl", b'{"path": \n', "Expecting value"),
        ("t.parquet", b"PAR1", "Parquet"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes, why: str) -> None:
    """In one line that names the file."""
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=why) as caught:
        _load(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_frame_a_table_and_folders_are_the_same_job(tmp_path: Path) -> None:
    """As `harness.sweep` writes a DataFrame: with absolute paths, the columns that play a part, and numbers as their text."""
    root = fill(tmp_path / "root", "0", "1", count=8)
    paths = sorted(root.rglob("*.png"))
    frame = pd.DataFrame({"Image": paths, "target": [float(path.parent.name) for path in paths], "doctor": "x", "patient_id": range(16)})
    written = _written(frame, tmp_path / "study", TableConfig())
    assert list(pd.read_csv(written).columns) == ["Image", "target", "patient_id"]
    found, folder = _load(written), load_dataset(DataConfig(name="mine", source="folder", root=str(root)), tmp_path / "cache")
    assert found.fingerprint == folder.fingerprint
    assert [image.content_hash for image in found.train.images] == [image.content_hash for image in folder.train.images]
    assert any("data.group=patient_id" in each for each in found.profile.remarks)
    with pytest.raises(DataError, match="a cell holds list"):
        _written(frame.assign(Image=pd.Series([["a.png"]] * 16, dtype="object")), tmp_path / "study", TableConfig())


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_predict_reads_the_same_tables(tmp_path: Path, suffix: str) -> None:
    """By the same names of columns; lines that name no file are passed over, and groups are those of a column that is named."""
    frame = pd.DataFrame({"file": ["a.png", "", "b.png"], "class": ["x", "y", ""], "patient": [7, 8, 7]})
    path = tmp_path / f"new.{suffix}"
    frame.to_csv(path, index=False) if suffix == "csv" else frame.to_parquet(path)
    found = list_images(str(path), {}, ["x", "y"], NewColumns(group="patient"))
    assert [image.id for image in found.images] == ["a.png", "b.png"]
    assert (found.labels, found.groups) == (["x", None], ["7", "7"])
    assert list_images(str(path), {}, ["x", "y"], NewColumns(label="patient")).labels == ["7", "7"]


@pytest.mark.parametrize(
    ("root", "source"), [("photos", "folder"), ("scans.CSV", "table"), ("'a,b.parquet'", "table"), ("scans.v1", "folder")]
)
def test_a_root_that_is_called_like_a_table_is_one(root: str, source: str) -> None:
    """`data.root` alone says what is meant."""
    assert with_source([f"data.root={root}"])[-1] == f"data={source}"
    assert with_source([f"data.root={root}", "data=elpv"]) == [f"data.root={root}", "data=elpv"]
