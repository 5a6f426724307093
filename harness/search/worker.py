"""One of any number of workers, anywhere, that pull the jobs of a plan. None of them is in charge; the last one closes the sweep."""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from harness.config import AUTO, Search
from harness.errors import ConfigError
from harness.files import as_typed
from harness.process.isolate import require_watchable, run_isolated, warm_up
from harness.search.closing import CLOSING, close, cross_fit_within
from harness.search.grid import Groups, announced
from harness.search.places import places_of
from harness.search.plan import Plan, closed, mark_closed, read_plan
from harness.search.pull import Crew
from harness.search.runner import Sweep, require_folders
from harness.search.sweep import StagedSweep
from harness.status import Status
from harness.study.claims import try_claimed

PATIENCE_S = 300.0
"""A worker leaves that has found nothing to do for so long, and gives back what it holds; those that still run jobs close the sweep."""


class Leaving(KeyboardInterrupt):
    """Whoever lent the machine wants it back."""


def work(folder: Path, workers: str = "1", patience_s: float | None = PATIENCE_S) -> None:
    """Pull jobs until all are done, then close the sweep, unless another worker does.

    SIGTERM and SIGUSR1 end it at once: what it had begun is free for others, what it had finished stays.

    Args:
        folder: of the plan.
        workers: how many on this machine (`SweepConfig.workers`).
        patience_s: how long it waits for others with nothing to do; None: until all is done.

    Raises:
        TableError: there is no such plan.
        ConfigError: the machine lacks the device that the jobs are for, or cannot be worked on.
        StoreError: a folder cannot be written.
        Leaving: it was told to.
    """
    with _ends_when_told():
        warm_up()
        plan = read_plan(folder)
        if closed(plan) is not None:
            Sweep(plan.jobs).progress.say(f"{as_typed(plan.study.root)}: its sweep is over; there is nothing to do")
            return
        if plan.cwd.is_dir():
            os.chdir(plan.cwd)  # where relative paths are meant from
        require_watchable()
        _require_device(plan)
        places = places_of(workers, plan.jobs[0].device)
        sweep = Sweep(plan.jobs, time.perf_counter() - _age_s(plan), places=places, patience_s=patience_s)
        require_folders(plan.jobs)
        todo = announced(sweep)
        if plan.jobs[0].config.search is Search.staged:
            stages = StagedSweep(sweep, _num_workers(sweep), sweep.started)
            is_over, account = stages.run(), stages.account
        else:
            groups = Groups(sweep, todo, random.random())  # noqa: S311  spreads workers out
            is_over, account = Crew(sweep, groups, places).run() and cross_fit_within(sweep, None), None
        if is_over:
            _close(plan, sweep, account)


def _num_workers(sweep: Sweep) -> int:
    """Everywhere, as far as the sweep was told; at least those here."""
    told = sweep.jobs[0].config.workers
    return max(len(sweep.places), 1 if told == AUTO else int(told))


def _age_s(plan: Plan) -> float:
    """Since the sweep was planned, by the clocks of two machines."""
    planned = min(datetime.fromisoformat(job.asked_at) for job in plan.jobs)
    return max((datetime.now(UTC) - planned).total_seconds(), 0.0)


def _close(plan: Plan, sweep: Sweep, account: Callable[[], None] | None) -> None:
    with try_claimed(plan.study.root, f"{CLOSING}-{plan.folder.name}") as is_mine:
        if is_mine and closed(plan) is None:
            if account is not None:
                account()
            mark_closed(plan, close(sweep))


def _require_device(plan: Plan) -> None:
    device = plan.jobs[0].device
    outcome = run_isolated("harness.compute.runtime:require_device", device)
    if outcome.status is not Status.ok:
        raise ConfigError(outcome.error or f"device={device.value}: cannot be used here.")


@contextmanager
def _ends_when_told() -> Iterator[None]:
    """Until the block ends, the usual signals of schedulers raise `Leaving` in it, once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        raise Leaving(f"told to end by {signal.Signals(number).name}")

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
