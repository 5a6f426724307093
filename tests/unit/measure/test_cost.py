"""The interval of a median time."""

import itertools
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.config import Device, MeasureConfig, Precision
from harness.measure import cost
from harness.measure.cost import THROUGHPUT_BATCH_SIZE, Timing, _steady, measure_timing, median_interval
from harness.runtime import Runtime
from harness.study.row import TIMING_COLUMNS
from harness.transfer.network import Network


def _times(num_calls: int, correlation: float, seed: int) -> list[float]:
    """Milliseconds with median 10, each call like the one before."""
    shocks = np.random.default_rng(seed).normal(size=num_calls)
    values = [shocks[0]]
    for shock in shocks[1:]:
        values.append(correlation * values[-1] + shock * np.sqrt(1 - correlation**2))
    return list(10 * np.exp(0.1 * np.array(values)))


@pytest.mark.parametrize(("correlation", "at_least"), [(0.0, 88), (0.7, 84)])
def test_the_interval_holds_the_true_median(correlation: float, at_least: int) -> None:
    """In about 95 of 100 runs, and not much less often where a call is like the one before it (71, if single calls were resampled)."""
    intervals = [median_interval(_times(150, correlation, seed)) for seed in range(100)]
    assert sum(low <= 10 <= high for low, high in intervals) >= at_least


def test_the_interval_of_many_independent_calls_is_that_of_normal_theory() -> None:
    """Twice 1.96 standard errors of a median, 1.25 deviations / sqrt(calls) each."""
    low, high = median_interval(_times(2500, 0.0, seed=0))
    assert high - low == pytest.approx(2 * 1.96 * 1.2533 / 50, rel=0.25)


def test_correlated_calls_know_less() -> None:
    """The interval is wider when calls come in streaks than when the same times come in random order."""
    times = _times(400, 0.9, seed=0)
    shuffled = list(np.random.default_rng(1).permutation(times))
    widths = [high - low for low, high in map(median_interval, (times, shuffled))]
    assert widths[0] > 1.5 * widths[1]


def test_more_calls_know_more() -> None:
    """The interval lies around the median, and gets narrower with the number of calls."""
    few, many = _times(30, 0.3, seed=0), _times(3000, 0.3, seed=0)
    (few_low, few_high), (many_low, many_high) = median_interval(few), median_interval(many)
    assert few_low <= np.median(few) <= few_high
    assert many_low <= np.median(many) <= many_high
    assert many_high - many_low < (few_high - few_low) / 4


def test_equal_times_leave_nothing_open() -> None:
    """Without any spread the interval is the median."""
    assert median_interval([7.0] * 20) == (7.0, 7.0)


def _calls(times_ms: Iterator[float]) -> Callable[[], float]:
    return lambda: next(times_ms)


def test_times_are_kept_once_they_agree() -> None:
    """Two slow blocks are warm-up; the three that follow and agree are the measurement."""
    times = itertools.chain([99.0], [20.0] * 7, [15.0] * 7, itertools.repeat(10.0))
    assert _steady(_calls(times), 0.0, cap_s=60.0) == ([10.0] * 21, True)


def test_times_that_never_agree_are_kept_and_said_to_be_unsteady() -> None:
    """When the time for warming up is over, the last blocks stand for what they are."""
    kept, is_steady = _steady(_calls(iter(range(1, 1000))), 0.0, cap_s=0.0)
    assert (kept, is_steady) == (list(range(2, 23)), False)


class _Noting(nn.Module):
    """Notes whether it is called under autocast."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[bool] = set()

    def forward(self, images_BCHW: Tensor) -> Tensor:
        self.seen.add(torch.is_autocast_enabled("cpu"))
        return images_BCHW.mean((2, 3))


def test_throughput_is_that_of_the_quickest_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches for which memory is still being fetched do not count, however few there is time for."""
    times = itertools.chain([300.0, 40.0], itertools.repeat(200.0))
    monkeypatch.setattr(cost, "_timed_ms", lambda _, images_BCHW, __: next(times) if len(images_BCHW) > 1 else 1.0)
    network = Network(_Noting(), nn.Linear(3, 2), Runtime(Device.cpu, Precision.float32))
    found = measure_timing(network, 8, MeasureConfig(warm_up_s=0, timing_s=0.1)).throughput_ips
    assert found == pytest.approx(THROUGHPUT_BATCH_SIZE / 0.04)


def test_times_are_those_of_float32() -> None:
    """Also of a network whose job computes in bfloat16, which keeps its own arithmetic afterwards."""
    network = Network(trunk := _Noting(), nn.Linear(3, 2), Runtime(Device.cpu, Precision.bfloat16))
    measure_timing(network, 8, MeasureConfig(warm_up_s=0, timing_s=0))
    assert trunk.seen == {False}
    with torch.no_grad():
        network(torch.zeros(1, 3, 8, 8))
    assert trunk.seen == {False, True}


def test_a_timing_fills_its_columns() -> None:
    """Every timing column but the name of the job that timed is a field of `Timing`."""
    assert set(Timing.__dataclass_fields__) == set(TIMING_COLUMNS) - {"timed_by"}
