"""A sweep in stages: the procedure of `select.staged` with real jobs behind it. Every backbone is probed, the most promising are trained.

Jobs run one by one on this machine. One that is stopped after a rung keeps a snapshot until the search ends, and its row says so.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.config import Metric, SweepConfig
from harness.errors import ConfigError
from harness.identity import failed_row, now
from harness.jobspec import JobSpec
from harness.runner import Overrides, Progress, begin, duration, finish, run_group
from harness.select.comparison import Runs, bootstrap, interval
from harness.select.metric import is_higher_better
from harness.select.predicted_cost import CostModel, Prediction, Work
from harness.select.prior import prior
from harness.select.staged import Contender, History, Plan, Stop, search
from harness.study.row import Row, Status
from harness.study.store import Study
from harness.transfer.rungs import rungs

PROBE = "all"
"""The freeze depth that every backbone is probed at."""

_REPORT_S = 6.0
"""Kept back from the user's minutes for the report."""
_START_S = 1.5
"""Spent before the sweeper's clock starts: the interpreter and Hydra."""
_JOB_S = 1.5
"""Of a job, whatever its number of images: process, network, head, predictions."""
_FIRST_GUESS_S = 0.02
"""One image through a backbone of which nothing is known yet."""
_IN_TIME = {Stop.backbone: "pruned with its backbone after the probes", Stop.rung: "pruned", Stop.budget: "there was no time left for it"}


def run_search(configs: Sequence[tuple[SweepConfig, Overrides]], started: float) -> int:
    """Search among the jobs of a grid, then write the report. Returns the exit status.

    Args:
        configs: one configuration per job of the grid, one of every backbone at `PROBE`, with the overrides that composed it.
        started: `time.perf_counter()` when the command began.

    Raises:
        ConfigError: a recipe that cannot be stopped and taken up, or jobs that cannot be compared.
    """
    jobs = begin(configs)
    first = jobs[0].config
    _require_stages(jobs)
    contenders = _contenders(jobs)
    progress = Progress(jobs)
    progress.announce(num_done=sum(Study(job.config.study_dir).is_done(job.job_id) for job in jobs))
    gone_s = time.perf_counter() - started + _START_S
    limit_s = None if first.budget.minutes is None else first.budget.minutes * 60 - gone_s - _REPORT_S
    trainer = JobTrainer(contenders, progress, limit_s)
    status = 0
    try:
        found = [
            Contender(name, _backbone(of[0]), of[0].backbone.family, _prior(of[0]), _is_probe(of[0])) for name, of in contenders.items()
        ]
        history = search(
            found, trainer, epochs=first.train.epochs, budget_s=limit_s, share=None if limit_s else first.budget.share, tell=trainer.tell
        )
        _write_pruned(contenders, history)
        trainer.conclude(history)
    finally:
        for job in jobs:
            Study(job.config.study_dir).snapshot_path(job.job_id).unlink(missing_ok=True)
        status = finish(jobs)
    return status


def _require_stages(jobs: Sequence[JobSpec]) -> None:
    recipes = {(job.config.train.epochs, job.config.train.release) for job in jobs}
    if len(recipes) > 1 or any(release is not None or epochs < 1 for epochs, release in recipes):
        raise ConfigError(
            "search=staged: needs one train.epochs of 1 or more for all jobs, and no train.release; give search=grid for these."
        )
    if len({(job.config.study, job.protocol_hash) for job in jobs}) > 1:
        raise ConfigError("search=staged: searches one data set in one study at a time; run one sweep for each, or give search=grid.")


def _contenders(jobs: Sequence[JobSpec]) -> dict[str, list[JobSpec]]:
    """Jobs that differ in their seed only are one contender."""
    found: dict[str, list[JobSpec]] = {}
    for job in jobs:
        found.setdefault(" ".join(part for part in job.command if not part.startswith("seed=")), []).append(job)
    return found


def _backbone(job: JobSpec) -> str:
    """What contenders share that differ in depth only."""
    return " ".join(part for part in job.command if not part.startswith(("seed=", "freeze=")))


def _is_probe(job: JobSpec) -> bool:
    return str(job.depth) == PROBE


def _prior(job: JobSpec) -> float | None:
    return prior(failed_row(job, Status.pruned, "not trained yet"))


@dataclass(slots=True)
class JobTrainer:
    """A `select.staged.Trainer` whose contenders are jobs."""

    contenders: Mapping[str, Sequence[JobSpec]]
    progress: Progress
    limit_s: float | None
    """Jobs are ended when the search has taken so long."""
    started: float = field(default_factory=time.perf_counter)
    model: CostModel = field(default_factory=CostModel)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    """Of each contender, at its latest rung."""
    plans: list[Plan] = field(default_factory=list)

    def train(self, name: str, epochs: int) -> float | None:
        """Run the jobs of a contender up to so many epochs."""
        jobs, work, before = self.contenders[name], self._work(name, self._epochs(name), epochs), time.perf_counter()
        todo = [job for job in jobs if not _is_there(job, epochs)]
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
        if len(rows) < len(jobs) or any(row.status not in (Status.ok, Status.pruned) or (row.epochs_trained or 0) < epochs for row in rows):
            return None
        self.rows[name] = rows
        return self._score(name)

    def _run(self, jobs: Sequence[JobSpec], epochs: int) -> None:
        """A job that the end of the search cut short stays what it was after its last rung. The first one is never cut short."""
        before = {job.job_id: Study(job.config.study_dir).read_row(job.job_id) for job in jobs}
        left_s = None if self.limit_s is None or not self.rows else max(1.0, self.limit_s - self.spent_s())
        run_group(jobs, stop_epochs=epochs, timeout_s=left_s)
        for job in jobs:
            study, earlier = Study(job.config.study_dir), before[job.job_id]
            row = study.read_row(job.job_id)
            if row and row.status == Status.timeout and self.limit_s is not None and self.spent_s() >= self.limit_s:
                study.write_row(earlier or failed_row(job, Status.pruned, "the search's time was up while it ran.", rung=0))

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

    def tell(self, plan: Plan) -> None:
        """Print what comes next and how long it may take."""
        self.plans.append(plan)
        self.progress.say(_plan_words(plan))

    def conclude(self, history: History) -> None:
        """Compare what was predicted after the probes with what it took."""
        plan = self.plans[min(1, len(self.plans) - 1)]
        found: dict[str, Any] = {
            "ended_at": now(),
            "spent_s": history.spent_s,
            "predicted_s": plan.spent_s + plan.rest_s.value_s,
            "predicted_low_s": plan.spent_s + plan.rest_s.low_s,
            "predicted_high_s": plan.spent_s + plan.rest_s.high_s,
            "grid_s": self.plans[-1].grid_s.value_s,
            "num_candidates": len(self.contenders),
            "num_finished": sum(standing.stop is Stop.complete for standing in history.standings),
        }
        Study(self._config.study_dir).note_search(found)
        self.progress.say(
            f"search: took {duration(history.spent_s)}; {duration(found['predicted_s'])} were predicted after the probes; "
            f"all {len(self.contenders)} candidates in full would take about {duration(found['grid_s'])}"
        )

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
        found = [study.val_predictions(row.job_id) for name in names for row in self.rows[name]]
        labels_N = found[0].labels_N
        return Runs(
            predicted_JN=np.stack([each.log_probs_NC.argmax(axis=1) for each in found]),
            true_log_prob_JN=np.stack([each.log_probs_NC[np.arange(len(labels_N)), labels_N] for each in found]),
            labels_N=labels_N,
            num_classes=found[0].log_probs_NC.shape[1],
        )

    def _epochs(self, name: str) -> int:
        """That a contender is trained for."""
        return min((row.epochs_trained or 0 for row in self.rows.get(name, [])), default=0)

    def _work(self, name: str, start: int, stop: int) -> Work:
        """What it takes to bring a contender from one number of epochs to another, by what its backbone's probe has measured."""
        jobs = self.contenders[name]
        job, probe = jobs[0], self._probe_row(jobs[0])
        num_train, num_val, num_test = (len(split) for split in (job.dataset.train, job.dataset.val, job.dataset.test))
        forward_s = 1 / probe.throughput_ips if probe and probe.throughput_ips else self._typical_forward_s()
        if _is_probe(job):
            timing_s = job.config.measure.warm_up_s + 3 * job.config.measure.timing_s  # of single images, and of batches that take longer
            return _work("probe", forward_s, num_train + num_val + num_test, epochs=1, passed=1, trained=0, constant_s=_JOB_S + timing_s)
        num_rates = len(job.config.train.lr_search)
        epochs = stop - start + (rungs(job.config.train.epochs)[0] * (num_rates - 1) if start == 0 else 0)
        free = 1 - self._frozen_frac(job, probe)
        passed = 1.0 if job.config.train.augment.value != "none" and job.config.train.views == 1 else free
        num_images = (num_train + num_val // 3) * len(jobs)
        return _work("train", forward_s, num_images, epochs=epochs, passed=passed, trained=free, constant_s=_JOB_S * len(jobs))

    def _probe_row(self, job: JobSpec) -> Row | None:
        return next(
            (
                self.rows[name][0]
                for name, of in self.contenders.items()
                if _is_probe(of[0]) and _backbone(of[0]) == _backbone(job) and name in self.rows
            ),
            None,
        )

    def _typical_forward_s(self) -> float:
        known = [1 / rows[0].throughput_ips for rows in self.rows.values() if rows[0].throughput_ips]
        return float(np.mean(known)) if known else _FIRST_GUESS_S

    def _frozen_frac(self, job: JobSpec, probe: Row | None) -> float:
        """Share of the multiply-adds that is fixed; before the probe, that of the blocks."""
        known = probe.details.frozen_macs_frac.get(str(job.depth)) if probe else None
        return known if known is not None else job.depth.frozen_frac or 0.0


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


def _is_there(job: JobSpec, epochs: int) -> bool:
    """Whether a row says what the job comes to after so many epochs."""
    study = Study(job.config.study_dir)
    row = study.read_row(job.job_id)
    if row is None or row.status not in (Status.ok, Status.pruned) or not study.predictions_path(job.job_id).exists():
        return False
    return row.status == Status.ok or (row.epochs_trained or 0) == epochs


def _write_pruned(contenders: Mapping[str, Sequence[JobSpec]], history: History) -> None:
    """A row for every job that the search did not finish; one that went through a rung has what it came to there."""
    for standing in history.standings:
        for job in contenders[standing.contender.name] if standing.stop in _IN_TIME else ():
            study = Study(job.config.study_dir)
            row = study.read_row(job.job_id)
            if row is None or row.status not in (Status.ok, Status.pruned):
                study.write_row(failed_row(job, Status.pruned, f"{_IN_TIME[standing.stop]}.", rung=0))


def _plan_words(plan: Plan) -> str:
    ends_s = plan.spent_s + plan.rest_s.value_s
    low, high = (duration(plan.spent_s + part) for part in (plan.rest_s.low_s, plan.rest_s.high_s))
    what = "probes" if plan.rung == 0 else f"candidates up to epoch {plan.epochs}"
    dropped = f", {len(plan.dropped)} left out for lack of time" if plan.dropped else ""
    share = "" if plan.is_whole else f", {plan.share_frac:.0%} of the {duration(plan.grid_s.value_s)} of the whole grid"
    return f"rung {plan.rung}: {len(plan.names)} {what}{dropped}; the search ends after about {duration(ends_s)} ({low} to {high}){share}"
