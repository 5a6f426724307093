"""Listing the images that a table names. The class, or the labels, are what the table says, not where the file lies."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from harness.config import Labels, TableConfig
from harness.data.layout import split_named
from harness.data.listing import POOL, FileCandidate, Listing, Part
from harness.data.shown import names, quoted, row_name, text
from harness.data.table_file import GROUP_NAMES, ROLES, TableFile, column, read_table
from harness.data.weighting import weight_in
from harness.errors import DataError

NEEDED = ("path", "label")
"""Roles that a column must have."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Names of the columns that are used."""

    path: str
    label: str
    split: str | None
    group: str | None
    weight: str | None

    @classmethod
    def of(cls, there: Iterable[str], cfg: TableConfig, what: str, lists: Iterable[str] = ()) -> "Columns":
        """As told, or found by their names; groups and weights are never guessed. `lists`: columns for labels alone. Raises DataError."""
        there = list(there)
        told = {"path": cfg.path_column, "label": cfg.label_column, "split": cfg.split_column}
        offered = {role: [*there, *lists] if role == "label" else there for role in ROLES}
        found = {role: column(offered[role], role, told[role], f"data.{role}_column", what) for role in ROLES}
        if missing := [role for role in NEEDED if found[role] is None]:
            keys = " ".join(f"data.{role}_column=COLUMN" for role in missing)
            raise DataError(
                f"{what}: has no column {' and no column '.join(missing)}; its columns are {names(there)}. Say which it is: {keys}."
            )
        group = None if cfg.group is None else column(there, "group", cfg.group, "data.group", what)
        weight = None if cfg.weight is None else column(there, "weight", cfg.weight, "data.weight", what)
        return cls(str(found["path"]), str(found["label"]), found["split"], group, weight)

    def remarks(self, there: Iterable[str]) -> list[str]:
        """Sentences: what was found under another name, and what probably says which images belong together and is not used."""
        found = {role: name for role in ROLES if (name := getattr(self, role)) not in (None, role)}
        sentences = [f"Columns of the table: {', '.join(f'{role} is {quoted(name)}' for role, name in found.items())}."] if found else []
        if self.group is None and (likely := [name for name in there if name.strip().casefold() in GROUP_NAMES]):
            what = f"Column {quoted(likely[0])} plays no part; if its images belong together, such as those of a patient"
            sentences.append(f"{what}, data.group={text(likely[0])} keeps them in one split.")
        return sentences


@dataclass(frozen=True, slots=True)
class _Line:
    """Of the table; where an image may have several labels, what all lines of an image say together."""

    path: str
    """As written."""
    labels: tuple[str, ...]
    split: str
    """`train`, `val`, `test`, or `pool` where the table gives no splits."""
    group: str | None
    weight: float | None


def list_table(table: Path, cfg: TableConfig) -> Listing:
    """Every image that a table names.

    Raises:
        DataError: no such file or column, a line without a path, a group, a weight or a known split, one without a label or an image twice where
            each has one label, or images that are not there: nothing is dropped.
    """
    file = read_table(table)
    columns = Columns.of(file.columns, cfg, text(table), file.lists)
    base = table.parent if cfg.image_root is None else Path(cfg.image_root).expanduser().absolute()
    several = _are_several(file, columns, cfg)
    lines = _lines(file, columns, cfg, several=several)
    files = {line.path: base / line.path for line in lines}
    repeated = [path for path, times in Counter(line.path for line in lines).items() if times > 1]
    if several:
        lines = _merged(table, lines)
    else:
        _refuse(table, "images on several lines", repeated, ", or give data.labels=several if images may have several labels")
    missing = [path for path, file in files.items() if not file.is_file()]
    _refuse(table, "images that are not there", missing, f", or give data.image_root instead of {text(base)}")
    class_names = sorted({label for line in lines if line.split in ("train", POOL) for label in line.labels})
    _require_known_classes(lines, class_names)
    return Listing(
        tuple(map(row_name, class_names)),
        _parts(lines, files, class_names, several=several),
        base,
        [*file.remarks, *columns.remarks(file.columns)],
        group=columns.group,
        weight=columns.weight,
    )


def _are_several(file: TableFile, columns: Columns, cfg: TableConfig) -> bool:
    """Whether an image may have several labels: as told, or as cells are lists. A separator within a name is never guessed."""
    is_list = columns.label in file.lists
    if is_list and cfg.labels is Labels.single:
        raise DataError(f"{text(file.path)}: column {quoted(columns.label)} holds lists of labels; give data.labels=several.")
    return is_list or cfg.labels is Labels.several or cfg.label_separator is not None


def _parts(lines: Sequence[_Line], files: Mapping[str, Path], class_names: Sequence[str], *, several: bool) -> dict[str, Part]:
    number = {name: place for place, name in enumerate(class_names)}
    found = {}
    for split in sorted({line.split for line in lines}):
        own = [line for line in lines if line.split == split]
        candidates = [FileCandidate(row_name(line.path), files[line.path]) for line in own]
        groups = [line.group for line in own if line.group is not None] or None
        weights = [line.weight for line in own if line.weight is not None]
        found[split] = Part(candidates, _numbered(own, number, several=several), groups, np.array(weights) if weights else None)
    return found


def _numbered(lines: Sequence[_Line], number: Mapping[str, int], *, several: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Labels as an array (`harness.data.labels`)."""
    if not several:
        return np.array([number[line.labels[0]] for line in lines], dtype=np.int64)
    found = np.zeros((len(lines), len(number)), dtype=np.int64)
    for place, line in enumerate(lines):
        found[place, [number[label] for label in line.labels]] = 1
    return found


def _lines(file: TableFile, columns: Columns, cfg: TableConfig, *, several: bool) -> list[_Line]:
    if not len(file):
        raise DataError(f"{text(file.path)}: names no image; give a line for each.")
    for name in (columns.path, *(() if several else (columns.label,)), columns.group, columns.weight):
        if name is not None:
            wrong = [file.place(number) for number, cell in enumerate(file.columns[name]) if not cell]
            _refuse(file.path, f"lines without a {name}", wrong)
    groups = [None] * len(file) if columns.group is None else file.columns[columns.group]
    labels, splits = _labels(file, columns.label, cfg.label_separator), _splits(file, columns.split)
    cells = zip(file.columns[columns.path], labels, splits, groups, _weights(file, columns.weight), strict=True)
    return [_Line(*each) for each in cells]


def _labels(file: TableFile, name: str, separator: str | None) -> list[tuple[str, ...]]:
    """Of each line, each once."""
    if name in file.lists:
        return [tuple(dict.fromkeys(cell)) for cell in file.lists[name]]
    return [labels_in(cell, separator) for cell in file.columns[name]]


def _weights(file: TableFile, name: str | None) -> Sequence[float | None]:
    """Of each line."""
    if name is None:
        return [None] * len(file)
    found = [weight_in(cell) for cell in file.columns[name]]
    wrong = [f"{file.place(number)} ({quoted(file.columns[name][number])})" for number, each in enumerate(found) if each is None]
    _refuse(file.path, f"lines whose {name} is no number of 0 or more", wrong)
    return found


def labels_in(cell: str, separator: str | None) -> tuple[str, ...]:
    """The labels that a cell names, each once; none of an empty one. None: it names one at most."""
    parts = [cell] if separator is None else [part.strip() for part in cell.split(separator)]
    return tuple(dict.fromkeys(filter(None, parts)))


def _merged(table: Path, lines: Sequence[_Line]) -> list[_Line]:
    """One for each image, with the labels of all its lines."""
    found: dict[str, _Line] = {}
    unlike = []
    for line in lines:
        first = found.setdefault(line.path, line)
        if (first.split, first.group, first.weight) != (line.split, line.group, line.weight):
            unlike.append(line.path)
        found[line.path] = replace(first, labels=tuple(dict.fromkeys((*first.labels, *line.labels))))
    _refuse(table, "images whose lines have several weights, or several splits or groups", list(dict.fromkeys(unlike)))
    return list(found.values())


def _splits(file: TableFile, name: str | None) -> list[str]:
    """Of each line. Either all have one, or none."""
    given = [] if name is None else file.columns[name]
    if not any(given):
        return [POOL] * len(file)
    known = {each: split_named(each) for each in set(given)}
    wrong = [f"{file.place(number)} ({quoted(each)})" for number, each in enumerate(given) if known[each] is None]
    _refuse(file.path, "lines with a split other than train, val and test", wrong)
    if "train" not in known.values():
        raise DataError(f"{text(file.path)}: has no line with split train; name the images that are trained on, or leave the column out.")
    return [str(known[each]) for each in given]


def _require_known_classes(lines: Sequence[_Line], class_names: Sequence[str]) -> None:
    known = set(class_names)
    for line in lines:
        for label in line.labels:
            if label not in known:
                raise DataError(f"class {quoted(label)}: has images in {line.split} and none in train; add some there, or leave it out.")


def _refuse(table: Path, what: str, wrong: Sequence[str], way_out: str = "") -> None:
    """Raises DataError where anything is wrong: how often, and the first few."""
    if wrong:
        first = "; ".join(map(text, wrong[:5]))
        raise DataError(f"{text(table)}: {what} ({len(wrong):,}): {first}{'; ...' if wrong[5:] else ''}. Correct the table{way_out}.")
