"""A sweep over a grid: every job prepared first, then run one by one into rows, then ranked and reported.

The Hydra side (composing configurations, launching) is in `hydra_plugins/`; how one job runs is in `runner`.
"""

from collections.abc import Callable, Sequence

from harness.config import SweepConfig
from harness.identity import failed_row
from harness.jobspec import JobSpec
from harness.runner import Overrides, Progress, begin, finish
from harness.study.row import Row, Status
from harness.study.store import Study

Launch = Callable[[Sequence[Overrides]], Sequence[str | None]]


def run_grid(configs: Sequence[tuple[SweepConfig, Overrides]], launch: Launch, at_once: int | None) -> int:
    """Run what is not done yet, then write the report. Returns the exit status.

    Args:
        configs: one configuration per job with the overrides that composed it.
        launch: runs a batch of jobs; returns, for each, None when its row is written, else what went wrong.
        at_once: jobs per batch; None: all.
    """
    jobs = begin(configs)
    todo = [
        (job, overrides) for job, (_, overrides) in zip(jobs, configs, strict=True) if not Study(job.config.study_dir).is_done(job.job_id)
    ]
    progress = Progress(jobs)
    progress.announce(num_done=len(jobs) - len(todo))
    size = at_once or max(1, len(todo))
    status = 0
    try:
        for start in range(0, len(todo), size):
            batch = todo[start : start + size]
            errors = launch([overrides for _, overrides in batch])
            for offset, ((job, _), error) in enumerate(zip(batch, errors, strict=True), 1):
                progress.finished(_row_of(job, error), num_left=len(todo) - start - offset)
    finally:
        status = finish(jobs)
    return status


def _row_of(job: JobSpec, error: str | None) -> Row:
    """The job's row; a job that its launcher lost gets one that says so."""
    study = Study(job.config.study_dir)
    row = study.read_row(job.job_id) if error is None else None
    if row is None:
        row = failed_row(job, Status.killed, error or "the launcher ended without a row for this job.")
        study.write_row(row)
    return row
