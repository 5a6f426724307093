"""Draws and splits hold their promises for any data set, not only for tidy ones."""

import random
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.splits import Placement, assign_splits, count_conflicts, draw, quotas
from harness.errors import DataError

Pool = tuple[list[str], list[int]]


@st.composite
def pools(draw_from: st.DrawFn) -> Pool:
    """Content hashes and labels of an unsplit data set: 2 to 5 classes of 3 to 40 distinct images, some stored several times."""
    hashes, labels = [], []
    for label in range(draw_from(st.integers(2, 5))):
        for number in range(draw_from(st.integers(3, 40))):
            copies = draw_from(st.sampled_from([1, 1, 1, 2, 3]))
            hashes += [f"{label}-{number}"] * copies
            labels += [label] * copies
    return hashes, labels


def _carve(pool: Pool, *, val_frac: float = 0.2, test_frac: float = 0.2, seed: int = 0) -> Placement:
    hashes, labels = pool
    return assign_splits(
        hashes,
        np.array(labels),
        ["train"] * len(hashes),
        official=["pool"],
        class_names=[f"class {n}" for n in range(max(labels) + 1)],
        val_frac=val_frac,
        test_frac=test_frac,
        seed=seed,
    )


def _splits_of(hashes: list[str], placed: Placement) -> dict[str, set[str | None]]:
    splits: dict[str, set[str | None]] = defaultdict(set)
    for content, split in zip(hashes, placed, strict=True):
        splits[content].add(split)
    return splits


@given(pools(), st.integers(0, 3))
def test_equal_images_share_a_split(pool: Pool, seed: int) -> None:
    """Every image is used, and copies of one image are never on two sides."""
    splits = _splits_of(pool[0], _carve(pool, seed=seed))
    assert all(len(found) == 1 and None not in found for found in splits.values())


@given(pools(), st.floats(0.05, 0.45), st.floats(0.05, 0.45))
def test_carved_splits_are_stratified(pool: Pool, val_frac: float, test_frac: float) -> None:
    """Each class gives every split its share of distinct images, to within one image, and at least one."""
    placed = _carve(pool, val_frac=val_frac, test_frac=test_frac)
    distinct = {(content, label, split) for content, label, split in zip(*pool, placed, strict=True)}
    counts = Counter((label, split) for _, label, split in distinct)
    for label in set(pool[1]):
        total = sum(counts[label, split] for split in ("train", "val", "test"))
        assert counts[label, "train"] >= 1
        for split, frac in (("val", val_frac), ("test", test_frac)):
            assert counts[label, split] >= 1
            assert counts[label, split] <= max(1, np.floor(total * frac) + 1)
            assert counts[label, split] >= min(np.floor(total * frac), total - 2)


@given(pools(), st.randoms(use_true_random=False))
def test_order_of_files_plays_no_part(pool: Pool, shuffler: random.Random) -> None:
    """Listing the same images in another order gives the same splits."""
    order = list(range(len(pool[0])))
    shuffler.shuffle(order)
    shuffled = [pool[0][i] for i in order], [pool[1][i] for i in order]
    assert _splits_of(pool[0], _carve(pool)) == _splits_of(shuffled[0], _carve(shuffled))


def test_split_seed_matters() -> None:
    """Another split seed gives another split."""
    pool = [f"{n}" for n in range(100)], [0, 1] * 50
    assert _carve(pool, seed=0) != _carve(pool, seed=1)


def test_no_test_split_on_request() -> None:
    """A test share of zero leaves all images to train and val."""
    pool = [f"{n}" for n in range(100)], [0, 1] * 50
    assert Counter(_carve(pool, test_frac=0)) == {"train": 80, "val": 20}


def test_totals_are_the_shares_asked_for() -> None:
    """Rounding does not add up: seven classes of nine images give 13 of 63 for a fifth, not 7 or 14."""
    pool = [f"{n}" for n in range(63)], [n % 7 for n in range(63)]
    assert Counter(_carve(pool)) == {"train": 37, "val": 13, "test": 13}


@given(st.lists(st.integers(1, 500), min_size=1, max_size=20), st.floats(0.01, 0.6))
def test_quotas_are_proportional_and_add_up(counts: list[int], frac: float) -> None:
    """Every quota is within one of the exact share, and without the floor of one the total is the rounded share."""
    counts_C = np.array(counts)
    quota_C = quotas(counts_C, counts_C, frac)
    assert ((quota_C == 1) | (np.abs(quota_C - counts_C * frac) < 1)).all()
    if (counts_C * frac >= 1).all():
        assert quota_C.sum() == round(float((counts_C * frac).sum()))


def _assign(rows: list[tuple[str, int, str]], test_frac: float = 0.2) -> Placement:
    hashes, labels, given_splits = zip(*rows, strict=True)
    names = ["cat", "dog"]
    official = set(given_splits)
    return assign_splits(
        hashes, np.array(labels), given_splits, official=official, class_names=names, val_frac=0.2, test_frac=test_frac, seed=0
    )


def test_official_splits_are_kept_and_leaks_removed() -> None:
    """Copies of official val and test images leave train, copies of test images leave val, and nothing else moves."""
    clean = [(f"{split}{n}", n % 2, split) for split in ("train", "val", "test") for n in range(10)]
    leaks = [("val0", 0, "train"), ("test0", 0, "train"), ("test1", 1, "val")]
    assert _assign(clean + leaks) == [split for *_, split in clean] + [None, None, None]


def test_missing_val_comes_from_train_only() -> None:
    """With official train and test, val is a fifth of train and test stays whole."""
    rows = [(f"{split}{n}", n % 2, split) for split in ("train", "test") for n in range(100)]
    placed = _assign(rows)
    assert Counter(placed) == {"train": 80, "val": 20, "test": 100}
    assert placed[100:] == ["test"] * 100


def test_missing_test_comes_from_train() -> None:
    """With official train and val, test is a fifth of all images, taken from train."""
    rows = [(f"{split}{n}", n % 2, split) for split, count in (("train", 80), ("val", 20)) for n in range(count)]
    assert Counter(_assign(rows)) == {"train": 60, "val": 20, "test": 20}
    assert Counter(_assign(rows, test_frac=0)) == {"train": 80, "val": 20}


def test_too_few_distinct_images_are_named() -> None:
    """A class with two distinct images, one stored five times, cannot fill three splits; the message names it and its count."""
    rows = [(f"{n}", 0, "train") for n in range(9)] + [("a", 1, "train")] * 5 + [("b", 1, "train")]
    with pytest.raises(DataError, match=r"class 'dog': 2 distinct readable images to make train and val and test"):
        _assign(rows)
    assert Counter(_assign(rows, test_frac=0))["val"] >= 2


@pytest.mark.parametrize(
    ("rows", "said", "unsaid"),
    [
        (
            [("x", 1, "train")],
            "1 distinct readable image to make train and val and test of, and each needs one; add 2 other images",
            "test_frac",
        ),
        (
            [("x", 1, "train"), ("y", 1, "train")],
            "add 1 other image of it, or move it out of data.root, or set data.test_frac=0",
            "max_images",
        ),
        (
            [("x", 1, "train"), ("0", 1, "train"), ("1", 1, "train")],
            "2 of its images lie in 'cat' as well, which keeps them; add 2",
            "test_frac",
        ),
    ],
)
def test_ways_out_of_too_few_images_help(rows: list[tuple[str, int, str]], said: str, unsaid: str) -> None:
    """What is short is counted, copies of other classes are named, and nothing is advised that would leave the class too small."""
    others = [(f"{n}", 0, "train") for n in range(9)]
    with pytest.raises(DataError) as caught:
        _assign([*others, *rows])
    assert said in str(caught.value)
    assert unsaid not in str(caught.value)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=8), st.data())
def test_draws_are_nested_and_spread(sizes: list[int], data: st.DataObject) -> None:
    """A small draw is part of a larger one, whatever the order of listing; floors are met; shares are kept to within one image."""
    strata = [stratum for stratum, size in enumerate(sizes) for _ in range(size)]
    ids = [f"{stratum}/{number}" for number, stratum in enumerate(strata)]
    floors = dict.fromkeys(strata, 2)
    order = data.draw(st.permutations(range(len(ids))))
    small, large = sorted(data.draw(st.tuples(*[st.integers(2 * len(sizes), max(2 * len(sizes), len(ids)))] * 2)))
    drawn_small = {ids[i] for i in draw(ids, strata, floors, small, seed=3)}
    shuffled = [ids[i] for i in order]
    drawn_large = {shuffled[i] for i in draw(shuffled, [strata[i] for i in order], floors, large, seed=3)}
    assert drawn_small <= drawn_large
    assert len(drawn_small) == min(small, len(ids))
    counts = Counter(int(name.split("/")[0]) for name in drawn_small)
    assert all(counts[stratum] >= min(2, size) for stratum, size in enumerate(sizes))


def test_draw_is_proportional() -> None:
    """A tenth of strata of 300, 200 and 100 is 30, 20 and 10."""
    strata = [0] * 300 + [1] * 200 + [2] * 100
    drawn = draw([str(n) for n in range(600)], strata, dict.fromkeys(strata, 1), 60, seed=0)
    assert Counter(strata[i] for i in drawn) == {0: 30, 1: 20, 2: 10}


def test_conflicts_count_groups_of_equal_images() -> None:
    """Three copies with two labels are one conflict; copies that agree are none."""
    assert count_conflicts(["a", "a", "a", "b", "b", "c"], [0, 1, 1, 0, 0, 1]) == 1
