"""The trackers of a sweep, fed by a thread of the sweep's own process: no job and no row ever waits for one."""

import threading
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue

from harness.study.row import Row
from harness.study.store import Study
from harness.trackers.outlet import Outlet


class Background:
    """Some outlets and a thread that serves them one after the other, or nothing at all where nobody tracks."""

    def __init__(self, outlets: Sequence[Outlet] = ()) -> None:
        self._outlets = outlets
        self._tasks: SimpleQueue[Callable[[], None]] = SimpleQueue()
        for outlet in outlets:
            self._tasks.put(outlet.start)
        if outlets:
            # A daemon: whoever interrupts a sweep does not wait for a server.
            threading.Thread(target=self._serve, name="trackers", daemon=True).start()

    def rows(self, rows: Iterable[Row]) -> None:
        """Log rows that were just written."""
        for row in rows:
            for outlet in self._outlets:
                if outlet.study.name == row.study:
                    self._tasks.put(lambda outlet=outlet, row=row: outlet.row(row))  # type: ignore[misc]

    def finish(self, study: Study, recommended: Row | None) -> None:
        """Log what is missing of a study, or has changed since its rows were written, such as latencies; then its report and its model."""
        for outlet in self._outlets:
            if outlet.study == study:
                self._tasks.put(lambda outlet=outlet: outlet.finish(study.rows(), recommended))  # type: ignore[misc]

    def wait(self) -> list[str]:
        """Wait until all of it is done. Return where runs are now."""
        done = threading.Event()
        if self._outlets:
            self._tasks.put(done.set)
            done.wait()
        return [outlet.where for outlet in self._outlets if not outlet.is_lost]

    def _serve(self) -> None:
        while True:
            self._tasks.get()()
