"""The table: the union of all rows, rebuilt from them each time, in a fixed column order; and its columns read back."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.errors import TableError
from harness.files import atomic_write
from harness.study.row import COLUMNS, Row
from harness.study.segments import folder_of
from harness.study.store import Study
from harness.text.spreadsheet import guarded, unguarded
from harness.text.untrusted import encodable

CSV, PARQUET = "results.csv", "results.parquet"

_NEEDED = ("job_id", "status", "protocol", "started_at")
"""Columns without which a file is no table of rows."""

_HINTS = get_type_hints(Row)


def to_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """One line per row, columns in the order of `COLUMNS`; None becomes a missing value."""
    records = [[_cell(getattr(row, name)) for name in COLUMNS] for row in rows]
    return pd.DataFrame(records, columns=list(COLUMNS)).convert_dtypes(dtype_backend="numpy_nullable")


def write_table(study: Study) -> pd.DataFrame:
    """Rebuild `results.csv` and `results.parquet` from the rows and return the table."""
    frame = to_frame(study.rows())
    with atomic_write(study.root / CSV) as temporary:
        temporary.write_text(to_csv(frame), encoding="utf-8", newline="")
    with atomic_write(study.root / PARQUET) as temporary:
        frame.to_parquet(temporary, index=False, write_page_checksum=True)
    return frame


def to_csv(frame: pd.DataFrame) -> str:
    """The text of a CSV file: the same for the same rows, and nothing in it that a spreadsheet would run."""
    return guarded(frame).to_csv(index=False, lineterminator="\n")


def load_csv(path: Path) -> pd.DataFrame:
    """A `results.csv` as it was before it was written: apostrophes that kept cells from being formulas taken off, types by column.

    Raises:
        TableError: the file cannot be read as such a table.
    """
    try:
        frame = unguarded(pd.read_csv(path, dtype="string", keep_default_na=False, na_values=[""]))
        return frame.assign(**{name: _typed(frame[name], *_KINDS[_kind(name)]) for name in COLUMNS if name in frame and _is_number(name)})
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path}: cannot be read ({reason}); give a results.csv that a report has written.") from error


def load_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read some columns of a `results.parquet`, of one study or of many put together.

    Args:
        path: the file.
        columns: names from `COLUMNS`; those that the writer's version did not know come back empty.

    Returns:
        One line per row, oldest first. Numbers are float64 with NaN where empty, text is categorical.

    Raises:
        TableError: the file is missing, holds no table of rows, or is older than the rows beside it.
    """
    try:
        there = _needed_of(pq.read_schema(path).names, columns, f"{path}: is no table of rows")
        text = [name for name in there if not _is_number(name) and name not in ("job_id", "started_at")]
        table = pq.read_table(path, columns=there, read_dictionary=text, page_checksum_verification=True)
        _require_fresh(path, table.column("job_id"))
        return _oldest_first(table, columns)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path}: cannot be read ({reason}); give a results.parquet that a report has written.") from error


def as_loaded(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Some columns of a table in memory, as `load_table` returns those of a file. Raises TableError: it is no table of rows."""
    there = _needed_of(frame.columns, columns, "the DataFrame is no table of rows")
    try:
        return _oldest_first(pa.Table.from_pandas(frame[there], preserve_index=False), columns)
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())
        raise TableError(f"the DataFrame is no table of rows ({reason}); give the results of a study.") from error


def _needed_of(known: Iterable[str], columns: Sequence[str], what: str) -> list[str]:
    """Those to read that are there. Raises TableError: one is not without which nothing is a table of rows."""
    names = set(known)
    if missing := [name for name in _NEEDED if name not in names]:
        raise TableError(f"{what}, as it lacks {', '.join(missing)}; give a results.parquet that a report has written.")
    return [name for name in dict.fromkeys((*columns, *_NEEDED)) if name in names]


def _oldest_first(table: pa.Table, columns: Sequence[str]) -> pd.DataFrame:
    table = table.take(pc.sort_indices(table, [("started_at", "ascending"), ("job_id", "ascending")]))
    return pd.DataFrame({name: _column(table, name) for name in columns}, copy=False)


def _cell(value: Any) -> Any:
    return encodable(value) if isinstance(value, str) else value


def _is_number(name: str) -> bool:
    return any(kind in str(_HINTS[name]) for kind in ("int", "float", "bool"))


def _kind(name: str) -> str:
    return next(kind for kind in _KINDS if kind in str(_HINTS[name]))


def _typed(cells: "pd.Series[Any]", dtype: Any, read: Callable[[str], object]) -> Any:
    values: Any = [None if pd.isna(cell) else read(cell) for cell in cells]
    return pd.array(values, dtype=dtype)


_KINDS: Mapping[str, tuple[Any, Callable[[str], object]]] = {
    "bool": ("boolean", lambda cell: bool(("False", "True").index(cell))),
    "float": ("Float64", float),
    "int": ("Int64", int),
}
"""How numbers are read from text: by Python, to the last digit."""


def _column(table: pa.Table, name: str) -> Any:
    """One column in its own type, whatever type an empty or a foreign one was written in."""
    kind = pa.float64() if _is_number(name) else pa.string()
    found = table.column(name) if name in table.column_names else pa.nulls(table.num_rows, kind)
    if not _is_number(name):
        found = found.cast(pa.dictionary(pa.int32(), pa.string()))
    return found.cast(kind).to_pandas() if _is_number(name) else found.to_pandas()


def _require_fresh(path: Path, job_ids: pa.ChunkedArray) -> None:
    """Rows are the truth: a table that lies beside rows must hold exactly those that can be used, and be younger than them and their times."""
    study, known = Study(path.parent), set(job_ids.to_pylist())
    there = study.job_ids()
    is_other = bool(known - there) or any(study.read_row(job_id) for job_id in there - known)
    folders = (study.rows_dir, folder_of(study.rows_dir), path.parent / "timings")
    newest_ns = max((folder.stat().st_mtime_ns for folder in folders if folder.is_dir()), default=0)
    if there and (is_other or newest_ns > path.stat().st_mtime_ns):
        raise TableError(f"{path}: is older than the rows beside it; run `{study.report_command}`, which rebuilds it.")
