"""The data set of one study, in one line: list, draw, audit, split, describe. Everything later starts from its result."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.config import DataConfig
from harness.data.audit import audit
from harness.data.dataset import Dataset, FloatArray, IntArray, Split
from harness.data.drop import without
from harness.data.facts import MAX_AUDITED, Facts
from harness.data.file_images import packed
from harness.data.grouping import number_groups
from harness.data.labels import count_classes, is_several, strata_of
from harness.data.listing import POOL, Listed, Listing, Placed
from harness.data.profiling import describe
from harness.data.shown import quoted
from harness.data.sources import list_images
from harness.data.splits import SPLITS, assign_splits, draw
from harness.data.weighting import mean_weight
from harness.data.white import Depth, decide, why_outside
from harness.errors import DataError
from harness.text.untrusted import one_line


def load_dataset(cfg: DataConfig, cache_dir: Path, results_dir: Path | None = None) -> Dataset:
    """Three splits of audited images with their fingerprint and profile.

    Args:
        cfg: what to load; equal options and images give equal splits on every machine.
        cache_dir: where downloads and audit results live; `~` is expanded.
        results_dir: where studies are written; as `cache_dir`, no place for images of the user's.

    Raises:
        ConfigError: an unknown source or name, or an option that does not fit it.
        DataError: images are missing, unreadable, or too few to be split as asked.
    """
    cache_dir = cache_dir.expanduser()
    listing = list_images(cfg, cache_dir, [] if results_dir is None else [results_dir.expanduser()])
    listing = listing if cfg.drop is None else without(listing, cfg.drop)
    _require_two_classes(listing)
    chosen = _choose(cfg, listing)
    audited = audit([row.candidate for row in chosen], cache_dir, f"{cfg.source}|{listing.root}")
    whites = decide(_depths(audited), cfg.max_value)
    results = [_in_range(facts, whites) for facts in audited]
    readable = [(row, facts) for row, facts in zip(chosen, results, strict=True) if isinstance(facts, Facts)]
    unreadable = [f"{row.candidate.id}: {why}" for row, why in zip(chosen, results, strict=True) if isinstance(why, str)]
    if not readable:
        example = " ".join(unreadable[0].split())
        raise DataError(f"data={cfg.name}: not one of {len(chosen):,} images can be read ({example}); replace the files.")
    _require_most(listing.class_names, chosen, results)
    placed = _place(cfg, listing, readable)
    splits = {name: _split(listing, placed, name, whites) for name in SPLITS}
    _require_every_class(listing.class_names, splits, _names_of_splits(cfg, listing))
    splits = splits if listing.weight is None else _weighted(listing, splits, placed)
    return Dataset(
        name=cfg.name,
        class_names=listing.class_names,
        **splits,
        fingerprint=_fingerprint(listing.class_names, splits),
        profile=describe(cfg, listing, placed, unreadable, whites),
        facts={image.listed.candidate.id: image.facts for image in placed if image.split is not None} if len(placed) <= MAX_AUDITED else {},
    )


def _depths(results: Sequence[Facts | str]) -> list[Depth]:
    return [facts.depth for facts in results if isinstance(facts, Facts) and facts.depth]


def _in_range(facts: Facts | str, whites: Mapping[str, float]) -> Facts | str:
    outside = why_outside(facts.depth, whites) if isinstance(facts, Facts) and facts.depth else None
    return outside or facts


def _require_most(class_names: Sequence[str], chosen: Sequence[Listed], results: Sequence[Facts | str]) -> None:
    """A class of which less than half is left is not the class that was meant."""
    wrong: dict[int, list[str]] = defaultdict(list)
    for row, why in zip(chosen, results, strict=True):
        if isinstance(why, str):
            for label in row.classes:
                wrong[label].append(f"{row.candidate.id}: {why}")
    counts = Counter(label for row in chosen for label in row.classes)
    for label, unreadable in sorted(wrong.items()):
        if 2 * len(unreadable) > counts[label]:
            raise DataError(
                f"class {class_names[label]!r}: {len(unreadable):,} of {counts[label]:,} images cannot be read "
                f"({one_line(unreadable[0])}); make them readable, or move them out of data.root if the others are the class."
            )


def _names_of_splits(cfg: DataConfig, listing: Listing) -> list[str]:
    """The splits that this data set will have: the official ones, train, val, and test unless it is neither there nor asked for."""
    return [name for name in SPLITS if name != "test" or name in listing.parts or cfg.test_frac > 0]


def _require_two_classes(listing: Listing) -> None:
    if listing.is_several:
        _require_told_apart(listing)
        return
    if len(listing.class_names) < 2:
        raise DataError(f"only one class, {listing.class_names[0]!r}: there is nothing to tell apart; give at least two class folders.")
    counts = Counter(label for part in listing.parts.values() for label in part.labels.tolist())
    for label, name in enumerate(listing.class_names):
        if counts[label] == 0:
            raise DataError(f"class {name!r}: has no images; change the options that leave it out, or pick another task.")


def _require_told_apart(listing: Listing) -> None:
    labels = np.concatenate([part.labels for part in listing.parts.values()])
    if not listing.class_names:
        raise DataError("no image has a label: there is nothing to learn; give some.")
    for name, count in zip(listing.class_names, labels.sum(axis=0).tolist(), strict=True):
        if count == len(labels):
            raise DataError(f"label {name!r}: every image has it, so there is nothing to tell apart; leave it out.")


def _choose(cfg: DataConfig, listing: Listing) -> list[Listed]:
    """All rows, or `data.max_images` of them, in proportion to (official split, class); before any file is read."""
    rows = listing.rows()
    if cfg.max_images is None or cfg.max_images >= len(rows):
        return rows
    wanted = _names_of_splits(cfg, listing)
    num_carved = sum(name not in listing.parts for name in wanted if name != "train")
    strata = [(row.given, label) for row, label in zip(rows, strata_of(listing.labels_of(rows)).tolist(), strict=True)]
    floors = {stratum: 1 + (num_carved if stratum[0] in (POOL, "train") else 0) for stratum in set(strata)}
    needed = sum(floors.values())
    if cfg.max_images < needed:
        raise DataError(
            f"data.max_images={cfg.max_images}: too few for {len(listing.class_names)} classes in {' and '.join(wanted)}; "
            f"give {needed} or more, or null for all {len(rows):,}."
        )
    picked = draw([row.candidate.id for row in rows], strata, floors, cfg.max_images, cfg.split_seed)
    return [rows[index] for index in sorted(picked)]


def _place(cfg: DataConfig, listing: Listing, readable: Sequence[tuple[Listed, Facts]]) -> list[Placed]:
    hashes = [facts.content_hash for _, facts in readable]
    names = [row.group for row, _ in readable if row.group is not None]
    groups = number_groups(hashes, names) if names else None
    given = ["train" if row.given == POOL else row.given for row, _ in readable]
    labels, class_names = _dealt(listing, [row for row, _ in readable], given, hashes if groups is None else groups.tolist())
    splits = assign_splits(
        hashes,
        labels,
        given,
        official=listing.parts.keys(),
        class_names=class_names,
        val_frac=cfg.val_frac,
        test_frac=cfg.test_frac,
        seed=cfg.split_seed,
        is_sample=cfg.max_images is not None and cfg.max_images < sum(len(part.candidates) for part in listing.parts.values()),
        groups=groups,
    )
    numbers = [None] * len(readable) if groups is None else groups.tolist()
    return [Placed(*each, split, number) for each, split, number in zip(readable, splits, numbers, strict=True)]


def _dealt(listing: Listing, rows: Sequence[Listed], given: Sequence[str], units: Sequence[Hashable]) -> tuple[IntArray, Sequence[str]]:
    """What splits hold equal shares of, and its names: classes, or images of train that are alike in their labels."""
    labels = listing.labels_of(rows)
    if not listing.is_several:
        return labels, listing.class_names
    of_train = np.flatnonzero(np.array([name == "train" for name in given]))
    known, codes = np.unique(strata_of(labels[of_train], [units[place] for place in of_train.tolist()]), return_inverse=True)
    found = np.zeros(len(rows), dtype=np.int64)
    found[of_train] = codes
    firsts = [of_train[np.flatnonzero(codes == number)[0]] for number in range(len(known))]
    sets = [" and ".join(listing.class_names[number] for number in rows[place].classes) for place in firsts]
    return found, [
        (*listing.class_names, "(no label)")[code] if code <= len(listing.class_names) else own
        for code, own in zip(known.tolist(), sets, strict=True)
    ]


def _split(listing: Listing, placed: Sequence[Placed], name: str, whites: Mapping[str, float]) -> Split:
    members = [image for image in placed if image.split == name]
    images = [image.listed.candidate.ref(image.facts, _white(image.facts, whites)) for image in members]
    groups = None if placed[0].group is None else np.array([image.group for image in members], dtype=np.int64)
    return Split(packed(images), listing.labels_of([image.listed for image in members]), groups)


def _weighted(listing: Listing, splits: Mapping[str, Split], placed: Sequence[Placed]) -> dict[str, Split]:
    """The splits with their weights, as a share of the mean of train."""
    given = {name: np.array([image.listed.weight for image in placed if image.split == name], dtype=np.float64) for name in splits}
    counts = count_classes(splits["train"].labels[given["train"] > 0], len(listing.class_names)).tolist()
    for name, count in zip(listing.class_names, counts, strict=True):
        if count == 0:
            raise DataError(
                f"class {name!r}: each of its train images has weight 0 in column {quoted(str(listing.weight))}, so none is learned from; "
                f"give some a weight above 0."
            )
    mean = mean_weight(given["train"])
    return {name: replace(split, weights=given[name] / mean) for name, split in splits.items()}


def _white(facts: Facts, whites: Mapping[str, float]) -> float | None:
    return whites.get(facts.depth.kind) if facts.depth else None


def _require_every_class(class_names: Sequence[str], splits: Mapping[str, Split], wanted: Sequence[str]) -> None:
    for split in wanted:
        counts = count_classes(splits[split].labels, len(class_names)).tolist()
        for name, count in zip(class_names, counts, strict=True):
            if count == 0:
                raise DataError(
                    f"class {name!r}: 0 readable images in {split} once duplicates of other splits are left out, and 1 is needed; "
                    f"{_ways_out(split)}."
                )


def _ways_out(split: str) -> str:
    if split == "train":
        return "add images of it there, or move it out of val and test"
    return f"move some of its train images there, or move the whole of {split} out of data.root: then one is carved out of the other images"


def _fingerprint(class_names: Sequence[str], splits: Mapping[str, Split]) -> str:
    """Hash of what is learned from and tested on: class names, and (split, content, class or labels, group and weight if any) of every image, in any order."""
    members = sorted(
        (name, image.content_hash, label, *more)
        for name, split in splits.items()
        for image, label, *more in zip(
            split.images, _named(class_names, split.labels), *_lists(split.groups), *_weight_texts(split.weights), strict=True
        )
    )
    return hashlib.blake2b(json.dumps([list(class_names), members]).encode(), digest_size=16).hexdigest()


def _named(class_names: Sequence[str], labels: IntArray) -> list[str] | list[list[str]]:
    if is_several(labels):
        return [[class_names[number] for number in np.flatnonzero(has).tolist()] for has in labels]
    return [class_names[label] for label in labels.tolist()]


def _lists(groups: IntArray | None) -> list[list[int]]:
    return [] if groups is None else [groups.tolist()]


def _weight_texts(weights: FloatArray | None) -> list[list[str]]:
    """To so many digits that weights in another unit are the same."""
    return [] if weights is None else [[f"{weight:.9g}" for weight in weights.tolist()]]
