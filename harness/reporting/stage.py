"""What a sweep tells the process that writes its pages while it runs (`live_writer`). Plain values; importing it takes no time."""

from dataclasses import dataclass
from pathlib import Path

from harness.config import RankConfig
from harness.text.counts import counted
from harness.text.language import ENGLISH, say

QUIET = "quiet"
"""Told when the machine has to be quiet. The answer is the same word; then nothing happens until the next stage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """How far a sweep is."""

    num_jobs: int
    """That were asked for."""
    num_done: int
    """That have a row, those that failed included."""
    num_failed: int
    left_s: float | None
    """Until the jobs are done and timed, as predicted; None: not known."""
    doing: str
    """What is being done now, as a clause."""
    is_search: bool = False
    """A staged search, which does not train all of the jobs."""

    @property
    def done(self) -> str:
        """`12 of 24 jobs done`."""
        return say(
            "{number} of at most {jobs} done" if self.is_search else "{number} of {jobs} done",
            number=self.num_done,
            jobs=counted(self.num_jobs, "job"),
        )

    @property
    def left(self) -> str:
        """`about 5 min left`; empty where that is not known."""
        return say("about {time} left", time=rough_duration(self.left_s)) if self.left_s else ""


def between_jobs() -> str:
    """What a sweep does between two jobs."""
    return say("the next job is about to start")


def at_the_end() -> str:
    """What it does after them."""
    return say("all jobs are done; models are timed and the report is made")


def rough_duration(seconds: float) -> str:
    """Seconds as one number, as predictions are known: `40 s`, `5 min`, `1.5 h`."""
    if seconds < 90:
        return f"{max(5 * round(seconds / 5), 5)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True, slots=True)
class Watched:
    """A study whose page is written."""

    root: Path
    cfg: RankConfig
    """Of the closing report."""
    jobs: frozenset[str]
    """Ids of the sweep's own, one of whose protocols is ranked."""
    language: str = ENGLISH
    """Of its page."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often pages are written."""

    every_s: float = 10.0
    """At most once in so long, and not before."""
    factor: float = 50.0
    """A new ranking waits for so many times the processor time that the last one took: a fiftieth of the time goes there."""
    niceness: int = 10
    """Jobs get ten times the time of a core that both want."""
