"""Candidates two by two: how much they differ, whether that matters in practice, and an exact test of who labels more images right.

After the recommendation, for readers who want to see a pair rather than a rank.
Shapes: P pairs, K candidates, N images.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations

import numpy as np
from scipy.special import bdtr

from harness.config import RankMetric
from harness.data.labels import is_right
from harness.select.candidates import Candidate
from harness.select.comparison import FloatArray, IntArray, Interval
from harness.select.resamples import Difference, Resamples

MAX_ALL_PAIRS = 10
"""Up to this many candidates every pair is shown; beyond it, only those with the reference."""


class Verdict(StrEnum):
    """What a difference means, by where its interval lies against the region of practical equivalence."""

    better = "better"  # wholly above the region
    equivalent = "equivalent"  # wholly inside
    worse = "worse"  # wholly below
    unclear = "unclear"  # across an edge


@dataclass(frozen=True, slots=True)
class McNemar:
    """An exact test on images that just one of two classifies correctly. It counts images alike, whatever metric the ranking goes by.

    Where images belong together it is one on groups of which just one of two classifies more images correctly.
    """

    first_only: int
    second_only: int
    """Images that only the first, only the second classifies correctly, or groups of which it does more."""
    seeds: tuple[int, int]
    """Whose predictions were counted: the lowest seed that both have, else each one's lowest."""
    p: float
    """Mid-p: how often a fair coin splits these images at least as unevenly, equally uneven splits counting half."""
    p_holm: float
    """The same, adjusted for all pairs of the table."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two candidates, named by their labels."""

    first: str
    second: str
    difference: Difference
    """How much better the first is, on val."""
    verdict: Verdict
    """Of the first."""
    mcnemar: McNemar


def compare_pairs(
    candidates: Sequence[Candidate],
    labels_N: IntArray,
    val: Resamples,
    order: Sequence[int],
    reference: int,
    *,
    confidence: float,
    equivalence_frac: float,
    groups_N: IntArray | None = None,
) -> tuple[Pair, ...]:
    """The pair table: the reference against each other, then the rest if they are few.

    Args:
        candidates: all K.
        labels_N: true classes of the val images.
        val: the scores of all K.
        order: positions of those to compare, best first.
        reference: the position that comes first in its pairs.
        confidence: of each difference's interval, taken for itself; only the p-values are adjusted for their number.
        equivalence_frac: half the region of practical equivalence, in the metric's unit.
        groups_N: of the val images; None: every image stands for itself.
    """
    chosen = _choose(order, reference)
    counts = [_discordant(candidates[i], candidates[j], labels_N, val.metric, groups_N) for i, j in chosen]
    p_P = mid_p(np.array([first for first, _, _ in counts], dtype=np.int64), np.array([second for _, second, _ in counts], dtype=np.int64))
    return tuple(
        _pair(candidates[i].label, candidates[j].label, val.difference(i, j, confidence), equivalence_frac, McNemar(*count, p, p_holm))
        for (i, j), count, p, p_holm in zip(chosen, counts, p_P.tolist(), holm(p_P).tolist(), strict=True)
    )


def verdict(found: Interval, equivalence: float) -> Verdict:
    """What an interval of a difference says against the region from -`equivalence` to +`equivalence`, edges included.

    Source: Kruschke, Rejecting or Accepting Parameter Values in Bayesian Estimation, AMPPS 2018 (the interval-and-region rule).
    """
    if found.low > equivalence:
        return Verdict.better
    if found.high < -equivalence:
        return Verdict.worse
    return Verdict.equivalent if -equivalence <= found.low and found.high <= equivalence else Verdict.unclear


def mid_p(first_only_P: IntArray, second_only_P: IntArray) -> FloatArray:
    """Two-sided exact mid-p of McNemar's test, shape P; 1 where no image tells the two apart.

    Source: Fagerland, Lydersen and Laake, The McNemar test for binary matched-pairs data, BMC Medical Research Methodology 2013.
    """
    num_P, fewer_P = first_only_P + second_only_P, np.minimum(first_only_P, second_only_P)
    at_most_P = bdtr(fewer_P, num_P, 0.5)  # probability of that many heads, or of fewer
    below_P = np.where(fewer_P > 0, bdtr(np.maximum(fewer_P - 1, 0), num_P, 0.5), 0.0)
    p_P = np.where(first_only_P == second_only_P, 1 - (at_most_P - below_P) / 2, at_most_P + below_P)
    return np.where(num_P == 0, 1.0, p_P)


def holm(p_P: FloatArray) -> FloatArray:
    """P-values such that rejecting all below a level errs anywhere in the family with no more than that probability.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 1979.
    """
    order = np.argsort(p_P, kind="stable")
    adjusted_P = np.empty_like(p_P)
    adjusted_P[order] = np.minimum(np.maximum.accumulate(p_P[order] * np.arange(len(p_P), 0, -1)), 1.0)
    return adjusted_P


def _choose(order: Sequence[int], reference: int) -> list[tuple[int, int]]:
    others = [k for k in order if k != reference]
    rest: Iterable[tuple[int, int]] = combinations(others, 2) if len(order) <= MAX_ALL_PAIRS else ()
    return [*((reference, k) for k in others), *rest]


def _discordant(
    first: Candidate, second: Candidate, labels_N: IntArray, metric: RankMetric, groups_N: IntArray | None
) -> tuple[int, int, tuple[int, int]]:
    """Images that only the first, only the second classifies correctly, or groups of which it does more, and the seeds that were compared."""
    seeds = [[row.seed for row in candidate.rows] for candidate in (first, second)]
    common = sorted(set(seeds[0]) & set(seeds[1]))
    one, other = (common[0], common[0]) if common else (seeds[0][0], seeds[1][0])
    is_right_N = is_right(first.val.decided_SN(metric)[seeds[0].index(one)], labels_N)
    is_other_right_N = is_right(second.val.decided_SN(metric)[seeds[1].index(other)], labels_N)
    lead_N = is_right_N.astype(np.int64) - is_other_right_N
    lead_U = lead_N if groups_N is None else np.bincount(np.unique(groups_N, return_inverse=True)[1], lead_N)
    return int((lead_U > 0).sum()), int((lead_U < 0).sum()), (one, other)


def _pair(first: str, second: str, difference: Difference, equivalence_frac: float, mcnemar: McNemar) -> Pair:
    return Pair(first, second, difference, verdict(difference.interval, equivalence_frac), mcnemar)
