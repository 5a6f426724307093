"""How costs compare: which latencies are equal, and what an unknown cost counts as."""

LATENCY_TIE_FRAC = 0.05
"""Latencies this close count as equal: repeated timings differ by as much."""


def or_infinite(value: float | None) -> float:
    """What was not measured counts as the most expensive."""
    return float("inf") if value is None else value
