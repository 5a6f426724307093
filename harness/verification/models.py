"""Kept models: every byte of a file against its own hash, and what it says it is against its row."""

from collections.abc import Iterable, Set

from harness.study.models import Models
from harness.study.row import Row
from harness.study.store import Damage, Study
from harness.text.counts import counted
from harness.verification.check import Check


def kept_models(study: Study, rows: Iterable[Row], job_ids: Set[str]) -> Check:
    """Models that are not as they were written, are those of another row, or have no row at all.

    Args:
        study: the folder.
        rows: all that can be read; their models are looked at.
        job_ids: of all rows, those that cannot be read included.
    """
    known = {row.job_id: row for row in rows}
    kinds = [Models(study), Models(study).refitted]
    kept = [(models, job_id) for models in kinds for job_id in models.job_ids()]
    damaged = [models.damaged(known[job_id]) for models, job_id in kept if job_id in known]
    lost = [_without_row(models, job_id) for models, job_id in kept if job_id not in job_ids]
    return Check(counted(len(kept), "model"), [problem for problem in damaged if problem] + lost)


def _without_row(models: Models, job_id: str) -> Damage:
    return Damage(models.path(job_id), "is the model of a job that has no row", "delete it, or bring back the row", job_id)
