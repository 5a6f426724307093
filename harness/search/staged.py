"""The staged search as a procedure: what runs next, how far, and when to stop. Nothing is trained, read or written here.

Between the sweep, whose rows are a `Judge`, and the ranking of what was trained; the replay of recorded tables runs the very same code.

1. The linear probe of every backbone runs first, the best known ones at the beginning. Probes are complete: each is a candidate of its own.
2. Then trials are trained to their next rung: first a short training, then the whole recipe. Before every step the posterior of the true
   scores is computed anew, with everything that was measured by then; the trial of the highest expected improvement over the best that is
   complete is next (`promise`), of those that nobody runs. So a worker that is free never waits for others: halving is asynchronous.
3. The search stops when further training would gain less than half a point. Without a time given it ends there. With one, other evidence is gathered first, and what
   is left is used for trials again until nothing fits.

Where there is time for everything the short rung is left out, as it would decide nothing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from harness.search.predicted_cost import NOTHING, Prediction, total
from harness.search.promise import ALLOWED_LOSS, FloatArray, best_of, expected_to_run, in_order, loss_of_stopping
from harness.search.trial import Ending, Outcome, Trial
from harness.select.posterior import Posterior
from harness.transfer.rungs import Rung

DEFAULT_SHARE = 1 / 3
"""Of the predicted time of the full grid, when no budget is given."""

QUICK_S = 30.0
"""Without a budget, a grid that is certain to take less is trained whole."""


MOST = 1000
"""Trials whose true scores are believed jointly: those of the backbones with the best scores. What is believed takes memory by the square of their number,
and time by the cube. The others come behind them, best backbones first."""


class Judge(Protocol):
    """What the search needs to know."""

    def believe(self, names: Sequence[str]) -> Posterior:
        """The true scores of these trials, in their order, by all that was measured so far: one of them at least."""

    def score(self, name: str) -> float | None:
        """What a trial scored at the last rung that it went through, higher is better; None: it never ran, or has no score."""

    def excluded(self, name: str) -> bool:
        """Whether a limit of the user's rules a trial out, as far as its backbone's probe tells."""

    def predict_s(self, name: str, path: Sequence[Rung]) -> Prediction:
        """Time of these rungs one after the other, from where the trial is now, by all that was measured so far."""

    def spent_s(self) -> float:
        """Seconds since the search began, of all workers together."""


class Trainer(Judge, Protocol):
    """What runs trials, one after the other."""

    def train(self, name: str, rung: Rung) -> bool:
        """Bring a trial to a rung. False: it failed."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What the search may take. With both, the smaller counts; with neither a third of the grid at most, and less if that is enough.

    All times of a search are those of its workers together: a minute of two is two minutes.
    """

    seconds: float | None = None
    """By the clock."""
    share: float | None = None
    """Of the predicted time of the full grid, in (0, 1]."""
    num_workers: int = 1
    """That run trials at once."""

    @property
    def all_s(self) -> float | None:
        """What `seconds` are for all workers together."""
        return None if self.seconds is None else self.seconds * self.num_workers

    @property
    def is_given(self) -> bool:
        return self.seconds is not None or self.share is not None

    def limit_s(self, grid: Prediction) -> float | None:
        """Seconds, when the grid takes so long; None: no limit."""
        if not self.is_given and grid.high_s <= QUICK_S * self.num_workers:
            return None
        share = self.share if self.is_given else DEFAULT_SHARE
        limits = [self.all_s, None if share is None else share * grid.value_s]
        return min((limit for limit in limits if limit is not None), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the search is about to do: told before the probes, and once more when they are done."""

    names: tuple[str, ...]
    """Those that are expected to run, in order."""
    is_probing: bool
    is_whole: bool
    """Everything is trained: there is time for it."""
    spent_s: float
    rest_s: Prediction
    grid_s: Prediction
    """Every trial to the end."""
    limit_s: float | None

    @property
    def share_frac(self) -> float:
        """Of the full grid's time, what the whole search is going to take."""
        return (self.spent_s + self.rest_s.value_s) / self.grid_s.value_s if self.grid_s.value_s > 0 else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A search from its end."""

    outcomes: tuple[Outcome, ...]
    """In the order of the trials."""
    plans: tuple[Plan, ...]
    spent_s: float
    left_s: float | None
    """Until the limit; None: there was none."""


def search(
    trials: Sequence[Trial],
    trainer: Trainer,
    *,
    budget: Budget | None = None,
    tell: Callable[[Plan], None] = lambda _: None,
) -> History:
    """Search in stages, one trial after the other.

    Args:
        trials: everything that the full grid would train.
        trainer: trains, believes and predicts.
        budget: what the search may take; None: the default.
        tell: is given each plan.

    Returns:
        Where everyone ended; deterministic when the trainer is.
    """
    searching = Searching(trials, trainer, budget or Budget(), tell)
    for until_little in (True, False):
        while due := searching.due(until_little=until_little):
            trial, rung = due[0]
            searching.reached(trial, rung if trainer.train(trial.name, rung) else None)
        if not searching.budget.is_given:
            break
    return searching.history()


@dataclass(slots=True)
class Searching:
    """A search under way: what may be begun next is a function of where the trials are, so that any number of workers can ask, each with one of its own."""

    trials: Sequence[Trial]
    judge: Judge
    budget: Budget
    tell: Callable[[Plan], None] = lambda _: None
    rungs: dict[str, Rung] = field(default_factory=dict)
    """The last that each trial went through."""
    endings: dict[str, Ending] = field(default_factory=dict)
    """Of those that go no further, whatever time there is."""
    ending: Ending = Ending.time
    """Of all others, as it is now."""
    plans: list[Plan] = field(default_factory=list)
    limit_s: float | None = field(init=False)
    is_whole: bool = False

    def __post_init__(self) -> None:
        self.limit_s = self.budget.all_s

    def due(self, *, until_little: bool) -> list[tuple[Trial, Rung]]:
        """What may be begun now, best first, whether or not somebody runs it already; nothing: this part of the search is over.

        Probes first: all that are likely to end in time, and one in any case. When they are done, whatever is left and fits the budget.

        Args:
            until_little: stop when further training would gain little, unless there is time for everything.
        """
        if len(self.plans) < 2:
            if probes := self._probes():
                return [(trial, Rung.probe) for trial in probes]
            self._plan()
        if not (ahead := self._ahead()):
            return []
        if until_little and not self.is_whole and self._is_enough(ahead):
            self.ending = Ending.unlikely
            return []
        self.ending = Ending.time
        return [(trial, self._path(trial)[0]) for trial in self._in_order(ahead) if self._fits([self._path_s(trial)])]

    def reached(self, trial: Trial, rung: Rung | None) -> None:
        """A trial is at a rung now; None: it failed."""
        if rung is None:
            self.endings[trial.name] = Ending.failed
            return
        self.rungs[trial.name] = rung
        if trial.is_probe or rung is Rung.whole:
            self.endings[trial.name] = Ending.complete

    def _probes(self) -> list[Trial]:
        """Those to run; the others have no time."""
        left = _by_prior([trial for trial in self.trials if trial.is_probe and trial.name not in self.endings])
        if not self.plans:
            self._announce(left, is_probing=True)
        due = [trial for trial in left if self._fits([self._path_s(trial)])]
        if left and not due and not self.rungs:
            return left[:1]
        self.endings |= dict.fromkeys((trial.name for trial in left if trial not in due), Ending.time)
        return due

    def _plan(self) -> None:
        """Rule out what cannot be recommended, and say what will probably run."""
        self.limit_s = self.budget.limit_s(self._grid_s())
        failed = {trial.backbone for trial in self.trials if trial.is_probe and self.endings[trial.name] is Ending.failed}
        for trial in self._ahead():
            if trial.backbone in failed:
                self.endings[trial.name] = Ending.probe
            elif self.judge.excluded(trial.name):
                self.endings[trial.name] = Ending.limit
        ahead = self._ahead()
        self.is_whole = self.limit_s is None or self._fits(
            [self.judge.predict_s(trial.name, [Rung.whole]) for trial in ahead], at_worst=True
        )
        self._announce(self._expected(ahead), is_probing=False)

    def _is_enough(self, ahead: Sequence[Trial]) -> bool:
        if not self.rungs:
            return False
        near, _ = self._parted()
        return loss_of_stopping(self._draws(near), *_at(near, self._complete(), ahead)) <= ALLOWED_LOSS

    def _in_order(self, ahead: Sequence[Trial]) -> list[Trial]:
        """By promise; by what is known from elsewhere where nothing was measured, as there is no probe."""
        if not self.rungs:
            return _by_prior(ahead)
        (near, far), left = self._parted(), {trial.name for trial in ahead}
        promising = [near[place] for place in in_order(self._draws(near), *_at(near, self._complete(), ahead))]
        return promising + [trial for trial in far if trial.name in left]

    def _parted(self) -> tuple[Sequence[Trial], Sequence[Trial]]:
        """The trials that are believed jointly, and the others."""
        if len(self.trials) <= MOST:
            return self.trials, []
        best: dict[str, float] = {}
        for trial in self.trials:
            score = self.judge.score(trial.name)
            best[trial.backbone] = max(best.get(trial.backbone, -math.inf), -math.inf if score is None else score)
        ranked = sorted(self.trials, key=lambda trial: -best[trial.backbone])
        return ranked[:MOST], ranked[MOST:]

    def history(self) -> History:
        """Where everyone ended."""
        spent_s, prob = self.judge.spent_s(), self._prob_better()
        endings = {trial.name: self.endings.get(trial.name, self.ending) for trial in self.trials}
        outcomes = [
            Outcome(
                trial=trial,
                rung=self.rungs.get(trial.name),
                ending=endings[trial.name],
                prob_better=prob.get(trial.name),
                needed_s=0.0 if endings[trial.name] is Ending.complete else self._path_s(trial).value_s,
            )
            for trial in self.trials
        ]
        return History(outcomes=tuple(outcomes), plans=tuple(self.plans), spent_s=spent_s, left_s=self.left_s)

    def _path(self, trial: Trial) -> list[Rung]:
        """Rungs that are left. The short one decides nothing where all are trained."""
        if trial.is_probe:
            return [Rung.probe]
        return [Rung.whole] if self.is_whole or trial.name in self.rungs else [Rung.short, Rung.whole]

    # Time.

    @property
    def left_s(self) -> float | None:
        """Until the limit; None: there is none."""
        return None if self.limit_s is None else self.limit_s - self.judge.spent_s()

    def _path_s(self, trial: Trial) -> Prediction:
        """To the end, from where it is."""
        return self.judge.predict_s(trial.name, self._path(trial))

    def _fits(self, legs: Sequence[Prediction], *, at_worst: bool = False) -> bool:
        """Whether it probably ends in time: all of it in that of all workers, each leg in that of one. What does not is cut short at the limit, and that time would have been left over."""
        needed_s = [leg.high_s if at_worst else leg.value_s for leg in legs]
        return self.left_s is None or (sum(needed_s) <= self.left_s and max(needed_s, default=0.0) <= self.left_s / self.budget.num_workers)

    def _grid_s(self) -> Prediction:
        return total(self.judge.predict_s(trial.name, [Rung.probe if trial.is_probe else Rung.whole]) for trial in self.trials)

    # What is believed.

    def _ahead(self) -> list[Trial]:
        return [trial for trial in self.trials if trial.name not in self.endings]

    def _complete(self) -> list[Trial]:
        """Those that may be recommended."""
        done = [trial for trial in self.trials if self.endings.get(trial.name) is Ending.complete]
        return [trial for trial in done if not self.judge.excluded(trial.name)]

    def _draws(self, trials: Sequence[Trial]) -> FloatArray:
        return self.judge.believe([trial.name for trial in trials]).draws_RK

    def _prob_better(self) -> dict[str, float]:
        complete, ahead = self._complete(), [trial for trial in self.trials if self.endings.get(trial.name) is not Ending.complete]
        if not (complete and ahead):
            return {}
        near, _ = self._parted()
        draws_RK, (done, places) = self._draws(near), _at(near, complete, ahead)
        best_R = best_of(draws_RK, done)
        return {near[k].name: float((draws_RK[:, k] > best_R).mean()) for k in places}

    # Plans.

    def _expected(self, ahead: Sequence[Trial]) -> list[Trial]:
        """Those that will probably run, in order."""
        if not ahead or not self.rungs or self.is_whole:
            return list(ahead)
        near, _ = self._parted()
        draws_RK, (complete, places) = self._draws(near), _at(near, self._complete(), ahead)
        rank = in_order if self.budget.is_given else expected_to_run
        return [near[k] for k in rank(draws_RK, complete, places)]

    def _announce(self, trials: Sequence[Trial], *, is_probing: bool) -> None:
        spent_s, rest, names = self.judge.spent_s(), NOTHING, list[str]()
        for trial in trials:
            more = self._path_s(trial)
            if self.limit_s is None or spent_s + rest.value_s + more.value_s <= self.limit_s:
                names.append(trial.name)
                rest += more
        plan = Plan(
            names=tuple(names),
            is_probing=is_probing,
            is_whole=self.is_whole,
            spent_s=spent_s,
            rest_s=_within(rest, self.limit_s, spent_s),
            grid_s=self._grid_s(),
            limit_s=self.limit_s,
        )
        self.plans.append(plan)
        self.tell(plan)


def _at(trials: Sequence[Trial], *groups: Sequence[Trial]) -> list[list[int]]:
    """Positions among some trials of those of each group that are there."""
    place = {trial.name: k for k, trial in enumerate(trials)}
    return [[place[trial.name] for trial in group if trial.name in place] for group in groups]


def _by_prior(trials: Sequence[Trial]) -> list[Trial]:
    """Best first, unknown ones last."""
    return sorted(trials, key=lambda trial: math.inf if trial.prior is None else -trial.prior)


def _within(rest: Prediction, limit_s: float | None, spent_s: float) -> Prediction:
    """The same time, cut short at the limit."""
    left_s = math.inf if limit_s is None else max(limit_s - spent_s, 0.0)
    return Prediction(*(min(seconds, left_s) for seconds in (rest.value_s, rest.low_s, rest.high_s)))
