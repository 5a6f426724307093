"""Progress of a sweep on the terminal: what is about to run, what a job does, how it ended, and how long the rest will take."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.text import Text

from harness.config import Adapter, Keep
from harness.files import as_typed, free_mib
from harness.jobs.sharing import one_per_study
from harness.jobs.spec import JobSpec
from harness.jobs.timing import expected_s
from harness.process.progress import NotebookBar
from harness.reporting.stage import Stage
from harness.search.time_left import TimeLeft
from harness.status import Status
from harness.study.models import ROOM_MIB, Models
from harness.study.row import Row
from harness.study.store import Study
from harness.text.commands import runnable
from harness.text.console import in_notebook, new_console
from harness.text.counts import counted
from harness.text.untrusted import one_line


@dataclass(eq=False)
class _Running:
    """Jobs of one worker."""

    name: str
    ids: Collection[str]
    doing: str = ""
    started: float = field(default_factory=time.perf_counter)

    def __str__(self) -> str:
        return " · ".join(filter(None, (self.name, self.doing)))


@dataclass
class Progress:
    """One line per job while a sweep runs, with the time left."""

    jobs: Sequence[JobSpec]
    console: Console = field(default_factory=lambda: new_console(soft_wrap=True))
    bar: NotebookBar | None = None
    rows: dict[str, Row] = field(default_factory=dict)
    """Of the jobs that are done, by id."""
    is_search: bool = False
    """Not all of the jobs run."""
    ends_s: float | None = None
    """When a staged search predicts its end, by the clock of `time.perf_counter`; None: it does not yet."""
    time_left: TimeLeft = field(init=False)
    remedy: str = "re-run the same command to resume"
    """The next step after an interrupt, as a clause."""
    num_workers: int = 1
    """That run jobs at once."""
    _running: "list[_Running]" = field(default_factory=list)
    _line: Live | None = None
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _predicted: tuple[int, dict[str, float] | None] = (-1, None)
    """For so many rows, the seconds of each job that has none."""

    def __post_init__(self) -> None:
        self.time_left = TimeLeft(self.jobs)

    def found(self, todo: Collection[str]) -> None:
        """Look at what earlier sweeps have done.

        Args:
            todo: ids of jobs that are to run.
        """
        kept = {job.job_id: Study(job.config.study_dir).read_row(job.job_id) for job in self.jobs if job.job_id not in todo}
        self.rows = {job_id: row for job_id, row in kept.items() if row is not None and row.status != Status.pruned}

    def announce(self, num_done: int, num_failed: int = 0) -> None:
        """Say what is about to happen."""
        for job in one_per_study(self.jobs):
            data = job.dataset
            sizes = f"{len(data.train)} train, {len(data.val)} val, {len(data.test)} test images, {data.num_classes} classes"
            self.say(f"{data.name}: {sizes}; study {as_typed(job.config.study_dir)}")
            for what, sentences in (("read as it is here", data.profile.remarks), ("not used", data.profile.left_out)):
                if sentences:
                    self.say(f"{data.name}: {what}: {' '.join(sentences)}")
        for about in dict.fromkeys(job.about for job in self.jobs if job.about):
            self.say(about)
        if hit := [damage for job in self.jobs if (damage := Study(job.config.study_dir).damage(job.job_id))]:
            more = f", and {len(hit) - 1} more" if hit[1:] else ""
            self.say(f"{hit[0].name} {hit[0].reason}{more}; what cannot be used is done anew")
        self._announce_models()
        first = self.jobs[0]
        failed = f", {num_failed} failed before (retry=failed tries them again)" if num_failed else ""
        self.say(f"{counted(len(self.jobs), 'job')}, {num_done} already done{failed}, on {first.device.value} in {first.precision.value}")

    def _announce_models(self) -> None:
        """Say what the models of jobs that are to run will take on the disk."""
        for first in one_per_study(self.jobs):
            keep, models = first.config.model.keep, Models(Study(first.config.study_dir))
            sizes = [job.model_mib for job in self.jobs if job.config.study_dir == models.study.root and not models.has(job.job_id)]
            known = [size for size in sizes if size is not None]
            if keep is Keep.none or not sizes:
                continue
            parts = [f"at most {sum(known):,.1f} MiB"] * bool(known)
            parts += [f"{counted(len(sizes) - len(known), 'model')} of unknown size"] * (len(known) < len(sizes))
            then = "; those that cannot be recommended are deleted at the end (model.keep=tied)" if keep is Keep.tied else ""
            free = free_mib(models.study.root)
            short = f"; only {free:,.0f} MiB are free there, and what finds no room is not kept" if free < sum(known) + ROOM_MIB else ""
            self.say(f"models: {' and '.join(parts)} in {as_typed(models.folder)}{then}{short}")

    def say(self, text: str, style: str = "") -> None:
        """One line, letter by letter: names may hold anything."""
        self.console.print(Text(one_line(runnable(text)), style=style))

    def finished(self, rows: Sequence[Row], num_left: int | None = None) -> None:
        """Say how jobs that ran together ended, each with its score or its error, and, when it is known how many are left, how long they may take."""
        self.rows |= {row.job_id: row for row in rows if row.fold is None and row.status != Status.pruned}
        if num_left is not None and in_notebook():
            self.bar = self.bar or NotebookBar("jobs", len(self.jobs))
            self.bar.show(len(self.jobs) - num_left)
        for number, row in enumerate(rows, 1):
            position = "" if num_left is None else f"[{len(self.jobs) - num_left - len(rows) + number}/{len(self.jobs)}] "
            left = self.stage().left if num_left and number == len(rows) else ""
            style = "" if row.status in (Status.ok, Status.pruned) else "red"
            self.say(f"{position}{row.backbone} freeze={row.strategy} seed={row.seed}: {_outcome(row)}{left and f' · {left}'}", style)

    def stage(self, doing: str = "", running: Collection[str] = (), running_s: float = 0.0) -> Stage:
        """How far the sweep is.

        Args:
            doing: what it does now.
            running: ids of jobs that run.
            running_s: for how long.
        """
        return Stage(
            num_jobs=len(self.jobs),
            num_done=len(self.rows),
            num_failed=sum(row.status != Status.ok for row in self.rows.values()),
            left_s=self._left_s(running, running_s),
            doing=doing,
            is_search=self.is_search,
        )

    def _left_s(self, running: Collection[str], running_s: float) -> float | None:
        """Of jobs that are not done, and of timing all models."""
        if self.is_search:
            return None if self.ends_s is None else max(self.ends_s - time.perf_counter(), 0.0)
        if self._predicted[0] != len(self.rows):
            self._predicted = len(self.rows), self.time_left.predict_s(self.rows)
        if (needed_s := self._predicted[1]) is None:
            return None
        own_s = sum(needed_s.get(job_id, 0.0) for job_id in running)
        models = {job.backbone.identity for job in self.jobs}
        timing_s = expected_s(len(models), self.jobs[0].config.measure) if self.jobs else 0.0
        return (sum(needed_s.values()) - min(own_s, running_s)) / self.num_workers + timing_s

    @contextmanager
    def watched(self, jobs: Sequence[JobSpec]) -> Iterator[Callable[[str], None] | None]:
        """While jobs run, one line that says what they do and how long the sweep will take; None where there is no terminal."""
        if not self.console.is_terminal or self.console.is_dumb_terminal:
            yield None
            return
        own = _Running(name_of(jobs[0]), frozenset(job.job_id for job in jobs))
        with self._lock:
            self._running.append(own)
            if self._line is None:  # a terminal has one
                self._line = Live(console=self.console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False)
                self._line.start()

        def show(doing: str) -> None:
            own.doing = doing
            self._refresh()

        try:
            yield show
        finally:
            with self._lock:
                self._running.remove(own)
                if not self._running and self._line is not None:
                    self._line.stop()
                    self._line = None

    def _refresh(self) -> None:
        with self._lock:
            if self._line is None:
                return
            ids = frozenset[str]().union(*(each.ids for each in self._running))
            left = self.stage("", ids, min(time.perf_counter() - each.started for each in self._running)).left
            said = one_line(" · ".join(filter(None, ("; ".join(map(str, self._running)), left))))
            self._line.update(Text(said[: self.console.width - 1], no_wrap=True), refresh=True)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Turn an interrupt of the block into a message: what is finished, and how to resume."""
        try:
            yield
        except KeyboardInterrupt:
            raise KeyboardInterrupt(self._interrupted()) from None

    def _interrupted(self) -> str:
        done = sum(Study(job.config.study_dir).read_row(job.job_id) is not None for job in self.jobs)
        reports = [f"`{Study(job.config.study_dir).report_command}`" for job in one_per_study(self.jobs)]
        there = f"; {' or '.join(reports)} ranks what is there" if done else ""
        have = "has" if len(self.jobs) == 1 else "have"
        return f"interrupted: {done} of {counted(len(self.jobs), 'job')} {have} a row; {self.remedy}{there}"


def name_of(job: JobSpec) -> str:
    """What lines call a job."""
    adapter = "" if job.config.adapter is Adapter.none else f" {job.config.adapter.value}"
    fold = "" if job.fold is None else f", fold {job.fold.number + 1}"
    return f"{job.config.backbone} freeze={job.depth}{adapter} seed={job.config.seed}{fold}"


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
