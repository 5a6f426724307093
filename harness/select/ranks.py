"""Which places chance leaves open to each candidate: simultaneous intervals for all ranks, from all pairs.

Beside the tied set, on the same draws. The tied set asks who may be the best; ranks ask every pair who is better, and all answers
hold together, so that they are more cautious, and at least as cautious as the tied set.
Shapes: R resamples, K candidates.
"""

from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np

from harness.select.comparison import SAME, BoolArray, Chance, Float32Array, FloatArray, IntArray

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

    chance: Chance
    units: Units
    of_any: float
    """What the largest lead within any pair stays below in the `confidence` share of the resamples of no difference."""

    @classmethod
    def of(cls, chance: Chance) -> "Leads":
        """Compares all with all, as far as it can matter."""
        units = Units.of(chance.spread_KK)
        return cls(chance, units, _of_any(chance, units.inverse_KK.astype(np.float32)))

    def of_one(self, i: int) -> float:
        """The same for the largest lead over candidate i, and the lead of the best alone in two-sided terms, as the tied set asks for both."""
        inverse_K = self.units.inverse_KK[i].astype(np.float32)
        return max(_reached(_leads_over(self.chance.centred_KR, i, inverse_K), self.chance.enough), _two_sided(self.chance, i, inverse_K))


def rank_intervals(scores_K: FloatArray, leads: Leads, is_tied_K: BoolArray) -> list[RankInterval]:
    """Places of K candidates that hold all true ranks at once with the confidence of `leads`; higher scores are better.

    The best open place is behind all that are surely better, the worst one before all that are surely worse. A pair that
    differs by the same amount in every resample is sure. Nobody is surely better than one of the tied set: it may be the best.

    Source: Mogstad, Romano, Shaikh and Wilhelm, Inference for Ranks, Review of Economic Studies 2024 (single step).
    """
    is_ahead_KK = leads.units.ahead(scores_K) * (1 - ROUNDING) > leads.of_any
    is_ahead_KK[is_tied_K] = False
    num_better_K, num_worse_K = is_ahead_KK.sum(axis=1), is_ahead_KK.sum(axis=0)
    return [RankInterval(1 + int(better), len(scores_K) - int(worse)) for better, worse in zip(num_better_K, num_worse_K, strict=True)]


def _of_any(chance: Chance, inverse_KK: Float32Array) -> float:
    """What the largest lead within any pair reaches in `enough` resamples, in single precision: blocks of candidates against blocks.

    The highest of one block less the lowest of the other bounds the leads of all their pairs. Resamples in which the bound is not above what
    `enough` of them have reached already cannot change the answer, and hardly any are left when the blocks that may lead most come first.
    """
    blocks, largest_R = chance.blocks, np.zeros(chance.centred_KR.shape[1], dtype=np.float32)

    def bound_R(one: int, other: int) -> Float32Array:
        apart_R = np.maximum(chance.highest_BR[one] - chance.lowest_BR[other], chance.highest_BR[other] - chance.lowest_BR[one])
        return np.asarray(apart_R * inverse_KK[blocks[one], blocks[other]].max())

    pairs = combinations_with_replacement(range(len(blocks)), 2)
    for one, other in sorted(pairs, key=lambda pair: _reached(bound_R(*pair), chance.enough), reverse=True):
        open_R = np.flatnonzero(bound_R(one, other) > _reached(largest_R, chance.enough))
        one_BR, other_BR = (chance.centred_KR[blocks[block]][:, open_R] for block in (one, other))
        for one_R, inverse_B in zip(one_BR, inverse_KK[blocks[one], blocks[other]], strict=True):
            leads_BR = np.abs(other_BR - one_R) * inverse_B[:, None]
            largest_R[open_R] = np.maximum(largest_R[open_R], leads_BR.max(axis=0))
    return _reached(largest_R, chance.enough)


def _leads_over(centred_KR: Float32Array, i: int, inverse_K: Float32Array) -> Float32Array:
    """The largest lead over candidate i in each resample, shape R; never below zero."""
    return np.asarray(((centred_KR - centred_KR[i]) * inverse_K[:, None]).max(axis=0))


def _two_sided(chance: Chance, i: int, inverse_K: Float32Array) -> float:
    """What the lead of the best other one over candidate i exceeds in half of `enough` resamples."""
    others = np.delete(np.arange(len(inverse_K)), i)
    if not len(others):
        return 0.0
    rival = others[chance.mean_K[others].argmax()]
    return _reached((chance.centred_KR[rival] - chance.centred_KR[i]) * inverse_K[rival], max(chance.enough // 2, 1))


def _reached(values_R: Float32Array, enough: int) -> float:
    """The largest value that is reached in `enough` resamples."""
    return float(np.partition(values_R, -enough)[-enough])
