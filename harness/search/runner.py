"""A sweep: its jobs made exact, and run in processes of their own into rows, whatever decides which of them runs when: a grid or a search.

Torch-free: what computes is imported where it computes.
"""

import importlib
import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from harness.config import Keep, Retry, SweepConfig, Track
from harness.errors import ConfigError
from harness.jobs.identity import failed_row
from harness.jobs.sharing import activations_key, head_group_key
from harness.jobs.spec import JobSpec
from harness.process.isolate import Limits, Outcome, machine_memory_mib, require_watchable, run_isolated
from harness.reporting.stage import between_jobs
from harness.search.display import Progress, name_of
from harness.search.live import LivePages
from harness.status import Status
from harness.study.claims import claimed
from harness.study.models import Models
from harness.study.row import TRANSFERABILITY_COLUMNS, Row
from harness.study.store import Study, note_swept, require_writable
from harness.text.counts import counted
from harness.text.language import say, speaking
from harness.trackers.background import Background
from harness.trackers.outlet import Outlet
from harness.trackers.tracker import require
from harness.transfer.rungs import Rung

Asked = tuple[SweepConfig, Sequence[str]]
"""A job as it was asked for, with the overrides that composed it."""

MEMORY_FRAC = 0.95
"""Of the machine's memory, what one job may hold unless `job.memory_gib` says otherwise."""


@dataclass(slots=True)
class Sweep:
    """What one sweep knows, from its prepared jobs to its report; handed to whoever runs, times or ranks them."""

    jobs: Sequence[JobSpec]
    started: float = field(default_factory=time.perf_counter)
    """By the clock of `time.perf_counter`."""
    tracks: Mapping[Path, Sequence[Track]] = field(default_factory=dict)
    """Of each study folder, where its rows are logged."""
    progress: Progress = field(init=False)
    trackers: Background = field(init=False)
    live: LivePages = field(init=False)
    transferability: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By backbone, weights and images, the `TRANSFERABILITY_COLUMNS` that jobs of this sweep have found, and why some have none."""

    def __post_init__(self) -> None:
        self.progress = Progress(self.jobs)
        self.live = LivePages(self.jobs, self.started, self.progress.say)
        self.trackers = Background(
            [Outlet(Study(folder), track, self.progress.say) for folder, tracks in self.tracks.items() for track in tracks]
        )

    def finished(self, rows: Sequence[Row], num_left: int | None = None) -> None:
        """Say how jobs that ran together ended (`Progress.finished`), and have trackers log it."""
        self.progress.finished(rows, num_left)
        self.trackers.rows(rows)
        self.tell(between_jobs)

    def tell(self, doing: Callable[[], str]) -> None:
        """Have the pages say what the sweep does now, in their language."""
        with speaking(self.jobs[0].config.report.language.value):
            self.live.tell(self.progress.stage(doing()))

    def run(
        self,
        jobs: Sequence[JobSpec],
        is_needed: Callable[[JobSpec], bool] | None = None,
        *,
        rung: Rung | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Run jobs of one group in one process and write their rows, unless another sweep does so meanwhile.

        Args:
            jobs: of one group (`head_group_key`).
            is_needed: asked of each once nobody else may run it; None: `is_wanted`.
            rung: how far to train, for a staged search; None: to the end.
            timeout_s: time for each job, if that is less than what `job.timeout_minutes` allows.
        """
        with claimed(jobs[0].config.study_dir, head_group_key(jobs[0])):
            if needed := [job for job in jobs if (is_needed or is_wanted)(job)]:
                self._run(needed, rung, timeout_s)

    def _run(self, jobs: Sequence[JobSpec], rung: Rung | None, timeout_s: float | None) -> None:
        """When several do not end well together, each runs in a process of its own, so that the good ones are not lost."""
        first = jobs[0]
        self.tell(partial(_doing, jobs))
        limits = limits_of(first.config, timeout_s, len(jobs))
        known = self.transferability.get(activations_key(first))
        with self.progress.watched(jobs) as show:
            outcome = run_isolated("harness.jobs.run:run_jobs", jobs, known, rung, limits=limits, show=show)
        if outcome.status is not Status.ok and len(jobs) > 1:
            for job in jobs:
                self._run([job], rung, timeout_s)
            return
        if outcome.status is Status.oom and (smaller := first.with_less_memory()) is not None:
            self._run([smaller], rung, timeout_s)
            return
        rows = outcome.value or [failed_row(first, outcome.status, outcome.error or "no reason given")]
        for row in rows:
            Study(first.config.study_dir).write_row(row)
        self._remember(first, rows[0])

    def _remember(self, job: JobSpec, row: Row) -> None:
        if row.transferability_s is not None:
            reasons = {name: reason for name, reason in row.details.undefined.items() if name in TRANSFERABILITY_COLUMNS}
            self.transferability[activations_key(job)] = {name: getattr(row, name) for name in TRANSFERABILITY_COLUMNS} | {
                "undefined": reasons
            }


def _doing(jobs: Sequence[JobSpec]) -> str:
    """What a process is at that runs these, as a clause."""
    more, name = len(jobs) - 1, name_of(jobs[0])
    if jobs[0].fold:
        return say(
            "cross-fitting {name} and {others} with it" if more else "cross-fitting {name}", name=name, others=counted(more, "other job")
        )
    return say("training {name} and {others} with it" if more else "training {name}", name=name, others=counted(more, "other job"))


def is_wanted(job: JobSpec) -> bool:
    """Whether a sweep has to run a job: no row says what came of it, or one does that is to be tried again."""
    study = Study(job.config.study_dir)
    row = study.read_row(job.job_id)
    if row is None or row.status == Status.pruned:
        return True
    if row.status == Status.ok:
        return not study.is_done(job.job_id) or _lacks_model(job, row)
    # What failed since the sweep began has had its second try.
    return job.config.retry is Retry.failed and row.started_at < job.asked_at


def _lacks_model(job: JobSpec, row: Row) -> bool:
    """Whether every model is to be kept and this one is not there, or not as it was written."""
    models = Models(Study(job.config.study_dir))
    return job.config.model.keep is Keep.all and job.fold is None and (not models.has(job.job_id) or models.damaged(row) is not None)


def limits_of(cfg: SweepConfig, timeout_s: float | None = None, num_jobs: int = 1) -> Limits:
    """What a process may take that runs so many jobs, each for `timeout_s` at most."""
    allowed_s = [seconds for seconds in (timeout_s, _seconds(cfg.job.timeout_minutes)) if seconds is not None]
    memory_mib = MEMORY_FRAC * machine_memory_mib() if cfg.job.memory_gib is None else cfg.job.memory_gib * 1024
    return Limits(min(allowed_s) * num_jobs if allowed_s else None, _seconds(cfg.job.stall_minutes), memory_mib)


def _seconds(minutes: float | None) -> float | None:
    return None if minutes is None else minutes * 60


def begin(asked: Sequence[Asked], started: float | None = None) -> Sweep:
    """Make the jobs of a sweep exact. Raises ConfigError with all that is wrong with any of them.

    Args:
        asked: its jobs.
        started: `time.perf_counter()` when the command began; None: now.
    """
    require_watchable()
    tracks = {cfg.study_dir: tuple(dict.fromkeys(cfg.track)) for cfg, _ in asked}
    require(track for found in tracks.values() for track in found)
    # Jobs are prepared in another process meanwhile. Not a daemon: ending in the middle of an import is not safe.
    threading.Thread(target=_import_report).start()
    return Sweep(prepare_jobs(asked), time.perf_counter() if started is None else started, tracks)


def _import_report() -> None:
    with suppress(RuntimeError):  # an interrupted command that is ending takes on nothing new
        importlib.import_module("harness.reporting.build")


def require_folders(jobs: Sequence[JobSpec]) -> None:
    """See that rows and features can be written, before the first job runs. Raises StoreError."""
    for cfg in {(job.config.study_dir, job.config.cache_dir): job.config for job in jobs}.values():
        require_writable(Path(cfg.cache_dir).expanduser())
        require_writable(cfg.study_dir)  # last, so that a sweep that is refused leaves no empty study
        note_swept(Study(cfg.study_dir))


def expand_backbones(values: Sequence[str]) -> list[str]:
    """Globs replaced by the names they match, each name once, in the order given."""
    expanded = (_matching(value) if set(value) & set("*?[") else [value] for value in values)
    return list(dict.fromkeys(itertools.chain.from_iterable(expanded)))


def _matching(value: str) -> list[str]:
    pattern, *weights = value.split("@")
    return ["@".join((name, *weights)) for name in _value(run_isolated("harness.backbones.catalog:expand", pattern))]


def prepare_jobs(asked: Sequence[Asked]) -> list[JobSpec]:
    """Make every job exact, before the first one runs; what was asked for twice is one job.

    Raises:
        ConfigError: all that is wrong with any of them.
    """
    data = _value(
        run_isolated("harness.data.early:load_early", [(cfg.data, cfg.cache_dir, cfg.results_dir) for cfg, _ in asked], is_light=True)
    )
    jobs, problems = _value(run_isolated("harness.jobs.prepare:prepare_all", asked, data))
    if problems:
        raise ConfigError(*problems)
    return list(jobs)


def _value(outcome: Outcome[Any]) -> Any:
    if outcome.status is not Status.ok:
        raise ConfigError(outcome.error or outcome.status.value)
    return outcome.value
