"""Calls timed in turn, a block of each, round after round, so that whatever else the machine does hits all of them; and what the times say.

Knows calls that say how long they took, and no networks. All times in milliseconds.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

Call = Callable[[], float]
"""Does its work once and returns how long that took."""
Block = list[float]
"""Times of calls that followed each other."""

STEADY_FRAC = 0.05
"""Blocks this close to the lowest one agree with it: as close as latencies that count as equal. Also what a quiet machine may take away."""
_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Pace:
    """How long calls of one kind are timed."""

    budget_ms: float
    """Time of each call's blocks together, unless `min_rounds` of them take longer."""
    max_rounds: int = 10
    min_rounds: int = 3
    settles: bool = True
    """The first call of a block is not kept: it brings back into the processor's caches what the others have put out of them."""


def interleave(calls: Sequence[Call], pace: Pace) -> list[list[Block]]:
    """The blocks of each call.

    A call that is too slow for a block in every round takes part in some of them, spread evenly over all.
    """
    blocks: list[list[Block]] = [[] for _ in calls]
    due = [pace.max_rounds] * len(calls)
    for turn in range(pace.max_rounds):
        for k, call in enumerate(calls):
            if turn == 0 or turn * due[k] // pace.max_rounds > (turn - 1) * due[k] // pace.max_rounds:
                blocks[k].append(_block(call, pace))
            if turn == 0:
                due[k] = _num_rounds(blocks[k][0], pace)
    return blocks


def _block(call: Call, pace: Pace) -> Block:
    spent_ms = call() if pace.settles else 0.0
    times: Block = []
    while not times or spent_ms < pace.budget_ms / pace.max_rounds:
        times.append(call())
        spent_ms += times[-1]
    return times


def _num_rounds(first: Block, pace: Pace) -> int:
    block_ms = (len(first) + pace.settles) * statistics.median(first)
    return min(pace.max_rounds, max(pace.min_rounds, round(pace.budget_ms / block_ms) if block_ms else pace.max_rounds))


@dataclass(frozen=True, slots=True)
class Latency:
    """What blocks of calls say of one call, under the names of its columns."""

    latency_ms_p50: float
    """Median of the blocks' medians."""
    latency_ms_min: float
    """Lowest of the blocks' medians: as good as free of disturbances, if there was a quiet moment at all."""
    latency_ms_low: float
    """Lower end of the 95 % interval of `latency_ms_p50`."""
    latency_ms_high: float
    latency_ms_p95: float
    """Of all calls."""
    latency_steady: bool
    """The machine was quiet: at least half of the blocks lie within 5 % of the lowest, so that median and minimum say the same, and nobody
    else had the processor. A machine that is busy all the time makes blocks that agree, and are all too slow."""


def latency(blocks: Sequence[Block], waited_frac: float | None = None) -> Latency:
    """Sum up the blocks of one call.

    Args:
        blocks: its times.
        waited_frac: how long threads waited for a core meanwhile, by the time that the calls took; None: unknown.
    """
    medians = [statistics.median(block) for block in blocks]
    times = [taken for block in blocks for taken in block]
    low_ms, high_ms = median_interval(medians)
    p50_ms, min_ms = statistics.median(medians), min(medians)
    return Latency(
        latency_ms_p50=p50_ms,
        latency_ms_min=min_ms,
        latency_ms_low=low_ms,
        latency_ms_high=high_ms,
        latency_ms_p95=float(np.quantile(times, 0.95)),
        latency_steady=p50_ms <= min_ms * (1 + STEADY_FRAC) and (waited_frac or 0.0) <= STEADY_FRAC,
    )


def median_interval(medians: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the median of blocks, by bootstrap: calls of a block are alike, so whole blocks are drawn.

    For their small number the interval is widened as Student's distribution is.
    """
    medians_B = np.array(medians)
    drawn_RB = np.random.default_rng(0).choice(medians_B, size=(_DRAWS, len(medians_B)))
    median, ends = np.median(medians_B), np.quantile(np.median(drawn_RB, axis=1), [0.025, 0.975])
    widened = (ends - median) * (stdtrit(max(len(medians_B) - 1, 1), 0.975) / ndtri(0.975))
    return float(median + min(widened[0], 0.0)), float(median + max(widened[1], 0.0))


def settle(call: Call, cap_ms: float) -> None:
    """Call until three calls in a row agree within 5 %, or for so long, and twice at least: what is only done once is over then."""
    times, spent_ms = [call(), call()], 0.0
    while spent_ms < cap_ms and (len(times) < 3 or max(times[-3:]) > min(times[-3:]) * (1 + STEADY_FRAC)):
        times.append(call())
        spent_ms += times[-1]
