"""A sweep over a grid: every job prepared first, then run one by one into rows, then ranked and reported.

The Hydra side (composing configurations, launching) is in `hydra_plugins/`; how one job runs is in `runner`.
"""

import itertools
from collections.abc import Callable, Sequence

from harness.claims import is_claimed
from harness.config import SweepConfig
from harness.identity import failed_row
from harness.jobspec import JobSpec
from harness.runner import Overrides, Progress, begin, finish, is_wanted, require_folders
from harness.study.row import Row, Status
from harness.study.store import Study

Launch = Callable[[Sequence[Overrides]], Sequence[str | None]]
Wanted = tuple[JobSpec, Overrides]


def run_grid(configs: Sequence[tuple[SweepConfig, Overrides]], launch: Launch, at_once: int | None) -> int:
    """Run what is not done yet, then write the report. Returns the exit status.

    Args:
        configs: one configuration per job with the overrides that composed it.
        launch: runs a batch of jobs; returns, for each, None when its row is written, else what went wrong.
        at_once: jobs per batch; None: all.
    """
    jobs = begin(configs)
    require_folders(jobs)
    todo = [(job, overrides) for job, (_, overrides) in zip(jobs, configs, strict=True) if is_wanted(job)]
    num_done = sum(Study(job.config.study_dir).is_done(job.job_id) for job in jobs)
    progress = Progress(jobs)
    progress.announce(num_done, num_failed=len(jobs) - len(todo) - num_done)
    with progress.interruptible():
        while todo:
            batch = _next(todo, at_once or len(todo))
            chosen = {job.job_id for job, _ in batch}
            todo = [(job, overrides) for job, overrides in todo if job.job_id not in chosen]
            errors = _launch_needed(batch, launch)
            for offset, ((job, _), error) in enumerate(zip(batch, errors, strict=True), 1):
                progress.finished(_row_of(job, error), num_left=len(todo) + len(batch) - offset)
        return finish(jobs, progress.say)


def _next(todo: Sequence[Wanted], num: int) -> Sequence[Wanted]:
    """The next jobs, first those that no other sweep is at."""
    if num >= len(todo):
        return todo
    free = (pair for pair in todo if not is_claimed(pair[0].config.study_dir, pair[0].group))
    return list(itertools.islice(free, num)) or todo[:num]


def _launch_needed(batch: Sequence[Wanted], launch: Launch) -> list[str | None]:
    """What went wrong with each job of a batch.

    One that has its row by now is not launched: its group or another sweep ran it, and composing its configuration once more
    takes longer than training its head did.
    """
    needed = [(job, overrides) for job, overrides in batch if is_wanted(job)]
    found = launch([overrides for _, overrides in needed]) if needed else []
    errors = {job.job_id: error for (job, _), error in zip(needed, found, strict=True)}
    return [errors.get(job.job_id) for job, _ in batch]


def _row_of(job: JobSpec, error: str | None) -> Row:
    """The job's row; a job that its launcher lost gets one that says so."""
    study = Study(job.config.study_dir)
    row = study.read_row(job.job_id) if error is None else None
    if row is None:
        row = failed_row(job, Status.killed, error or "the launcher ended without a row for this job.")
        study.write_row(row)
    return row
