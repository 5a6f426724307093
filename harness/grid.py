"""A sweep over a grid: every job prepared first, then run one by one into rows, then ranked and reported.

The Hydra side (composing configurations, launching) is in `hydra_plugins/`; what a sweep *does* is here.
"""

import copy
import importlib
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from rich.console import Console

from harness.cli import BAD_JOBS
from harness.config import SweepConfig
from harness.errors import ConfigError
from harness.identity import failed_row
from harness.isolate import Outcome, run_isolated
from harness.jobspec import JobSpec
from harness.study.row import TIMING_COLUMNS, Row, Status
from harness.study.store import Study

Overrides = list[str]
Launch = Callable[[Sequence[Overrides]], Sequence[str | None]]


def run_composed(cfg: DictConfig) -> str:
    """Run the job that Hydra composed, together with those of its group; its row is on disk when this returns.

    Returns:
        The job's id.
    """
    overrides = list(HydraConfig.get().overrides.task)
    job = _prepared.get(tuple(overrides)) or prepare_jobs([(to_config(cfg), overrides)])[0]
    study = Study(job.config.study_dir)
    if not study.is_done(job.job_id):
        together = {other.job_id: other for other in (job, *_prepared.values()) if other.group == job.group}
        _run([other for other in together.values() if not study.is_done(other.job_id)])
    return job.job_id


def _run(jobs: Sequence[JobSpec]) -> None:
    """Run jobs of one group in one process; when it does not end well, each in a process of its own, so that the good ones are not lost."""
    first = jobs[0]
    timeout_min = first.config.job_timeout_min
    timeout_s = None if timeout_min is None else timeout_min * 60 * len(jobs)
    outcome = run_isolated("harness.job:run_jobs", jobs, _timings.get(first.network), timeout_s=timeout_s)
    if outcome.status is not Status.ok and len(jobs) > 1:
        for job in jobs:
            _run([job])
        return
    rows = outcome.value or [failed_row(first, outcome.status, outcome.error or "no reason given")]
    for row in rows:
        Study(first.config.study_dir).write_row(row)
        if row.latency_steady:
            _timings[first.network] = {name: getattr(row, name) for name in TIMING_COLUMNS}


_timings: dict[str, dict[str, Any]] = {}
"""Steady inference times by network, of jobs that this process ran."""

_prepared: dict[tuple[str, ...], JobSpec] = {}
"""Jobs of the sweep that runs in this process; a launcher that uses other processes prepares there again."""


def to_config(cfg: DictConfig) -> SweepConfig:
    """The dataclass behind a composed configuration, validated. Raises ConfigError when a required key has no value."""
    cfg = _without_hydra(cfg)
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ConfigError(f"{missing[0]}: no value given; add {missing[0]}=... (several, separated by commas, are swept).")
    config = OmegaConf.to_object(cfg)
    assert isinstance(config, SweepConfig)
    return config


def _without_hydra(cfg: DictConfig) -> DictConfig:
    cfg = copy.deepcopy(cfg)
    with read_write(cfg), open_dict(cfg):
        cfg.pop("hydra", None)
    return cfg


def expand_backbones(values: Sequence[str]) -> list[str]:
    """Globs replaced by the names they match, each name once, in the order given."""
    if not any(set(value) & set("*?[") for value in values):
        return list(dict.fromkeys(values))
    return list(dict.fromkeys(itertools.chain.from_iterable(_value(run_isolated("harness.backbones.catalog:expand", v)) for v in values)))


def prepare_jobs(wanted: Sequence[tuple[SweepConfig, Overrides]]) -> list[JobSpec]:
    """Make every job exact, before the first one runs.

    Raises:
        ConfigError: all that is wrong with any of them, one problem a line.
    """
    jobs, problems = _value(run_isolated("harness.prepare:prepare_all", wanted))
    if problems:
        raise ConfigError("\nerror: ".join(problems))
    _prepared.update({tuple(job.command): job for job in jobs})
    return list(jobs)


def _value(outcome: Outcome[Any]) -> Any:
    if outcome.status is not Status.ok:
        raise ConfigError(outcome.error or outcome.status.value)
    return outcome.value


@dataclass
class Progress:
    """One line per job while a sweep runs, with the time left."""

    jobs: Sequence[JobSpec]
    console: Console = field(default_factory=lambda: Console(highlight=False, soft_wrap=True))
    started: float = field(default_factory=time.perf_counter)
    num_run: int = 0

    def announce(self, num_done: int) -> None:
        """Say what is about to happen."""
        for job in _one_per_study(self.jobs):
            data = job.dataset
            sizes = f"{len(data.train)} train, {len(data.val)} val, {len(data.test)} test images, {data.num_classes} classes"
            self.console.print(f"{data.name}: {sizes}; study {job.config.study_dir}", markup=False)
        first = self.jobs[0]
        self.console.print(f"{len(self.jobs)} jobs, {num_done} already done, on {first.device.value} in {first.precision.value}")

    def finished(self, row: Row, num_left: int) -> None:
        """Say how one job ended: its score or its error, and how long the rest may take."""
        self.num_run += 1
        position = f"[{len(self.jobs) - num_left}/{len(self.jobs)}]"
        name = f"{row.backbone} freeze={row.freeze} seed={row.seed}"
        if row.status == Status.ok.value:
            score = getattr(row, f"val_{row.primary_metric}")
            shown = f"{row.primary_metric} {score:.3f} on val" if score is not None else "no score"
            text = f"{position} {name}: {shown}, {row.latency_ms_p50:.1f} ms, took {row.total_s:.0f} s"
        else:
            text = f"{position} {name}: {row.status.upper()}: {row.error}"
        elapsed_s = time.perf_counter() - self.started
        left = f" · about {_duration(elapsed_s / self.num_run * num_left)} left" if num_left else ""
        self.console.print(text + left, markup=False, style=None if row.status == Status.ok.value else "red")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def run_grid(configs: Sequence[tuple[SweepConfig, Overrides]], launch: Launch, at_once: int | None) -> int:
    """Run what is not done yet, then write the report. Returns the exit status.

    Args:
        configs: one configuration per job with the overrides that composed it.
        launch: runs a batch of jobs; returns, for each, None when its row is written, else what went wrong.
        at_once: jobs per batch; None: all.
    """
    # Jobs are prepared in another process meanwhile. Not a daemon: ending in the middle of an import is not safe.
    threading.Thread(target=importlib.import_module, args=("harness.reporting.build",)).start()
    jobs = prepare_jobs(configs)
    todo = [
        (job, overrides) for job, (_, overrides) in zip(jobs, configs, strict=True) if not Study(job.config.study_dir).is_done(job.job_id)
    ]
    progress = Progress(jobs)
    progress.announce(num_done=len(jobs) - len(todo))
    size = at_once or max(1, len(todo))
    try:
        for start in range(0, len(todo), size):
            batch = todo[start : start + size]
            errors = launch([overrides for _, overrides in batch])
            for offset, ((job, _), error) in enumerate(zip(batch, errors, strict=True), 1):
                progress.finished(_row_of(job, error), num_left=len(todo) - start - offset)
    finally:
        rows = [row for job in jobs if (row := Study(job.config.study_dir).read_row(job.job_id))]
        for job in _one_per_study([job for job in jobs if Study(job.config.study_dir).read_row(job.job_id)]):
            _report(job)
    return 0 if len(rows) == len(jobs) and all(row.status == Status.ok.value for row in rows) else BAD_JOBS


def _one_per_study(jobs: Sequence[JobSpec]) -> list[JobSpec]:
    """A sweep over data sets fills several studies; any job of one knows its folder and its limits."""
    return list({job.config.study: job for job in jobs}.values())


def _row_of(job: JobSpec, error: str | None) -> Row:
    """The job's row; a job that its launcher lost gets one that says so."""
    study = Study(job.config.study_dir)
    row = study.read_row(job.job_id) if error is None else None
    if row is None:
        row = failed_row(job, Status.killed, error or "the launcher ended without a row for this job.")
        study.write_row(row)
    return row


def _report(job: JobSpec) -> None:
    from harness.reporting.build import build_report
    from harness.reporting.terminal import print_summary

    study = Study(job.config.study_dir)
    print_summary(build_report(study, job.config.rank), study.report_dir / "index.html")
