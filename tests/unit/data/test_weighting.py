"""Weights of images: what a table may say, what becomes of it, and that without it nothing is different."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from harness.api.sweeping import _written
from harness.config import Labels, SweepConfig, TableConfig, TrainConfig
from harness.data.dataset import Dataset
from harness.data.load import load_dataset
from harness.errors import ConfigError, DataError

WEIGHTS = [1.0, 2.0, 0.0, 4.0] * 10


def _fill(folder: Path) -> pd.DataFrame:
    """40 pictures of two classes that are all different, each class with each weight."""
    rng, paths = np.random.default_rng(0), [f"{number:02d}.png" for number in range(40)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / path)
    return pd.DataFrame({"path": paths, "label": ["a", "b", "b", "a"] * 5 + ["b", "a", "a", "b"] * 5, "trust": WEIGHTS})


def _load(frame: pd.DataFrame, folder: Path, name: str = "t.csv", **options: Any) -> Dataset:
    path = folder / name
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_json(path, orient="records", lines=True)
    return load_dataset(TableConfig(name="mine", source="table", root=str(path), **options), folder / "cache")


def _by_image(data: Dataset) -> dict[str, float]:
    return {
        image.id: float(weight)
        for split in (data.train, data.val, data.test)
        if split.weights is not None
        for image, weight in zip(split.images, split.weights, strict=True)
    }


def test_weights_are_shares_of_the_mean_of_train(tmp_path: Path) -> None:
    """One on average over the train images that count; val and test in the same unit; each image its own."""
    data = _load(_fill(tmp_path), tmp_path, weight="trust")
    assert data.train.weights is not None
    assert data.train.weights[data.train.counted_N].mean() == pytest.approx(1.0)
    assert len(data.train.counted_N) == int((data.train.weights > 0).sum()) < len(data.train)
    found = _by_image(data)
    assert len(found) == 40
    unit = found["00.png"]
    assert found == {f"{number:02d}.png": pytest.approx(weight * unit) for number, weight in enumerate(WEIGHTS)}
    assert any("Train images count by 'trust', from 0.4" in each for each in data.profile.remarks)
    assert any("weight 0" in each for each in data.profile.remarks)


def test_weights_are_part_of_the_task_and_their_unit_is_not(tmp_path: Path) -> None:
    """Any form of table, and another unit, are the same fingerprint; other weights, and none, are others; splits are the same."""
    frame = _fill(tmp_path)
    written = _written(frame.assign(path=[str(tmp_path / path) for path in frame.path]), tmp_path / "study", TableConfig(weight="trust"))
    same = [
        _load(frame, tmp_path, weight="trust"),
        _load(frame, tmp_path, "t.parquet", weight="trust"),
        _load(frame, tmp_path, "t.jsonl", weight="trust"),
        _load(frame.assign(trust=frame.trust * 0.3), tmp_path, "u.csv", weight="trust"),
        _load(pd.read_csv(written), tmp_path, "v.csv", weight="trust"),
    ]
    assert len({each.fingerprint for each in same}) == 1
    plain = _load(frame, tmp_path)
    assert plain.train.weights is None
    assert plain.fingerprint == _load(frame.drop(columns="trust"), tmp_path, "w.csv").fingerprint
    others = [plain, _load(frame.assign(trust=frame.trust + 1), tmp_path, "x.csv", weight="trust")]
    assert len({each.fingerprint for each in [same[0], *others]}) == 3
    for each in [*same, *others]:
        assert [image.content_hash for image in each.train.images] == [image.content_hash for image in plain.train.images]


@pytest.mark.parametrize("cell", ["-1", "heavy", "nan", "inf", "0,5"])
def test_a_weight_that_is_none_is_refused_by_its_line(tmp_path: Path, cell: str) -> None:
    """Negative, text, endless: in one line that says where and what."""
    frame = _fill(tmp_path).astype({"trust": str})
    frame.loc[3, "trust"] = cell
    with pytest.raises(DataError, match=rf"t\.csv: lines whose trust is no number of 0 or more \(1\): line 5 \('{cell}'\)") as caught:
        _load(frame, tmp_path, weight="trust")
    assert "\n" not in str(caught.value)


def test_what_no_weight_can_be_made_of_is_refused(tmp_path: Path) -> None:
    """A missing cell, a column that is not there, a class that is never learned from, lines of an image that disagree."""
    frame = _fill(tmp_path)
    missing = frame.astype({"trust": object})
    missing.loc[0, "trust"] = None
    with pytest.raises(DataError, match=r"lines without a trust \(1\): line 2"):
        _load(missing, tmp_path, weight="trust")
    with pytest.raises(DataError, match=r"data\.weight=doubt: .* has no such column; its columns are 'path', 'label', 'trust'"):
        _load(frame, tmp_path, weight="doubt")
    with pytest.raises(DataError, match="class 'b': each of its train images has weight 0 in column 'trust'"):
        _load(frame.assign(trust=np.where(frame.label == "b", 0.0, 1.0)), tmp_path, weight="trust")
    twice = pd.concat([frame, frame[:1].assign(label="b", trust=9.0)])
    with pytest.raises(DataError, match=r"lines have several weights, .*: 00\.png"):
        _load(twice, tmp_path, weight="trust", labels=Labels.several)


def test_images_that_are_mixed_have_no_weight() -> None:
    """Mixup and CutMix beside weights are refused before anything is read."""
    with pytest.raises(ConfigError, match=r"data\.weight=trust: not allowed; give it without train\.mixup and train\.cutmix"):
        SweepConfig(backbone="test_resnet", data=TableConfig(weight="trust"), study="s", train=TrainConfig(mixup=0.2))
