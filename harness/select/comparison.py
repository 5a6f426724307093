"""Who is tied with the best, on resamples of the scores (`evidence`): one statement for all candidates together.

Higher is always better here: log loss and costs carry a minus sign.
Shapes: R resamples, K candidates.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from harness.config import RankMetric
from harness.select.evidence import bootstrap
from harness.select.scores import SAME, BoolArray, FloatArray, IntArray, Runs, bounds, scores

__all__ = [
    "MIN_SEEDS_TO_RESAMPLE",
    "SAME",
    "BoolArray",
    "Chance",
    "Float32Array",
    "FloatArray",
    "IntArray",
    "Interval",
    "Runs",
    "at_least_wilson",
    "bootstrap",
    "interval",
    "pair_spread",
    "score_interval",
    "scores",
    "tied_set",
]

Float32Array = npt.NDArray[np.float32]

MIN_SEEDS_TO_RESAMPLE = 3
"""A table without predictions compares a candidate from this many seeds on."""
FEW = 5.0
"""Images of one kind below which their share is too near the edge for its spread to tell how sure it is."""
_BLOCK = 64
"""Candidates compared at once, so that what is compared stays in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Two ends, in the unit of what they bound."""

    low: float
    high: float


def tied_set(scores_K: FloatArray, draws_RK: FloatArray, confidence: float) -> BoolArray:
    """Candidates that the evidence cannot separate from the best: multiple comparisons with the best, marginal max-t.

    Candidate i is behind by T_i = max_j (a_j - a_i) / se_ij. It stays if in at least 1 - `confidence` of the resamples the
    same maximum of the centred draws, which is what chance alone shows, is as large. It also stays if the two-sided interval of its difference
    to the best by T holds zero, so that a page never shows a candidate out of the set beside such an interval. A pair that differs by the same
    amount in every resample is separated; a pair that never differs is tied.

    Source: Hsu, Multiple Comparisons: Theory and Methods, 1996; bootstrap max-t of Romano and Wolf, Econometrica 2005.
    """
    return Chance.of(draws_RK, confidence).tied_set(scores_K)


def pair_spread(draws_RK: FloatArray) -> FloatArray:
    """Standard deviation over resamples of every pair's difference, shape K x K."""
    centred_RK = draws_RK - draws_RK.mean(axis=0)
    cross_KK = centred_RK.T @ centred_RK / len(centred_RK)
    own_K = np.diag(cross_KK)
    return np.asarray(np.sqrt(np.maximum(own_K[:, None] + own_K[None, :] - 2 * cross_KK, 0.0)))


def interval(draws_R: FloatArray, confidence: float) -> Interval:
    """The central `confidence` share of the draws (percentile bootstrap)."""
    low, high = np.quantile(draws_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def score_interval(
    draws_R: FloatArray, metric: RankMetric, confidence: float, *, score: float | None = None, num_equal: float | None = None
) -> Interval:
    """The interval of a score itself, kept on the metric's scale, which expanded draws may leave by a little.

    Nothing varies in a score of 100 % or 0 %, and hardly anything near it, and yet it is not certain: with `score` and `num_equal`, the images
    of equal weight that it is known from, the ends go at least as far as Wilson's interval where fewer than `FEW` images are right, or wrong.

    Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference, JASA 1927.
    """
    found = interval(np.clip(draws_R, *bounds(metric)), confidence)
    return found if score is None or num_equal is None else at_least_wilson(found, metric, confidence, score=score, num_equal=num_equal)


def at_least_wilson(found: Interval, metric: RankMetric, confidence: float, *, score: float, num_equal: float) -> Interval:
    """An interval that is on the metric's scale already, widened where few images are right, or wrong, as of `score_interval`."""
    low, high = bounds(metric)
    if np.isinf(low):
        return found
    share = (score - low) / (high - low)
    wilson = _wilson(share, num_equal, confidence)
    if min(share, 1 - share) * num_equal >= FEW:
        return found
    return Interval(min(found.low, low + (high - low) * wilson.low), max(found.high, low + (high - low) * wilson.high))


def _wilson(score: float, num_equal: float, confidence: float) -> Interval:
    square = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    centre = (score + square / (2 * num_equal)) / (1 + square / num_equal)
    half = (square * (score * (1 - score) / num_equal + square / (4 * num_equal**2))) ** 0.5 / (1 + square / num_equal)
    return Interval(max(centre - half, 0.0), min(centre + half, 1.0))


@dataclass(frozen=True, slots=True, eq=False)
class Chance:
    """What chance alone shows, in resamples of no difference: candidates against blocks of others, only as far as it takes to decide."""

    centred_KR: Float32Array
    """Draws less their mean: resamples of no difference."""
    mean_K: FloatArray
    """Of the draws."""
    spread_KK: FloatArray
    """Standard deviation of every pair's difference."""
    enough: int
    """Resamples in which a lead must turn up before chance explains it."""
    lowest_BR: Float32Array
    """Of each block of candidates."""
    highest_BR: Float32Array

    @classmethod
    def of(cls, draws_RK: FloatArray, confidence: float) -> "Chance":
        """Of K candidates drawn together in R resamples."""
        mean_K = draws_RK.mean(axis=0)
        centred_KR = np.ascontiguousarray((draws_RK - mean_K).T, dtype=np.float32)
        enough = math.ceil((1 - confidence) * len(draws_RK) - SAME)
        lowest_BR, highest_BR = (ends.reduceat(centred_KR, _starts(len(mean_K)), axis=0) for ends in (np.minimum, np.maximum))
        return cls(centred_KR, mean_K, pair_spread(draws_RK), enough, lowest_BR, highest_BR)

    @property
    def blocks(self) -> list[slice]:
        """Candidates that are compared at once. Those that lie side by side are best alike, so that the ends of a block tell much."""
        return [slice(start, start + _BLOCK) for start in _starts(len(self.mean_K))]

    def tied_set(self, scores_K: FloatArray) -> BoolArray:
        """Candidates that these scores cannot separate from the best; higher is better."""
        return np.array([self.explains(i, scores_K) for i in range(len(scores_K))], dtype=np.bool_)

    def explains(self, i: int, scores_K: FloatArray) -> bool:
        """Whether the largest lead over candidate i, in units of its spread, turns up in enough resamples of no difference."""
        ahead_K, spread_K = scores_K - scores_K[i], self.spread_KK[i]
        is_fixed_K = spread_K <= SAME
        if bool((is_fixed_K & (ahead_K > SAME)).any()):
            return False
        inverse_K = np.where(is_fixed_K, 0.0, 1.0 / np.where(is_fixed_K, 1.0, spread_K))
        rival = int((ahead_K * inverse_K).argmax())
        lead = float(ahead_K[rival] * inverse_K[rival])
        return lead <= 0 or self._holds_zero(i, rival) or self._turns_up(i, lead, inverse_K.astype(np.float32))

    def _holds_zero(self, i: int, rival: int) -> bool:
        """Whether the two-sided interval of the difference to the rival reaches zero: of two candidates a one-sided test excludes one sooner."""
        ahead_R = self.centred_KR[rival] - self.centred_KR[i] + (self.mean_K[rival] - self.mean_K[i])
        return int(np.count_nonzero(ahead_R <= 0)) >= self.enough / 2

    def _turns_up(self, i: int, lead: float, inverse_K: Float32Array) -> bool:
        """Nobody in a block leads by more than the highest of it would with the smallest spread: where that is too little nobody is looked at."""
        largest_B1 = np.maximum.reduceat(inverse_K, _starts(len(inverse_K)))[:, None]
        is_open_BR = (self.highest_BR - self.centred_KR[i]) * largest_B1 >= lead
        if np.count_nonzero(is_open_BR.any(axis=0)) < self.enough:
            return False
        turned_up_R = np.zeros(self.centred_KR.shape[1], dtype=np.bool_)
        for block, is_open_R in zip(self.blocks, is_open_BR, strict=True):
            open_R = np.flatnonzero(is_open_R & ~turned_up_R)
            leads_BR = (self.centred_KR[block][:, open_R] - self.centred_KR[i, open_R]) * inverse_K[block, None]
            turned_up_R[open_R] = leads_BR.max(axis=0) >= lead
            if np.count_nonzero(turned_up_R) >= self.enough:
                return True
        return False


def _starts(num_candidates: int) -> IntArray:
    """Where the blocks begin."""
    return np.arange(0, num_candidates, _BLOCK)
