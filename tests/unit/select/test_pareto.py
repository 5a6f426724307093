"""The Pareto front against its definition."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from harness.select.pareto import pareto_front

POINTS = st.lists(st.tuples(st.integers(0, 6), st.one_of(st.integers(1, 6), st.just(float("inf")))), max_size=25)


@given(POINTS)
def test_front_is_what_nothing_dominates(points: list[tuple[int, float]]) -> None:
    """On the front: a known latency, and no other candidate as good on both axes and better on one."""
    quality_K, latency_ms_K = (np.array([point[axis] for point in points], dtype=float) for axis in (0, 1))
    wanted = [np.isfinite(ms) and not any(q2 >= q and ms2 <= ms and (q2 > q or ms2 < ms) for q2, ms2 in points) for q, ms in points]
    assert pareto_front(quality_K, latency_ms_K).tolist() == wanted
