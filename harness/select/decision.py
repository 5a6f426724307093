"""What to use: the highest expected utility, what a tighter purse would take, and what is fastest. Every figure has its probability and its loss.

After the posterior; the sealed test predictions of the recommended can overturn it and nothing else.
Shapes: K candidates.

Utility is the expected true score less a price for every doubling of latency. Latencies that are close count as equal, by groups: from the
lowest up, a latency within 5 % of the lowest of the current group belongs to it and counts as that lowest; the next one above opens a new group.
So the outcome depends on the latencies alone, not on the order in which candidates are listed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np

from harness.config import RankConfig
from harness.select.comparison import SAME, BoolArray, FloatArray
from harness.select.posterior import POINT, Posterior
from harness.select.rule import LATENCY_TIE_FRAC, or_infinite

DEFAULT_POINTS_PER_DOUBLING = 0.5
MARGIN_POINTS = 1.0
"""A candidate that is worse than the best by less is as good as the best to most people."""
MAX_PROB_BEHIND = 0.3
"""The recommended candidate's utility is below another's by more than the margin at most this probably, if there is one of which that is true."""
PROB_OVERTURN = 0.95
"""So sure must val and test together be that the recommended is behind by more than the margin."""
UNKNOWN_DOUBLINGS = 1.0
"""How much slower than the slowest known latency an unknown one counts, where latency has a price."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What using a candidate takes."""

    label: str
    """Unique; the last tie-break, so that the order of the list decides nothing."""
    latency_ms: float | None = None
    train_cost: float | None = None
    """In any unit, the same for all; of candidates that are one, the cheaper to train is taken."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What latency is worth, in what points are."""

    points_per_doubling: float = DEFAULT_POINTS_PER_DOUBLING
    """0: score only."""
    point: float = POINT

    @classmethod
    def of(cls, cfg: RankConfig) -> "Terms":
        """The price that was given; else the default, or none within a limit of latency."""
        if cfg.points_per_doubling is not None:
            return cls(cfg.points_per_doubling)
        return cls(0.0 if cfg.max_latency_ms is not None else DEFAULT_POINTS_PER_DOUBLING)


class Ground(StrEnum):
    """Why the recommended is."""

    utility = "utility"  # the highest expected utility
    guard = "guard"  # the highest expected utility was too probably more than a point below another's
    test = "test"  # the one before it was overturned by its test score


@dataclass(frozen=True, slots=True)
class Pick:
    """A candidate by its position. Scores are in the unit of the posterior."""

    position: int
    prob_best: float
    expected_loss: float
    """Expected score of the best, whoever that is, less its own."""
    prob_behind: float
    """That the best is better by more than the margin."""
    utility: float
    """Expected score less the price of its latency above the lowest."""


@dataclass(frozen=True, slots=True)
class Picks:
    """Three picks, which may be the same candidate, and what was weighed."""

    recommended: Pick
    budget: Pick
    """The first that would win if latency were worth more; the recommended itself where none is faster."""
    break_even_points: float
    """Points per doubling of latency from which the budget pick has the higher utility; the price as it is where the budget pick is the recommended."""
    fastest: Pick
    """The best of the lowest latency."""
    ground: Ground
    terms: Terms
    num_unknown: int
    """Candidates without a latency. Where latency has a price they count as twice as slow as the slowest known: a better score can still
    win, but not for being unmeasured. They are never the budget or the fastest pick while another's latency is known."""


@dataclass(frozen=True, slots=True)
class Veto:
    """What the test score of the recommended says."""

    prob_behind: float
    """That another is better by more than the margin, the price of latency paid, given val and test."""
    picks: Picks
    """On the posterior of both; the recommended is another one only if it was overturned."""

    @property
    def is_overturned(self) -> bool:
        return self.picks.ground is Ground.test


def decide(belief: Posterior, options: Sequence[Option], terms: Terms | None = None) -> Picks:
    """Recommend by expected utility.

    If the candidate of the highest expected utility is with a probability above 30 % worse than another by more than a point of utility, and
    somebody is below that, the best of those is taken: a mean does not make up for a gamble. Utilities are compared, not scores: points
    that the price gives up for latency knowingly are no gamble. At price 0 the two are the same.

    Args:
        belief: of the true scores of K candidates, one or more.
        options: the same K.
        terms: the price of latency; None: the defaults. Within a latency limit that the user gave, latency is free: pass 0.
    """
    return _Choice(belief, options, terms or Terms()).picks(np.ones(len(options), dtype=np.bool_))


def recommend(belief: Posterior, options: Sequence[Option], terms: Terms) -> int:
    """The position that `decide` recommends, without the figures."""
    return _Choice(belief, options, terms).best(np.ones(len(options), dtype=np.bool_))[0]


def utilities(belief: Posterior, options: Sequence[Option], terms: Terms) -> FloatArray:
    """Expected scores less the price of latency, shape K: what `decide` goes by."""
    return _Choice(belief, options, terms).utility_K


def veto(picks: Picks, belief: Posterior, options: Sequence[Option], test_score: float, test_variance: float) -> Veto:
    """Let the recommended's own test score, and no other, confirm or overturn the recommendation.

    Args:
        picks: of `decide`, on the same belief and options.
        belief: what val says.
        options: the K candidates.
        test_score: of the recommended, higher is better.
        test_variance: of its error; images and seeds.
    """
    first = picks.recommended.position
    choice = _Choice(belief.observe(first, test_score, test_variance), options, picks.terms)
    prob_behind = choice.gamble(first)
    if prob_behind <= PROB_OVERTURN or len(options) == 1:
        return Veto(prob_behind, choice.with_recommended(first, picks.ground))
    others_K = choice.belief.distinct_K != choice.belief.distinct_K[first]
    return Veto(prob_behind, choice.with_recommended(choice.best(others_K)[0], Ground.test))


def doublings(latency_ms: Sequence[float | None]) -> FloatArray:
    """Doublings of latency above the lowest, shape K, close ones as equal; NaN where unknown."""
    latency_ms_K = np.array([np.nan if value is None else value for value in latency_ms], dtype=np.float64)
    order_K = np.argsort(latency_ms_K, kind="stable")[: np.count_nonzero(np.isfinite(latency_ms_K))]  # unknown ones come last
    sorted_K, grouped_K, start = latency_ms_K[order_K], np.full(len(latency_ms_K), np.nan), 0
    while start < len(order_K):
        end = int(np.searchsorted(sorted_K, sorted_K[start] * (1 + LATENCY_TIE_FRAC), side="right"))
        grouped_K[order_K[start:end]] = sorted_K[start]
        start = end
    return np.log2(grouped_K / sorted_K[0]) if len(order_K) else grouped_K


class _Choice:
    """One belief under one price."""

    def __init__(self, belief: Posterior, options: Sequence[Option], terms: Terms) -> None:
        self.belief, self.options, self.terms = belief, options, terms
        self.known_K = doublings([option.latency_ms for option in options])
        is_known_K = np.isfinite(self.known_K)
        slowest = float(self.known_K[is_known_K].max()) + UNKNOWN_DOUBLINGS if is_known_K.any() else 0.0
        self.doublings_K = np.where(is_known_K, self.known_K, slowest)
        self.cost_K = terms.points_per_doubling * terms.point * self.doublings_K
        self.utility_K = belief.mean_K - self.cost_K

    @cached_property
    def prob_behind_K(self) -> FloatArray:
        return self.belief.prob_behind_K(MARGIN_POINTS * self.terms.point)

    @cached_property
    def best_worth_R(self) -> FloatArray:
        """Score less the price of its latency of whoever has most left, in each draw."""
        return self.belief.best_R(self.cost_K)

    def gamble(self, k: int) -> float:
        """That another has more than the margin in utility over it: what the price gives up for latency knowingly does not count."""
        return self.belief.prob_behind(k, MARGIN_POINTS * self.terms.point, float(self.cost_K[k]), self.best_worth_R)

    def picks(self, among_K: BoolArray) -> Picks:
        return self.with_recommended(*self.best(among_K))

    def best(self, among_K: BoolArray) -> tuple[int, Ground]:
        """The highest utility of some, or the highest among those that are rarely far below another."""
        first = self._first(among_K, self.utility_K)
        if self.is_safe(first):
            return first, Ground.utility
        may_be_safe_K = among_K & (self.belief.prob_behind_K(MARGIN_POINTS * self.terms.point, self.cost_K) <= MAX_PROB_BEHIND)
        safe = next((k for k in np.argsort(-self.utility_K) if may_be_safe_K[k] and self.is_safe(k)), None)
        if safe is None:
            return first, Ground.utility
        safe_K = may_be_safe_K & (self.utility_K >= self.utility_K[safe] - SAME)
        safe_K[safe_K] = [self.is_safe(k) for k in np.flatnonzero(safe_K).tolist()]
        return self._first(safe_K, self.utility_K), Ground.guard

    def is_safe(self, k: int) -> bool:
        """Whether it is rarely far below another."""
        return self.gamble(k) <= MAX_PROB_BEHIND

    def with_recommended(self, first: int, ground: Ground) -> Picks:
        budget, price = self._budget(first)
        every_K = np.ones(len(self.options), dtype=np.bool_)
        fastest_K = self.known_K == 0 if np.isfinite(self.known_K).any() else every_K
        return Picks(
            recommended=self._pick(first),
            budget=self._pick(budget),
            break_even_points=price,
            fastest=self._pick(self._first(fastest_K, self.belief.mean_K)),
            ground=ground,
            terms=self.terms,
            num_unknown=int(np.isnan(self.known_K).sum()),
        )

    def _budget(self, first: int) -> tuple[int, float]:
        """As the price rises, whoever is first to have a higher utility than the recommended, and the price at which that is so."""
        saved_K = self.doublings_K[first] - self.doublings_K
        faster_K = np.isfinite(self.known_K) & (saved_K > SAME)
        if not faster_K.any():
            return first, self.terms.points_per_doubling
        lost_K = (self.belief.mean_K[first] - self.belief.mean_K) / self.terms.point
        price_K = np.divide(lost_K, saved_K, out=np.full(len(saved_K), np.inf), where=faster_K)
        budget = self._first(faster_K, -price_K)
        return budget, max(float(price_K[budget]), 0.0)

    def _first(self, among_K: BoolArray, value_K: FloatArray) -> int:
        """The highest value; of equals the faster, then the cheaper to train, then by label."""
        near: list[int] = np.flatnonzero(among_K & (value_K >= value_K[among_K].max() - SAME)).tolist()
        return min(near, key=lambda k: (self.doublings_K[k], or_infinite(self.options[k].train_cost), self.options[k].label))

    def _pick(self, k: int) -> Pick:
        return Pick(
            position=k,
            prob_best=float(self.belief.prob_best_K[k]),
            expected_loss=float(self.belief.expected_loss_K[k]),
            prob_behind=float(self.prob_behind_K[k]),
            utility=float(self.utility_K[k]),
        )
