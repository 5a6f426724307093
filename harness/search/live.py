"""The report while a sweep runs: the sweep tells a process beside it how far it is, which rewrites the pages (`reporting.live_writer`).

The sweep never waits for it, and what goes wrong in it costs the pages and nothing else (ADR 34).
"""

import time
from collections.abc import Callable, Sequence
from typing import Self

from harness.jobs.sharing import one_per_study
from harness.jobs.spec import JobSpec
from harness.process.beside import Beside
from harness.process.isolate import one_line
from harness.reporting.stage import QUIET, Pace, Stage, Watched

PACE = Pace()


class LivePages:
    """The pages of a sweep from `with` to the end of the block; elsewhere, and where `report.live` is off, nothing at all."""

    def __init__(self, jobs: Sequence[JobSpec], started: float, say: Callable[[str], None]) -> None:
        self._jobs, self._started, self._say = jobs, started, say
        self._is_on = False
        self._beside: Beside | None = None

    def __enter__(self) -> Self:
        self._is_on = bool(self._watched())
        return self

    def __exit__(self, *_: object) -> None:
        self._is_on = False
        if self._beside is not None:
            self._beside.close(at_once=not self._may_have_written)
            self._beside = None

    def tell(self, stage: Stage) -> None:
        """The sweep is so far now."""
        if not self._is_on:
            return
        try:
            self._beside = self._beside or self._start()
        except (OSError, EOFError) as error:
            self._stop(one_line(error))
        else:
            self._hear(self._beside.heard())
            self._beside.tell(stage)

    def be_quiet(self) -> None:
        """From now on, until the next stage, the machine is free for what is timed, and the pages for the closing report."""
        if self._is_on and self._beside is not None and self._may_have_written:
            self._hear(self._beside.ask(QUIET) or "the process that writes it does not answer")
        elif self._is_on:
            self.__exit__()

    @property
    def _may_have_written(self) -> bool:
        """Whether a first page was due."""
        return time.perf_counter() - self._started >= PACE.every_s

    def _start(self) -> Beside:
        return Beside(
            "harness.reporting.live_writer:serve", self._watched(), time.perf_counter() - self._started, PACE, niceness=PACE.niceness
        )

    def _watched(self) -> list[Watched]:
        return [
            Watched(
                first.config.study_dir,
                first.config.rank,
                frozenset(job.job_id for job in self._jobs if job.config.study == first.config.study),
                first.config.report.language.value,
            )
            for first in one_per_study(self._jobs)
            if first.config.report.live
        ]

    def _hear(self, answer: object) -> None:
        """Anything but its word to be quiet is what went wrong."""
        if isinstance(answer, str) and answer != QUIET:
            self._stop(answer)

    def _stop(self, why: str) -> None:
        self._say(f"the report is not written while the sweep runs: {why}")
        self._is_on = False
