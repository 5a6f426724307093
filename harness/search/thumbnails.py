"""Pictures for the report that ends a sweep, which has the images at hand: made in a process of its own, kept in the study, or deleted where none are wanted."""

from collections.abc import Callable, Sequence

from harness.errors import HarnessError
from harness.jobs.spec import JobSpec
from harness.process.isolate import Limits, Outcome, run_isolated
from harness.reporting.data_audit import DataAudit
from harness.reporting.gallery import Source, kept
from harness.reporting.images_to_show import wanted
from harness.search.runner import limits_of
from harness.select.ranking import Ranking
from harness.status import Status
from harness.study.store import Study
from harness.study.thumbnails import Thumbnails

_MAKE = "harness.jobs.thumbnails:make_thumbnails"
_LONGEST_S = 60.0
"""A decoder that hangs is not waited for any longer; what it does is bounded by itself otherwise."""


def pictures_of(jobs: Sequence[JobSpec], say: Callable[[str], None]) -> Source:
    """Return where a report on these jobs of one study and one protocol has its pictures from. A failure there costs pictures, never the report."""

    def made(study: Study, ranking: Ranking, found: DataAudit) -> Thumbnails | None:
        if not jobs[0].config.report.images:
            study.drop_thumbnails()
            return None
        chosen = ranking.recommended and ranking.recommended.candidate.row.job_id
        job = next((job for job in jobs if job.job_id == chosen), jobs[0])
        limits = Limits(_LONGEST_S, memory_mib=limits_of(job.config).memory_mib)
        outcome: Outcome[Thumbnails] = run_isolated(_MAKE, job, wanted(study, ranking, found), limits=limits)
        if outcome.value is None:
            why = f"took longer than {_LONGEST_S:g} s" if outcome.status is Status.timeout else outcome.error
            say(f"no new pictures of images for the report: {why}")
            return kept(study, ranking, found)
        study.write_thumbnails(job.protocol_hash, outcome.value)
        return outcome.value

    def tried(study: Study, ranking: Ranking, found: DataAudit) -> Thumbnails | None:
        try:
            return made(study, ranking, found)
        except HarnessError as error:
            say(f"no pictures of images in the report: {error}")
            return None

    return tried
