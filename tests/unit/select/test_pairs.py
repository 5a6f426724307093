"""Pairs: exact p-values against their enumeration, Holm against its definition, verdicts by where the interval lies."""

from dataclasses import replace
from fractions import Fraction
from math import comb
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.select.comparison import Interval
from harness.select.pairs import Verdict, holm, mid_p, verdict
from harness.select.ranking import rank
from harness.study.store import Study
from tests.unit.select.planted import QUICK, add, decision, planted


@given(st.integers(0, 40), st.integers(0, 40))
def test_mid_p_is_the_enumeration(first_only: int, second_only: int) -> None:
    """Every split of the discordant images by a fair coin: more uneven ones count, equally uneven ones count half."""
    num = first_only + second_only
    uneven = abs(first_only - second_only)
    wanted = Fraction(0)
    for heads in range(num + 1):
        other = abs(2 * heads - num)
        wanted += Fraction(comb(num, heads), 2**num) * (Fraction(other > uneven) + Fraction(int(other == uneven), 2))
    found = mid_p(np.array([first_only]), np.array([second_only]))[0]
    assert found == pytest.approx(float(wanted) if num else 1.0, abs=1e-12)


def test_mid_p_by_hand() -> None:
    """Five to none: 2 x 1/32 less 1/32; one each: 1 - 1/4; nothing to tell them apart by: 1."""
    assert mid_p(np.array([5, 0, 1, 0]), np.array([0, 5, 1, 0])).tolist() == pytest.approx([1 / 32, 1 / 32, 0.75, 1.0])


def test_holm_by_hand() -> None:
    """The smallest times four, the next times three, never below one that comes before, never above one."""
    assert holm(np.array([0.04, 0.01, 0.03, 0.5])).tolist() == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]
    assert holm(np.empty(0)).tolist() == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.floats(0.001, 0.5))
def test_holm_rejects_step_by_step(p: list[float], level: float) -> None:
    """Adjusted values at most a level are those that stepping down with level / (how many are left) rejects; order is kept."""
    p_P = np.array(p)
    found_P = holm(p_P)
    order = np.argsort(p_P, kind="stable")
    assert (np.diff(found_P[order]) >= 0).all()
    assert (found_P >= p_P).all()
    wanted, is_open = np.zeros(len(p), dtype=bool), True
    for step, place in enumerate(order):
        is_open = is_open and p_P[place] * (len(p) - step) <= level
        wanted[place] = is_open
    np.testing.assert_array_equal(found_P <= level, wanted)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.011, 0.05, Verdict.better),
        (0.001, 0.05, Verdict.unclear),  # better, but perhaps by nothing that matters
        (-0.01, 0.01, Verdict.equivalent),
        (-0.005, 0.002, Verdict.equivalent),
        (-0.02, 0.02, Verdict.unclear),
        (-0.02, -0.005, Verdict.unclear),
        (-0.09, -0.011, Verdict.worse),
    ],
)
def test_verdict_by_region(low: float, high: float, wanted: Verdict) -> None:
    """Wholly above, inside or below one point around zero; across an edge nothing is clear."""
    assert verdict(Interval(low, high), 0.01) is wanted


def test_table_of_a_study(tmp_path: Path) -> None:
    """The recommended comes first in its pairs, then the others by rank; differences, discordant images and verdicts are those planted."""
    study = Study(tmp_path / "s")
    add(study, "slow", planted(range(180), num_images=2000), latency_ms_p50=90.0)
    add(study, "fast", planted(range(60, 248), num_images=2000), latency_ms_p50=20.0)
    add(study, "poor", planted(range(1000, 1900), num_images=2000), latency_ms_p50=2.0)
    ranking = rank(study, QUICK)
    assert [(pair.first[:4], pair.second[:4]) for pair in decision(ranking).pairs] == [("fast", "slow"), ("fast", "poor"), ("slow", "poor")]
    close, clear, _ = decision(ranking).pairs
    assert close.difference.value == pytest.approx(-8 / 2000)
    assert (close.mcnemar.first_only, close.mcnemar.second_only, close.mcnemar.seeds) == (60, 68, (0, 0))
    assert close.mcnemar.p == pytest.approx(mid_p(np.array([60]), np.array([68]))[0])
    assert close.mcnemar.p_holm == close.mcnemar.p  # the largest of the family keeps its own
    assert (close.verdict, clear.verdict) == (Verdict.unclear, Verdict.better)
    assert clear.mcnemar.p_holm == pytest.approx(2 * clear.mcnemar.p)


def test_many_candidates_show_only_the_reference(tmp_path: Path) -> None:
    """Eleven candidates: ten pairs with the recommended, and no more."""
    study = Study(tmp_path / "s")
    for number in range(11):
        add(study, f"net{number:02d}", planted(range(number, number + 20)), latency_ms_p50=10.0 + number, params_m=5.0)
    ranking = rank(study, QUICK)
    assert ranking.recommended is not None
    assert {pair.first for pair in decision(ranking).pairs} == {ranking.recommended.label}
    assert len(decision(ranking).pairs) == 10


def test_seeds_that_both_have_are_compared(tmp_path: Path) -> None:
    """McNemar counts images of one seed each: the lowest common one, and where none is common the lowest of each."""
    study = Study(tmp_path / "s")
    for seed, wrong in ((1, 20), (2, 10)):
        add(study, "one", planted(range(wrong)), seed=seed, latency_ms_p50=10.0)
    for seed, wrong in ((2, 15), (3, 40)):
        add(study, "two", planted(range(wrong)), seed=seed, latency_ms_p50=50.0)
    add(study, "three", planted(range(100, 124)), seed=7, latency_ms_p50=90.0)
    found = {(pair.first[:3], pair.second[:3]): pair.mcnemar for pair in decision(rank(study, QUICK)).pairs}
    assert (found["one", "two"].seeds, found["one", "two"].first_only, found["one", "two"].second_only) == ((2, 2), 5, 0)
    assert (found["one", "thr"].seeds, found["one", "thr"].first_only, found["one", "thr"].second_only) == ((1, 7), 24, 20)


def test_no_candidate_within_the_limits_no_pairs(tmp_path: Path) -> None:
    """Pairs are about candidates that may be used; a single one has nobody to be compared with."""
    study = Study(tmp_path / "s")
    add(study, "one", planted(range(20)), latency_ms_p50=10.0)
    assert decision(rank(study, QUICK)).pairs == ()
    add(study, "two", planted(range(30)), latency_ms_p50=50.0)
    assert len(decision(rank(study, QUICK)).pairs) == 1
    assert rank(study, replace(QUICK, max_latency_ms=5)).decision is None
