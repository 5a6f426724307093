"""Latencies to decide with."""

from dataclasses import replace
from typing import Any

from harness.select.latency import Basis, Decisive, decisive_latency_ms
from tests.unit.select.test_limits import candidate

COST = candidate().cost


def cost(latency_ms: float | None, *, steady: bool | None = True, **changes: Any) -> Any:
    """One whose model was timed so; its lowest block is a fifth below an unsteady median."""
    lowest_ms = None if latency_ms is None else latency_ms if steady else 0.8 * latency_ms
    return replace(COST, latency_ms_p50=latency_ms, latency_steady=steady, **({"latency_ms_min": lowest_ms, "gmacs": 1.0} | changes))


def test_steady_times_are_taken_as_measured() -> None:
    """Also those of before that do not say whether they are steady; what was never timed stays unknown."""
    found = decisive_latency_ms([cost(10.0), cost(20.0, steady=None), cost(None)], ["a", "a", "a"])
    assert found == [Decisive(10.0, Basis.measured), Decisive(20.0, Basis.measured), Decisive(None, Basis.unknown)]
    assert not any(each.is_rough for each in found)


def test_an_unsteady_time_goes_by_the_multiply_adds_of_its_family() -> None:
    """Twice the multiply-adds of a steady relative take twice as long, whatever the busy machine said; other families do not matter."""
    costs = [cost(10.0, gmacs=1.0), cost(90.0, steady=False, gmacs=2.0), cost(1.0, gmacs=5.0)]
    found = decisive_latency_ms(costs, ["lite", "lite", "vit"])
    assert found[1] == Decisive(20.0, Basis.multiply_adds)
    assert found[1].is_rough


def test_a_family_counts_each_steady_network_once() -> None:
    """Three depths of one model do not outvote another: the middle of 10 and 30 ms per 10^9 is 20."""
    costs = [*[cost(10.0)] * 3, cost(30.0), cost(90.0, steady=False)]
    assert decisive_latency_ms(costs, ["a"] * 5)[-1].latency_ms == 20.0


def test_the_lowest_block_bounds_what_multiply_adds_say() -> None:
    """A disturbance only adds: a model that once took 8 ms does not take 30."""
    found = decisive_latency_ms([cost(10.0, gmacs=1.0), cost(10.0, steady=False, gmacs=3.0)], ["a", "a"])
    assert found[1] == Decisive(8.0, Basis.lowest)


def test_where_all_are_unsteady_the_lowest_blocks_compare() -> None:
    """They were timed in turn; no family, no multiply-adds, or no steady relative make no difference."""
    costs = [
        cost(90.0, steady=False),
        cost(50.0, steady=False),
        cost(40.0, steady=False, latency_ms_min=None),
        cost(30.0, steady=False, gmacs=None),
    ]
    found = decisive_latency_ms([*costs, cost(1.0)], ["a", "a", None, "b", "b"])
    assert [each.latency_ms for each in found] == [72.0, 40.0, 40.0, 24.0, 1.0]
    assert [each.basis for each in found] == [*[Basis.lowest] * 4, Basis.measured]
