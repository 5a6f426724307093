"""The staged search as a procedure: what trains next, how far, and when to stop. Nothing is trained, read or written here.

Between the sweep, whose executor is a `Trainer`, and the ranking of what was trained; the replay of recorded tables runs the very same
code. A contender is one backbone at one freeze depth, all its seeds together.

1. Rung 0 runs the probe (`freeze=all`, which is complete then) of every backbone, the best prior first. It prunes backbones, never
   depths (`promotion.keep_backbones`).
2. Later rungs bring fewer contenders to a ninth, a third and all of the epochs (`promotion.promote`).
3. Time that is left of a budget after the last rung brings further contenders to the end: those that got furthest first.
4. Before each rung the whole rest is predicted and trimmed to the budget. First go backbones kept for their family, then those kept
   for a tie, then those ranked lowest, the protected last. Where every backbone is a family of its own, the rule of families keeps
   all of them, and this trimming is what prunes.

A leg starts when its time at worst, and what finishing the promoted of all trained so far would take, fit into what is left. So one
mispredicted leg is the most that a budget in seconds is overrun by; and as probes are complete from the start, there is always an answer.
A budget that is a share of the grid bounds what comes after the probes, since only they tell what the grid takes; it stays what
they told.

Source of the halving: Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, AISTATS 2016.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from harness.search.forecast import Forecast
from harness.search.predicted_cost import Prediction, total
from harness.search.promotion import (
    NUM_PROTECTED_PROBES,
    Backbone,
    Entrant,
    Scored,
    Why,
    keep_backbones,
    promote,
    protected,
)
from harness.transfer.rungs import rungs

DEFAULT_SHARE = 1 / 3
"""Of the predicted time of the full grid, when no budget is given."""

QUICK_S, FEW_CONTENDERS = 30.0, 4
"""Without a budget of the user's, a grid that takes less, or has fewer contenders besides probes, is searched whole."""


@dataclass(frozen=True, slots=True)
class Contender:
    """What the search chooses among."""

    name: str
    """Unique."""
    backbone: str
    family: str | None
    prior: float | None
    """What is known of the backbone from other data, higher is better; equal for all its depths."""
    is_probe: bool
    """Its backbone is fixed and only a head is trained; at most one per backbone."""


class Trainer(Protocol):
    """What the search needs of the world."""

    def train(self, name: str, epochs: int) -> float | None:
        """Bring a contender to so many epochs in all, going on from where it is. Its score, higher is better; None: it failed."""

    def tied(self, name: str, others: Sequence[str]) -> set[str]:
        """Those of `others` that cannot be told apart from `name` by what each scored last; all are at the same rung."""

    def predict_s(self, name: str, start: int, stop: int) -> Prediction:
        """Time from one number of epochs to another, by all that was measured so far."""

    def spent_s(self) -> float:
        """Seconds since the search began."""


class Stop(StrEnum):
    """Why a contender was trained no further."""

    complete = "complete"
    failed = "failed"
    backbone = "backbone"  # pruned with its backbone, by the probes
    rung = "rung"  # pruned by its score at a rung
    budget = "budget"  # there was no time for more


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the search is about to do; told before every rung."""

    rung: int
    epochs: int
    """That this rung brings its contenders to."""
    names: tuple[str, ...]
    """In the order they run."""
    dropped: tuple[str, ...]
    """Would run with more budget."""
    rung_s: Prediction
    rest_s: Prediction
    """This rung and all later ones; who gets to the later ones is a guess."""
    spent_s: float
    budget_s: float | None
    """What the whole search may take, as known now; None: no limit."""
    grid_s: Prediction
    """Every contender with all its epochs."""
    is_whole: bool
    """Every contender gets all its epochs: time allows it, or nobody set a limit and stages would save next to nothing."""
    is_filling: bool
    """The stages are done; these run because there is time left."""

    @property
    def share_frac(self) -> float:
        """Of the full grid's time, what the whole search is going to take."""
        return (self.spent_s + self.rest_s.value_s) / self.grid_s.value_s if self.grid_s.value_s > 0 else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a contender ended."""

    contender: Contender
    rung: int | None
    """The last that it was trained at; None: it never was."""
    epochs: int
    score: float | None
    stop: Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class RungRecord:
    """What a rung was going to be, and what it was."""

    plan: Plan
    ran: tuple[str, ...]
    failed: tuple[str, ...]
    spent_s: float
    """By this rung alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A search from its end."""

    standings: tuple[Standing, ...]
    """In the order of recommendation: those with all epochs by score, then the others by epochs and score, those that failed last."""
    rungs: tuple[RungRecord, ...]
    spent_s: float

    @property
    def recommended(self) -> Standing | None:
        """None: nothing has a score."""
        return next((standing for standing in self.standings if standing.score is not None), None)


def search(
    contenders: Sequence[Contender],
    trainer: Trainer,
    *,
    epochs: int,
    budget_s: float | None = None,
    share: float | None = None,
    tell: Callable[[Plan], None] = lambda _: None,
) -> History:
    """Search in stages.

    Args:
        contenders: everything that the full grid would train. A backbone without a probe ranks behind those with one.
        trainer: trains, compares and predicts.
        epochs: that a contender is complete with; at least 1.
        budget_s: seconds that the search may take.
        share: of the predicted time of the full grid, what the search may take, in (0, 1]. With both, the smaller counts; with neither
            `DEFAULT_SHARE`, unless stages would save next to nothing.
        tell: is given the plan before every rung.

    Returns:
        Where everyone ended; deterministic when the trainer is.
    """
    state = _Search(contenders, trainer, epochs, budget_s, share, tell)
    state.probe()
    entrants = state.kept()
    while entrants:
        entrants = state.train(entrants)
    state.use_rest()
    return state.history()


@dataclass(slots=True)
class _Arm:
    """What is known of one contender; changes as the search goes on."""

    contender: Contender
    epochs: int = 0
    rung: int | None = None
    score: float | None = None
    stop: Stop = Stop.budget


@dataclass(slots=True)
class _Search:
    contenders: Sequence[Contender]
    trainer: Trainer
    epochs: int
    budget_s: float | None
    share: float | None
    tell: Callable[[Plan], None]
    arms: dict[str, _Arm] = field(init=False)
    time: Forecast = field(init=False)
    is_whole: bool = field(init=False, default=False)
    is_filling: bool = field(init=False, default=False)
    share_s: float | None = field(init=False, default=None)
    """The share in seconds, once the probes have told what the grid takes."""
    records: list[RungRecord] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.arms = {contender.name: _Arm(contender) for contender in self.contenders}
        assert len(self.arms) == len(self.contenders), "names of contenders are unique"
        self.time = Forecast(self.trainer.predict_s, (self.epochs, *rungs(self.epochs)))

    # The line: probes, the backbones that are kept, the rungs, the history.

    def probe(self) -> None:
        """Rung 0. What comes after it is guessed from the priors alone."""
        probes = sorted((c for c in self.contenders if c.is_probe), key=lambda c: -math.inf if c.prior is None else c.prior, reverse=True)
        if not probes:
            return
        self.is_whole = self._is_worth_all(self.contenders)
        entrants = [Entrant(c.name, c.backbone, Why.ranked) for c in probes]
        ordered = keep_backbones(self._backbones(), lambda *_: ())
        self.time.safe = {b.name for b, _ in ordered[: NUM_PROTECTED_PROBES + 1]}
        probes_s = self.time.this(0, entrants)
        expected, _ = self._trimmed(1, self._entrants(ordered), probes_s.value_s)
        staged_s = probes_s + self.time.this(1, expected) + self.time.later(1, expected)
        self._run(entrants, [], self._grid_s() if self.is_whole else self._filled(staged_s))

    def kept(self) -> list[Entrant]:
        """Who may enter the first rung that trains, best first."""
        self.time.rung, backbones = 1, self._backbones()
        self.time.safe = protected(backbones)
        self.share_s = self._share_s()
        ordered = keep_backbones(backbones, self.trainer.tied)
        everyone, entrants = self._entrants([(b, Why.ranked) for b, _ in ordered]), self._entrants(ordered)
        self.is_whole = self._is_worth_all([contender for contender in self.contenders if not contender.is_probe])
        if self.is_whole:
            self.time.stops = (self.epochs, self.epochs)
            return everyone
        for name in {entrant.name for entrant in everyone} - {entrant.name for entrant in entrants}:
            self.arms[name].stop = Stop.backbone
        return entrants

    def train(self, entrants: list[Entrant]) -> list[Entrant]:
        """One rung. Returns who may enter the next one, best first."""
        rung = self.time.rung
        kept, dropped = self._trimmed(rung, entrants)
        scored = self._run(kept, dropped, self._filled(self.time.this(rung, kept) + self.time.later(rung, kept)))
        if rung + 1 == len(self.time.stops) or not scored:
            return []
        self.time.rung += 1
        promoted = promote(scored, self.time.safe, self.trainer.tied)
        for name in {one.name for one in scored} - {entrant.name for entrant in promoted}:
            self.arms[name].stop = Stop.rung
        return promoted

    def use_rest(self) -> None:
        """Bring on whoever still fits: scores at one rung compare, and who got further has won at every one before."""
        self.time.rung, self.is_filling = len(self.time.stops) - 1, True
        place = {backbone.name: rank for rank, (backbone, _) in enumerate(keep_backbones(self._backbones(), lambda *_: ()))}
        arms = sorted(
            (self.arms[name] for name in self._waiting()),
            key=lambda arm: (-arm.epochs, -_or_lowest(arm.score), place.get(arm.contender.backbone, len(place))),
        )
        entrants = [Entrant(arm.contender.name, arm.contender.backbone, Why.ranked) for arm in arms]
        if self._limit_s() is not None and (kept := self._fitting(entrants)):
            self._run(kept, [], self.time.this(self.time.rung, kept))

    def history(self) -> History:
        """Where everyone ended."""
        standings = [Standing(contender=a.contender, rung=a.rung, epochs=a.epochs, score=a.score, stop=a.stop) for a in self.arms.values()]
        return History(standings=tuple(sorted(standings, key=_place)), rungs=tuple(self.records), spent_s=self.trainer.spent_s())

    # One rung.

    def _trimmed(self, rung: int, entrants: Sequence[Entrant], before_s: float = 0.0) -> tuple[list[Entrant], list[Entrant]]:
        """Those that time allows for, in the order they run, and those that are given up.

        Args:
            rung: that they would enter.
            entrants: best first.
            before_s: what will have been spent until then, beyond what is spent now.
        """
        limit_s = self._left_s()
        if limit_s is None:
            return _flat(_units(entrants, rung)), []
        left_s = limit_s - before_s
        possible = [entrant for entrant in entrants if self.time.needed_s(rung, [entrant]) <= left_s]
        units = _units(possible, rung)
        while len(units) > 1 and self.time.needed_s(rung, _flat(units)) > left_s:
            units.pop()
        kept = _flat(units)
        return kept, [entrant for entrant in entrants if entrant not in kept]

    def _fitting(self, entrants: Sequence[Entrant]) -> list[Entrant]:
        """Of those in this order, the ones whose legs are likely to fit into what is left, each after those before it."""
        left_s, kept = self._left_s() or 0.0, list[Entrant]()
        for entrant in entrants:
            if self.time.needed_s(self.time.rung, [*kept, entrant]) <= left_s:
                kept.append(entrant)
        return kept

    def _run(self, entrants: Sequence[Entrant], dropped: Sequence[Entrant], rest_s: Prediction) -> list[Scored]:
        """Tell the plan, train those there is time for, keep the record. Returns those with a score, in the order they ran."""
        plan = self._plan(entrants, dropped, rest_s)
        self.tell(plan)
        ran: list[str] = []
        trained: list[Entrant] = []
        scored: list[Scored] = []
        for entrant in entrants:
            if self._fits(entrant, trained):
                ran.append(entrant.name)
                if (score := self._train(entrant.name)) is not None:
                    trained.append(entrant)
                    scored.append(Scored(entrant.name, entrant.backbone, score))
        failed = tuple(name for name in ran if self.arms[name].stop is Stop.failed)
        self.records.append(RungRecord(plan=plan, ran=tuple(ran), failed=failed, spent_s=self.trainer.spent_s() - plan.spent_s))
        return scored

    def _plan(self, entrants: Sequence[Entrant], dropped: Sequence[Entrant], rest_s: Prediction) -> Plan:
        return Plan(
            rung=self.time.rung,
            epochs=self.time.stops[self.time.rung],
            names=tuple(entrant.name for entrant in entrants),
            dropped=tuple(entrant.name for entrant in dropped),
            rung_s=self.time.this(self.time.rung, entrants),
            rest_s=rest_s,
            spent_s=self.trainer.spent_s(),
            budget_s=self._limit_s(),
            grid_s=self._grid_s(),
            is_whole=self.is_whole,
            is_filling=self.is_filling,
        )

    def _fits(self, entrant: Entrant, trained: Sequence[Entrant]) -> bool:
        """Whether the leg at its worst, and finishing the promoted of all trained by then, would end in time."""
        left_s, leg = self._left_s(), self.time.leg(entrant, self.time.rung)
        if left_s is None:
            return True
        if self.time.rung == 0:
            return self._may_probe(left_s, leg, is_first=not trained)
        return leg.high_s + self.time.later(self.time.rung, [*trained, entrant]).value_s <= left_s

    def _may_probe(self, left_s: float, leg: Prediction, *, is_first: bool) -> bool:
        """Probes are the answer when nothing else fits, and need no finishing.

        Without a limit of the user's all run; with one, those that are likely to end in time, and the first that scores whatever is predicted.
        """
        has_begun = any(arm.rung is not None or arm.stop is Stop.failed for arm in self.arms.values())
        return self.budget_s is None or not has_begun or leg.value_s <= left_s or (is_first and left_s > 0)

    def _train(self, name: str) -> float | None:
        arm, epochs = self.arms[name], self.time.stops[self.time.rung]
        score = self.trainer.train(name, epochs)
        self.time.measured(name, epochs)
        if score is None or math.isnan(score):
            arm.stop = Stop.failed
            return None
        arm.rung, arm.epochs, arm.score = self.time.rung, epochs, score
        arm.stop = Stop.complete if epochs == self.epochs else Stop.budget
        return score

    # The budget.

    def _grid_s(self) -> Prediction:
        return total(self.time.whole(contender.name) for contender in self.contenders)

    def _limit_s(self) -> float | None:
        """What the whole search may take."""
        if self.budget_s is None and self.share is None and self.is_whole:
            return None
        share_s = self._share_s() if self.share_s is None else self.share_s
        return min((limit for limit in (self.budget_s, share_s) if limit is not None), default=None)

    def _share_s(self) -> float | None:
        """A share, by what is known of the grid by now."""
        share = DEFAULT_SHARE if self.budget_s is None and self.share is None else self.share
        return None if share is None else share * self._grid_s().value_s

    def _left_s(self) -> float | None:
        limit_s = self._limit_s()
        return None if limit_s is None else limit_s - self.trainer.spent_s()

    def _filled(self, planned: Prediction) -> Prediction:
        return self.time.filled(planned, self._waiting(), self._left_s())

    def _waiting(self) -> list[str]:
        """Contenders that could still be trained on."""
        return [name for name, arm in self.arms.items() if arm.stop not in (Stop.complete, Stop.failed)]

    def _is_worth_all(self, ahead: Sequence[Contender]) -> bool:
        """Whether everyone ahead is trained in full: there is time at worst; or nobody set a limit, and stages would save next to nothing."""
        if self.budget_s is None and self.share is None:
            num_tuned = sum(not contender.is_probe for contender in self.contenders)
            return num_tuned < FEW_CONTENDERS or self._grid_s().high_s <= QUICK_S
        left_s = self._left_s()
        return left_s is not None and total(self.time.whole(contender.name) for contender in ahead).high_s <= left_s

    # Backbones and their depths.

    def _backbones(self) -> list[Backbone]:
        """Those with depths to train, and what their probes scored."""
        probes = {contender.backbone: contender.name for contender in self.contenders if contender.is_probe}
        tuned = {contender.backbone: contender for contender in self.contenders if not contender.is_probe}
        return [
            Backbone(name, one.family, one.prior, probes.get(name), self.arms[probes[name]].score if name in probes else None)
            for name, one in tuned.items()
        ]

    def _entrants(self, ordered: Iterable[tuple[Backbone, Why | None]]) -> list[Entrant]:
        """Every depth of the backbones that are kept."""
        tuned = [contender for contender in self.contenders if not contender.is_probe]
        return [Entrant(c.name, b.name, why) for b, why in ordered if why is not None for c in tuned if c.backbone == b.name]


def _units(entrants: Sequence[Entrant], rung: int) -> list[list[Entrant]]:
    """What is given up together, first to go last: all depths of a backbone in the first rung that trains, then one contender."""
    units: dict[str, list[Entrant]] = {}
    for entrant in sorted(entrants, key=lambda entrant: entrant.why):
        units.setdefault(entrant.backbone if rung == 1 else entrant.name, []).append(entrant)
    return list(units.values())


def _flat(units: Sequence[Sequence[Entrant]]) -> list[Entrant]:
    return [entrant for unit in units for entrant in unit]


def _place(standing: Standing) -> tuple[bool, int, float]:
    """Sorts standings into the order of recommendation."""
    return standing.stop is Stop.failed, -standing.epochs, -_or_lowest(standing.score)


def _or_lowest(score: float | None) -> float:
    return -math.inf if score is None else score
