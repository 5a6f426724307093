"""Which images are used and which split each belongs to: pure functions of ids, content hashes, labels and the split seed.

Nothing here depends on the order in which a disk lists files: images are ranked by a keyed hash.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from harness.data.dataset import IntArray
from harness.data.grouping import count_labels, deal_groups
from harness.errors import DataError

S = TypeVar("S", bound=Hashable)
SPLITS = ("train", "val", "test")
_LEAST_TRAIN = 0.1
"""Share of the images that splits are carved out of that stays in train, whatever is asked for."""
Placement = list[str | None]
"""Split of each image; None: left out, because an equal image, or one of its group, is in an official val or test split."""


def rank(seed: int, text: str) -> bytes:
    """Sort key that shuffles: it depends on the text and the seed alone."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=str(seed).encode(), digest_size=16).digest()


def draw(ids: Sequence[str], strata: Sequence[S], floors: Mapping[S, int], limit: int, seed: int) -> list[int]:
    """Indices of `limit` images, spread over strata in proportion to their sizes.

    Every image has one place in one order (Webster's method: the k-th of n images of a stratum stands at (k - 1/2) / n), and the
    first `limit` are taken; so a small draw is part of every larger one. Largest remainders, the usual rule, do not promise that.

    Args:
        ids: unique names of the images; the order given does not matter.
        strata: what to spread over, one per image.
        floors: images of each stratum that come before all others.
        limit: how many to take.
        seed: decides which images stand for their stratum.
    """
    members: dict[S, list[tuple[bytes, int]]] = defaultdict(list)
    for index, (name, stratum) in enumerate(zip(ids, strata, strict=True)):
        members[stratum].append((rank(seed, name), index))
    order = [
        (place >= floors[stratum], (place + 0.5) / len(keyed), key, index)
        for stratum, keyed in members.items()
        for place, (key, index) in enumerate(sorted(keyed))
    ]
    return [index for *_, index in sorted(order)[:limit]]


def assign_splits(
    hashes: Sequence[str],
    labels: IntArray,
    given: Sequence[str],
    *,
    official: Collection[str],
    class_names: Sequence[str],
    val_frac: float,
    test_frac: float,
    seed: int,
    is_sample: bool = False,
    groups: IntArray | None = None,
) -> Placement:
    """Keep official splits, carve missing ones out of train, and let equal images, and images of one group, never be in two of them.

    Args:
        hashes: content hash of each of N images.
        labels: class ids (N,) in [0, C).
        given: official split of each image; `train` for all images of a data set without splits.
        official: the splits that the data set brings along.
        class_names: for messages.
        val_frac: share of train's distinct images that becomes val when it is missing.
        test_frac: share of all distinct images that becomes test when it is missing; 0: no test split.
        seed: decides which images are carved out, together with their content alone.
        is_sample: whether the data set has more images than these; for messages.
        groups: numbers of the images' groups (N,); equal images are of one group. None: every image stands for itself.

    Raises:
        DataError: a class has too few distinct images, or groups, in train.
    """
    placed = _without_leaks(hashes if groups is None else groups.tolist(), given)
    missing = [("val", val_frac, ("train",)), ("test", test_frac, SPLITS)]
    todo = [(name, frac, base) for name, frac, base in missing if name not in official and frac > 0]
    if groups is not None:
        return _carve_groups(hashes, labels, placed, class_names, todo, seed=seed, groups=groups, is_sample=is_sample)
    _require_enough(hashes, labels, placed, class_names, ["train", *(name for name, *_ in todo)], is_sample=is_sample)
    for done, (name, frac, base) in enumerate(todo):
        counts_C = _distinct(hashes, labels, placed, base, len(class_names))
        available_C = _distinct(hashes, labels, placed, ("train",), len(class_names))
        quota_C = quotas(counts_C, available_C - (len(todo) - done), frac)
        moved = _pick(hashes, labels, placed, quota_C, seed)
        placed = [name if old == "train" and content in moved else old for content, old in zip(hashes, placed, strict=True)]
    return placed


def quotas(counts_C: IntArray, most_C: IntArray, frac: float) -> IntArray:
    """Images of each class that make up `frac` of the whole by largest remainder, then at least 1 and at most `most_C` each."""
    exact_C = counts_C * frac
    quota_C = np.floor(exact_C).astype(np.int64)
    num_short = round(float(exact_C.sum())) - int(quota_C.sum())
    quota_C[np.argsort(quota_C - exact_C, kind="stable")[:num_short]] += 1
    capped_C: IntArray = np.clip(quota_C, 1, np.maximum(most_C, 1))
    return capped_C


def count_conflicts(hashes: Sequence[str], labels: Sequence[Hashable]) -> int:
    """Groups of equal images that carry different labels."""
    pairs = set(zip(hashes, labels, strict=True))
    return sum(count > 1 for count in Counter(content for content, _ in pairs).values())


def _carve_groups(
    hashes: Sequence[str],
    labels: IntArray,
    placed: Placement,
    class_names: Sequence[str],
    todo: Sequence[tuple[str, float, Collection[str]]],
    *,
    seed: int,
    groups: IntArray,
    is_sample: bool,
) -> Placement:
    """The same of whole groups: each split gets as much of each class as whole groups allow, and of each class one group or more."""
    is_train_N = np.array([name == "train" for name in placed])
    of_train = np.flatnonzero(is_train_N)
    names = ["train", *(name for name, *_ in todo)]
    _require_groups(labels[of_train], groups[of_train], names, class_names, is_sample=is_sample)
    if not todo:
        return placed
    counts_GC, group_N = count_labels(labels[of_train], groups[of_train])
    sizes = [frac * sum(name in base for name in placed) / len(of_train) for _, frac, base in todo]
    shares = np.array([max(1 - sum(sizes), _LEAST_TRAIN), *sizes])
    keys: dict[int, bytes] = {}
    for place, group in zip(of_train.tolist(), group_N.tolist(), strict=True):
        keys[group] = min(keys.get(group, b"\xff" * 16), rank(seed, hashes[place]))
    part_G = deal_groups(counts_GC, (shares / shares.sum()).tolist(), sorted(keys, key=lambda group: keys[group]))
    carved = dict(zip(of_train.tolist(), (names[part] for part in part_G[group_N]), strict=True))
    return [carved.get(place, name) for place, name in enumerate(placed)]


def _require_groups(labels: IntArray, groups: IntArray, names: Sequence[str], class_names: Sequence[str], *, is_sample: bool) -> None:
    for label, name in enumerate(class_names):
        if (count := len(np.unique(groups[labels == label]))) < len(names):
            ways = ["add images of other groups", "move it out of data.root", *(["raise data.max_images"] if is_sample else [])]
            raise DataError(
                f"class {name!r}: images of {_shown(count, 'group')} (data.group) to make {' and '.join(names)} of, and each needs one; "
                f"{', or '.join(ways)}."
            )


def _without_leaks(units: Sequence[Hashable], given: Sequence[str]) -> Placement:
    """Images whose content, or group, is in test, or in val and not test, are in no other split."""
    held: dict[str, set[Hashable]] = {name: set() for name in SPLITS}
    for unit, name in zip(units, given, strict=True):
        held[name].add(unit)
    leaks = {"train": held["val"] | held["test"], "val": held["test"], "test": set[Hashable]()}
    return [None if unit in leaks[name] else name for unit, name in zip(units, given, strict=True)]


def _classes(hashes: Sequence[str], labels: IntArray, placed: Placement, within: Collection[str]) -> dict[str, int]:
    """Content -> class id, the lowest one where equal images disagree."""
    classes: dict[str, int] = {}
    for content, label, name in zip(hashes, labels.tolist(), placed, strict=True):
        if name in within:
            classes[content] = min(classes.get(content, label), label)
    return classes


def _distinct(hashes: Sequence[str], labels: IntArray, placed: Placement, within: Collection[str], num_classes: int) -> IntArray:
    found = list(_classes(hashes, labels, placed, within).values())
    return np.bincount(np.asarray(found, dtype=np.int64), minlength=num_classes).astype(np.int64)


def _pick(hashes: Sequence[str], labels: IntArray, placed: Placement, quota_C: IntArray, seed: int) -> set[str]:
    """The contents of train that come first in each class's order, as many as its quota."""
    contents: list[list[str]] = [[] for _ in quota_C]
    for content, label in _classes(hashes, labels, placed, ("train",)).items():
        contents[label].append(content)
    ranked = [sorted(of_class, key=lambda content: rank(seed, content)) for of_class in contents]
    return {content for of_class, quota in zip(ranked, quota_C.tolist(), strict=True) for content in of_class[:quota]}


def _require_enough(
    hashes: Sequence[str], labels: IntArray, placed: Placement, class_names: Sequence[str], needed: Sequence[str], *, is_sample: bool
) -> None:
    for label, count in enumerate(_distinct(hashes, labels, placed, ("train",), len(class_names)).tolist()):
        if count < len(needed):
            raise DataError(
                f"class {class_names[label]!r}: {_shown(count, 'distinct readable image')} to make {' and '.join(needed)} of, and each needs one"
                f"{_copied(hashes, labels, placed, class_names, label)}; {', or '.join(_ways_out(len(needed) - count, needed, is_sample))}."
            )


def _copied(hashes: Sequence[str], labels: IntArray, placed: Placement, class_names: Sequence[str], label: int) -> str:
    """Which images of a class do not count for it."""
    classes = _classes(hashes, labels, placed, ("train",))
    own = [(content, name) for content, of_class, name in zip(hashes, labels.tolist(), placed, strict=True) if of_class == label]
    others = Counter(classes[content] for content, name in own if name == "train" and classes[content] != label)
    said = [f"{count} of its images lie in {class_names[other]!r} as well, which keeps them" for other, count in sorted(others.items())]
    if num_leaks := sum(name is None for _, name in own):
        said.append(f"{num_leaks} of its images lie in val or test as well, which keep them")
    return "".join(f"; {words}" for words in said)


def _ways_out(num_short: int, needed: Sequence[str], is_sample: bool) -> list[str]:
    """What helps a class that is `num_short` images short."""
    ways = [f"add {_shown(num_short, 'other image')} of it", "move it out of data.root"]
    if num_short == 1 and "test" in needed:
        ways.append("set data.test_frac=0 for no test split")
    return [*ways, "raise data.max_images"] if is_sample else ways


def _shown(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
