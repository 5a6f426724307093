"""The process beside a running sweep that ranks what is there and rewrites the pages (`search.live` starts it, ADR 34).

It hears how far the sweep is and ends when nobody can tell it anything any more: then pages that still say that the sweep is running are replaced
by ones that do not. What ranking takes is imported when there is something to rank.
"""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from harness.errors import HarnessError
from harness.files import atomic_write
from harness.process.isolate import one_line
from harness.reporting.stage import QUIET, Pace, Stage, Watched
from harness.status import Status
from harness.study.store import Study
from harness.text.language import speaking

if TYPE_CHECKING:
    from harness.select.ranking import Ranking

_GONE = "gone"
_FIRST_RANKING_S = 1.0
"""About what the first one takes."""


def serve(connection: Connection, watched: Sequence[Watched], gone_s: float, pace: Pace) -> None:
    """Write pages until the connection is closed.

    Args:
        connection: stages and `QUIET` come in; `QUIET` goes out, and what went wrong, on one line.
        watched: the studies.
        gone_s: how long ago the sweep began.
        pace: how often.
    """
    inbox: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, inbox), daemon=True).start()
    writer, is_well, is_quiet = _Writer(watched, time.monotonic() - gone_s, pace), True, False
    while (message := _next(inbox, writer.due_s if is_well and not is_quiet else None)) != _GONE:
        is_quiet = message == QUIET
        try:
            if isinstance(message, Stage):
                writer.stage = message
            elif is_well:
                writer.write(may_rank=not is_quiet)
        except Exception as error:  # noqa: BLE001  whatever it is, it ends the pages and nothing else
            is_well = False
            connection.send(one_line(error))
        if is_quiet:
            connection.send(QUIET)
    writer.settle()


def _listen(connection: Connection, inbox: SimpleQueue[Any]) -> None:
    """Messages are taken as they come, so that the sweep never waits to get rid of one."""
    with suppress(EOFError, OSError):
        while True:
            inbox.put(connection.recv())
    inbox.put(_GONE)


def _next(inbox: SimpleQueue[Any], within_s: float | None) -> Any:
    """The next message; None when there is none in time."""
    try:
        return inbox.get(timeout=within_s)
    except Empty:
        return None


class _Writer:
    """The pages of a sweep."""

    def __init__(self, watched: Sequence[Watched], started: float, pace: Pace) -> None:
        self.watched, self.pace = watched, pace
        self.stage: Stage | None = None
        self._shown: Stage | None = None
        """That the pages show."""
        self._pages: dict[Path, str] = {}
        """As they were written last."""
        self._rankings: dict[Path, Ranking | None] = {}
        self._ranked = 0
        """Jobs that were done then."""
        self._next_page = started + pace.every_s
        self._next_ranking = started + pace.factor * _FIRST_RANKING_S

    @property
    def due_s(self) -> float | None:
        """Seconds until the pages are to be written; None: they say all there is to say."""
        if self.stage is None or (self.stage == self._shown and not self._has_news):
            return None
        due = self._next_page if self.stage != self._shown else max(self._next_page, self._next_ranking)
        return max(due - time.monotonic(), 0.0)

    @property
    def _has_news(self) -> bool:
        return self.stage is not None and self.stage.num_done - self.stage.num_failed > 0 and self.stage.num_done != self._ranked

    def write(self, *, may_rank: bool) -> None:
        """Write the pages, after a new ranking where there is time for one. Not before they are due for the first time."""
        now = time.monotonic()
        if self.stage is None or (not self._pages and now < self._next_page):
            return
        if may_rank and self._has_news and now >= self._next_ranking:
            before_s = time.process_time()
            self._rankings = {each.root: _rank(each) for each in self.watched}
            self._ranked = self.stage.num_done
            self._next_ranking = time.monotonic() + self.pace.factor * (time.process_time() - before_s)
        for each in self.watched:
            self._write(each, self.stage)
        self._shown, self._next_page = self.stage, time.monotonic() + self.pace.every_s

    def settle(self) -> None:
        """Replace pages that still say that the sweep is running."""
        for each in self.watched:
            with suppress(HarnessError, OSError):
                if self.stage is not None and _path(each).read_text(encoding="utf-8") == self._pages.get(_path(each)):
                    self._write(each, self.stage, has_ended=True)

    def _write(self, each: Watched, stage: Stage, *, has_ended: bool = False) -> None:
        from harness.reporting.live import REFRESH_S, describe
        from harness.reporting.render import to_html

        study = Study(each.root)
        with speaking(each.language):
            found = describe(study.name, stage, self._rankings.get(each.root), study.report_command, has_ended=has_ended)
            page = to_html(found, refresh_s=None if has_ended else REFRESH_S)
        with atomic_write(_path(each)) as temporary:
            temporary.write_text(page, encoding="utf-8")
        self._pages[_path(each)] = page


def _path(each: Watched) -> Path:
    return Study(each.root).report_dir / "index.html"


def _rank(each: Watched) -> "Ranking | None":
    """The good rows, by the protocol that the closing report would be about; None where there are none yet. Models are not timed: latencies
    neither count nor exclude.
    """
    from harness.select.ranking import rank

    study = Study(each.root)
    good = Counter(row.protocol for row in study.rows() if row.job_id in each.jobs and row.status == Status.ok)
    if not good:
        return None
    cfg = replace(each.cfg, points_per_doubling=0.0, max_latency_ms=None)
    return rank(study, cfg, protocol=good.most_common(1)[0][0], may_open=False, by="sweep")
