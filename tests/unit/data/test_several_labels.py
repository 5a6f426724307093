"""Tables whose images may have several labels: how that is said, what is refused, and how splits are dealt."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from harness.api.sweeping import _written
from harness.config import Labels, TableConfig
from harness.data.dataset import Dataset
from harness.data.labels import strata_of
from harness.data.load import load_dataset
from harness.errors import DataError

SETS = [("a",), ("b",), ("a", "b"), ("c",), ("b", "c"), ()] * 10


def _fill(folder: Path) -> list[str]:
    """60 pictures that are all different; their paths."""
    rng = np.random.default_rng(0)
    for number in range(len(SETS)):
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number:02d}.png")
    return [f"{number:02d}.png" for number in range(len(SETS))]


def _load(path: Path, **options: Any) -> Dataset:
    cfg = TableConfig(name="mine", source="table", root=str(path), **options)
    return load_dataset(cfg, path.parent / "cache")


def test_every_way_to_say_several_is_the_same_data(tmp_path: Path) -> None:
    """Text with a separator, lists in JSON lines and in Parquet, lists in a DataFrame, and an image on several lines."""
    paths = _fill(tmp_path)
    lists = pd.DataFrame({"path": paths, "label": [list(each) for each in SETS]})
    text = lists.assign(label=[" | ".join(each) for each in SETS])
    lines = pd.DataFrame(
        [(path, label) for path, each in zip(paths, SETS, strict=True) for label in each or ("",)], columns=["path", "label"]
    )
    text.to_csv(tmp_path / "text.csv", index=False)
    lists.to_json(tmp_path / "lists.jsonl", orient="records", lines=True)
    lists.to_parquet(tmp_path / "lists.parquet")
    lines.to_csv(tmp_path / "lines.csv", index=False)
    absolute = lists.assign(path=[str(tmp_path / path) for path in paths])
    found = [
        _load(tmp_path / "text.csv", label_separator="|"),
        _load(tmp_path / "lists.jsonl"),
        _load(tmp_path / "lists.parquet", labels=Labels.several),
        _load(tmp_path / "lines.csv", labels=Labels.several),
        _load(_written(absolute, tmp_path / "study", TableConfig())),
    ]
    assert {each.fingerprint for each in found} == {found[0].fingerprint}
    assert found[0].class_names == ("a", "b", "c")
    assert found[0].is_several
    assert any("1.17 on average, 2 at most; 10 have none" in each for each in found[0].profile.remarks)


def test_a_separator_is_never_guessed(tmp_path: Path) -> None:
    """Without being told, `a|b` is the name of a class."""
    paths = _fill(tmp_path)
    pd.DataFrame({"path": paths, "label": ["a|b", "c"] * 30}).to_csv(tmp_path / "t.csv", index=False)
    found = _load(tmp_path / "t.csv")
    assert (found.class_names, found.is_several) == (("a|b", "c"), False)


def test_every_label_is_in_every_split_in_its_share(tmp_path: Path) -> None:
    """Images are dealt by what labels they have."""
    pd.DataFrame({"path": _fill(tmp_path), "label": ["|".join(each) for each in SETS]}).to_csv(tmp_path / "t.csv", index=False)
    found = _load(tmp_path / "t.csv", label_separator="|")
    assert [len(split) for split in (found.train, found.val, found.test)] == [36, 12, 12]
    counts = np.stack([split.labels.sum(axis=0) for split in (found.train, found.val, found.test)])
    assert counts.sum(axis=0).tolist() == [20, 30, 20]
    assert counts[1:].tolist() == [[4, 6, 4]] * 2


def test_strata_that_are_too_small_join_the_largest() -> None:
    """Codes are of the rarest label, of images without any one more; two images are no stratum to deal three splits of."""
    labels_NC = np.array([[1, 0]] * 2 + [[0, 1]] * 5 + [[0, 0]] * 4)
    assert strata_of(labels_NC).tolist() == [1] * 7 + [2] * 4
    assert strata_of(labels_NC, ["p", "q", *"abcde", *"xxxy"]).tolist() == [1] * 11


@pytest.mark.parametrize(
    ("sets", "options", "why"),
    [
        ([["a"], ["a", "b"]] * 30, {}, "label 'a': every image has it"),
        ([[], []] * 30, {}, "no image has a label"),
        ([["a"], ["b"]] * 30, {"labels": Labels.single}, "holds lists of labels; give data.labels=several"),
    ],
)
def test_what_teaches_nothing_is_refused(tmp_path: Path, sets: list[list[str]], options: dict[str, Any], why: str) -> None:
    """In one line that names it."""
    pd.DataFrame({"path": _fill(tmp_path), "label": sets}).to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    with pytest.raises(DataError, match=why):
        _load(tmp_path / "t.jsonl", **options)


def test_lines_of_an_image_must_agree(tmp_path: Path) -> None:
    """On its split and its group; where each has one label, two lines of an image name the way out."""
    paths = _fill(tmp_path)
    frame = pd.DataFrame({"path": [*paths, paths[0]], "label": ["a", "b"] * 30 + ["b"], "patient": [*range(60), 59]})
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match=r"several splits or groups \(1\): 00\.png"):
        _load(tmp_path / "t.csv", labels=Labels.several, group="patient")
    with pytest.raises(DataError, match=r"on several lines \(1\): 00\.png.* data\.labels=several"):
        _load(tmp_path / "t.csv")
