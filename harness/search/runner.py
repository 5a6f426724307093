"""A sweep: its jobs made exact, and run in processes of their own into rows, whatever decides which of them runs when: a grid or a search.

Torch-free: what computes is imported where it computes.
"""

import importlib
import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from harness.config import Device, Keep, On, Retry, SweepConfig, Track, device_of
from harness.errors import ConfigError
from harness.jobs.identity import failed_row
from harness.jobs.sharing import activations_key
from harness.jobs.spec import JobSpec
from harness.process.cores import taken
from harness.process.isolate import Limits, Outcome, machine_memory_mib, require_watchable, run_isolated
from harness.process.place import EVERYWHERE, Place
from harness.reporting.stage import between_jobs
from harness.search.display import Progress, name_of
from harness.search.live import LivePages
from harness.search.places import places_of
from harness.status import Status
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


@dataclass(eq=False)  # no slots: siblings are found once and kept beside the fields
class Sweep:
    """What one sweep knows, from its prepared jobs to its report; handed to whoever runs, times or ranks them."""

    jobs: Sequence[JobSpec]
    started: float = field(default_factory=time.perf_counter)
    """By the clock of `time.perf_counter`."""
    tracks: Mapping[Path, Sequence[Track]] = field(default_factory=dict)
    """Of each study folder, where its rows are logged."""
    patience_s: float | None = None
    """A worker that finds nothing to do for so long leaves; None: it stays until all is done, whoever does it."""
    progress: Progress = field(init=False)
    trackers: Background = field(init=False)
    live: LivePages = field(init=False)
    places: Sequence[Place] = (EVERYWHERE,)
    """Of its workers, one each."""
    _lock: threading.RLock = field(default_factory=threading.RLock)
    """Several workers say how far they are."""

    def __post_init__(self) -> None:
        self.progress = Progress(self.jobs, num_workers=len(self.places))
        self.live = LivePages(self.jobs, self.started, self.progress.say)
        self.trackers = Background(
            [Outlet(Study(folder), track, self.progress.say) for folder, tracks in self.tracks.items() for track in tracks]
        )

    @cached_property
    def _siblings(self) -> Mapping[str, Sequence[JobSpec]]:
        """Jobs with the same backbone, weights and images."""
        found = defaultdict(list)
        for job in self.jobs:
            found[activations_key(job)].append(job)
        return found

    def finished(self, rows: Sequence[Row], num_left: int | None = None) -> None:
        """Say how jobs that ran together ended (`Progress.finished`), and have trackers log it."""
        with self._lock:
            self.progress.finished(rows, num_left)
            self.trackers.rows(rows)
        self.tell(between_jobs)

    def tell(self, doing: Callable[[], str]) -> None:
        """Have the pages say what the sweep does now, in their language."""
        with self._lock, speaking(self.jobs[0].config.report.language.value):
            self.live.tell(self.progress.stage(doing()))

    def run(
        self, jobs: Sequence[JobSpec], rung: Rung | None = None, timeout_s: float | None = None, *, is_last_resort: bool = True
    ) -> bool:
        """Run jobs of one group in one process and write their rows. Whoever calls has claimed the group.

        When several do not end well together, each runs in a process of its own, so that the good ones are not lost.

        Args:
            jobs: of one group (`head_group_key`), none of them done.
            rung: how far to train, for a staged search; None: to the end.
            timeout_s: time for each job, if that is less than what `job.timeout_minutes` allows.
            is_last_resort: there is no other device that might have the memory.

        Returns:
            False: the device has too little memory, and there are others; no row is written.
        """
        first = jobs[0]
        self.tell(partial(_doing, jobs))
        limits = limits_of(first.config, timeout_s, len(jobs), len(self.places))
        cores = taken(self.progress.say) if first.device is Device.cpu else nullcontext()
        with cores, self.progress.watched(jobs) as show:
            outcome = run_isolated("harness.jobs.run:run_jobs", jobs, self._known(first), rung, limits=limits, show=show)
        if outcome.status is not Status.ok and len(jobs) > 1:
            for job in jobs:
                self.run([job], rung, timeout_s)
            return True
        if outcome.status is Status.oom and (smaller := first.with_less_memory()) is not None:
            return self.run([smaller], rung, timeout_s, is_last_resort=is_last_resort)
        if outcome.status is Status.oom and not is_last_resort:
            return False
        study = Study(first.config.study_dir)
        for row in outcome.value or [failed_row(first, outcome.status, outcome.error or "no reason given")]:
            study.write_row(row)
            if outcome.value:  # trained to the end of what was asked; whoever was stopped may go on
                study.drop_snapshot(row.job_id)
        return True

    def _known(self, job: JobSpec) -> dict[str, Any] | None:
        """The `TRANSFERABILITY_COLUMNS` that a job with the same backbone, weights and images has found, and why some have none."""
        study = Study(job.config.study_dir)
        rows = (study.read_row(other.job_id) for other in self._siblings.get(activations_key(job), ()) if other.job_id != job.job_id)
        row = next((row for row in rows if row is not None and row.transferability_s is not None), None)
        if row is None:
            return None
        reasons = {name: reason for name, reason in row.details.undefined.items() if name in TRANSFERABILITY_COLUMNS}
        return {name: getattr(row, name) for name in TRANSFERABILITY_COLUMNS} | {"undefined": reasons}


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


def limits_of(cfg: SweepConfig, timeout_s: float | None = None, num_jobs: int = 1, num_workers: int = 1) -> Limits:
    """What a process may take that runs so many jobs, each for `timeout_s` at most, beside those of other workers."""
    allowed_s = [seconds for seconds in (timeout_s, _seconds(cfg.job.timeout_minutes)) if seconds is not None]
    memory_mib = MEMORY_FRAC / num_workers * machine_memory_mib() if cfg.job.memory_gib is None else cfg.job.memory_gib * 1024
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
    tracks = _tracks([cfg for cfg, _ in asked])
    # Jobs are prepared in another process meanwhile. Not a daemon: ending in the middle of an import is not safe.
    threading.Thread(target=_import_report).start()
    jobs = prepare_jobs(asked)
    places = _places(jobs[0])
    return Sweep(jobs, time.perf_counter() if started is None else started, tracks, places=places)


def _places(job: JobSpec) -> Sequence[Place]:
    """Of the workers on this machine. Raises ConfigError."""
    cfg = job.config
    if cfg.on is not On.here:
        return [EVERYWHERE]
    if cfg.workers != "1" and device_of(cfg.device)[1] is not None:
        raise ConfigError(f"device={cfg.device} workers={cfg.workers}: each worker has an accelerator of its own; give device=cuda.")
    return places_of(cfg.workers, job.device)


def sweep_of(jobs: Sequence[JobSpec]) -> Sweep:
    """A sweep whose jobs were made exact before, by another process. Raises ConfigError: what it is logged to is not installed here."""
    return Sweep(jobs, tracks=_tracks([job.config for job in jobs]))


def _tracks(configs: Sequence[SweepConfig]) -> Mapping[Path, Sequence[Track]]:
    tracks = {cfg.study_dir: tuple(dict.fromkeys(cfg.track)) for cfg in configs}
    require(track for found in tracks.values() for track in found)
    return tracks


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
