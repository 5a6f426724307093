"""Which places chance leaves open to each candidate: simultaneous intervals for all ranks, from all pairs.

Beside the tied set, on the same draws. The tied set asks who may be the best; ranks ask every pair who is better, and all answers
hold together, so that they are more cautious.
Shapes: R resamples, K candidates.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.select.comparison import SAME, Chance, FloatArray, IntArray

_BLOCK = 64
"""Candidates compared at once, so that what is compared stays in the processor's cache."""
ROUNDING = 1e-5
"""Relative error of single precision, with room to spare."""


@dataclass(frozen=True, slots=True)
class RankInterval:
    """Places that are left open, both ends included; 1 is the best."""

    low: int
    high: int


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """Differences of every pair in units of their spread, for many sets of scores."""

    inverse_KK: FloatArray
    """One over the spread; 0 where the difference never varies."""
    fixed: tuple[IntArray, IntArray]
    """Rows and columns of those pairs."""

    @classmethod
    def of(cls, spread_KK: FloatArray) -> "Units":
        """From the standard deviations of all differences."""
        is_fixed_KK = spread_KK <= SAME
        inverse_KK = np.divide(1.0, spread_KK, out=np.zeros_like(spread_KK), where=~is_fixed_KK)
        rows, columns = np.nonzero(is_fixed_KK)
        return cls(inverse_KK, (rows, columns))

    def ahead(self, scores_K: FloatArray) -> FloatArray:
        """How far each candidate (columns) is ahead of each (rows); infinite for a difference that never varies, 0 for none."""
        ahead_KK = scores_K[None, :] - scores_K[:, None]
        constant = ahead_KK[self.fixed]
        ahead_KK *= self.inverse_KK
        ahead_KK[self.fixed] = np.where(np.abs(constant) > SAME, np.copysign(np.inf, constant), 0.0)
        return ahead_KK


@dataclass(frozen=True, slots=True, eq=False)
class Leads:
    """How far one candidate must be ahead of another, in units of the spread of their difference, for chance not to explain it."""

    units: "Units"
    of_one_K: FloatArray
    """What the largest lead over candidate i stays below in the `confidence` share of the resamples of no difference, and the lead of the
    best alone in two-sided terms, as the tied set asks for both."""
    of_any: float
    """The same for the largest lead within any pair."""

    @classmethod
    def of(cls, chance: Chance) -> "Leads":
        """Compares all with all in every resample: K x K x R operations in single precision, in blocks."""
        units = Units.of(chance.spread_KK)
        inverse_KK = units.inverse_KK.astype(np.float32)
        largest_R = np.zeros(chance.centred_KR.shape[1], dtype=np.float32)
        of_one_K = np.zeros(len(inverse_KK))
        for i, inverse_K in enumerate(inverse_KK):
            own_R = _largest_lead(chance.centred_KR, i, inverse_K)
            np.maximum(largest_R, own_R, out=largest_R)
            of_one_K[i] = max(_reached(own_R, chance.enough), _two_sided(chance, i, inverse_K))
        return cls(units, of_one_K, _reached(largest_R, chance.enough))


def rank_intervals(scores_K: FloatArray, leads: Leads) -> list[RankInterval]:
    """Places of K candidates that hold all true ranks at once with the confidence of `leads`; higher scores are better.

    The best open place is behind all that are surely better, the worst one before all that are surely worse. A pair that
    differs by the same amount in every resample is sure.

    Source: Mogstad, Romano, Shaikh and Wilhelm, Inference for Ranks, Review of Economic Studies 2024 (single step).
    """
    is_ahead_KK = leads.units.ahead(scores_K) * (1 - ROUNDING) > leads.of_any
    num_better_K, num_worse_K = is_ahead_KK.sum(axis=1), is_ahead_KK.sum(axis=0)
    return [RankInterval(1 + int(better), len(scores_K) - int(worse)) for better, worse in zip(num_better_K, num_worse_K, strict=True)]


def _largest_lead(centred_KR: npt.NDArray[np.float32], i: int, inverse_K: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Over candidate i in each resample, shape R; never below zero."""
    largest_R = np.zeros(centred_KR.shape[1], dtype=np.float32)
    for start in range(0, len(centred_KR), _BLOCK):
        leads_BR = centred_KR[start : start + _BLOCK] - centred_KR[i]
        leads_BR *= inverse_K[start : start + _BLOCK, None]
        np.maximum(largest_R, leads_BR.max(axis=0), out=largest_R)
    return largest_R


def _two_sided(chance: Chance, i: int, inverse_K: npt.NDArray[np.float32]) -> float:
    """What the lead of the best other one over candidate i exceeds in half of `enough` resamples."""
    others = np.delete(np.arange(len(inverse_K)), i)
    if not len(others):
        return 0.0
    rival = others[chance.mean_K[others].argmax()]
    return _reached((chance.centred_KR[rival] - chance.centred_KR[i]) * inverse_K[rival], max(chance.enough // 2, 1))


def _reached(values_R: npt.NDArray[np.float32], enough: int) -> float:
    """The largest value that is reached in `enough` resamples."""
    return float(np.partition(values_R, -enough)[-enough])
