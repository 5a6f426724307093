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
from harness.jobs.identity import failed_row
from harness.jobs.spec import Fold, JobSpec
from harness.search.pull import Task
from harness.select.candidates import Candidate
from harness.select.contest import Contest
from harness.select.metric import choose_metric
from harness.select.posterior import POINT
from harness.select.prior import own_ranks
from harness.select.screen import load_screened
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


class Room(Protocol):
    """How much may be done."""

    def fitting(self, folds: Sequence[tuple[JobSpec, Row]]) -> list[JobSpec]:
        """Those that may be begun now, in their order.

        Args:
            folds: each with the row of its candidate.
        """

    def still_fits(self, fold: JobSpec, row: Row) -> bool:
        """Whether one of them may be begun when its turn has come."""

    def __str__(self) -> str:
        """In words."""


@dataclass(slots=True)
class Work:
    """A share of the work of the sweep's own jobs, in multiply-adds: which folds are run does not depend on how busy the machine is, nor on who runs them."""

    jobs: Sequence[JobSpec]

    def fitting(self, folds: Sequence[tuple[JobSpec, Row]]) -> list[JobSpec]:
        """As many as are left of a third of what the jobs that this sweep ran did; folds that it has run are read from their rows."""
        left, chosen = SHARE * sum(_work(row, row.n_train or 0, _num_epochs(row)) for _, row in self._ran()) - self._spent(), []
        for job, row in folds:
            if (needed := _fold_work(job, row)) <= left:
                left -= needed
                chosen.append(job)
        return chosen

    def still_fits(self, fold: JobSpec, row: Row) -> bool:  # noqa: ARG002  nothing that changes meanwhile
        return True

    def _ran(self) -> list[tuple[JobSpec, Row]]:
        rows = [(job, Study(job.config.study_dir).read_row(job.job_id)) for job in self.jobs]
        return [(job, row) for job, row in rows if row is not None and row.started_at >= job.asked_at]

    def _spent(self) -> float:
        """On folds, by this sweep."""
        spent = 0.0
        for job in self.jobs:
            study = Study(job.config.study_dir)
            row = study.read_row(job.job_id)
            for fold in folds_jobs(job, row) if row is not None and row.is_trained and row.lr is not None else ():
                found = study.read_row(fold.job_id)
                if found is None:
                    break
                if found.started_at >= job.asked_at and row is not None:
                    spent += _fold_work(fold, row)
        return spent

    def __str__(self) -> str:
        return "for a third of the work of the jobs at most"


def _fold_work(job: JobSpec, row: Row) -> float:
    num_images = len(job.dataset.train) + len(job.dataset.val)
    return _work(row, num_images - num_images // folds_of(job.dataset), row.epochs or 0)


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
    num_workers: int = 1
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = time.monotonic()

    def fitting(self, folds: Sequence[tuple[JobSpec, Row]]) -> list[JobSpec]:
        """Those that are predicted to end in time if workers begin them one after the other, as they become free."""
        chosen, taken_s = [], 0.0
        for job, row in folds:
            needed_s = _predicted_s(job, row)
            if needed_s + taken_s / self.num_workers <= self.left_s:
                taken_s += needed_s
                chosen.append(job)
        return chosen

    def still_fits(self, fold: JobSpec, row: Row) -> bool:
        return _predicted_s(fold, row) <= self.left_s

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


def may_be_best(study: Study, cfg: RankConfig, protocol: str) -> list[Candidate]:
    """Candidates within the limits whose true score overlaps the best, the recommended among them, the likeliest first.

    None when the recommended is good enough. Latencies are not known yet, so that they neither count nor exclude.
    """
    pool = load_screened(study, cfg, protocol)
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


@dataclass(eq=False)
class Rounds:
    """The folds of one study's fine-tunes that may be the best, until the recommended's expected loss is small or there is no more room: a `pull.Work`.

    A round is the next fold of each of them that has had the fewest; what it holds follows from rows, so that every worker knows it, and the next begins when
    all of its folds have a row. What goes wrong with a fold is a row that says so, and a line; its candidate gets no more folds.
    """

    jobs: Sequence[JobSpec]
    """Of the sweep; only their candidates are cross-fitted."""
    room: Room
    say: Callable[[str], None]
    begun: set[str] = field(default_factory=set)
    """Folds that were run here: whatever became of their rows, none is run twice."""
    left: dict[str, JobSpec] = field(default_factory=dict)
    """Of this round."""
    is_over: bool = False

    def tasks(self) -> Iterator[Task]:
        """The folds of this round that are left. Raises TableError: the study cannot be ranked."""
        for job_id in [job_id for job_id in self.left if job_id not in self.begun and self._study.read_row(job_id) is not None]:
            del self.left[job_id]
        if not self.left and not self.is_over:
            self.left = {job.job_id: job for job in self._next()}
            self.is_over = not self.left
        for job in list(self.left.values()):
            if job.job_id not in self.begun:
                yield Task([job])

    def begin(self, task: Task) -> bool:
        """Whether it still has no row and there still is time."""
        (job,) = task.jobs
        own = self._study.read_row(replace(job, fold=None).job_id)
        if own is None or self._study.read_row(job.job_id) is not None or not self.room.still_fits(job, own):
            return False
        if not self.begun:
            self.say(f"cross-fitting fine-tunes that may be the best, {self.room}")
        self.begun.add(job.job_id)
        return True

    def returned(self, task: Task) -> None:
        """Another worker may begin it."""
        self.begun.discard(task.jobs[0].job_id)

    def ended(self, task: Task, error: str | None) -> None:
        """Say how it ended."""
        (job,) = task.jobs
        self.left.pop(job.job_id, None)
        if job.job_id not in self.begun:
            return
        row = self._study.read_row(job.job_id) or failed_row(job, Status.killed, error or "its row is gone.")
        what = f"cross-fitted {row.backbone} freeze={row.strategy} seed={row.seed}: fold {_number(job) + 1} of {folds_of(job.dataset)}"
        if row.status != Status.ok:
            self.say(f"{what} {row.status.upper()}: {row.error}; it gets no more folds")
        else:
            self.say(f"{what} took {row.total_s or 0.0:.0f} s")

    def _next(self) -> list[JobSpec]:
        first = self.jobs[0].config
        due = [pair for candidate in may_be_best(self._study, first.rank, self.jobs[0].protocol_hash) for pair in self._next_of(candidate)]
        fewest = min((_number(job) for job, _ in due), default=0)
        return self.room.fitting([(job, row) for job, row in due if _number(job) == fewest and job.job_id not in self.begun])

    @property
    def _study(self) -> Study:
        return Study(self.jobs[0].config.study_dir)

    def _next_of(self, candidate: Candidate) -> Iterator[tuple[JobSpec, Row]]:
        """One fold for each seed, with the seed's own row; none for a candidate that was not trained, that is not of this sweep, or one of whose folds went wrong."""
        jobs = {job.job_id: job for job in self.jobs}
        if not all(row.is_trained and row.job_id in jobs for row in candidate.rows):
            return
        folds = [folds_jobs(jobs[row.job_id], row) for row in candidate.rows]
        done = [[self._study.read_row(job.job_id) for job in of_seed] for of_seed in folds]
        if any(row is not None and row.status != Status.ok for of_seed in done for row in of_seed):
            return
        for own, of_seed, rows in zip(candidate.rows, folds, done, strict=True):
            yield from [(job, own) for job, row in zip(of_seed, rows, strict=True) if row is None][:1]


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
