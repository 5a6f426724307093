"""Data sets of the hub and tar shards are the same task as the same images in a folder; what is unclear or untrusted is refused in one line."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from harness.config import DataConfig, HubDataConfig
from harness.data.dataset import Dataset
from harness.data.load import load_dataset
from harness.errors import DataError
from tests.unit.data.pictures import fill

datasets = pytest.importorskip("datasets")


def as_parquet(folder: Path, images: Iterable[tuple[Path, str, str]], names: list[str]) -> Path:
    """The images as the hub keeps them: a Parquet file for each split, a card with a licence."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    images = list(images)
    for split in dict.fromkeys(split for *_, split in images):
        own = [(path, names.index(label)) for path, label, of in images if of == split]
        cells = {"image": [{"bytes": path.read_bytes(), "path": path.name} for path, _ in own], "label": [label for _, label in own]}
        (folder / "data").mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(cells, features=features).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Pictures\n")
    return folder


def images_of(root: Path, split: str = "train") -> list[tuple[Path, str, str]]:
    """Those of a folder with a folder for each class."""
    return [(path, path.parent.name, split) for path in sorted(root.rglob("*.png"))]


def load(place: str | Path, **options: Any) -> Dataset:
    """The data set, as a sweep loads it."""
    cache = options.pop("cache", None) or Path(place).parent / "cache"
    return load_dataset(HubDataConfig(name="mine", source="hf", id=str(place), **options), cache)


def refusal(place: str | Path, **options: Any) -> str:
    """Why there is none: one line."""
    with pytest.raises(DataError) as caught:
        load(place, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def of_folder(root: Path) -> Dataset:
    """The data set of a folder."""
    return load_dataset(DataConfig(name="mine", source="folder", root=str(root)), root.parent / "cache")


def test_a_table_of_pictures_is_the_same_task_as_a_folder(tmp_path: Path) -> None:
    """Pictures inside Parquet have the hashes of their files, whatever the order of the class names; they open after a restart."""
    root = fill(tmp_path / "root", "cat", "dog", count=8)
    found = load(as_parquet(tmp_path / "hub", images_of(root), ["dog", "cat"]))
    plain = of_folder(root)
    assert (found.fingerprint, found.class_names, found.profile.licence) == (plain.fingerprint, ("cat", "dog"), "cc-by-4.0")
    for mine, other in zip(found.train.images, plain.train.images, strict=True):
        assert mine.open().tobytes() == other.open().tobytes()


def test_a_folder_in_a_layout_of_the_hub_is_read(tmp_path: Path) -> None:
    """Splits are kept under any of their names, and images of files are called by their paths."""
    root = fill(tmp_path / "root", "train/cat", "train/dog", "validation/cat", "validation/dog")
    found, plain = load(root), of_folder(root)
    assert found.fingerprint == plain.fingerprint
    assert [image.id for image in found.val.images] == [image.id for image in plain.val.images]
    assert (found.profile.split_origin["val"], found.profile.revision) == ("official", None)


def test_json_lines_name_files_beside_them(tmp_path: Path) -> None:
    """A column of paths is taken where none holds pictures; other names of columns are said or told."""
    root = fill(tmp_path / "root", "pictures", count=10)
    lines = [{"file": f"pictures/{number}.png", "kind": "ab"[number % 2], "age": number} for number in range(10)]
    (root / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert "has no column of labels; its columns are 'file', 'kind', 'age'" in refusal(root)
    found = load(root, label_column="kind")
    assert found.class_names == ("a", "b")
    assert "Columns of the table: image is 'file', label is 'kind'." in found.profile.remarks


def test_splits_without_labels_or_known_names_are_left_out_and_said(tmp_path: Path) -> None:
    """A test split of -1 has no labels; a split called extra is none of ours."""
    root = fill(tmp_path / "root", "cat", "dog", "more", count=8)
    hub = as_parquet(
        tmp_path / "hub",
        [(path, "cat" if label == "more" else label, "extra" if label == "more" else "train") for path, label, _ in images_of(root)],
        ["cat", "dog"],
    )
    more = fill(tmp_path / "unlabelled", "x", count=3)
    cells = {"image": [{"bytes": path.read_bytes(), "path": None} for path, *_ in images_of(more)], "label": [-1] * 3}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    datasets.Dataset.from_dict(cells, features=features).to_parquet(hub / "data" / "test-00000-of-00001.parquet")
    (hub / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        + "".join(f"  - split: {name}\n    path: data/{name}-*\n" for name in ("train", "test", "extra"))
        + "---\n"
    )
    found = load(hub)
    assert "test has no labels: its 3 images not used; test is made as where none is given." in found.profile.left_out
    assert "Split 'extra' is not used: 8 images." in found.profile.left_out
    assert found.profile.num_found == 16


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    """No such folder, nothing to read in it, a script instead of data, an unknown column."""
    assert "no such folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "cannot be read by datasets" in refusal(tmp_path / "empty")
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "program.py").write_text("raise SystemExit('this must not run')")
    assert "cannot be read by datasets" in refusal(tmp_path / "program")
    hub = as_parquet(tmp_path / "hub", images_of(fill(tmp_path / "root", "cat", "dog")), ["cat", "dog"])
    assert "data.label_column=kind: data.id=" in refusal(hub, label_column="kind")
    assert "BuilderConfig 'other' not found" in refusal(hub, config="other")
