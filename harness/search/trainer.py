"""A `staged.Trainer` whose contenders are jobs: run up to a rung, scored, compared on the val images, and predicted from what was measured."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.config import Metric, SweepConfig
from harness.identity import failed_row
from harness.jobspec import JobSpec
from harness.measure.quality import decide
from harness.runner import Progress, is_wanted, run_group
from harness.search.predicted_cost import FACTOR, CostModel, Prediction, Work
from harness.select.comparison import Runs, bootstrap, interval
from harness.select.metric import is_higher_better
from harness.study.disk import write_durably
from harness.study.row import Row, Status
from harness.study.store import Study
from harness.transfer.rungs import search_epochs

PROBE = "all"
"""The freeze depth that every backbone is probed at."""

_JOB_S = 1.5
"""Of a job, whatever its number of images: process, network, head, predictions."""
_FIRST_GUESS_S = 0.02
"""One image through a backbone of which nothing is known yet."""


def backbone_of(job: JobSpec) -> str:
    """What contenders share that differ in depth only."""
    return " ".join(part for part in job.command if not part.startswith(("seed=", "freeze=")))


def is_probe(job: JobSpec) -> bool:
    """Whether the job trains nothing but a head."""
    return str(job.depth) == PROBE


@dataclass(slots=True)
class JobTrainer:
    """A `staged.Trainer` whose contenders are jobs."""

    contenders: Mapping[str, Sequence[JobSpec]]
    progress: Progress
    limit_s: float | None
    """Jobs are ended when the search has taken so long."""
    started: float = field(default_factory=time.perf_counter)
    model: CostModel = field(default_factory=CostModel)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    """Of each contender, at its latest rung."""

    def train(self, name: str, epochs: int) -> float | None:
        """Run the jobs of a contender up to so many epochs."""
        jobs, work, before = self.contenders[name], self._work(name, self._epochs(name), epochs), time.perf_counter()
        todo = [job for job in jobs if _is_needed(job, epochs)]
        groups: dict[str, list[JobSpec]] = {}
        for job in todo:
            groups.setdefault(job.group, []).append(job)
        for group in groups.values():
            self._run(group, epochs)
        rows = [row for job in jobs if (row := Study(job.config.study_dir).read_row(job.job_id))]
        if len(todo) == len(jobs):
            self.model = self.model.observe(name, work, time.perf_counter() - before)
        for row in rows:
            self.progress.finished(row)
        if len(rows) < len(jobs) or any(row.status not in (Status.ok, Status.pruned) or _reached(row) < epochs for row in rows):
            return None
        self.rows[name] = rows
        return self._score(name)

    def _run(self, jobs: Sequence[JobSpec], epochs: int) -> None:
        """A job that the end of the search cut short stays what it was after its last rung. The first one is never cut short."""
        paths = {job.job_id: Study(job.config.study_dir).row_path(job.job_id) for job in jobs}
        before = {job_id: path.read_bytes() for job_id, path in paths.items() if path.exists()}
        left_s = None if self.limit_s is None or not self.rows else max(1.0, self.limit_s - self.spent_s())
        run_group(jobs, lambda job: _is_needed(job, epochs), stop_epochs=epochs, timeout_s=left_s)
        for job in jobs:
            study = Study(job.config.study_dir)
            row = study.read_row(job.job_id)
            if row and row.status == Status.timeout and self.limit_s is not None and self.spent_s() >= self.limit_s:
                if job.job_id in before:  # to the last byte, as it vouches for the predictions of that rung
                    write_durably(paths[job.job_id], before[job.job_id])
                else:
                    study.write_row(failed_row(job, Status.pruned, "the search's time was up while it ran.", rung=0))

    def tied(self, name: str, others: Sequence[str]) -> set[str]:
        """Those whose paired difference on the val images may be nothing."""
        names = [name, *others]
        draws_RK = bootstrap(self._runs(names), self._metric, self._config.rank.num_resamples, [len(self.rows[each]) for each in names])
        ends = [interval(draws_RK[:, 0] - draws_RK[:, k], self._config.rank.confidence) for k in range(1, len(names))]
        return {other for other, found in zip(others, ends, strict=True) if found.low <= 0 <= found.high}

    def predict_s(self, name: str, start: int, stop: int) -> Prediction:
        """By the model of what was measured so far."""
        return self.model.predict(name, self._work(name, start, stop))

    def spent_s(self) -> float:
        """Since the first probe."""
        return time.perf_counter() - self.started

    @property
    def _config(self) -> SweepConfig:
        return next(iter(self.contenders.values()))[0].config

    @property
    def _metric(self) -> Metric:
        job = next(iter(self.contenders.values()))[0]
        return Metric(job.primary_metric) if self._config.rank.metric is Metric.auto else self._config.rank.metric

    def _score(self, name: str) -> float | None:
        values = [getattr(row, f"val_{self._metric.value}") for row in self.rows[name]]
        if any(value is None for value in values):
            return None
        return float(np.mean(values)) * (1 if is_higher_better(self._metric) else -1)

    def _runs(self, names: Sequence[str]) -> Runs:
        study = Study(self._config.study_dir)
        rows = [row for name in names for row in self.rows[name]]
        found = [study.val_predictions(row.job_id) for row in rows]
        labels_N = found[0].labels_N
        said = [decide(each.log_probs_NC, self._metric, np.array(row.details.class_prior)) for row, each in zip(rows, found, strict=True)]
        return Runs(
            predicted_JN=np.stack(said),
            true_log_prob_JN=np.stack([each.log_probs_NC[np.arange(len(labels_N)), labels_N] for each in found]),
            labels_N=labels_N,
            num_classes=found[0].log_probs_NC.shape[1],
        )

    def _epochs(self, name: str) -> int:
        """That a contender is trained for."""
        return min((_reached(row) for row in self.rows.get(name, [])), default=0)

    def _work(self, name: str, start: int, stop: int) -> Work:
        """What it takes to bring a contender from one number of epochs to another, by what its backbone's probe has measured."""
        jobs = self.contenders[name]
        job, probe = jobs[0], self._probe_row(jobs[0])
        num_train, num_val, num_test = (len(split) for split in (job.dataset.train, job.dataset.val, job.dataset.test))
        forward_s = (_forward_s(probe) if probe else None) or self._typical_forward_s()
        if is_probe(job):
            return _work("probe", forward_s, num_train + num_val + num_test, epochs=1, passed=1, trained=0, constant_s=_JOB_S)
        num_rates = len(job.config.train.lr_search)
        epochs = stop - start + (search_epochs(job.config.train.num_epochs) * num_rates if start == 0 and num_rates > 1 else 0)
        num_images, constant_s = (num_train + num_val // 3) * len(jobs), _JOB_S * len(jobs)
        measured_s = probe.details.train_s_per_image.get(str(job.depth)) if probe else None
        if measured_s is not None:
            return _work("train", measured_s / FACTOR, num_images, epochs=epochs, passed=1, trained=1, constant_s=constant_s)
        free = 1 - (job.depth.frozen_frac or 0.0)
        return _work("train", forward_s, num_images, epochs=epochs, passed=free, trained=free, constant_s=constant_s)

    def _probe_row(self, job: JobSpec) -> Row | None:
        return next(
            (
                self.rows[name][0]
                for name, of in self.contenders.items()
                if is_probe(of[0]) and backbone_of(of[0]) == backbone_of(job) and name in self.rows
            ),
            None,
        )

    def _typical_forward_s(self) -> float:
        known = [seconds for rows in self.rows.values() if rows[0].freeze == PROBE and (seconds := _forward_s(rows[0]))]
        return float(np.mean(known)) if known else _FIRST_GUESS_S


def _forward_s(probe: Row) -> float | None:
    """One image through the backbone, as its probe's pass over all images took it, decoding included; None where there was no such pass."""
    num_images = (probe.n_train or 0) + (probe.n_val or 0) + (probe.n_test or 0)
    return probe.features_s / num_images if probe.features_s and num_images else None


def _work(kind: str, forward_s: float, num_images: int, *, epochs: float, passed: float, trained: float, constant_s: float) -> Work:
    return Work(
        kind=kind,
        forward_s=forward_s,
        num_images=num_images,
        epochs=epochs,
        passed_frac=passed,
        trained_frac=trained,
        constant_s=constant_s,
    )


def _reached(row: Row) -> int:
    """Epochs that a job has behind it; a job that ended well has all of them, also where its head needed none."""
    return (row.epochs or 0) if row.status == Status.ok else (row.epochs_trained or 0)


def _is_needed(job: JobSpec, epochs: int) -> bool:
    """Whether no row says yet what the job comes to after so many epochs."""
    study = Study(job.config.study_dir)
    row = study.read_row(job.job_id)
    if row is not None and row.status == Status.pruned:
        return row.epochs_trained != epochs or not study.has_predictions(job.job_id)
    return is_wanted(job)
