"""Images that belong together stay together, whatever is made of them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import TableConfig
from harness.data.dataset import Dataset, joined
from harness.data.grouping import number_groups
from harness.data.load import load_dataset
from harness.errors import DataError
from harness.measure.choice import deal
from harness.transfer.held_out import folds_of, hold_out
from tests.unit.data.pictures import draw


def _load(root: Path, frame: pd.DataFrame, **options: object) -> Dataset:
    frame.to_csv(root / "scans.csv", index=False)
    cfg = TableConfig(name="scans", source="table", root=str(root / "scans.csv"), group="patient", **options)  # type: ignore[arg-type]
    return load_dataset(cfg, root / "cache")


def _scans(root: Path, patients: int = 12, each: int = 3) -> pd.DataFrame:
    """Pictures of patients, every other one ill."""
    lines = [(draw(root / f"{p}-{n}.png").name, ("ill", "healthy")[p % 2], f"p{p}") for p in range(patients) for n in range(each)]
    return pd.DataFrame(lines, columns=["path", "label", "patient"])


def test_no_patient_is_in_two_splits_or_folds(tmp_path: Path) -> None:
    """Each split has both classes, each fold too; the profile counts patients."""
    data = _load(tmp_path, _scans(tmp_path))
    members = [{image.id.partition("-")[0] for image in split.images} for split in (data.train, data.val, data.test)]
    assert sum(map(len, members)) == 12
    assert not members[0] & members[1] | members[0] & members[2] | members[1] & members[2]
    assert all(set(split.labels) == {0, 1} for split in (data.train, data.val, data.test))
    assert data.profile.num_groups == dict(zip(("train", "val", "test"), map(len, members), strict=True))
    everyone_N = joined(data.train, data.val).groups
    assert everyone_N is not None
    for fold in range(folds_of(data)):
        held = hold_out(data, fold, seed=0).dataset
        assert held.train.groups is not None
        assert not set(held.train.groups) & set(held.val.groups if held.val.groups is not None else ())
    assert folds_of(data) <= len(set(everyone_N.tolist()))


def test_names_of_patients_play_no_part(tmp_path: Path) -> None:
    """The same pictures with the same patients under other names are the same task."""
    frame = _scans(tmp_path)
    renamed = frame.assign(patient=[f"case {name}" for name in frame["patient"]])
    assert _load(tmp_path, frame).fingerprint == _load(tmp_path, renamed.sample(frac=1, random_state=1)).fingerprint
    without = TableConfig(name="scans", source="table", root=str(tmp_path / "scans.csv"))
    assert load_dataset(without, tmp_path / "cache").fingerprint != _load(tmp_path, frame).fingerprint


def test_patients_in_several_given_splits_are_left_out_and_said(tmp_path: Path) -> None:
    """Of a patient in test and train, train's images go: a score must not know the patient."""
    frame = _scans(tmp_path).assign(split=(["train"] * 3 + ["val"] * 3 + ["test"] * 3) * 4)
    frame = frame.assign(patient=[f"p{number % 12}" for number in np.repeat(range(12), 3)])
    frame["label"] = [("ill", "healthy")[number % 2] for number in np.repeat([0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 0, 1], 3)]
    kept = len(_load(tmp_path, frame).train)
    frame["patient"] = [frame["patient"].iloc[6], *frame["patient"].iloc[1:]]  # one of the first patient's is also of one in test
    data = _load(tmp_path, frame)
    assert (len(data.train), data.profile.num_leaked) == (kept - 1, 1)
    assert "1 group of 'patient' in several of the given splits" in data.profile.left_out[0]


def test_patients_with_an_equal_picture_are_one(tmp_path: Path) -> None:
    """The same picture under two patients: whoever has seen one has seen the other."""
    frame = _scans(tmp_path)
    (tmp_path / "0-0.png").write_bytes((tmp_path / "2-0.png").read_bytes())
    data = _load(tmp_path, frame)
    split_of = {image.id: name for name in ("train", "val", "test") for image in getattr(data, name).images}
    assert len({split_of[f"{patient}-{n}.png"] for patient in (0, 2) for n in range(3)}) == 1
    assert "1 fewer than 'patient' has" in " ".join(data.profile.remarks)


def test_too_few_patients_are_named(tmp_path: Path) -> None:
    """Two ill patients cannot be in three splits, however many pictures they have."""
    frame = _scans(tmp_path, patients=4, each=9)
    with pytest.raises(
        DataError, match=r"class 'healthy': images of 2 groups \(data.group\) to make train and val and test of, and each needs"
    ):
        _load(tmp_path, frame)
    who = TableConfig(name="scans", source="table", root=str(tmp_path / "scans.csv"), group="who")
    with pytest.raises(DataError, match=r"data\.group=who: .*has no such column; its columns are 'path', 'label', 'patient'"):
        load_dataset(who, tmp_path / "cache")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(2, 5))
def test_folds_hold_whole_groups_and_every_class(seed: int, num_classes: int, num_folds: int) -> None:
    """Where a class has as many groups as there are folds, each fold has images of it; no group is in two."""
    rng = np.random.default_rng(seed)
    labels_G = np.repeat(np.arange(num_classes), num_folds + int(rng.integers(0, 4)))
    sizes_G = rng.geometric(1 / 6, len(labels_G))
    order_N = rng.permutation(int(sizes_G.sum()))
    labels_N, groups_N = (np.repeat(each_G, sizes_G)[order_N] for each_G in (labels_G, np.arange(len(labels_G))))
    folds_N = deal(labels_N, num_folds, seed, groups_N)
    assert all(len(set(folds_N[groups_N == group])) == 1 for group in np.unique(groups_N))
    assert all(len(set(folds_N[labels_N == label])) == num_folds for label in range(num_classes))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("xyz")), min_size=1, max_size=20), st.integers(0, 99))
def test_numbers_follow_contents(images: list[tuple[str, str]], seed: int) -> None:
    """Images are in one group just when a chain of shared names and contents links them; order and names play no part."""
    numbers = number_groups([content for content, _ in images], [name for _, name in images])
    order = np.random.default_rng(seed).permutation(len(images)).tolist()
    again = number_groups([images[n][0] for n in order], [images[n][1] * 2 for n in order])
    assert again.tolist() == [numbers[n] for n in order]
    for (content, name), number in zip(images, numbers.tolist(), strict=True):
        linked = {n for (c, m), n in zip(images, numbers.tolist(), strict=True) if c == content or m == name}
        assert linked == {number}
