"""A sweep in stages: the procedure of `staged` with real jobs behind it. Every backbone is probed, the most promising are trained.

The row of a job that was not trained to the end says how far it came, and why no further.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.clusters.cluster import cluster_of
from harness.config import Adapter, SweepConfig
from harness.errors import ConfigError
from harness.jobs.identity import failed_row, now
from harness.jobs.sharing import backbone_key, candidate_key
from harness.jobs.spec import JobSpec
from harness.jobs.timing import expected_s
from harness.jobs.to_fetch import fetching_ahead
from harness.reporting.stage import at_the_end
from harness.search.belief import Beliefs
from harness.search.closing import close, cross_fit_within
from harness.search.display import duration
from harness.search.grid import announced, planned
from harness.search.promise import ALLOWED_LOSS
from harness.search.pull import Crew
from harness.search.runner import Asked, Sweep, begin, require_folders
from harness.search.staged import Budget, History, Plan, Searching
from harness.search.trainer import JobTrainer, Stages
from harness.search.trial import Ending, Outcome, Trial
from harness.select.prior import own_ranks, prior
from harness.status import Status
from harness.study.store import Study
from harness.text.counts import counted

_REPORT_S = 6.0
"""Kept back from the user's minutes for the report."""
_START_S = 1.5
"""Spent before the sweeper's clock starts: the interpreter and Hydra."""


def run_search(asked: Sequence[Asked], started: float) -> int:
    """Search among the jobs of a grid, then write the report. Returns the exit status.

    Args:
        asked: the jobs of the grid, one of every backbone with nothing but its head trained among them.
        started: `time.perf_counter()` when the command began.

    Raises:
        ConfigError: a recipe that cannot be stopped and resumed, or jobs that cannot be compared.
    """
    sweep = begin(asked, started)
    _require_stages(sweep.jobs)
    cluster = cluster_of(sweep.jobs[0].config)
    require_folders(sweep.jobs)
    sweep.progress.is_search = True
    if cluster is not None:
        from harness.search.follow import submit

        return submit(sweep, cluster)
    close_plan = planned(sweep)
    todo = announced(sweep)
    stages = StagedSweep(sweep, len(sweep.places), time.perf_counter())
    with sweep.progress.interruptible(), sweep.live, fetching_ahead(todo):
        stages.run()
        stages.account()
        sweep.tell(at_the_end)
        sweep.live.be_quiet()
        status = close(sweep)
    close_plan(status)
    return status


class StagedSweep:
    """The search of one process's workers, from its first probe to its last fold; those of other processes search on the same rows."""

    def __init__(self, sweep: Sweep, num_workers: int, started: float) -> None:
        """Look at the jobs.

        Args:
            sweep: all of them.
            num_workers: everywhere.
            started: when the search began, by the clock of `time.perf_counter`.
        """
        self.sweep, self.num_workers = sweep, num_workers
        first = sweep.jobs[0].config
        self.trials = _trials(sweep.jobs)
        backbones = {name: backbone_key(of[0]) for name, of in self.trials.items()}
        self.limit_s = _limit_s(sweep, len(set(backbones.values())), started)
        self.trainer = JobTrainer(self.trials, sweep, _beliefs(first, self.trials, backbones), num_workers, started)
        found = [Trial(name, backbones[name], _prior(of[0]), of[0].trains_head_only) for name, of in self.trials.items()]
        budget = Budget(self.limit_s, first.budget.share, num_workers)
        self.searching = Searching(found, self.trainer, budget, lambda plan: _tell(plan, sweep, num_workers))

    def run(self) -> bool:
        """Search until further training would gain little; with a time given, gather other evidence, and search on until nothing fits.

        Returns:
            False: workers elsewhere are at something still, and the patience of those here is over.
        """
        is_over = self._search(until_little=True)
        if is_over and self.limit_s is not None:
            is_over = cross_fit_within(self.sweep, self._left_s())
        if is_over and self.searching.budget.is_given:
            is_over = self._search(until_little=False)
        return is_over and cross_fit_within(self.sweep, self._left_s())

    def account(self) -> None:
        """A row that says why for every job that the search did not finish, and what it took; once nobody searches any more."""
        history = self.searching.history()
        _write_reasons(self.trials, history, self.trainer)
        record = _record(history, self.num_workers)
        Study(self.sweep.jobs[0].config.study_dir).note_search(record)
        self.sweep.progress.say(_record_words(record))

    def _search(self, *, until_little: bool) -> bool:
        return Crew(self.sweep, Stages(self.searching, self.trainer, until_little, self.limit_s), self.sweep.places).run()

    def _left_s(self) -> float | None:
        """By the clock."""
        return None if self.limit_s is None else self.limit_s - self.trainer.spent_s() / self.num_workers


def _tell(plan: Plan, sweep: Sweep, num_workers: int) -> None:
    if not plan.is_probing:
        sweep.progress.ends_s = time.perf_counter() + plan.rest_s.value_s / num_workers
    sweep.progress.say(_plan_words(plan, num_workers))


def _limit_s(sweep: Sweep, num_models: int, started: float) -> float | None:
    """Seconds from the search's start that the user's minutes leave for trials."""
    cfg = sweep.jobs[0].config
    if cfg.budget.minutes is None:
        return None
    gone_s = started - sweep.started + _START_S
    kept_s = _REPORT_S + expected_s(num_models, cfg.measure)
    return max(cfg.budget.minutes * 60 - gone_s - kept_s, 0.0)


def _beliefs(first: SweepConfig, trials: Mapping[str, Sequence[JobSpec]], backbones: Mapping[str, str]) -> Beliefs:
    study = Study(first.study_dir)
    before = {name: failed_row(of[0], Status.pruned, "not trained yet") for name, of in trials.items()}
    return Beliefs(study, first.rank, own_ranks(study), before, backbones)


def _require_stages(jobs: Sequence[JobSpec]) -> None:
    if any(job.config.adapter is not Adapter.none for job in jobs):
        raise ConfigError("search=staged: predicts and judges freeze depths, not adapters; give search=grid for these.")
    recipes = {(job.config.train.num_epochs, job.config.train.release) for job in jobs}
    if len(recipes) > 1 or any(release is not None or epochs < 1 for epochs, release in recipes):
        raise ConfigError(
            "search=staged: needs one train.epochs of 1 or more for all jobs, and no train.release; give search=grid for these."
        )
    if len({(job.config.study, job.protocol_hash) for job in jobs}) > 1:
        raise ConfigError("search=staged: searches one data set in one study at a time; run one sweep for each, or give search=grid.")


def _trials(jobs: Sequence[JobSpec]) -> dict[str, list[JobSpec]]:
    """Jobs that differ in their seed only are one trial."""
    found: dict[str, list[JobSpec]] = {}
    for job in jobs:
        found.setdefault(candidate_key(job), []).append(job)
    return found


def _prior(job: JobSpec) -> float | None:
    return prior(failed_row(job, Status.pruned, "not trained yet"))


def _write_reasons(trials: Mapping[str, Sequence[JobSpec]], history: History, trainer: JobTrainer) -> None:
    """A row that says why for every job that the search did not finish; one that had a short training keeps what it came to there."""
    for outcome in history.outcomes:
        if outcome.ending in (Ending.complete, Ending.failed):
            continue
        limits = trainer.beliefs.excluded(outcome.trial.name)
        for job in trials[outcome.trial.name]:
            study = Study(job.config.study_dir)
            row = study.read_row(job.job_id)
            if row is None or row.status != Status.ok:
                has_scores = row is not None and row.status == Status.pruned and study.has_predictions(job.job_id)
                kept = row if row is not None and has_scores else failed_row(job, Status.pruned, "", rung=0)
                study.write_row(replace(kept, error=_reason(outcome, history.left_s, limits, was_trained=has_scores)))


def _reason(outcome: Outcome, left_s: float | None, limits: Sequence[str], *, was_trained: bool) -> str:
    """Why a trial went no further."""
    how_far = "only trained shortly" if was_trained else "not trained"
    chance = "" if outcome.prob_better is None else f"better than the best that was trained with a probability of {outcome.prob_better:.0%}"
    if outcome.ending is Ending.limit:
        return f"{how_far}: {'; '.join(limits)}."
    if outcome.ending is Ending.probe:
        return f"{how_far}: the linear probe of its backbone failed."
    if outcome.ending is Ending.unlikely:
        return f"{how_far}: {chance}, and going on with all that is left would gain less than {100 * ALLOWED_LOSS:g} points."
    time_s = f"it needs about {duration(outcome.needed_s)}, and {duration(max(left_s or 0.0, 0.0))} were left"
    return f"{how_far}: {time_s}{'; ' + chance if chance else ''}."


def _plan_words(plan: Plan, num_workers: int) -> str:
    ends_s = (plan.spent_s + plan.rest_s.value_s) / num_workers
    low, high = (duration((plan.spent_s + part) / num_workers) for part in (plan.rest_s.low_s, plan.rest_s.high_s))
    what = f"{counted(len(plan.names), 'linear probe' if plan.is_probing else 'candidate')} {'first' if plan.is_probing else 'to train, as predicted now'}"
    if plan.is_probing:
        return f"search: {what}, about {duration(plan.rest_s.value_s / num_workers)}"
    share = "" if plan.is_whole else f", {plan.share_frac:.0%} of the {duration(plan.grid_s.value_s / num_workers)} of the whole grid"
    return f"search: {what}; it ends after about {duration(ends_s)} ({low} to {high}){share}"


def _record(history: History, num_workers: int) -> dict[str, Any]:
    """What was predicted after the probes, and what it took, by the clock."""
    plan = history.plans[-1]
    return {
        "ended_at": now(),
        "spent_s": history.spent_s / num_workers,
        "predicted_s": (plan.spent_s + plan.rest_s.value_s) / num_workers,
        "predicted_low_s": (plan.spent_s + plan.rest_s.low_s) / num_workers,
        "predicted_high_s": (plan.spent_s + plan.rest_s.high_s) / num_workers,
        "grid_s": plan.grid_s.value_s / num_workers,
        "left_s": None if history.left_s is None else history.left_s / num_workers,
        "num_candidates": len(history.outcomes),
        "num_finished": sum(outcome.ending is Ending.complete for outcome in history.outcomes),
    }


def _record_words(record: Mapping[str, Any]) -> str:
    return (
        f"search: took {duration(record['spent_s'])}; {duration(record['predicted_s'])} were predicted after the probes; "
        f"{record['num_finished']} of {counted(record['num_candidates'], 'candidate')} trained, all would take about {duration(record['grid_s'])}"
    )
