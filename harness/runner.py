"""Jobs made exact and run in processes of their own, whatever decided that they should run: a grid or a search.

Torch-free: what computes is imported where it computes.
"""

import copy
import importlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from rich.console import Console
from rich.text import Text

from harness.claims import claimed
from harness.cli import BAD_JOBS, NEXT, stay, typed
from harness.config import Retry, SweepConfig
from harness.errors import ConfigError, HarnessError
from harness.identity import failed_row
from harness.invocation import runnable
from harness.isolate import Limits, Outcome, die_with_parent, machine_memory_mib, require_watchable, run_isolated
from harness.jobspec import JobSpec
from harness.study.row import EVIDENCE_COLUMNS, Row, Status
from harness.study.store import Study, note_swept, require_writable
from harness.timing import time_networks
from harness.transfer.rungs import Rung
from harness.untrusted import one_line
from harness.words import counted

Overrides = list[str]

MEMORY_FRAC = 0.95
"""Of the machine's memory, what one job may hold unless `job.memory_gib` says otherwise."""


def run_composed(cfg: DictConfig) -> str:
    """Run the job that Hydra composed, together with those of its group; its row is on disk when this returns.

    Returns:
        The job's id.
    """
    die_with_parent()  # in a worker of a launcher
    stay()
    overrides = list(HydraConfig.get().overrides.task)
    job = _prepared.get(tuple(overrides)) or prepare_jobs([(to_config(cfg), overrides)])[0]
    together = {other.job_id: other for other in (job, *_prepared.values()) if other.group == job.group}
    run_group(list(together.values()), is_wanted)
    return job.job_id


def is_wanted(job: JobSpec) -> bool:
    """Whether a sweep has to run a job: no row says what came of it, or one does that is to be tried again."""
    study = Study(job.config.study_dir)
    row = study.read_row(job.job_id)
    if row is None or row.status == Status.pruned:
        return True
    if row.status == Status.ok:
        return not study.is_done(job.job_id)
    # What failed since the sweep began has had its second try.
    return job.config.retry is Retry.failed and row.started_at < job.asked_at


def run_group(
    jobs: Sequence[JobSpec], is_needed: Callable[[JobSpec], bool], *, rung: Rung | None = None, timeout_s: float | None = None
) -> None:
    """Run jobs of one group in one process and write their rows, unless another sweep does so meanwhile.

    Args:
        jobs: with equal `group`s.
        is_needed: asked of each once nobody else may run it.
        rung: how far to train, for a staged search; None: to the end.
        timeout_s: time for each job, if that is less than what `job.timeout_minutes` allows.
    """
    with claimed(jobs[0].config.study_dir, jobs[0].group):
        if needed := [job for job in jobs if is_needed(job)]:
            _run(needed, rung, timeout_s)


def _run(jobs: Sequence[JobSpec], rung: Rung | None, timeout_s: float | None) -> None:
    """When several do not end well together, each runs in a process of its own, so that the good ones are not lost."""
    first = jobs[0]
    limits = _limits(first.config, timeout_s, len(jobs))
    outcome = run_isolated("harness.job:run_jobs", jobs, _evidence.get(first.trunk), rung, limits=limits)
    if outcome.status is not Status.ok and len(jobs) > 1:
        for job in jobs:
            _run([job], rung, timeout_s)
        return
    if outcome.status is Status.oom and (smaller := first.with_less_memory()) is not None:
        _run([smaller], rung, timeout_s)
        return
    rows = outcome.value or [failed_row(first, outcome.status, outcome.error or "no reason given")]
    for row in rows:
        Study(first.config.study_dir).write_row(row)
    _remember(first, rows[0])


def _limits(cfg: SweepConfig, timeout_s: float | None, num_jobs: int) -> Limits:
    allowed_s = [seconds for seconds in (timeout_s, _seconds(cfg.job.timeout_minutes)) if seconds is not None]
    memory_mib = MEMORY_FRAC * machine_memory_mib() if cfg.job.memory_gib is None else cfg.job.memory_gib * 1024
    return Limits(min(allowed_s) * num_jobs if allowed_s else None, _seconds(cfg.job.stall_minutes), memory_mib)


def _seconds(minutes: float | None) -> float | None:
    return None if minutes is None else minutes * 60


def _remember(job: JobSpec, row: Row) -> None:
    if row.evidence_s is not None:
        reasons = {name: reason for name, reason in row.details.undefined.items() if name in EVIDENCE_COLUMNS}
        _evidence[job.trunk] = {name: getattr(row, name) for name in EVIDENCE_COLUMNS} | {"undefined": reasons}


_evidence: dict[str, dict[str, Any]] = {}
"""Scores of features by trunk, and why some have none, of jobs that this process ran."""

_prepared: dict[tuple[str, ...], JobSpec] = {}
"""Jobs of the sweep that runs in this process; a launcher that uses other processes prepares there again."""


def to_config(cfg: DictConfig) -> SweepConfig:
    """The dataclass behind a composed configuration, validated. Raises ConfigError when a required key has no value."""
    cfg = _without_hydra(cfg)
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise ConfigError(f"{missing[0]}: no value given; add {missing[0]}=... (several, separated by commas, are swept).")
    found = typed(cfg, SweepConfig)
    for key, folder in {"results_dir": found.results_dir, "cache_dir": found.cache_dir, "data.root": found.data.root}.items():
        _require_home(key, folder)
    return found


def _require_home(key: str, folder: str | None) -> None:
    try:
        Path(folder or "").expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"{key}={folder}: ~ stands for no folder, as HOME is not set or there is no such user; give the whole path."
        ) from error


def _without_hydra(cfg: DictConfig) -> DictConfig:
    cfg = copy.deepcopy(cfg)
    with read_write(cfg), open_dict(cfg):
        cfg.pop("hydra", None)
    return cfg


def expand_backbones(values: Sequence[str]) -> list[str]:
    """Globs replaced by the names they match, each name once, in the order given."""
    expanded = (_matching(value) if set(value) & set("*?[") else [value] for value in values)
    return list(dict.fromkeys(itertools.chain.from_iterable(expanded)))


def _matching(value: str) -> list[str]:
    pattern, *weights = value.split("@")
    return ["@".join((name, *weights)) for name in _value(run_isolated("harness.backbones.catalog:expand", pattern))]


def prepare_jobs(wanted: Sequence[tuple[SweepConfig, Overrides]]) -> list[JobSpec]:
    """Make every job exact, before the first one runs.

    Raises:
        ConfigError: all that is wrong with any of them, one problem a line.
    """
    data = _value(
        run_isolated("harness.data.early:load_early", [(cfg.data, cfg.cache_dir, cfg.results_dir) for cfg, _ in wanted], is_light=True)
    )
    jobs, problems = _value(run_isolated("harness.prepare:prepare_all", wanted, data))
    if problems:
        raise ConfigError(NEXT.join(map(one_line, problems)))
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

    def announce(self, num_done: int, num_failed: int = 0) -> None:
        """Say what is about to happen."""
        for job in _one_per_study(self.jobs):
            data = job.dataset
            sizes = f"{len(data.train)} train, {len(data.val)} val, {len(data.test)} test images, {data.num_classes} classes"
            self.say(f"{data.name}: {sizes}; study {job.config.study_dir}")
            for what, sentences in (("read as it is here", data.profile.remarks), ("not used", data.profile.left_out)):
                if sentences:
                    self.say(f"{data.name}: {what}: {' '.join(sentences)}")
        if hit := [damage for job in self.jobs if (damage := Study(job.config.study_dir).damage(job.job_id))]:
            more = f", and {len(hit) - 1} more" if hit[1:] else ""
            self.say(f"{hit[0].name} {hit[0].reason}{more}; what cannot be used is done anew")
        first = self.jobs[0]
        failed = f", {num_failed} failed before (retry=failed tries them again)" if num_failed else ""
        self.say(f"{counted(len(self.jobs), 'job')}, {num_done} already done{failed}, on {first.device.value} in {first.precision.value}")

    def say(self, text: str, style: str = "") -> None:
        """One line, letter by letter: names may hold anything."""
        self.console.print(Text(one_line(runnable(text)), style=style))

    def finished(self, row: Row, num_left: int | None = None) -> None:
        """Say how one job ended: its score or its error, and, when it is known how many are left, how long they may take."""
        self.num_run += 1
        position = "" if num_left is None else f"[{len(self.jobs) - num_left}/{len(self.jobs)}] "
        elapsed_s = time.perf_counter() - self.started
        left = f" · about {duration(elapsed_s / self.num_run * num_left)} left" if num_left else ""
        style = "" if row.status in (Status.ok, Status.pruned) else "red"
        self.say(f"{position}{row.backbone} freeze={row.freeze} seed={row.seed}: {_outcome(row)}{left}", style)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """An interrupt of the block says what is there and how to go on."""
        try:
            yield
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._interrupted()) from None

    def _interrupted(self) -> str:
        done = sum(Study(job.config.study_dir).read_row(job.job_id) is not None for job in self.jobs)
        reports = [f"`{Study(job.config.study_dir).report_command}`" for job in _one_per_study(self.jobs)]
        there = f"; {' or '.join(reports)} ranks what is there" if done else ""
        have = "has" if len(self.jobs) == 1 else "have"
        return f"interrupted: {done} of {counted(len(self.jobs), 'job')} {have} a row; the same command again goes on{there}"


def _outcome(row: Row) -> str:
    if row.status not in (Status.ok, Status.pruned) or row.total_s is None:
        return f"{row.status.upper()}: {row.error}"
    score = getattr(row, f"val_{row.primary_metric}")
    shown = "no score" if score is None else f"{row.primary_metric} {score:.3f} on val"
    if row.status == Status.pruned:
        return f"{shown} after epoch {row.epochs_trained}, took {row.total_s:.0f} s"
    return f"{shown}, took {row.total_s:.0f} s"


def duration(seconds: float) -> str:
    """Seconds in words: `45 s`, `3 min 20 s`, `1 h 4 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def begin(configs: Sequence[tuple[SweepConfig, Overrides]]) -> list[JobSpec]:
    """Make the jobs of a sweep exact and say what is about to happen."""
    require_watchable()
    # Jobs are prepared in another process meanwhile. Not a daemon: ending in the middle of an import is not safe.
    threading.Thread(target=_import_report).start()
    return prepare_jobs(configs)


def _import_report() -> None:
    with suppress(RuntimeError):  # an interrupted command that is ending takes on nothing new
        importlib.import_module("harness.reporting.build")


def require_folders(jobs: Sequence[JobSpec]) -> None:
    """See that rows and features can be written, before the first job runs. Raises StoreError."""
    for cfg in {(job.config.study_dir, job.config.cache_dir): job.config for job in jobs}.values():
        require_writable(Path(cfg.cache_dir).expanduser())
        require_writable(cfg.study_dir)  # last, so that a sweep that is refused leaves no empty study
        note_swept(Study(cfg.study_dir))


def finish(jobs: Sequence[JobSpec], say: Callable[[str], None], evidence_limit_s: float | None = None) -> int:
    """Cross-fit fine-tunes that may be the best, time the networks and write the report of every study that has rows.

    Args:
        jobs: of the sweep.
        say: prints a line.
        evidence_limit_s: what cross-fitting may take; None: what `evidence.minutes` says.

    Returns:
        The exit status: 0 when every job has a row and none has failed. Folds are no jobs that were asked for.
    """
    rows = {job.job_id: row for job in jobs if (row := Study(job.config.study_dir).read_row(job.job_id))}
    cross_fit_within(jobs, say, evidence_limit_s)
    for job in _one_per_study([job for job in jobs if job.job_id in rows]):
        _time(job, {other.protocol_hash for other in jobs if other.config.study == job.config.study}, say)
        _report(_shown([other for other in jobs if other.config.study == job.config.study and other.job_id in rows]))
    if gone := [job for job in jobs if job.job_id not in rows]:
        have = "has" if len(gone) == 1 else "have"
        say(
            f"{len(gone)} of {counted(len(jobs), 'job')} {have} no row any more: files of {gone[0].config.study_dir} were removed while the "
            f"sweep ran; the same command runs what is missing again."
        )
    is_good = all(row.status in (Status.ok.value, Status.pruned.value) for row in rows.values())
    return 0 if is_good and all(job.job_id in rows for job in jobs) else BAD_JOBS


def cross_fit_within(jobs: Sequence[JobSpec], say: Callable[[str], None], limit_s: float | None) -> None:
    """Cross-fit the fine-tunes of each study that may be the best. What cannot be cross-fitted costs evidence, never the report.

    Args:
        jobs: of the sweep; those without a row are passed over.
        say: prints a line.
        limit_s: what it may take at most; None: what `evidence.minutes` says.
    """
    from harness import cross_fit

    jobs = [job for job in jobs if Study(job.config.study_dir).read_row(job.job_id)]
    for first in _one_per_study(jobs):
        own = _shown([job for job in jobs if job.config.study_dir == first.config.study_dir])
        minutes = first.config.evidence.minutes
        allowed_s = [seconds for seconds in (limit_s, None if minutes is None else minutes * 60) if seconds is not None]
        try:
            cross_fit.cross_fit(own, _run_fold, cross_fit.Clock(min(allowed_s)) if allowed_s else cross_fit.Work.of(own), say)
        except HarnessError as error:
            say(f"fine-tunes were not cross-fitted: {error}")


def _run_fold(job: JobSpec) -> Row:
    run_group([job], is_wanted)
    row = Study(job.config.study_dir).read_row(job.job_id)
    return failed_row(job, Status.killed, "its row is gone.") if row is None else row


def _time(job: JobSpec, protocols: Set[str], say: Callable[[str], None]) -> None:
    """What cannot be timed, or not here, costs latencies, never the report."""
    study = Study(job.config.study_dir)
    try:
        if missing := time_networks(study, job.config.measure, _limits(job.config, None, 1), protocols=protocols, say=say):
            say(f"{missing[0]}{f'; {len(missing) - 1} more' if missing[1:] else ''}")
    except HarnessError as error:
        say(f"latencies were not measured: {error} `{study.retime_command}` does so later.")


def _report(jobs: Sequence[JobSpec]) -> None:
    from harness.reporting.build import close_sweep
    from harness.reporting.terminal import print_summary

    first = jobs[0]
    study = Study(first.config.study_dir)
    print_summary(close_sweep(study, first.config.rank, first.protocol_hash), study.report_dir / "index.html")


def _shown(jobs: Sequence[JobSpec]) -> list[JobSpec]:
    """Those of one study that a report can compare: of the protocol that has the most good rows of this sweep, the first of equals."""
    good = Counter(job.protocol_hash for job in jobs if Study(job.config.study_dir).is_done(job.job_id))
    chosen = max(dict.fromkeys(job.protocol_hash for job in jobs), key=lambda name: good[name])
    return [job for job in jobs if job.protocol_hash == chosen]


def _one_per_study(jobs: Sequence[JobSpec]) -> list[JobSpec]:
    """A sweep over data sets fills several studies; any job of one knows its folder and its limits."""
    return list({job.config.study: job for job in jobs}.values())
