"""The Pareto front of quality and latency: candidates that no other one beats on both, and how sure that is.

Beside the tied set: it knows nothing of limits or taste, only of what is paid for what.
Shapes: K candidates, R draws of score and latency together.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from harness.select.candidates import Cost
from harness.select.comparison import BoolArray, Float32Array, FloatArray, IntArray
from harness.select.rule import LATENCY_TIE_FRAC, or_infinite

_SEED = 20_240_301
_BLOCK = 64
"""Rivals of a candidate that are looked at together."""
_INTERVAL = 0.95
"""Confidence of `latency_ms_low` and `latency_ms_high`."""


@dataclass(frozen=True, slots=True, eq=False)
class Front:
    """How sure the front is; candidates of unknown latency are never on it, and nobody dominates them."""

    prob_K: FloatArray
    """Share of draws in which the candidate is on the front."""
    dominated_by_K: IntArray
    """Position of the candidate that most often beats this one on both axes, if often enough; -1: none does."""
    is_known_K: BoolArray
    """Whether the latency is known."""

    def prob(self, k: int) -> float | None:
        """Of one candidate; None when its latency is unknown."""
        return float(self.prob_K[k]) if self.is_known_K[k] else None

    def dominated_by(self, k: int) -> int | None:
        """Who dominates one candidate, if anybody does."""
        return int(self.dominated_by_K[k]) if self.dominated_by_K[k] >= 0 else None


def pareto_front(quality_K: FloatArray, latency_ms_K: FloatArray) -> BoolArray:
    """Which candidates are on the front, shape K. Higher quality and lower latency are better.

    A candidate is off the front if another is at least as good on both axes and better on one. An infinite or NaN
    latency is unknown, and such a candidate is never on the front.
    """
    on_front = np.zeros(len(quality_K), dtype=np.bool_)
    known = np.flatnonzero(np.isfinite(latency_ms_K))
    best_quality, best_latency_ms = -np.inf, np.nan
    for k in known[np.lexsort((-quality_K[known], latency_ms_K[known]))]:  # fastest first, best first where equally fast
        is_equal = quality_K[k] == best_quality and latency_ms_K[k] == best_latency_ms
        if quality_K[k] > best_quality:
            best_quality, best_latency_ms = quality_K[k], latency_ms_K[k]
            on_front[k] = True
        on_front[k] |= is_equal
    return on_front


def likely_front(draws_RK: FloatArray, latency_ms_RK: FloatArray, confidence: float) -> Front:
    """The front in every draw. Latencies within `LATENCY_TIE_FRAC` of each other are equal there.

    A candidate is off the front of a draw if another is at least as good on both axes and better on one. It is dominated,
    full stop, only by one that is better on both axes in the `confidence` share of draws.
    """
    is_known_K: BoolArray = np.asarray(np.isfinite(latency_ms_RK).all(axis=0))
    known = np.flatnonzero(is_known_K)
    prob_K, dominated_by_K = np.zeros(draws_RK.shape[1]), np.full(draws_RK.shape[1], -1, dtype=np.int64)
    if len(known):
        draws_RK, latency_ms_RK = draws_RK[:, known], latency_ms_RK[:, known]
        found, share = _dominators(_by_candidate(draws_RK), _by_candidate(latency_ms_RK))
        dominated_by_K[known] = np.where(share >= confidence, known[found], -1)
        open_ = np.flatnonzero(share < 1)  # who is beaten in every draw is on no front, and keeps nobody off whom the other does not
        drawn = zip(draws_RK[:, open_], latency_ms_RK[:, open_], strict=True)
        prob_K[known[open_]] = np.mean([_on_front(*each) for each in drawn], axis=0)
    return Front(prob_K, dominated_by_K, is_known_K)


def draw_latency_ms(costs: Sequence[Cost], models: Sequence[Hashable], num_draws: int) -> FloatArray:
    """Latencies that the timings leave open, shape R x K: lognormal around the median, one draw for all that are the same model.

    The spread is that of the measured interval, or, where none was measured, as if it were one tie (5 %) wide to either side.
    """
    place = {model: number for number, model in enumerate(dict.fromkeys(models))}
    normal_RW = np.random.default_rng(_SEED).standard_normal((num_draws, len(place)))
    spread_K = np.array([_log_spread(cost) for cost in costs])
    median_K = np.array([or_infinite(cost.latency_ms_p50) for cost in costs])
    return np.asarray(median_K * np.exp(normal_RW[:, [place[model] for model in models]] * spread_K))


def _log_spread(cost: Cost) -> float:
    """Standard deviation of the logarithm of the latency."""
    width = 2 * NormalDist().inv_cdf((1 + _INTERVAL) / 2)
    if cost.latency_ms_low is None or cost.latency_ms_high is None or cost.latency_ms_low <= 0:
        return float(2 * np.log(1 + LATENCY_TIE_FRAC) / width)
    return float(np.log(cost.latency_ms_high / cost.latency_ms_low) / width)


def _on_front(quality_K: FloatArray, latency_ms_K: FloatArray) -> BoolArray:
    """In one draw: nobody who is not slower is better, and nobody who is faster is as good."""
    order = np.argsort(latency_ms_K)
    best_K = np.concatenate([[-np.inf], np.maximum.accumulate(quality_K[order])])  # of the k fastest, from none to all
    sorted_ms_K = latency_ms_K[order]
    not_slower_K = best_K[np.searchsorted(sorted_ms_K, latency_ms_K * (1 + LATENCY_TIE_FRAC), side="right")]
    faster_K = best_K[np.searchsorted(sorted_ms_K * (1 + LATENCY_TIE_FRAC), latency_ms_K, side="left")]
    return np.asarray((not_slower_K <= quality_K) & (faster_K < quality_K))


def _dominators(quality_KR: Float32Array, latency_ms_KR: Float32Array) -> tuple[IntArray, FloatArray]:
    """For each candidate who beats it on both axes in most draws, the first of equals, and in which share of them; -1 where nobody does."""
    quality_K, latency_ms_K = np.median(quality_KR, axis=1), np.median(latency_ms_KR, axis=1)
    tied_ms_KR = latency_ms_KR * np.float32(1 + LATENCY_TIE_FRAC)
    found_K, share_K = np.full(len(quality_K), -1, dtype=np.int64), np.zeros(len(quality_K))
    for k in range(len(quality_K)):
        rivals = np.flatnonzero((quality_K > quality_K[k]) & (latency_ms_K < latency_ms_K[k]))  # nobody else beats it in half the draws
        for start in range(0, len(rivals), _BLOCK):
            block = rivals[start : start + _BLOCK]
            is_beaten_JR = (quality_KR[block] > quality_KR[k]) & (tied_ms_KR[block] < latency_ms_KR[k])
            share_J = np.count_nonzero(is_beaten_JR, axis=1) / is_beaten_JR.shape[1]
            if share_J.max() > share_K[k]:
                found_K[k], share_K[k] = block[share_J.argmax()], share_J.max()
            if share_K[k] == 1:
                break
    return found_K, share_K


def _by_candidate(values_RK: FloatArray) -> Float32Array:
    return np.ascontiguousarray(values_RK.T, dtype=np.float32)
