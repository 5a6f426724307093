"""What would flip the recommendation: another metric, another limit, or half the val images.

After the recommendation, by the same rule on other terms: within the limits, tied with the best, cheapest.
Shapes: K candidates, R resamples.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness.config import Metric, RankConfig
from harness.select.candidates import Candidate, Cost, Pool
from harness.select.comparison import BoolArray, Chance, FloatArray, pair_spread
from harness.select.limits import column_of, set_limits
from harness.select.metric import why_undefined
from harness.select.ranks import ROUNDING, Leads, Units
from harness.select.resamples import Resamples
from harness.select.rule import LATENCY_TIE_FRAC, cheapest, or_infinite

NUM_HALVES = 200
"""Half-size val sets that are looked at."""

MAX_STEPS = 40
"""Values of a limit that are tried in one direction, evenly spread over those at which a candidate drops out or comes in."""

MAX_OTHERS = 3

TIGHTENED = ("max_latency_ms", "max_params_m")
"""Limits that are tried although the user did not set them."""


@dataclass(frozen=True, slots=True)
class OtherMetric:
    """Whom the rule would recommend under another metric."""

    metric: Metric
    recommended: str | None
    """A label; None where the metric is undefined."""
    undefined: str | None
    """Why it is undefined on these val images."""


@dataclass(frozen=True, slots=True)
class OtherLimit:
    """The first value of a limit, on the way from where it is, at which the recommendation changes."""

    key: str
    """Field of `RankConfig`."""
    limit: float
    is_tighter: bool
    """True: a limit just below `limit` gives another recommendation. False: a limit of `limit` or just above does."""
    recommended: str | None
    """The label of that other; None: nobody is left."""


@dataclass(frozen=True, slots=True)
class FewerImages:
    """What the rule says on random halves of val, each class halved."""

    num_images: int
    num_draws: int
    same_frac: float
    """Share of the halves with the same recommendation."""
    others: tuple[tuple[str, float], ...]
    """Labels and shares of whom the other halves recommend, most frequent first, three at most."""


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What flips the recommendation that val gives."""

    metrics: tuple[OtherMetric, ...]
    """Every metric but the one that ranks."""
    limits: tuple[OtherLimit, ...]
    """Only limits that flip it: set ones in both directions, latency and parameters tightened in any case."""
    half: FewerImages


def other_metrics(pool: Pool, within: Sequence[Candidate], metric: Metric, cfg: RankConfig) -> tuple[OtherMetric, ...]:
    """Whom of those within the limits the rule recommends under every other metric, ties and all."""
    return tuple(_other_metric(pool, within, other, cfg) for other in Metric if other not in (metric, Metric.auto))


def other_limits(
    candidates: Sequence[Candidate], val: Resamples, missed: Sequence[frozenset[str]], first: int, cfg: RankConfig
) -> tuple[OtherLimit, ...]:
    """The nearest limits that would change the recommendation, tighter ones first.

    Args:
        candidates: all K.
        val: the scores of all K.
        missed: which limits each misses.
        first: the position of the recommended.
        cfg: the limits as they are.
    """
    rule, given = _Rule.of(candidates, val, cfg.confidence), set_limits(cfg)
    within_K = np.array([not keys for keys in missed])
    found = [_tighten(rule, key, within_K, first) for key in dict.fromkeys((*TIGHTENED, *given))]
    for key, limit in given.items():
        found.append(_loosen(rule, key, np.array([keys <= {key} for keys in missed]), limit, first))
    return tuple(change for change in found if change is not None)


def half_the_images(candidates: Sequence[Candidate], val: Resamples, leads: Leads, first: int, num_images: int) -> FewerImages:
    """How often the recommendation survives with half the val images.

    A mean over a random half, drawn without replacement, varies around that over all images just as a bootstrap mean does:
    each draw serves as a half. What chance shows within a half is larger by the square root of two; what leads it
    explains, in units of that spread, is taken over from all images.

    Args:
        candidates: those within the limits.
        val: their scores.
        leads: what chance explains among them.
        first: the position of the recommended.
        num_images: images of val.

    Source: Efron, The Jackknife, the Bootstrap and Other Resampling Plans, 1982, chapter 8 (half-sampling).
    """
    units = Units.of(pair_spread(val.draws_RK + (np.sqrt(2) - 1) * val.image_draws_RK))  # seeds vary as before
    costs, halves = [candidate.cost for candidate in candidates], val.image_draws_RK[:NUM_HALVES]
    tied = (np.flatnonzero(units.ahead(scores_K).max(axis=1) <= leads.of_one_K * (1 + ROUNDING)) for scores_K in halves)
    votes = Counter(cheapest(costs, scores_K, tied_T) for scores_K, tied_T in zip(halves, tied, strict=True))
    same = votes.pop(first, 0)
    others = [(candidates[k].label, count / len(halves)) for k, count in votes.most_common(MAX_OTHERS) if k is not None]
    return FewerImages(num_images // 2, len(halves), same / len(halves), tuple(others))


def _other_metric(pool: Pool, within: Sequence[Candidate], metric: Metric, cfg: RankConfig) -> OtherMetric:
    if reason := why_undefined(pool, metric):
        return OtherMetric(metric, None, reason)
    found = Resamples.of([candidate.answers for candidate in within], pool.labels_N, len(pool.class_names), metric, cfg.num_resamples)
    rule = _Rule.of(within, found, cfg.confidence)
    return OtherMetric(metric, rule.name(rule.recommend(np.ones(len(within), dtype=np.bool_))), None)


@dataclass(frozen=True, slots=True, eq=False)
class _Rule:
    """The rule for any part of the candidates, worked out only as far as it takes to find the cheapest of the tied."""

    labels: list[str]
    costs: list[Cost]
    scores_K: FloatArray
    chance: Chance
    fastest_first: list[int]

    @classmethod
    def of(cls, candidates: Sequence[Candidate], val: Resamples, confidence: float) -> "_Rule":
        costs = [candidate.cost for candidate in candidates]
        order = sorted(range(len(costs)), key=lambda k: or_infinite(costs[k].latency_ms_p50))
        return cls([candidate.label for candidate in candidates], costs, val.scores_K, Chance.of(val.draws_RK, confidence), order)

    def recommend(self, within_K: BoolArray) -> int | None:
        return cheapest(self.costs, self.scores_K, self._fastest_tied(within_K))

    def name(self, k: int | None) -> str | None:
        return None if k is None else self.labels[k]

    def values(self, key: str) -> FloatArray:
        """What the limit is about, shape K; infinite where it was not measured."""
        return np.array([or_infinite(getattr(cost, column_of(key))) for cost in self.costs])

    def _fastest_tied(self, within_K: BoolArray) -> Iterator[int]:
        bound = np.inf
        for k in self.fastest_first:
            latency_ms = or_infinite(self.costs[k].latency_ms_p50)
            if latency_ms > bound:
                return
            if within_K[k] and self.chance.explains(k, self.scores_K, within_K):
                bound = min(bound, latency_ms * (1 + LATENCY_TIE_FRAC))
                yield k


def _tighten(rule: _Rule, key: str, within_K: BoolArray, first: int) -> OtherLimit | None:
    """Down from the most expensive to the recommended itself, which is out at the latest when the limit is below its own value."""
    value_K = rule.values(key)
    steps = _steps(value_K[within_K & (value_K >= value_K[first])])[::-1]
    return _first_change(rule, key, steps, lambda limit: within_K & (value_K < limit), first, is_tighter=True)


def _loosen(rule: _Rule, key: str, within_K: BoolArray, limit: float, first: int) -> OtherLimit | None:
    """Up from the limit, over the values of those that miss no other one."""
    value_K = rule.values(key)
    steps = _steps(value_K[within_K & (value_K > limit)])
    return _first_change(rule, key, steps, lambda limit: within_K & (value_K <= limit), first, is_tighter=False)


def _steps(values: FloatArray) -> FloatArray:
    """Ascending, each once, both ends kept, those that were not measured left out."""
    known = np.unique(values[np.isfinite(values)])
    return known[np.unique(np.linspace(0, len(known) - 1, min(len(known), MAX_STEPS)).round().astype(np.int64))]


def _first_change(
    rule: _Rule, key: str, steps: FloatArray, within: Callable[[float], BoolArray], first: int, *, is_tighter: bool
) -> OtherLimit | None:
    for limit in steps.tolist():
        found = rule.recommend(within(limit))
        if found != first:
            return OtherLimit(key, limit, is_tighter, rule.name(found))
    return None
