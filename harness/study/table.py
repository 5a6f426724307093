"""The table: the union of all rows, rebuilt from them each time, in a fixed column order; and its columns read back."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.errors import TableError
from harness.study.row import COLUMNS, Row
from harness.study.store import Study, atomic_write

_NEEDED = ("job_id", "status", "protocol", "started_at")
"""Columns without which a file is no table of rows."""

_HINTS = get_type_hints(Row)


def to_frame(rows: Iterable[Row]) -> pd.DataFrame:
    """One line per row, columns in the order of `COLUMNS`; None becomes a missing value."""
    records = [[getattr(row, name) for name in COLUMNS] for row in rows]
    return pd.DataFrame(records, columns=list(COLUMNS)).convert_dtypes(dtype_backend="numpy_nullable")


def write_table(study: Study) -> pd.DataFrame:
    """Rebuild `results.csv` and `results.parquet` from the rows and return the table."""
    frame = to_frame(study.rows())
    with atomic_write(study.root / "results.csv") as temporary:
        frame.to_csv(temporary, index=False)
    with atomic_write(study.root / "results.parquet") as temporary:
        frame.to_parquet(temporary, index=False)
    return frame


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
        known = pq.read_schema(path)
        if missing := [name for name in _NEEDED if name not in known.names]:
            raise TableError(
                f"{path}: is no table of rows, as it lacks {', '.join(missing)}; give a results.parquet that a report has written."
            )
        wanted = list(dict.fromkeys((*columns, *_NEEDED)))
        text = [name for name in wanted if not _is_number(name) and name not in ("job_id", "started_at")]
        table = pq.read_table(path, columns=[name for name in wanted if name in known.names], read_dictionary=text)
        table = table.take(pc.sort_indices(table, [("started_at", "ascending"), ("job_id", "ascending")]))
        _require_fresh(path, table.column("job_id"))
        return pd.DataFrame({name: _column(table, name) for name in columns}, copy=False)
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise TableError(f"{path}: cannot be read ({reason}); give a results.parquet that a report has written.") from error


def _is_number(name: str) -> bool:
    return any(kind in str(_HINTS[name]) for kind in ("int", "float", "bool"))


def _column(table: pa.Table, name: str) -> Any:
    """One column in its own type, whatever type an empty or a foreign one was written in."""
    kind = pa.float64() if _is_number(name) else pa.string()
    found = table.column(name) if name in table.column_names else pa.nulls(table.num_rows, kind)
    if not _is_number(name):
        found = found.cast(pa.dictionary(pa.int32(), pa.string()))
    return found.cast(kind).to_pandas() if _is_number(name) else found.to_pandas()


def _require_fresh(path: Path, job_ids: pa.ChunkedArray) -> None:
    """Rows are the truth: a table that lies beside rows must hold exactly them and be younger than all of them."""
    rows = path.parent / "rows"
    there = {row.stem for row in rows.glob("[!.]*.json")}
    if there and (there != set(job_ids.to_pylist()) or rows.stat().st_mtime_ns > path.stat().st_mtime_ns):
        raise TableError(
            f"{path}: is older than the rows beside it; run `python -m harness.report study={path.parent.name}`, which rebuilds it."
        )
