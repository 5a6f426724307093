"""One tracker of one study, which may fail: that is said once, and costs what was not logged, never a row or a sweep."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.config import Track
from harness.errors import is_debugging
from harness.files import why
from harness.study.row import Row
from harness.study.store import Study
from harness.trackers.events import StudyEnd, run_of
from harness.trackers.tracker import Tracker, open_tracker

MAX_WHY = 200
"""Letters of a library's error that are shown."""


@dataclass(slots=True)
class Outlet:
    """A tracker, opened at its first use."""

    study: Study
    track: Track
    say: Callable[[str], None]
    num_logged: int = 0
    num_there: int = 0
    """Rows that were there already as they are."""
    is_lost: bool = False
    """It has failed, and is not asked any more."""
    _tracker: Tracker | None = None

    def start(self) -> None:
        """Open it: what cannot be reached is known before the first row."""
        self._try(lambda _: None)

    def row(self, row: Row) -> None:
        """Log one row."""
        self._try(lambda tracker: self._log(tracker, row))

    def finish(self, rows: Iterable[Row], recommended: Row | None) -> None:
        """Log all rows of the study that are not there as they are now, then its report and the recommended model."""
        for row in rows:
            self.row(row)
        self._try(lambda tracker: tracker.finish(StudyEnd(self.study, recommended)))

    @property
    def where(self) -> str:
        """The place, once it is open."""
        return self.track.value if self._tracker is None else without_credentials(self._tracker.where)

    @property
    def command(self) -> str:
        """What logs later what is missing, as typed in a shell."""
        return f"python -m harness.log {self.study.where} to={self.track.value}"

    def _log(self, tracker: Tracker, row: Row) -> None:
        is_new = tracker.row(run_of(row, self.study))
        self.num_logged += is_new
        self.num_there += not is_new

    def _try(self, act: Callable[[Tracker], None]) -> None:
        if self.is_lost:
            return
        try:
            if self._tracker is None:
                tracker = open_tracker(self.track, self.study)
                tracker.start()
                self._tracker = tracker
            act(self._tracker)
        except Exception as error:  # libraries raise anything
            if is_debugging():
                raise
            self.is_lost = True
            reason = without_credentials(f"{type(error).__name__}: {why(error)}")
            short = reason if len(reason) <= MAX_WHY else f"{reason[:MAX_WHY]}..."
            self.say(
                f"{self.track.value}: nothing more is logged there ({short}); rows are not touched by that. `{self.command}` logs the rest."
            )


def without_credentials(text: str) -> str:
    """The text with addresses as they are shown, user and password left out."""
    return re.sub(r"//[^/@\s]*@", "//", text)
