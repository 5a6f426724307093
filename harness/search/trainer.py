"""The trials of a search are jobs: where they are is read from their rows, whoever wrote these; what is next is a `pull.Work`.

So a search has no coordinator. Each worker asks for itself, and two that ask at once take different trials, as claims see to that.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from harness.files import write_durably
from harness.jobs.identity import failed_row
from harness.jobs.sharing import candidate_key, head_group_key, head_groups
from harness.jobs.spec import JobSpec
from harness.search.belief import Beliefs
from harness.search.predicted_cost import CostModel, Prediction, Work, total
from harness.search.pull import Task
from harness.search.runner import Sweep, is_wanted
from harness.search.staged import Searching
from harness.search.trial import Ending, Trial
from harness.search.work import typical_forward_s, work_of
from harness.select.posterior import Posterior
from harness.status import Status
from harness.study.claims import is_claimed
from harness.study.row import Row
from harness.study.store import Study
from harness.transfer.rungs import Rung


@dataclass(slots=True)
class JobTrainer:
    """A `staged.Judge` whose trials are jobs."""

    trials: Mapping[str, Sequence[JobSpec]]
    sweep: Sweep
    beliefs: Beliefs
    num_workers: int = 1
    """Everywhere."""
    started: float = field(default_factory=time.perf_counter)
    model: CostModel = field(default_factory=CostModel)
    _believed: tuple[tuple[int, Sequence[str]], Posterior] | None = None
    _num_measured: int = 0

    def look(self, name: str) -> Rung | Status | None:
        """Where a trial is by its rows: a rung, `Status.failed`, or None: nowhere yet."""
        jobs = self.trials[name]
        rows = [Study(job.config.study_dir).read_row(job.job_id) for job in jobs]
        good = [row for row in rows if row is not None]
        rung = Rung.probe if jobs[0].trains_head_only else Rung.whole
        if any(_has_failed(row, job) for row, job in zip(rows, jobs, strict=True)):
            return Status.failed
        if len(good) < len(jobs) or not all(_is_at(row, Rung.short) for row in good):
            return None
        reached = rung if all(_is_at(row, rung) for row in good) else Rung.short
        if any(_is_needed(job, reached) for job in jobs if self.rows.get(name) != good):
            return None
        self._measured(name, good, reached)
        return reached

    def _measured(self, name: str, rows: Sequence[Row], rung: Rung) -> None:
        """Rows of a trial that are new, or of another rung than those before."""
        before = self.rows.get(name)
        if before == rows:
            return
        asked_at = self.trials[name][0].asked_at
        if all(row.started_at >= asked_at for row in rows):
            work = self._work(name, rung, is_tried=before is not None)
            self.model = self.model.observe(name, work, sum(row.total_s or 0.0 for row in rows))
            self.sweep.finished(rows)
        self.beliefs.measured(name, rows)
        self._num_measured += 1

    @property
    def rows(self) -> Mapping[str, Sequence[Row]]:
        """Of each trial, at its latest rung."""
        return self.beliefs.rows

    def believe(self, names: Sequence[str]) -> Posterior:
        """By all rows so far."""
        key = (self._num_measured, names)
        if self._believed is None or self._believed[0] != key:
            self._believed = key, self.beliefs.of(names)
        return self._believed[1]

    def score(self, name: str) -> float | None:
        """By its rows."""
        return self.beliefs.score(name)

    def excluded(self, name: str) -> bool:
        """By the limits that the probe of its backbone tells of."""
        return bool(self.beliefs.excluded(name))

    def predict_s(self, name: str, path: Sequence[Rung]) -> Prediction:
        """By the model of what was measured so far."""
        return total(
            self.model.predict(name, self._work(name, rung, is_tried=name in self.rows or Rung.short in path[:k]))
            for k, rung in enumerate(path)
        )

    def spent_s(self) -> float:
        """Since the search began."""
        return (time.perf_counter() - self.started) * self.num_workers

    def _work(self, name: str, rung: Rung, *, is_tried: bool) -> Work:
        """What it takes to bring a trial to a rung, by what its backbone's probe has measured. `is_tried`: it had a short training before."""
        typical_s = typical_forward_s(rows[0] for rows in self.rows.values())
        return work_of(self.trials[name], rung, self._probe_row(name), typical_s, is_tried=is_tried)

    def _probe_row(self, name: str) -> Row | None:
        """Of the backbone of a trial."""
        backbones = self.beliefs.backbones
        of_backbone = (other for other in self.rows if backbones[other] == backbones[name])
        return next((self.rows[other][0] for other in of_backbone if self.trials[other][0].trains_head_only), None)


@dataclass(eq=False)
class Stages:
    """What is left of a search: a `pull.Work`."""

    searching: Searching
    trainer: JobTrainer
    until_little: bool
    limit_s: float | None = None
    """Jobs are ended when the search has taken so long, by the clock; the first one never is. None: they are not."""
    begun: set[tuple[str, Rung | None]] = field(default_factory=set)
    """Groups that were run here, and how far: none is run twice."""
    lost: set[str] = field(default_factory=set)
    """Trials of which a row is gone that was written here."""
    is_over: bool = False
    _before: dict[str, bytes] = field(default_factory=dict)
    """Rows of jobs that run here, as they were."""

    def tasks(self) -> Iterator[Task]:
        """The groups of trials that the search would train next."""
        self._look()
        due = self.searching.due(until_little=self.until_little)
        self.is_over = not due and not self._is_anyone_at_work()
        for trial, rung in due:
            needed = [job for job in self.trainer.trials[trial.name] if _is_needed(job, rung)]
            for jobs in head_groups(needed).values():
                task = Task(jobs, rung, self._left_s())
                if (task.name, rung) not in self.begun:
                    yield task

    def begin(self, task: Task) -> bool:
        """Whether nobody has brought it so far meanwhile."""
        assert task.rung is not None
        if (task.name, task.rung) in self.begun or not any(_is_needed(job, task.rung) for job in task.jobs):
            return False
        self.begun.add((task.name, task.rung))
        for job in task.jobs:
            if (row := Study(job.config.study_dir).row_bytes(job.job_id)) is not None:
                self._before[job.job_id] = row
        return True

    def returned(self, task: Task) -> None:
        """Another worker may begin it."""
        self.begun.discard((task.name, task.rung))

    def ended(self, task: Task, error: str | None) -> None:
        """A job that the end of the search cut short stays what it was after its last rung."""
        for job in task.jobs:
            study, before = Study(job.config.study_dir), self._before.pop(job.job_id, None)
            row = study.read_row(job.job_id)
            if error is not None and (row is None or row.status == Status.pruned):
                study.write_row(failed_row(job, Status.killed, error))
            elif row is None and (task.name, task.rung) in self.begun:
                self.lost.add(candidate_key(job))
            if row and row.status == Status.timeout and self.limit_s is not None and self._spent_s() >= self.limit_s:
                self.trainer.sweep.progress.say(
                    f"{row.backbone} freeze={row.strategy} seed={row.seed}: the search's time was up while it ran"
                )
                if before is not None:  # to the last byte, as it vouches for the predictions of that rung
                    write_durably(study.row_path(job.job_id), before)
                else:
                    study.write_row(failed_row(job, Status.pruned, "the search's time was up while it ran.", rung=0))

    def _look(self) -> None:
        """Read where the trials are."""
        self._study.skim()
        for trial in self.searching.trials:
            if self.searching.endings.get(trial.name) in {Ending.complete, Ending.failed}:
                continue
            where = Status.failed if trial.name in self.lost else self.trainer.look(trial.name)
            if where is Status.failed:
                self._failed(trial)
            elif isinstance(where, Rung) and self.searching.rungs.get(trial.name) is not where:
                self.searching.reached(trial, where)

    @property
    def _study(self) -> Study:
        return self.trainer.beliefs.study

    def _failed(self, trial: Trial) -> None:
        rows = (Study(job.config.study_dir).read_row(job.job_id) for job in self.trainer.trials[trial.name])
        self.trainer.sweep.finished([row for row in rows if row is not None])
        self.searching.reached(trial, None)

    def _is_anyone_at_work(self) -> bool:
        """Whether a trial that is not at its end is claimed by anybody."""
        ahead = (trial for trial in self.searching.trials if self.searching.endings.get(trial.name) in {None, Ending.time})
        jobs = (job for trial in ahead for job in self.trainer.trials[trial.name])
        return any(is_claimed(job.config.study_dir, name) for name, job in {head_group_key(job): job for job in jobs}.items())

    def _spent_s(self) -> float:
        return self.trainer.spent_s() / self.trainer.num_workers

    def _left_s(self) -> float | None:
        return None if self.limit_s is None or not self.trainer.rows else max(1.0, self.limit_s - self._spent_s())


def _has_failed(row: Row | None, job: JobSpec) -> bool:
    """Whether a job ended badly and is not to be tried again."""
    return row is not None and row.status not in {Status.ok, Status.pruned} and not is_wanted(job)


def _is_at(row: Row, rung: Rung) -> bool:
    """Whether a row is what a job comes to at a rung, or beyond."""
    return row.status == Status.ok or (rung is Rung.short and row.status == Status.pruned and row.epochs_trained is not None)


def _is_needed(job: JobSpec, rung: Rung) -> bool:
    """Whether no row says yet what the job comes to at a rung."""
    study = Study(job.config.study_dir)
    row = study.read_row(job.job_id)
    if row is not None and _is_at(row, rung):
        return not study.has_predictions(job.job_id)
    return is_wanted(job)
