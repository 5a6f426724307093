"""Checks that recompute from a study's own files: metrics from predictions, the table from the rows.

After the checksums, which only say that a file is as it was written.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Set

import pandas as pd

from harness.config import Metric
from harness.errors import TableError
from harness.files import is_there, open_plain, why
from harness.status import Status
from harness.study.row import COLUMNS, Row
from harness.study.row_file import RowFile
from harness.study.row_objective import objective_of
from harness.study.store import Damage, Predictions, Study
from harness.study.table import CSV, PARQUET, to_csv, to_frame
from harness.text.counts import counted
from harness.verification.check import Check, share

TOLERANCE = 1e-9
"""Sums of another processor may round differently; a wrong prediction moves a metric by far more."""


def metrics(study: Study, files: Iterable[RowFile]) -> Check:
    """Rows whose metrics on val are not those of their predictions. Test predictions are not looked at.

    Args:
        study: the folder.
        files: of all rows that can be read; the check of the files themselves names predictions that are lost.
    """
    due = [file.row for file in files if file.predictions_blake2b is not None or file.row.status == Status.ok]
    there = [row for row in due if study.has_predictions(row.job_id)]
    looked_at = share(len(there), len(due), "prediction file", "is named above")
    return Check(looked_at, [problem for row in there for problem in _metrics(study, row)])


def _metrics(study: Study, row: Row) -> Iterator[Damage]:
    try:
        found, out_of_fold = study.val_predictions(row.job_id), study.out_of_fold(row.job_id)
        values = _values(row, found, "val_") | (_values(row, out_of_fold, "oof_") if out_of_fold else {})
    except (TableError, ValueError, IndexError) as error:
        yield _wrong(study, row, f"no metrics come of its predictions ({why(error)})")
        return
    wrong = [name for name, value in values.items() if not _agree(getattr(row, name), value)]
    if row.n_val is not None and row.n_val != len(found.labels_N):
        yield _wrong(study, row, f"says n_val={row.n_val}, its predictions are of {counted(len(found.labels_N), 'image')}")
    if wrong:
        name = wrong[0]
        more = f", {len(wrong) - 1} more" if wrong[1:] else ""
        yield _wrong(study, row, f"says {name}={getattr(row, name)}, its predictions say {values[name]}{more}")


def _values(row: Row, found: Predictions, prefix: str) -> dict[str, float | None]:
    """Metrics of a split under the names of their columns, classes decided as the row's primary metric asks."""
    values, _ = objective_of(row).quality(found.log_probs_NC, found.labels_N, Metric(str(row.primary_metric)))
    return {f"{prefix}{name}": value for name, value in values.items() if f"{prefix}{name}" in COLUMNS}


def tables(study: Study, rows: Iterable[Row], *, has_all_rows: bool) -> Check:
    """`results.csv` and `results.parquet` where they are there and do not hold what the rows do.

    Args:
        study: the folder.
        rows: all that can be read.
        has_all_rows: whether these are all there are; a table that holds others as well is then wrong, else it may be as it was written.
    """
    wanted = to_csv(to_frame(rows))
    readers = {CSV: _csv_text, PARQUET: _parquet_text}
    there = [name for name in readers if is_there(study.root / name)]
    others = [study.root / name for name in there if not _holds(readers[name], study, wanted)]
    if not has_all_rows:
        return Check(share(len(there) - len(others), len(there), "table", "cannot be compared while rows are damaged"), [])
    remedy = f"run `{study.report_command}`, which writes it anew from the rows"
    return Check(counted(len(there), "table"), [Damage(path, "does not hold what the rows do", remedy) for path in others])


def _holds(read: Callable[[Study], str], study: Study, wanted: str) -> bool:
    try:
        return read(study) == wanted
    except Exception:  # noqa: BLE001  readers raise nearly anything on damaged bytes
        return False


def openings(study: Study, job_ids: Set[str]) -> Check:
    """Jobs in the log of opened test predictions that have no file of a row.

    Args:
        study: the folder.
        job_ids: of all rows, those that cannot be read included.
    """
    opened = study.opened()
    looked_at = f"{counted(len(opened), 'opening')} of test predictions"
    unknown = sorted(opened - job_ids)
    if not unknown:
        return Check(looked_at, [])
    named = ", ".join(unknown[:3]) + (f" and {len(unknown) - 3} more" if unknown[3:] else "")
    reason, remedy = f"names jobs that have no row: {named}", "check whether rows were deleted or ids changed"
    return Check(looked_at, [Damage(study.root / "opened.jsonl", reason, remedy)])


def _wrong(study: Study, row: Row, reason: str) -> Damage:
    path = study.row_path(row.job_id)
    away = "delete the row" if path.exists() else "write an empty file of that name, which takes the place of the row in its segment,"
    return Damage(path, reason, f"{away} and run the same sweep again, which does this job anew", row.job_id)


def _agree(stated: float | None, computed: float | None) -> bool:
    if computed is not None and not math.isfinite(computed):  # an empty cell with a reason
        computed = None
    if stated is None or computed is None:
        return stated is computed
    return math.isclose(stated, computed, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _csv_text(study: Study) -> str:
    with open_plain(study.root / CSV) as file:
        return file.read().decode("utf-8")


def _parquet_text(study: Study) -> str:
    with open_plain(study.root / PARQUET) as file:
        return to_csv(pd.read_parquet(file, page_checksum_verification=True))
