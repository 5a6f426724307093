"""Fine-tunes that may be the best are cross-fitted, fold by fold, while time is left: which one trains next, until when.

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
from harness.jobs.spec import Fold, JobSpec
from harness.select.candidates import Candidate, load_pool
from harness.select.contest import Contest
from harness.select.metric import choose_metric, needs_probabilities
from harness.select.posterior import POINT
from harness.select.prior import own_ranks
from harness.status import Status
from harness.study.row import Row
from harness.study.store import Study
from harness.text.counts import counted
from harness.transfer.held_out import folds_of
from harness.transfer.rungs import short_epochs

SHARE = 1 / 3
"""Of the work that the jobs of a sweep did, what cross-fitting may do where no time was given."""
ENOUGH_POINTS = 0.5
"""Expected loss of the recommended at which no more evidence is gathered."""
MIN_PROB_BEST = 0.05
"""A candidate that is the best less probably does not overlap the best."""

MIN_RESAMPLES = 200
"""As few as may be: nothing here is read from them."""
_START_S = 4.0
"""Of a fold besides its training: process, model, activations, predictions."""


class Runner(Protocol):
    """What cross-fitting needs from its caller."""

    def __call__(self, job: JobSpec) -> Row:
        """Run a job unless it has a row; its row."""


class Room(Protocol):
    """How much may be done."""

    def take(self, job: JobSpec, row: Row) -> bool:
        """Whether a fold still fits. If so, it is counted.

        Args:
            job: the fold.
            row: of its candidate.
        """

    def __str__(self) -> str:
        """In words."""


@dataclass(slots=True)
class Work:
    """A share of the work of the sweep's own jobs, in multiply-adds: which folds are run does not depend on how busy the machine is."""

    left: float

    @classmethod
    def of(cls, jobs: Sequence[JobSpec]) -> "Work":
        """A third of what the jobs that this sweep ran did."""
        rows = [(job, Study(job.config.study_dir).read_row(job.job_id)) for job in jobs]
        ran = [row for job, row in rows if row is not None and row.started_at >= job.asked_at]
        return cls(SHARE * sum(_work(row, row.n_train or 0, _num_epochs(row)) for row in ran))

    def take(self, job: JobSpec, row: Row) -> bool:
        num_images = len(job.dataset.train) + len(job.dataset.val)
        needed = _work(row, num_images - num_images // folds_of(job.dataset), row.epochs or 0)
        if needed > self.left:
            return False
        self.left -= needed
        return True

    def __str__(self) -> str:
        return "for a third of the work of the jobs at most"


def _work(row: Row, num_images: int, num_epochs: int) -> float:
    """Multiply-adds of training, up to a factor that is the same for all; 0 for a head."""
    return (row.gmacs or 0.0) * (1.0 - (row.frozen_macs_frac or 0.0)) * num_images * num_epochs if row.is_trained else 0.0


def _num_epochs(row: Row) -> int:
    """Those of the short trainings as well."""
    epochs = row.epochs or 0
    return epochs + len((row.lrs_tried or "").split()) * short_epochs(epochs)


@dataclass(slots=True)
class Clock:
    """Seconds from now. A fold that is not predicted to end by then is not begun."""

    limit_s: float
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = time.monotonic()

    def take(self, job: JobSpec, row: Row) -> bool:
        return _predicted_s(job, row) <= self.left_s

    @property
    def left_s(self) -> float:
        return self.limit_s - (time.monotonic() - self.started)

    def __str__(self) -> str:
        return f"for {counted(round(self.left_s), 'second')} at most"


def _predicted_s(job: JobSpec, row: Row) -> float:
    """Of a fold: what one of this candidate took before; for the first, what the candidate itself took to train."""
    study = Study(job.config.study_dir)
    before = [found.total_s for each in folds_jobs(replace(job, fold=None), row)[: _number(job)] if (found := study.read_row(each.job_id))]
    known = [seconds for seconds in before if seconds is not None]
    return max(known) + 1.0 if known else training_s(row) + _START_S


def cross_fit(jobs: Sequence[JobSpec], run: Runner, room: Room, say: Callable[[str], None]) -> None:
    """Cross-fit the fine-tunes of one study that may be the best, until the recommended's expected loss is small or there is no more room.

    What goes wrong with a fold is a row that says so, and a line; its candidate gets no more folds.

    Args:
        jobs: of the sweep; only their candidates are cross-fitted.
        run: runs one fold.
        room: how much may be done.
        say: prints a line.

    Raises:
        TableError: the study cannot be ranked.
    """
    rounds = _Rounds(jobs, run, room, say)
    while wanted := rounds.next():
        done = [rounds.do(job) for job in wanted]
        if not any(done):
            return


def may_be_best(study: Study, cfg: RankConfig, protocol: str) -> list[Candidate]:
    """Candidates within the limits whose true score overlaps the best, the recommended among them, the likeliest first.

    None when the recommended is good enough. Latencies are not known yet, so that they neither count nor exclude.
    """
    pool = load_pool(study, protocol, keeps_probabilities=needs_probabilities(cfg))
    if not pool.candidates:
        return []
    by_score = replace(cfg, points_per_doubling=0.0, max_latency_ms=None, num_resamples=MIN_RESAMPLES)
    with threadpool_limits(1, user_api="blas"):
        contest = Contest.of(pool, choose_metric(pool, by_score)[0], by_score, own_ranks(study))
        first = contest.picks().recommended if contest.order else None
        if first is None or first.expected_loss <= ENOUGH_POINTS * POINT:
            return []
        prob_best_K = contest.belief_within().prob_best_K
    near = [k for k in range(len(contest.order)) if k == first.position or prob_best_K[k] >= MIN_PROB_BEST]
    return [pool.candidates[contest.order[k]] for k in sorted(near, key=lambda k: -prob_best_K[k])]


@dataclass(slots=True)
class _Rounds:
    """One study's folds under way."""

    jobs: Sequence[JobSpec]
    run: Runner
    room: Room
    say: Callable[[str], None]
    begun: set[str] = field(default_factory=set)
    """Folds that were run: whatever became of their rows, none is run twice."""

    def next(self) -> list[JobSpec]:
        """The next fold of each fine-tune that may be the best, of those that have had the fewest."""
        first = self.jobs[0].config
        due = [job for candidate in may_be_best(self._study, first.rank, self.jobs[0].protocol_hash) for job in self._next_of(candidate)]
        fewest = min((_number(job) for job in due), default=0)
        return [job for job in due if _number(job) == fewest and job.job_id not in self.begun]

    def do(self, job: JobSpec) -> bool:
        """Run a fold if there is room for it."""
        own, room = self._study.read_row(replace(job, fold=None).job_id), str(self.room)
        if own is None or not self.room.take(job, own):
            return False
        if not self.begun:
            self.say(f"cross-fitting fine-tunes that may be the best, {room}")
        self.begun.add(job.job_id)
        row = self.run(job)
        what = f"cross-fitted {row.backbone} freeze={row.strategy} seed={row.seed}: fold {_number(job) + 1} of {folds_of(job.dataset)}"
        if row.status != Status.ok:
            self.say(f"{what} {row.status.upper()}: {row.error}; it gets no more folds")
        else:
            self.say(f"{what} took {row.total_s or 0.0:.0f} s")
        return True

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
