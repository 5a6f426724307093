"""Reading a table of images as text: CSV with any usual separator and encoding, Parquet or JSON lines; and which of its columns means what.

Used wherever a table of the user's is read: by `data=table`, by `harness.sweep` of a DataFrame and by `predict`.
"""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data.shown import names, quoted, text
from harness.errors import DataError

_SEPARATORS = "\t;,|"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

ROLES: Mapping[str, tuple[str, ...]] = {
    "path": ("path", "image", "file", "filename", "image_path", "file_path", "filepath", "file_name"),
    "label": ("label", "class", "target", "category"),
    "split": ("split", "set", "subset", "partition"),
}
"""What a column may be, and the names that it is known by, in any case. The first is documented and stands above the others."""
GROUP_NAMES = frozenset({"group", "patient", "patient_id", "patientid", "subject", "subject_id", "case_id", "lot", "lot_id", "batch_id"})
"""Columns that probably say which images belong together."""


@dataclass(frozen=True, slots=True)
class TableFile:
    """A table, every cell as text without blanks at its ends; an empty cell is an empty text."""

    path: Path
    columns: Mapping[str, Sequence[str]]
    """In their order, all of one length."""
    unit: str
    """What a line is called in messages."""
    first: int
    """Number of the first of them."""
    remarks: Sequence[str] = ()
    """Sentences about how it was read, where that is not plain."""
    lists: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    """Columns whose cells are lists of such texts; none of `columns`."""

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def place(self, number: int) -> str:
        """Where line `number`, from 0, stands in the file."""
        return f"{self.unit} {self.first + number}"

    def column(self, role: str, told: str | None, key: str) -> str | None:
        """As the function `column`, of this file."""
        return column(self.columns, role, told, key, text(self.path))


def read_table(path: Path) -> TableFile:
    """Read the whole file, by its suffix. Raises DataError: it cannot be read, or a cell holds what is neither a value nor a list of them."""
    suffix = path.suffix.lower()
    try:
        if suffix in {".parquet", ".pq"}:
            return _of_records(path, _parquet(path), "row")
        content, remarks = _decoded(path.read_bytes())
        if suffix in {".jsonl", ".ndjson", ".json"}:
            return _of_records(path, _json(content), "line", remarks)
        return TableFile(path, _separated(content), "line", 2, remarks)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{text(path)}: cannot be read as a table ({error}); give a CSV, TSV, Parquet or JSON lines file.") from error


def column(columns: Iterable[str], role: str, told: str | None, key: str, what: str) -> str | None:
    """The column that has a role; None where there is none.

    Args:
        columns: those there are.
        role: one of `ROLES`.
        told: the name that the user gave; None: it is found by its name.
        key: that it is told by.
        what: the table, for messages.

    Raises:
        DataError: the table lacks the column that was named, or several may be meant.
    """
    there = list(columns)
    if told is not None:
        if told not in there:
            raise DataError(f"{key}={told}: {what} has no such column; its columns are {names(there)}.")
        return told
    known = ROLES[role]
    found = [name for name in there if name.strip().casefold() in known]
    exact = [name for name in found if name.strip().casefold() == known[0]]
    if len(exact or found) > 1:
        raise DataError(f"{what}: {' and '.join(map(quoted, exact or found))} may each be its {role}; say which: {key}=COLUMN.")
    return next(iter(exact or found), None)


def as_text(cell: object) -> str:
    """A cell as a CSV would have it: nothing for what is missing, `1` for 1.0, which is 1 in a column with gaps.

    Raises:
        ValueError: it holds several values.
    """
    if cell is None or type(cell).__name__ in {"NAType", "NaTType"} or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    if isinstance(cell, list | tuple | dict | set):
        raise ValueError(f"a cell holds {type(cell).__name__} {str(cell)[:40]!r} instead of one value")  # noqa: TRY004  of the file, not of the code
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()


def as_texts(cell: object) -> list[str]:
    """A list of values as texts, none of them empty; a single value is a list of one. Raises ValueError like `as_text`."""
    return [found for each in (cell if isinstance(cell, list | tuple) else [cell]) if (found := as_text(each))]


def _decoded(content: bytes) -> tuple[str, Sequence[str]]:
    """The text, and what to say of its encoding: Unicode as it is marked, else UTF-8, else the code page of Western Windows."""
    if content.startswith(_UTF16_MARKS):
        return content.decode("utf-16"), ()
    if b"\0" in content[:1000]:
        raise ValueError("it holds zero bytes: a binary file, or UTF-16 without a mark; save it as UTF-8")
    try:
        return content.decode("utf-8-sig"), ()
    except UnicodeDecodeError:
        return content.decode("cp1252"), ["The table is no UTF-8 and was read as Windows-1252; names with accents depend on that."]


def _separated(content: str) -> dict[str, list[str]]:
    """Of separated text whose first line names the columns; blank lines are no lines. Excel's `sep=;` before it is heeded."""
    told = content[4:5] if content[:4].casefold() == "sep=" else None
    lines = csv.reader(io.StringIO(content.partition("\n")[2] if told else content, newline=""), delimiter=told or _separator(content))
    header = [name.strip() for name in next(lines, [])]
    if twice := {name for name in header if name and header.count(name) > 1}:
        raise ValueError(f"several columns are called {min(twice)!r}")
    found: list[list[str]] = [[] for _ in header]
    for number, line in enumerate(filter(None, lines), 2):
        if len(line) > len(header) and any(cell.strip() for cell in line[len(header) :]):
            raise ValueError(f"line {number} has {len(line)} cells, and its first line names {len(header)} columns")
        for place, cells in enumerate(found):
            cells.append(line[place].strip() if place < len(line) else "")
    return {name: cells for name, cells in zip(header, found, strict=True) if name}


def _separator(content: str) -> str:
    """Whatever gives the first line the most cells; a comma where nothing does."""
    first = content.partition("\n")[0].rstrip("\r")
    best = max(_SEPARATORS, key=lambda each: len(next(csv.reader([first], delimiter=each), [])))
    return best if best in first else ","


def _json(content: str) -> dict[str, list[Any]]:
    """Of one object a line, or of one list of objects. A key that a line lacks is an empty cell."""
    records = (
        json.loads(content) if content.lstrip().startswith("[") else [json.loads(line) for line in content.splitlines() if line.strip()]
    )
    if wrong := [type(record).__name__ for record in records if not isinstance(record, dict)]:
        raise ValueError(f"a line is a {wrong[0]} instead of an object with keys")
    return {name: [record.get(name) for record in records] for name in dict.fromkeys(key for each in records for key in each)}


def _parquet(path: Path) -> dict[str, list[Any]]:
    """Columns of plain values, and of lists of texts or whole numbers: pictures and embeddings in the same file are not read."""
    import pyarrow
    import pyarrow.parquet

    try:
        with path.open("rb") as file:
            schema = pyarrow.parquet.read_schema(file)
            plain = [each.name for each in schema if _is_read(each.type)]
            found: dict[str, list[Any]] = pyarrow.parquet.read_table(file, columns=plain).to_pydict()
            return found
    except pyarrow.ArrowException as error:
        raise ValueError(error) from error


def _is_read(kind: Any) -> bool:
    from pyarrow import types

    if types.is_list(kind) or types.is_large_list(kind):
        return any((types.is_integer(kind.value_type), types.is_string(kind.value_type), types.is_large_string(kind.value_type)))
    return not any((types.is_nested(kind), types.is_binary(kind)))


def _of_records(path: Path, values: Mapping[str, Sequence[Any]], unit: str, remarks: Sequence[str] = ()) -> TableFile:
    """Of a file whose cells have types. A column with a list in it holds lists; what is missing there is an empty one."""
    with_lists = {name for name, cells in values.items() if any(isinstance(cell, list | tuple) for cell in cells)}
    columns = {name: [as_text(cell) for cell in cells] for name, cells in values.items() if name not in with_lists}
    return TableFile(path, columns, unit, 1, remarks, {name: [as_texts(cell) for cell in values[name]] for name in with_lists})
