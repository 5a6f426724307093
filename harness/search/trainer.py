"""A `staged.Trainer` whose trials are jobs: run up to a rung, judged by their rows, their cost predicted from what was measured."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.files import write_durably
from harness.jobs.identity import failed_row
from harness.jobs.sharing import head_group_key, head_groups
from harness.jobs.spec import JobSpec
from harness.search.belief import Beliefs
from harness.search.predicted_cost import CostModel, Prediction, Work, total
from harness.search.runner import Sweep, is_wanted
from harness.search.work import typical_forward_s, work_of
from harness.select.posterior import Posterior
from harness.status import Status
from harness.study.claims import claimed
from harness.study.row import Row
from harness.study.store import Study
from harness.transfer.rungs import Rung


@dataclass(slots=True)
class JobTrainer:
    """A `staged.Trainer` whose trials are jobs."""

    trials: Mapping[str, Sequence[JobSpec]]
    sweep: Sweep
    beliefs: Beliefs
    limit_s: float | None
    """Jobs are ended when the search has taken so long."""
    started: float = field(default_factory=time.perf_counter)
    model: CostModel = field(default_factory=CostModel)

    def train(self, name: str, rung: Rung) -> bool:
        """Run the jobs of a trial up to a rung."""
        jobs, work, before = self.trials[name], self._work(name, rung, is_tried=name in self.rows), time.perf_counter()
        todo = [job for job in jobs if _is_needed(job, rung)]
        for group in head_groups(todo).values():
            self._run(group, rung)
        rows = [row for job in jobs if (row := Study(job.config.study_dir).read_row(job.job_id))]
        if len(todo) == len(jobs):
            self.model = self.model.observe(name, work, time.perf_counter() - before)
        for row in rows:
            if row.status == Status.pruned and not _is_at(row, rung):
                self.sweep.progress.say(f"{row.backbone} freeze={row.strategy} seed={row.seed}: the search's time was up while it ran")
            else:
                self.sweep.finished([row])
        if len(rows) < len(jobs) or not all(_is_at(row, rung) for row in rows):
            return False
        self.beliefs.measured(name, rows)
        return True

    def _run(self, jobs: Sequence[JobSpec], rung: Rung) -> None:
        """A job that the end of the search cut short stays what it was after its last rung. The first one is never cut short."""
        paths = {job.job_id: Study(job.config.study_dir).row_path(job.job_id) for job in jobs}
        before = {job_id: path.read_bytes() for job_id, path in paths.items() if path.exists()}
        left_s = None if self.limit_s is None or not self.rows else max(1.0, self.limit_s - self.spent_s())
        with claimed(jobs[0].config.study_dir, head_group_key(jobs[0])):
            if needed := [job for job in jobs if _is_needed(job, rung)]:
                self.sweep.run(needed, rung, left_s)
        for job in jobs:
            study = Study(job.config.study_dir)
            row = study.read_row(job.job_id)
            if row and row.status == Status.timeout and self.limit_s is not None and self.spent_s() >= self.limit_s:
                if job.job_id in before:  # to the last byte, as it vouches for the predictions of that rung
                    write_durably(paths[job.job_id], before[job.job_id])
                else:
                    study.write_row(failed_row(job, Status.pruned, "the search's time was up while it ran.", rung=0))

    @property
    def rows(self) -> Mapping[str, Sequence[Row]]:
        """Of each trial, at its latest rung."""
        return self.beliefs.rows

    def believe(self, names: Sequence[str]) -> Posterior:
        """By all rows so far."""
        return self.beliefs.of(names)

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
        """Since the first probe."""
        return time.perf_counter() - self.started

    def _work(self, name: str, rung: Rung, *, is_tried: bool) -> Work:
        """What it takes to bring a trial to a rung, by what its backbone's probe has measured. `is_tried`: it had a short training before."""
        typical_s = typical_forward_s(rows[0] for rows in self.rows.values())
        return work_of(self.trials[name], rung, self._probe_row(name), typical_s, is_tried=is_tried)

    def _probe_row(self, name: str) -> Row | None:
        """Of the backbone of a trial."""
        backbones = self.beliefs.backbones
        of_backbone = (other for other in self.rows if backbones[other] == backbones[name])
        return next((self.rows[other][0] for other in of_backbone if self.trials[other][0].trains_head_only), None)


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
