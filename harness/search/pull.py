"""Pull-workers: each takes the next task that nobody has, runs it, and takes the next, until nothing is left.

What is left is read from rows and claims alone, so that nobody hands out work: threads of this process and processes on other hosts take from one
study alike, and whatever one of them leaves when it dies is free again.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from harness.jobs.sharing import head_group_key
from harness.jobs.spec import JobSpec
from harness.process.isolate import end_all, one_line
from harness.process.place import Place, at
from harness.search.runner import Sweep, is_wanted
from harness.study.claims import try_claimed
from harness.transfer.rungs import Rung

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
"""Before a worker that found nothing to do looks again."""
_REST = 10
"""It rests so many times as long as it looked: a thousand idle workers would be more than a file server bears."""


@dataclass(frozen=True, slots=True)
class Task:
    """Jobs of one group (`head_group_key`), to be run together."""

    jobs: Sequence[JobSpec]
    rung: Rung | None = None
    """How far to train, for a staged search; None: to the end."""
    timeout_s: float | None = None
    """For each job, if that is less than what `job.timeout_minutes` allows."""

    @property
    def name(self) -> str:
        """Of its claim."""
        return head_group_key(self.jobs[0])


class Work(Protocol):
    """What is to be done. Workers of one process call it one at a time."""

    def tasks(self) -> Iterator[Task]:
        """Those that are left and may be begun now, best first; none of them once all is done."""

    def begin(self, task: Task) -> bool:
        """Whether a task that nobody else can run any more is still to be run."""

    def returned(self, task: Task) -> None:
        """It was begun in vain, where there is no memory for it: another worker may begin it."""

    def ended(self, task: Task, error: str | None) -> None:
        """It was run, or need not be: whoever ran it has written its rows, or there is an error."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is left, and nothing can come of what runs."""


@dataclass(eq=False)
class Crew:
    """Workers of this process, one for each place, on one piece of work."""

    sweep: Sweep
    work: Work
    places: Sequence[Place]
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _running: set[str] = field(default_factory=set)
    _given_up: dict[str, set[Place]] = field(default_factory=dict)
    """Of a task, the places that had no memory for it."""
    _errors: list[BaseException] = field(default_factory=list)

    def run(self) -> bool:
        """Work until all is done, or `Sweep.patience_s` is. The first error of any worker ends all of them and is raised.

        Returns:
            Whether all is done.
        """
        if len(self.places) == 1:
            self._pull(self.places[0])
            return self._is_over()
        threads = [threading.Thread(target=self._guarded, args=(place,)) for place in self.places]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        except BaseException:
            with end_all():
                for thread in threads:
                    thread.join()
            raise
        if self._errors:
            raise self._errors[0]
        return self._is_over()

    def _guarded(self, place: Place) -> None:
        try:
            self._pull(place)
        except BaseException as error:  # noqa: BLE001  raised by whoever waits for the workers
            self._errors.append(error)

    def _pull(self, place: Place) -> None:
        idle_since, pause_s = time.monotonic(), _SHORTEST_PAUSE_S
        with at(place):
            while not (self._is_over() or self._errors):
                looked = time.monotonic()
                with self._taken(place) as task:
                    look_s = time.monotonic() - looked
                    if task is not None:
                        self._do(task, place)
                        idle_since, pause_s = time.monotonic(), _SHORTEST_PAUSE_S
                        continue
                if self.sweep.patience_s is not None and time.monotonic() - idle_since > self.sweep.patience_s:
                    return
                time.sleep(max(pause_s, _REST * look_s))
                pause_s = min(1.5 * pause_s, _LONGEST_PAUSE_S)

    def _is_over(self) -> bool:
        with self._lock:
            return self.work.is_over

    @contextmanager
    def _taken(self, place: Place) -> Iterator[Task | None]:
        """The best task that nobody else runs, claimed; None: there is none now."""
        with ExitStack() as claims:
            with self._lock:
                task = next((task for task in self.work.tasks() if self._is_free(task, place, claims)), None)
                if task is not None:
                    self._running.add(task.name)
            try:
                yield task
            finally:
                if task is not None:
                    with self._lock:
                        self._running.discard(task.name)

    def _is_free(self, task: Task, place: Place, claims: ExitStack) -> bool:
        if task.name in self._running or place in self._given_up.get(task.name, ()):
            return False
        return claims.enter_context(try_claimed(task.jobs[0].config.study_dir, task.name))

    def _do(self, task: Task, place: Place) -> None:
        """What goes wrong with a task ends no sweep."""
        with self._lock:
            if not self.work.begin(task):
                self.work.ended(task, None)
                return
        try:
            left = [job for job in task.jobs if is_wanted(job)]  # another sweep may have done some of the group meanwhile
            is_done = self.sweep.run(left, task.rung, task.timeout_s, is_last_resort=self._is_last_resort(task, place))
        except Exception as error:  # noqa: BLE001  whatever it is, the next task may fare better
            with self._lock:
                self.work.ended(task, one_line(error))
            return
        with self._lock:
            if is_done:
                self.work.ended(task, None)
            else:
                self.work.returned(task)
                self._given_up.setdefault(task.name, set()).add(place)

    def _is_last_resort(self, task: Task, place: Place) -> bool:
        """Whether no other device may have more memory for it."""
        tried = {*self._given_up.get(task.name, ()), place}
        return {other.cuda_visible for other in self.places} <= {other.cuda_visible for other in tried}
