"""Whatever can be computed again from a study's own files: metrics from predictions, the table from the rows.

After the checksums, which only say that a file is as it was written.
"""

import math
from collections.abc import Iterable, Iterator

import pandas as pd

from harness.errors import TableError
from harness.measure.quality import quality
from harness.study.disk import why
from harness.study.row import Row
from harness.study.row_file import RowFile
from harness.study.store import Damage, Study
from harness.study.table import CSV, PARQUET, to_csv, to_frame

TOLERANCE = 1e-9
"""Sums of another processor may round differently; a wrong prediction moves a metric by far more."""

_REPORT = "run `python -m harness.report`, which writes it anew from the rows"


def metrics(study: Study, files: Iterable[RowFile]) -> Iterator[Damage]:
    """Rows whose metrics on val are not those of their predictions. Test predictions are not looked at.

    Args:
        study: the folder.
        files: of rows whose predictions are there.
    """
    for file in files:
        row = file.row
        try:
            found = study.val_predictions(row.job_id)
            values, _ = quality(found.log_probs_NC, found.labels_N)
        except (TableError, ValueError, IndexError) as error:
            yield _wrong(study, row, f"no metrics come of its predictions ({why(error)})")
            continue
        wrong = [name for name, value in values.items() if not _agree(getattr(row, f"val_{name}"), value)]
        if row.n_val is not None and row.n_val != len(found.labels_N):
            yield _wrong(study, row, f"says n_val={row.n_val}, its predictions are of {len(found.labels_N)} images")
        if wrong:
            name = wrong[0]
            more = f", {len(wrong) - 1} more" if wrong[1:] else ""
            yield _wrong(study, row, f"says val_{name}={getattr(row, f'val_{name}')}, its predictions say {values[name]}{more}")


def tables(study: Study) -> Iterator[Damage]:
    """`results.csv` and `results.parquet` where they are there and do not hold what the rows do."""
    wanted = to_csv(to_frame(study.rows()))
    for name, read in ((CSV, _csv_text), (PARQUET, _parquet_text)):
        path = study.root / name
        if path.exists():
            try:
                is_equal = read(study) == wanted
            except Exception:  # noqa: BLE001  readers raise nearly anything on damaged bytes
                is_equal = False
            if not is_equal:
                yield Damage(path, "does not hold what the rows do", _REPORT)


def openings(study: Study, rows: Iterable[Row]) -> Iterator[Damage]:
    """Jobs in the log of opened test predictions that have no row."""
    unknown = sorted(study.opened() - {row.job_id for row in rows})
    if unknown:
        named = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if unknown[3:] else "")
        yield Damage(study.root / "opened.jsonl", f"names jobs that have no row: {named}", "look whether rows were deleted or ids changed")


def _wrong(study: Study, row: Row, reason: str) -> Damage:
    remedy = "delete the row and run the same sweep again, which does this job anew"
    return Damage(study.row_path(row.job_id), reason, remedy, row.job_id)


def _agree(stated: float | None, computed: float | None) -> bool:
    if stated is None or computed is None:
        return stated is computed
    return math.isclose(stated, computed, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _csv_text(study: Study) -> str:
    return (study.root / CSV).read_bytes().decode("utf-8")


def _parquet_text(study: Study) -> str:
    return to_csv(pd.read_parquet(study.root / PARQUET, page_checksum_verification=True))
