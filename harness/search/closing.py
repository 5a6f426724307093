"""The end of a sweep: fine-tunes that may be the best are cross-fitted, models timed, and every study gets its report."""

from collections import Counter
from collections.abc import Callable, Sequence, Set

from harness.config import Keep
from harness.errors import HarnessError
from harness.files import as_typed
from harness.jobs.sharing import one_per_study
from harness.jobs.spec import JobSpec
from harness.jobs.timing import time_models
from harness.reporting.stage import at_the_end
from harness.search import cross_fit
from harness.search.pull import Crew
from harness.search.runner import Sweep, limits_of
from harness.status import BAD_JOBS, Status
from harness.study.claims import claimed
from harness.study.models import Models
from harness.study.row import Row
from harness.study.store import Study
from harness.text.counts import counted
from harness.text.language import speaking

CLOSING = "closing"
"""Claim of whoever times the models of a study and writes its report."""


def finish(sweep: Sweep, cross_fit_limit_s: float | None = None) -> int:
    """Cross-fit fine-tunes that may be the best, time the models and write the report of every study that has rows.

    Args:
        sweep: whose jobs are done.
        cross_fit_limit_s: what cross-fitting may take; None: what `evidence.minutes` says.

    Returns:
        The exit status: 0 when every job has a row and none has failed. Folds are no jobs that were asked for.
    """
    cross_fit_within(sweep, cross_fit_limit_s)
    sweep.tell(at_the_end)
    sweep.live.be_quiet()
    return close(sweep)


def close(sweep: Sweep, *, times: bool = True) -> int:
    """Time the models, unless that is not wanted here, and write the report of every study that has rows. Returns the exit status, as `finish`."""
    jobs, say = sweep.jobs, sweep.progress.say
    for first in one_per_study(jobs):
        Study(first.config.study_dir).fetch(job.job_id for job in jobs if job.config.study == first.config.study)
    rows = {job.job_id: row for job in jobs if (row := Study(job.config.study_dir).read_row(job.job_id))}
    for job in one_per_study([job for job in jobs if job.job_id in rows]):
        with claimed(job.config.study_dir, CLOSING):
            if times:
                _time(sweep, job, {other.protocol_hash for other in jobs if other.config.study == job.config.study})
            Study(job.config.study_dir).drop_old_snapshots()
            with speaking(job.config.report.language.value):
                own = _shown([other for other in jobs if other.config.study == job.config.study and other.job_id in rows])
                recommended = _report(own, say)
        sweep.trackers.finish(Study(job.config.study_dir), recommended)
    if places := sweep.trackers.wait():
        say(f"logged: {', '.join(dict.fromkeys(places))}")
    if gone := [job for job in jobs if job.job_id not in rows]:
        have = "has" if len(gone) == 1 else "have"
        say(
            f"{len(gone)} of {counted(len(jobs), 'job')} {have} no row any more: files of {as_typed(gone[0].config.study_dir)} were removed while the "
            f"sweep ran; the same command runs what is missing again."
        )
    is_good = all(row.status in (Status.ok.value, Status.pruned.value) for row in rows.values())
    return 0 if is_good and all(job.job_id in rows for job in jobs) else BAD_JOBS


def cross_fit_within(sweep: Sweep, limit_s: float | None) -> bool:
    """Cross-fit the fine-tunes of each study that may be the best. A failure here costs precision, never the report.

    Args:
        sweep: whose jobs without a row are passed over.
        limit_s: what it may take at most; None: what `evidence.minutes` says.

    Returns:
        False: workers elsewhere are at folds still, and the patience of those here is over.
    """
    is_over = True
    jobs = [job for job in sweep.jobs if Study(job.config.study_dir).read_row(job.job_id)]
    for first in one_per_study(jobs):
        own = _shown([job for job in jobs if job.config.study_dir == first.config.study_dir])
        minutes = first.config.evidence.minutes
        allowed_s = [seconds for seconds in (limit_s, None if minutes is None else minutes * 60) if seconds is not None]
        room = cross_fit.Clock(min(allowed_s), len(sweep.places)) if allowed_s else cross_fit.Work(own)
        try:
            is_over &= Crew(sweep, cross_fit.Rounds(own, room, sweep.progress.say), sweep.places).run()
        except HarnessError as error:
            sweep.progress.say(f"fine-tunes were not cross-fitted: {error}")
    return is_over


def _time(sweep: Sweep, job: JobSpec, protocols: Set[str]) -> None:
    """Time the models of the sweep. A failure here costs latencies, never the report."""
    study, say = Study(job.config.study_dir), sweep.progress.say
    try:
        if missing := time_models(study, job.config.measure, limits_of(job.config), protocols=protocols, device=job.config.device, say=say):
            say(f"{missing[0]}{f'; {len(missing) - 1} more' if missing[1:] else ''}")
    except HarnessError as error:
        say(f"latencies were not measured: {error} `{study.retime_command}` does so later.")


def _report(jobs: Sequence[JobSpec], say: Callable[[str], None]) -> Row | None:
    """Write the report. Returns the row whose model is recommended."""
    from harness.models.choose import recommended_row
    from harness.models.keep import drop_models
    from harness.reporting.build import close_sweep
    from harness.reporting.studies import list_studies
    from harness.reporting.terminal import print_summary
    from harness.search.thumbnails import pictures_of

    first = jobs[0]
    study = Study(first.config.study_dir)
    ranking = close_sweep(study, first.config.rank, first.protocol_hash, pictures_of(jobs, say))
    list_studies(study.root.parent, say)
    if first.config.model.keep is Keep.tied:
        drop_models(study, ranking)
    models = Models(study)
    if models.folder.is_dir():
        number, mib = models.kept()
        say(f"models: {number} kept, {mib:,.1f} MiB in {as_typed(models.folder)}")
    print_summary(ranking, study.report_dir / "index.html")
    return recommended_row(ranking, study)


def _shown(jobs: Sequence[JobSpec]) -> list[JobSpec]:
    """Those of one study that a report can compare: of the protocol that has the most good rows of this sweep, the first of equals."""
    good = Counter(job.protocol_hash for job in jobs if Study(job.config.study_dir).is_done(job.job_id))
    chosen = max(dict.fromkeys(job.protocol_hash for job in jobs), key=lambda name: good[name])
    return [job for job in jobs if job.protocol_hash == chosen]
