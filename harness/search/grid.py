"""A sweep over a grid: every job prepared first, then run into rows, a group at a time, then ranked and reported.

Composing configurations is the border's work (`cli`, `hydra_plugins/`); how one job runs is in `runner`.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence

from harness.jobs.identity import failed_row
from harness.jobs.sharing import head_group_key, head_groups
from harness.jobs.spec import JobSpec
from harness.process.isolate import die_with_parent
from harness.search.runner import Asked, Sweep, begin, is_wanted, prepare_jobs, require_folders
from harness.status import Status
from harness.study.claims import is_claimed
from harness.study.row import Row
from harness.study.store import Study

Launch = Callable[[Sequence[JobSpec]], Sequence[str | None]]
"""Runs jobs; returns, for each, None when its row is written, else what went wrong."""


def run_grid(asked: Sequence[Asked], launcher: Launch | None = None, at_once: int | None = None) -> int:
    """Run what is not done yet, then write the report. Returns the exit status.

    Args:
        asked: the jobs.
        launcher: runs them in processes of its own; None: they run on this machine, group by group.
        at_once: jobs that a launcher is given at a time; None: all.
    """
    sweep = begin(asked)
    require_folders(sweep.jobs)
    todo = [job for job in sweep.jobs if is_wanted(job)]
    num_done = sum(Study(job.config.study_dir).is_done(job.job_id) for job in sweep.jobs)
    sweep.progress.announce(num_done, num_failed=len(sweep.jobs) - len(todo) - num_done)
    sweep.progress.found({job.job_id for job in todo})
    with sweep.progress.interruptible(), sweep.live:
        if launcher is None:
            _run(sweep, head_groups(todo), lambda jobs: _run_here(sweep, jobs), 1)
        else:
            _run(sweep, {job.job_id: [job] for job in todo}, launcher, at_once)
        from harness.search.closing import finish  # what a ranking needs is imported while jobs run, or not at all

        return finish(sweep)


def run_one(asked: Asked) -> str:
    """Run the job that a launcher's worker was given, made exact once more; its row is on disk when this returns.

    Returns:
        The job's id.
    """
    die_with_parent()
    (job,) = jobs = prepare_jobs([asked])
    Sweep(jobs).run(jobs)
    return job.job_id


def _run(sweep: Sweep, groups: Mapping[str, Sequence[JobSpec]], launch: Launch, at_once: int | None) -> None:
    """Launch groups of jobs, so many at once, and say how each job ended."""
    left = dict(groups)
    num_left = sum(map(len, left.values()))
    while left:
        batch = [job for name in _next(left, at_once or len(left)) for job in left.pop(name)]
        rows = [_row_of(job, error) for job, error in zip(batch, launch(batch), strict=True)]
        num_left -= len(rows)
        sweep.finished(rows, num_left)


def _next(groups: Mapping[str, Sequence[JobSpec]], num: int) -> list[str]:
    """Return the next groups, first those that no other sweep is running."""
    if num >= len(groups):
        return list(groups)
    free = (name for name, (job, *_) in groups.items() if not is_claimed(job.config.study_dir, head_group_key(job)))
    return list(itertools.islice(free, num)) or list(groups)[:num]


def _run_here(sweep: Sweep, jobs: Sequence[JobSpec]) -> list[str | None]:
    """As a launcher would: what goes wrong with a group ends no sweep."""
    try:
        sweep.run(jobs)
    except Exception as error:  # noqa: BLE001  whatever it is, the next group may fare better
        return [" ".join(f"{type(error).__name__}: {error}".split())] * len(jobs)
    return [None] * len(jobs)


def _row_of(job: JobSpec, error: str | None) -> Row:
    """The job's row; a job that its launcher lost gets one that says so."""
    study = Study(job.config.study_dir)
    row = study.read_row(job.job_id) if error is None or not is_wanted(job) else None
    if row is None:
        row = failed_row(job, Status.killed, error or "the launcher ended without a row for this job.")
        study.write_row(row)
    return row
