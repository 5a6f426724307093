"""A sweep whose workers are elsewhere, seen from where it was typed: they are submitted, their rows told as they come, and at the end the report is here.

Whoever follows does none of the work and decides nothing: it may be closed, and another take it up.
"""

import time
from collections.abc import Sequence

from harness.clusters.cluster import Cluster
from harness.config import AUTO
from harness.errors import ConfigError, TableError
from harness.jobs.spec import JobSpec
from harness.jobs.to_fetch import fetch_now
from harness.search.closing import close
from harness.search.grid import Groups, announced
from harness.search.plan import Plan, closed, drop_plan, write_plan
from harness.search.runner import Sweep

_POLL_S = 2.0
_ASK_S = 15.0
"""Between two questions to the cluster: login nodes are shared."""
_SILENT_S = 180.0
"""Without an answer of the cluster."""
_MOST_IN_VAIN = 3
"""Submissions in a row after which nothing was done."""


def submit(sweep: Sweep, cluster: Cluster) -> int:
    """Plan a sweep, have workers of a cluster do it, and follow them. Returns the exit status.

    Raises:
        ConfigError: the cluster refuses the workers.
        TableError: they end without doing anything.
        StoreError: the study cannot be written.
    """
    if (config := sweep.jobs[0].config).workers == AUTO:
        raise ConfigError(f"workers=auto: is for this machine; with on={config.on.value} give their number.")
    plan = write_plan(sweep.jobs)
    todo = announced(sweep)
    for line in fetch_now(todo):
        sweep.progress.say(line)
    try:
        sweep.progress.say(cluster.submit(plan.folder, _num_workers(sweep.jobs)))
    except ConfigError:
        drop_plan(plan)  # nobody would ever do it
        raise
    return follow(plan, sweep, cluster, todo)


def follow(plan: Plan, sweep: Sweep, cluster: Cluster | None, todo: Sequence[JobSpec]) -> int:
    """Tell of rows as they come, see that workers are there while something is left, and write the report. Returns the exit status.

    Args:
        plan: what they do.
        sweep: its jobs, as this process tells of them.
        cluster: that they were submitted to; None: whoever has started them looks after them.
        todo: jobs that have no row yet.

    Raises:
        TableError: workers end again and again without doing anything.
    """
    groups, watch = Groups(sweep, todo), _Watch(plan, sweep, cluster)
    sweep.progress.remedy = f"workers go on; `{plan.study.command('follow')}` tells of them again, with cancel=true it ends them"
    with sweep.progress.interruptible(), sweep.live:
        while closed(plan) is None:
            watch.look(num_left=sum(map(len, groups.left.values())))
            groups.settle()
            time.sleep(_POLL_S)
        groups.settle()
        sweep.live.be_quiet()
        return close(sweep, times=False)


class _Watch:
    """Whether anybody still works."""

    def __init__(self, plan: Plan, sweep: Sweep, cluster: Cluster | None) -> None:
        self._plan, self._sweep, self._cluster = plan, sweep, cluster
        self._asked_s = time.monotonic()
        self._in_vain, self._num_left = 0, -1
        self._answered_s, self._has_said = self._asked_s, False

    def look(self, num_left: int) -> None:
        """Now and then: where nobody does and the sweep is not closed, workers are submitted again."""
        if self._cluster is None or time.monotonic() - self._asked_s < _ASK_S:
            return
        self._asked_s = time.monotonic()
        number = self._cluster.num_alive()
        if number is None:
            self._tell_of_silence()
            return
        self._answered_s, self._has_said = time.monotonic(), False
        if number > 0 or closed(self._plan) is not None:
            return
        self._in_vain = self._in_vain + 1 if num_left == self._num_left else 1
        self._num_left = num_left
        if self._in_vain >= _MOST_IN_VAIN:
            raise TableError(
                f"{self._plan.folder}: workers end without doing anything; their output is below this folder. When that is mended, "
                f"`{self._plan.study.command('follow')}` submits them again."
            )
        self._sweep.progress.say(f"no worker is there any more; {self._cluster.submit(self._plan.folder, _num_workers(self._sweep.jobs))}")

    def _tell_of_silence(self) -> None:
        """Once; its workers may well go on."""
        if not self._has_said and time.monotonic() - self._answered_s > _SILENT_S:
            self._has_said = True
            self._sweep.progress.say("the cluster has not said for minutes whether workers are there; what they do is told all the same")


def _num_workers(jobs: Sequence[JobSpec]) -> int:
    """As many as were asked for, and none that could never have anything to do."""
    return min(int(jobs[0].config.workers), len(jobs))
