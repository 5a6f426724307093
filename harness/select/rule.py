"""The rule of recommendation: the cheapest of those that the evidence cannot separate from the best.

Between the tied set and everything that asks what the recommendation would be if a limit, a metric or the images were others.
"""

from collections.abc import Iterable, Sequence

from harness.select.candidates import Cost
from harness.select.comparison import FloatArray, IntArray

LATENCY_TIE_FRAC = 0.05
"""Latencies this close count as equal: repeated timings differ by as much."""


def cheapest(costs: Sequence[Cost], scores_K: FloatArray, tied: Iterable[int] | IntArray) -> int | None:
    """Which of the tied (positions in `costs`) costs least: latencies within a tie of the lowest count as equal, then fewer parameters, then the higher score."""
    latency_ms = {int(k): or_infinite(costs[k].latency_ms_p50) for k in tied}
    bound = min(latency_ms.values(), default=0.0) * (1 + LATENCY_TIE_FRAC)
    fast = [k for k, value in latency_ms.items() if value <= bound]
    return min(fast, key=lambda k: (or_infinite(costs[k].params_m), -scores_K[k]), default=None)


def or_infinite(value: float | None) -> float:
    """What was not measured counts as the most expensive."""
    return float("inf") if value is None else value
