"""The Pareto front against its definition, in points and in draws."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.select.pareto import draw_latency_ms, likely_front, pareto_front
from harness.select.ranking import rank
from harness.study.store import Study
from tests.unit.select.planted import QUICK, add, planted
from tests.unit.select.test_limits import candidate

POINTS = st.lists(st.tuples(st.integers(0, 6), st.one_of(st.integers(1, 6), st.just(float("inf")))), max_size=25)


@given(POINTS)
def test_front_is_what_nothing_dominates(points: list[tuple[int, float]]) -> None:
    """On the front: a known latency, and no other candidate as good on both axes and better on one."""
    quality_K, latency_ms_K = (np.array([point[axis] for point in points], dtype=float) for axis in (0, 1))
    wanted = [np.isfinite(ms) and not any(q2 >= q and ms2 <= ms and (q2 > q or ms2 < ms) for q2, ms2 in points) for q, ms in points]
    assert pareto_front(quality_K, latency_ms_K).tolist() == wanted


DRAWS = st.lists(st.tuples(st.integers(0, 4), st.floats(1, 2)), min_size=1, max_size=12)


@given(DRAWS)
def test_one_draw_is_the_definition_with_ties(points: list[tuple[int, float]]) -> None:
    """Off the front: another is as good and not 5 % slower, and better in score or more than 5 % faster."""
    quality_K, latency_ms_K = (np.array([point[axis] for point in points], dtype=float) for axis in (0, 1))
    found = likely_front(quality_K[None], latency_ms_K[None], 0.95)
    for k, (quality, ms) in enumerate(points):
        beaten = any(q >= quality and other <= 1.05 * ms and (q > quality or 1.05 * other < ms) for q, other in points)
        assert found.prob_K[k] == float(not beaten)
        by = [j for j, (q, other) in enumerate(points) if q > quality and np.float32(other) * np.float32(1.05) < np.float32(ms)]
        assert (found.dominated_by_K[k] in by) if by else found.dominated_by_K[k] == -1


def test_probability_counts_draws() -> None:
    """The slower one is on the front in the three draws of four in which it scores more; the faster one always is."""
    draws_RK = np.array([[0.8, 0.9], [0.8, 0.81], [0.8, 0.85], [0.8, 0.7]])
    found = likely_front(draws_RK, np.tile([10.0, 20.0], (4, 1)), 0.95)
    assert [found.prob(0), found.prob(1)] == [1.0, 0.75]
    assert [found.dominated_by(0), found.dominated_by(1)] == [None, None]


@pytest.mark.parametrize(("num_lost", "wanted"), [(5, 0), (6, None)])
def test_dominated_in_nearly_all_draws(num_lost: int, wanted: int | None) -> None:
    """Better and clearly faster in 95 of 100 draws dominates, in 94 it does not."""
    draws_RK = np.tile([0.9, 0.8], (100, 1))
    draws_RK[:num_lost, 0] = 0.7
    latency_ms_RK = np.tile([10.0, 20.0], (100, 1))
    assert likely_front(draws_RK, latency_ms_RK, 0.95).dominated_by(1) == wanted


def test_tied_latency_dominates_no_candidate() -> None:
    """Within 5 % the faster one is no faster: the better one pushes the other off the front, but not on every axis."""
    for latency_ms in ([10.0, 10.4], [10.5, 10.0], [10.0, 10.5]):
        found = likely_front(np.tile([0.9, 0.8], (50, 1)), np.tile(latency_ms, (50, 1)), 0.95)
        assert [found.prob(0), found.prob(1), found.dominated_by(1)] == [1.0, 0.0, None]


def test_unknown_latency_is_on_no_front() -> None:
    """Not on it, no probability, dominated by nobody and dominating nobody; positions stay those of all candidates."""
    latency_ms_RK = np.tile([np.inf, 10.0, 30.0], (20, 1))
    found = likely_front(np.tile([0.99, 0.9, 0.8], (20, 1)), latency_ms_RK, 0.95)
    assert [found.prob(0), found.prob(1), found.prob(2)] == [None, 1.0, 0.0]
    assert [found.dominated_by(0), found.dominated_by(1), found.dominated_by(2)] == [None, None, 1]


def test_latency_draws_spread_as_measured() -> None:
    """The central 95 % of the draws are the measured interval, or 5 % to either side; one network has one draw."""
    costs = [
        candidate(latency_ms_p50=10.0, latency_ms_low=9.0, latency_ms_high=10.0 / 0.9).cost,
        candidate(latency_ms_p50=20.0, latency_ms_low=None).cost,
        candidate(latency_ms_p50=20.0, latency_ms_low=None).cost,
        candidate(latency_ms_p50=None).cost,
    ]
    drawn_RK = draw_latency_ms(costs, ["a", "b", "b", "c"], 20_000)
    assert np.quantile(drawn_RK[:, 0], [0.025, 0.5, 0.975]) == pytest.approx([9.0, 10.0, 10.0 / 0.9], rel=0.01)
    assert np.quantile(drawn_RK[:, 1], [0.025, 0.975]) == pytest.approx([20 / 1.05, 20 * 1.05], rel=0.01)
    np.testing.assert_array_equal(drawn_RK[:, 1], drawn_RK[:, 2])
    assert abs(np.corrcoef(np.log(drawn_RK[:, 0]), np.log(drawn_RK[:, 1]))[0, 1]) < 0.03
    assert np.isinf(drawn_RK[:, 3]).all()


def test_front_of_a_study(tmp_path: Path) -> None:
    """A clear trade is on the front for sure; a slower and much worse network is dominated by name; the excluded have no place."""
    study = Study(tmp_path / "s")
    add(study, "good", planted(range(10)), latency_ms_p50=50.0)
    add(study, "fast", planted(range(60)), latency_ms_p50=5.0)
    add(study, "poor", planted(range(90, 190)), latency_ms_p50=70.0)
    add(study, "huge", planted(range(5)), latency_ms_p50=500.0)
    ranking = rank(study, replace(QUICK, max_latency_ms=100))
    found = {entry.candidate.row.backbone: entry for entry in ranking.entries}
    assert (found["good"].front_prob, found["fast"].front_prob, found["poor"].front_prob) == (1.0, 1.0, 0.0)
    assert found["poor"].dominated_by in (found["good"].label, found["fast"].label)
    assert (found["huge"].front_prob, found["huge"].dominated_by, found["huge"].rank_interval) == (None, None, None)
