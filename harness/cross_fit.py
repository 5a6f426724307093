"""Fine-tunes that may be the best are cross-fitted, fold by fold, while time is left: who trains next, until when.

Between the jobs of a sweep and its report. Heads are judged out of fold on train and val from the start; a fine-tune on val, until folds are
trained anew. Candidates are ranked by what is there, without the price of latency, which no image changes; those that may be the best get
their next fold, the fewest folds first; and they are ranked again. Torch-free; opens no test predictions.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from threadpoolctl import threadpool_limits

from harness.config import RankConfig
from harness.jobspec import Fold, JobSpec
from harness.select.candidates import Candidate, load_pool
from harness.select.contest import Contest
from harness.select.metric import choose_metric
from harness.select.posterior import POINT
from harness.select.prior import own_ranks
from harness.study.row import Row, Status
from harness.study.store import Study
from harness.transfer.held_out import folds_of
from harness.transfer.rungs import short_epochs
from harness.words import counted

SHARE = 1 / 3
"""Of the time that the jobs of a sweep took, what cross-fitting may take."""
ENOUGH_POINTS = 0.5
"""Expected loss of the recommended at which no more evidence is gathered."""
MIN_PROB_BEST = 0.05
"""A candidate that is the best less probably does not overlap the best."""

MIN_RESAMPLES = 200
"""As few as may be: nothing here is read from them."""
_START_S = 4.0
"""Of a fold besides its training: process, network, activations, predictions."""


class Runner(Protocol):
    """What cross-fitting needs of the world."""

    def __call__(self, job: JobSpec) -> Row:
        """Run a job unless it has a row; its row."""


def limit_s(jobs: Sequence[JobSpec]) -> float:
    """What cross-fitting may take after a sweep (seconds): the user's minutes, or a third of the time that the jobs it ran took."""
    minutes = jobs[0].config.evidence.minutes
    if minutes is not None:
        return minutes * 60
    rows = [(job, Study(job.config.study_dir).read_row(job.job_id)) for job in jobs]
    return SHARE * sum(row.total_s or 0.0 for job, row in rows if row is not None and row.started_at >= job.asked_at)


def cross_fit(jobs: Sequence[JobSpec], run: Runner, limit_s: float, say: Callable[[str], None]) -> None:
    """Cross-fit the fine-tunes of one study that may be the best, until the recommended's expected loss is small or time is up.

    What goes wrong with a fold is a row that says so, and a line; its candidate gets no more folds.

    Args:
        jobs: of the sweep; only their candidates are cross-fitted.
        run: runs one fold.
        limit_s: a fold that is not predicted to end by then is not begun (seconds).
        say: prints a line.

    Raises:
        TableError: the study cannot be ranked.
    """
    work = _Work(jobs, run, limit_s, say)
    while wanted := work.next_round():
        done = [work.do(job) for job in wanted]
        if not any(done):
            return


def may_be_best(study: Study, cfg: RankConfig, protocol: str) -> list[Candidate]:
    """Candidates within the limits whose true score overlaps the best, the recommended among them, the likeliest first.

    None when the recommended is good enough. Latencies are not known yet, so that they neither count nor exclude.
    """
    pool = load_pool(study, protocol)
    if not pool.candidates:
        return []
    by_score = replace(cfg, points_per_doubling=0.0, max_latency_ms=None, num_resamples=MIN_RESAMPLES)
    with threadpool_limits(1, user_api="blas"):
        contest = Contest.of(pool, choose_metric(pool, by_score)[0], by_score, own_ranks(study))
        decision = contest.decision()
        if decision is None or decision.recommended.expected_loss <= ENOUGH_POINTS * POINT:
            return []
        prob_best_K = contest.belief_within().prob_best_K
    first = decision.recommended.position
    near = [k for k in range(len(contest.order)) if k == first or prob_best_K[k] >= MIN_PROB_BEST]
    return [pool.candidates[contest.order[k]] for k in sorted(near, key=lambda k: -prob_best_K[k])]


@dataclass(slots=True)
class _Work:
    """One study's folds under way."""

    jobs: Sequence[JobSpec]
    run: Runner
    limit_s: float
    say: Callable[[str], None]
    started: float = field(init=False)
    begun: set[str] = field(default_factory=set)
    """Folds that were run: whatever became of their rows, none is run twice."""

    def __post_init__(self) -> None:
        self.started = time.monotonic()

    def next_round(self) -> list[JobSpec]:
        """The next fold of each fine-tune that may be the best, of those that have had the fewest."""
        first = self.jobs[0].config
        if self.left_s <= _START_S:
            return []
        due = [job for candidate in may_be_best(self._study, first.rank, self.jobs[0].protocol_hash) for job in self._next_of(candidate)]
        fewest = min((_number(job) for job in due), default=0)
        return [job for job in due if _number(job) == fewest and job.job_id not in self.begun]

    def do(self, job: JobSpec) -> bool:
        """Run a fold if there is time for it."""
        if self._predicted_s(job) > self.left_s:
            return False
        if not self.begun:
            self.say(f"cross-fitting fine-tunes that may be the best, for {counted(round(self.left_s), 'second')} at most")
        self.begun.add(job.job_id)
        row = self.run(job)
        what = f"cross-fitted {row.backbone} freeze={row.freeze} seed={row.seed}: fold {_number(job) + 1} of {folds_of(job.dataset)}"
        if row.status != Status.ok:
            self.say(f"{what} {row.status.upper()}: {row.error}; it gets no more folds")
        else:
            self.say(f"{what} took {row.total_s or 0.0:.0f} s")
        return True

    @property
    def left_s(self) -> float:
        return self.limit_s - (time.monotonic() - self.started)

    @property
    def _study(self) -> Study:
        return Study(self.jobs[0].config.study_dir)

    def _next_of(self, candidate: Candidate) -> Iterator[JobSpec]:
        """One fold for each seed; none for a candidate that was not trained, that is not of this sweep, or one of whose folds went wrong."""
        jobs = {job.job_id: job for job in self.jobs}
        if not all(row.is_trained and row.job_id in jobs for row in candidate.rows):
            return
        folds = [folds_jobs(jobs[row.job_id], row) for row in candidate.rows]
        done = [[self._study.read_row(job.job_id) for job in of_seed] for of_seed in folds]
        if any(row is not None and row.status != Status.ok for of_seed in done for row in of_seed):
            return
        for of_seed, rows in zip(folds, done, strict=True):
            yield from [job for job, row in zip(of_seed, rows, strict=True) if row is None][:1]

    def _predicted_s(self, job: JobSpec) -> float:
        """Of a fold: what one of this candidate took before; for the first, what the candidate itself took to train."""
        own = replace(job, fold=None)
        row = self._study.read_row(own.job_id)
        assert row is not None
        before = [found.total_s for each in folds_jobs(own, row)[: _number(job)] if (found := self._study.read_row(each.job_id))]
        known = [seconds for seconds in before if seconds is not None]
        return max(known) + 1.0 if known else training_s(row) + _START_S


def folds_jobs(job: JobSpec, row: Row) -> list[JobSpec]:
    """A job for each fold of a fine-tune.

    Args:
        job: the candidate's own.
        row: what came of it.
    """
    assert row.lr is not None
    assert row.chosen_epoch is not None
    assert row.temperature is not None
    return [
        replace(job, fold=Fold(number, row.lr, row.chosen_epoch, row.temperature), passing=()) for number in range(folds_of(job.dataset))
    ]


def training_s(row: Row) -> float:
    """What a job took to train at the learning rate that it kept, without the short trainings in which it tried others (seconds)."""
    epochs, num_tried = max(row.epochs or 0, 1), len((row.lrs_tried or "").split())
    if row.rung is not None:
        num_tried -= 1  # a staged search may have done one of them before
    return (row.train_s or 0.0) * epochs / (epochs + max(num_tried, 0) * short_epochs(epochs))


def _number(job: JobSpec) -> int:
    assert job.fold is not None
    return job.fold.number
