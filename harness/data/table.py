"""Listing the images that a CSV names: `path`, `label` and, if wanted, `split`. The class is what the label says, not where the file lies."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data.layout import split_named
from harness.data.listing import POOL, FileCandidate, Group, Listing
from harness.data.shown import names, quoted, row_name, text
from harness.errors import DataError

NEEDED, SPLIT = ("path", "label"), "split"
"""Columns."""
COLUMNS = f"{NEEDED[0]}, {NEEDED[1]} and, if wanted, {SPLIT}"


@dataclass(frozen=True, slots=True)
class _Line:
    """Of the table."""

    path: str
    """As written."""
    label: str
    split: str
    """`train`, `val`, `test`, or `pool` where the table gives no splits."""


def list_table(table: Path) -> Listing:
    """Every image that a CSV names.

    Raises:
        DataError: no such file or column, a line without a path, a label or a known split, an image twice, or images that are not there.
    """
    lines = _read(table)
    files = {line.path: table.parent / line.path for line in lines}
    _refuse(table, "images on several lines", [path for path, times in Counter(line.path for line in lines).items() if times > 1])
    _refuse(table, "images that are not there", [path for path, file in files.items() if not file.is_file()])
    class_names = sorted({line.label for line in lines if line.split in ("train", POOL)})
    _require_known_classes(lines, class_names)
    groups = {}
    for split in sorted({line.split for line in lines}):
        own = [line for line in lines if line.split == split]
        candidates = [FileCandidate(row_name(line.path), files[line.path]) for line in own]
        groups[split] = Group(candidates, np.array([class_names.index(line.label) for line in own], dtype=np.int64))
    return Listing(tuple(map(row_name, class_names)), groups, table.parent)


def _read(table: Path) -> list[_Line]:
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            found = [{name: (cell or "").strip() for name, cell in line.items() if isinstance(name, str)} for line in reader]
            columns = reader.fieldnames or []
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"data.root={text(table)}: cannot be read as a CSV ({error}); give one with the columns {COLUMNS}.") from error
    if missing := [name for name in NEEDED if name not in columns]:
        raise DataError(f"{text(table)}: has no column {' and no column '.join(missing)}; its columns are {names(columns)}.")
    if not found:
        raise DataError(f"{text(table)}: names no image; give a line for each, with {COLUMNS}.")
    for name in NEEDED:
        _refuse(table, f"lines without a {name}", [f"line {number}" for number, line in enumerate(found, 2) if not line[name]])
    return [_Line(line["path"], line["label"], split) for line, split in zip(found, _splits(table, found), strict=True)]


def _splits(table: Path, lines: Sequence[dict[str, str]]) -> list[str]:
    """Of each line. Either all have one, or none."""
    given = [line.get(SPLIT, "") for line in lines]
    if not any(given):
        return [POOL] * len(lines)
    known = [split_named(name) for name in given]
    wrong = [f"line {number} ({quoted(name)})" for number, (name, split) in enumerate(zip(given, known, strict=True), 2) if split is None]
    _refuse(table, "lines with a split other than train, val and test", wrong)
    if "train" not in known:
        raise DataError(f"{text(table)}: has no line with split train; name the images that are trained on, or leave the column out.")
    return [split for split in known if split]


def _require_known_classes(lines: Sequence[_Line], class_names: Sequence[str]) -> None:
    for line in lines:
        if line.label not in class_names:
            raise DataError(f"class {quoted(line.label)}: has images in {line.split} and none in train; add some there, or leave it out.")


def _refuse(table: Path, what: str, wrong: Sequence[str]) -> None:
    """Raises DataError where anything is wrong: how often, and the first few."""
    if wrong:
        first = "; ".join(map(text, wrong[:5]))
        raise DataError(f"{text(table)}: {what} ({len(wrong):,}): {first}{'; ...' if wrong[5:] else ''}. Correct the table.")
