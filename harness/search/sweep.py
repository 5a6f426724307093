"""A sweep in stages: the procedure of `staged` with real jobs behind it. Every backbone is probed, the most promising are trained.

Jobs run one by one on this machine. One that is stopped after a rung keeps a snapshot until the search ends, and its row says so.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from harness.config import SweepConfig
from harness.errors import ConfigError
from harness.identity import failed_row, now
from harness.jobspec import JobSpec
from harness.runner import Overrides, Progress, begin, duration, finish, require_folders
from harness.search.staged import Contender, History, Plan, Stop, search
from harness.search.trainer import JobTrainer, backbone_of, is_probe
from harness.select.prior import prior
from harness.study.row import Status
from harness.study.store import Study
from harness.timing import expected_s

_REPORT_S = 6.0
"""Kept back from the user's minutes for the report."""
_START_S = 1.5
"""Spent before the sweeper's clock starts: the interpreter and Hydra."""
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
    require_folders(jobs)
    contenders = _contenders(jobs)
    progress = Progress(jobs)
    progress.announce(num_done=sum(Study(job.config.study_dir).is_done(job.job_id) for job in jobs))
    gone_s = time.perf_counter() - started + _START_S
    kept_s = _REPORT_S + expected_s(len({backbone_of(job) for job in jobs}), first.measure)
    limit_s = None if first.budget.minutes is None else first.budget.minutes * 60 - gone_s - kept_s
    trainer = JobTrainer(contenders, progress, limit_s)
    with progress.interruptible():
        found = [
            Contender(name, backbone_of(of[0]), of[0].backbone.family, _prior(of[0]), is_probe(of[0])) for name, of in contenders.items()
        ]
        history = search(
            found,
            trainer,
            epochs=first.train.num_epochs,
            budget_s=limit_s,
            share=first.budget.share,
            tell=lambda plan: progress.say(_plan_words(plan)),
        )
        _write_pruned(contenders, history)
        record = _record(history)
        Study(first.study_dir).note_search(record)
        progress.say(_record_words(record))
        for job in jobs:
            Study(job.config.study_dir).snapshot_path(job.job_id).unlink(missing_ok=True)
        return finish(jobs, progress.say)


def _require_stages(jobs: Sequence[JobSpec]) -> None:
    recipes = {(job.config.train.num_epochs, job.config.train.release) for job in jobs}
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


def _prior(job: JobSpec) -> float | None:
    return prior(failed_row(job, Status.pruned, "not trained yet"))


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
    where = "time left" if plan.is_filling else f"rung {plan.rung}"
    dropped = f", {len(plan.dropped)} left out for lack of time" if plan.dropped else ""
    share = "" if plan.is_whole else f", {plan.share_frac:.0%} of the {duration(plan.grid_s.value_s)} of the whole grid"
    return f"{where}: {len(plan.names)} {what}{dropped}; the search ends after about {duration(ends_s)} ({low} to {high}){share}"


def _record(history: History) -> dict[str, Any]:
    """What was predicted after the probes, and what it took."""
    plan = history.rungs[:2][-1].plan
    return {
        "ended_at": now(),
        "spent_s": history.spent_s,
        "predicted_s": plan.spent_s + plan.rest_s.value_s,
        "predicted_low_s": plan.spent_s + plan.rest_s.low_s,
        "predicted_high_s": plan.spent_s + plan.rest_s.high_s,
        "grid_s": history.rungs[-1].plan.grid_s.value_s,
        "num_candidates": len(history.standings),
        "num_finished": sum(standing.stop is Stop.complete for standing in history.standings),
    }


def _record_words(record: Mapping[str, Any]) -> str:
    return (
        f"search: took {duration(record['spent_s'])}; {duration(record['predicted_s'])} were predicted after the probes; "
        f"all {record['num_candidates']} candidates in full would take about {duration(record['grid_s'])}"
    )
