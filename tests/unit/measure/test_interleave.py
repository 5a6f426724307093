"""Calls in turn, and what their times say. No clock is read: calls say how long they took."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from harness.measure.interleave import Call, Pace, interleave, latency, median_interval, settle


def calls(*times_ms: float, noted: list[int] | None = None) -> list[Call]:
    """One that always takes so long for each; notes whose turn it was."""

    def make(k: int, taken_ms: float) -> Call:
        def call() -> float:
            (noted if noted is not None else []).append(k)
            return taken_ms

        return call

    return [make(k, taken_ms) for k, taken_ms in enumerate(times_ms)]


def returning(times_ms: Iterator[float]) -> Call:
    """One that takes what comes next."""
    return lambda: next(times_ms)


def test_networks_take_turns() -> None:
    """A block of each in every round, and no second one before all had theirs."""
    noted: list[int] = []
    blocks = interleave(calls(1.0, 2.0, noted=noted), Pace(100.0, max_rounds=4))
    assert [key for key, _ in itertools.groupby(noted)] == [0, 1] * 4
    assert [len(found) for found in blocks] == [4, 4]


def test_a_call_gets_its_time_and_no_more() -> None:
    """All blocks together, with the calls that are not kept, take what is allowed."""
    noted: list[int] = []
    (blocks,) = interleave(calls(2.0, noted=noted), Pace(200.0))
    assert [len(block) for block in blocks] == [9] * 10
    assert len(noted) == 100


def test_slow_calls_take_part_in_some_rounds_spread_over_all() -> None:
    """What takes a second and has a second is timed in three blocks: at the beginning, in the middle and towards the end."""
    noted: list[int] = []
    fast, slow = interleave(calls(1.0, 1000.0, noted=noted), Pace(1000.0, max_rounds=9))
    assert [len(fast), len(slow)] == [9, 3]
    turns = [key for key, _ in itertools.groupby(noted)]
    assert turns == [0, 1, 0, 1, 0, 1, 0]
    rounds = [len([k for k in part if k == 0]) for part in (noted[: noted.index(1)],)]
    assert rounds[0] == 112  # one round of the fast one before the slow one's first


def test_the_first_call_of_a_block_is_not_kept() -> None:
    """It finds the caches full of other networks."""
    times = itertools.cycle([8.0, 1.0, 1.0])
    (blocks,) = interleave([returning(times)], Pace(30.0, max_rounds=3))
    assert blocks == [[1.0, 1.0]] * 3
    (kept,) = interleave([returning(itertools.cycle([9.0, 1.0]))], Pace(30.0, max_rounds=3, settles=False))
    assert kept == [[9.0, 1.0]] * 3


def test_without_time_there_are_still_blocks() -> None:
    """No budget: the least number of rounds, a call each; none at all: no blocks."""
    assert interleave(calls(5.0), Pace(0.0)) == [[[5.0]] * 3]
    assert interleave([], Pace(100.0)) == []


def test_a_disturbance_of_some_rounds_leaves_median_and_minimum() -> None:
    """Blocks while something else ran are three times as long; with fewer than half of them the median holds, and the network is steady."""
    blocks = [[30.0, 31.0]] * 4 + [[10.0, 10.2]] * 6
    found = latency(blocks)
    assert (found.latency_ms_p50, found.latency_ms_min, found.latency_steady) == (10.1, 10.1, True)
    assert found.latency_ms_p95 > 30


def test_a_disturbance_of_most_rounds_leaves_the_minimum() -> None:
    """The lowest block is what the network takes when it is let, and the median is said to be unsteady."""
    found = latency([[30.0, 31.0]] * 6 + [[10.0, 10.2]] * 4)
    assert (found.latency_ms_min, found.latency_steady) == (10.1, False)
    assert found.latency_ms_p50 > 30


@pytest.mark.parametrize(("waited_frac", "steady"), [(None, True), (0.0, True), (0.04, True), (0.5, False)])
def test_a_machine_that_is_always_busy_is_seen_by_the_waiting(waited_frac: float | None, steady: bool) -> None:
    """Blocks that agree prove nothing where another program had the processor all the time."""
    assert latency([[30.0]] * 10, waited_frac).latency_steady is steady


def test_the_interval_holds_the_true_median() -> None:
    """In about 95 of 100 runs of ten blocks whose medians scatter."""
    drawn = np.exp(0.1 * np.random.default_rng(0).normal(size=(200, 10)))
    held = [low <= 1.0 <= high for low, high in map(median_interval, drawn.tolist())]
    assert np.mean(held) > 0.92


def test_more_blocks_know_more_and_equal_ones_leave_nothing_open() -> None:
    """The interval lies around the median and gets narrower; without spread, or with one block, it is the median."""
    rng = np.random.default_rng(0)
    few, many = (list(10 + rng.normal(size=size)) for size in (5, 200))
    (few_low, few_high), (many_low, many_high) = median_interval(few), median_interval(many)
    assert few_low <= np.median(few) <= few_high
    assert many_high - many_low < (few_high - few_low) / 3
    assert median_interval([7.0] * 10) == median_interval([7.0]) == (7.0, 7.0)


def test_calls_are_warm_when_three_agree() -> None:
    """Five falling times, then three alike: no more are made."""
    times = iter([90.0, 50.0, 30.0, 20.0, 15.0, 10.0, 10.0, 10.1, 1000.0])
    settle(returning(times), cap_ms=1e9)
    assert next(times) == 1000.0


def test_warming_up_ends_when_its_time_is_over() -> None:
    """Times that never agree, and no time: two calls."""
    times = iter([float(2**k) for k in range(20)])
    settle(returning(times), cap_ms=0.0)
    assert next(times) == 4.0
