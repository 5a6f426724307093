"""Which learning rates are tried, and which one is kept."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.transfer.rate_search import MAX_WIDENINGS, RateSearch

GRID = [3e-5, 1e-4, 3e-4]


def _run(search: RateSearch, peak: float) -> list[float]:
    """Try everything that is asked for; the loss rises on both sides of the best. Returns the order."""
    tried = []
    while (lr := search.next()) is not None:
        tried.append(lr)
        search.tell(lr, abs(math.log(lr / peak)))
    return tried


def test_a_best_rate_inside_the_grid_ends_the_search() -> None:
    """Nothing beyond the grid is tried."""
    search = RateSearch(GRID)
    assert _run(search, 1e-4) == GRID
    assert search.best == 1e-4


def test_a_best_rate_on_the_edge_widens_the_grid_there() -> None:
    """Upwards once, where that finds the peak between two rates, and twice at most; downwards just the same."""
    search = RateSearch(GRID)
    assert _run(search, 9e-4) == [*GRID, 9e-4, 2.7e-3]
    assert search.best == 9e-4
    assert _run(RateSearch(GRID), 1.0) == [*GRID, 9e-4, 2.7e-3]
    assert _run(RateSearch(GRID), 1e-9) == [*GRID, 9e-6, 2.7e-6]


def test_what_was_tried_is_not_tried_again() -> None:
    """It counts as told."""
    search = RateSearch(GRID, {1e-4: abs(math.log(1e-4 / 9e-4))})
    assert _run(search, 9e-4) == [3e-5, 3e-4, 9e-4, 2.7e-3]
    assert search.best == 9e-4
    assert RateSearch(GRID, dict.fromkeys(GRID, 1.0)).best == 3e-5


def test_one_rate_is_no_search() -> None:
    """A recipe with a single rate is not widened."""
    assert _run(RateSearch([1e-3]), 1.0) == [1e-3]


def test_rates_that_diverge_are_no_edge() -> None:
    """A rate that diverged is neither best nor widened past; where all diverged, the lowest is named and nothing is widened."""
    search = RateSearch([1.0, 10.0])
    for rate in iter(search.next, None):
        search.tell(rate, None)
    assert search.losses == {1.0: None, 10.0: None}
    search = RateSearch([0.1, 1.0, 10.0])
    while (lr := search.next()) is not None:
        search.tell(lr, None if lr > 1 else 1 / lr)
    assert search.best == 1.0
    assert max(search.losses) == 10.0


def test_several_rates_may_be_asked_for_before_any_is_told() -> None:
    """A batched caller takes the whole grid at once; what lies beyond is asked for once all of it is told."""
    search = RateSearch(GRID)
    assert list(iter(search.next, None)) == GRID
    assert search.next() is None
    for lr in GRID:
        search.tell(lr, 1 / lr)
    assert list(iter(search.next, None)) == [9e-4]


@settings(max_examples=50)
@given(st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=5, unique=True), st.floats(1e-8, 10))
def test_the_best_of_what_was_tried_is_kept(rates: list[float], peak: float) -> None:
    """Whatever the grid and wherever the peak: the kept rate has the highest score, and no more rates were tried than allowed."""
    search = RateSearch(sorted(rates))
    tried = _run(search, peak)
    assert search.best == min(tried, key=lambda lr: (abs(math.log(lr / peak)), lr))
    assert len(tried) <= len(rates) + MAX_WIDENINGS
