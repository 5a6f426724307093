"""The table: the union of all rows, rebuilt from them each time, in a fixed column order."""

from collections.abc import Iterable

import pandas as pd

from harness.study.row import COLUMNS, Row
from harness.study.store import Study, atomic_write


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
