"""How good an order is: what following a score would have brought, and how far it agrees with the truth.

Used by the self-audit. Higher is better for scores and truth alike. Equal scores are ties, broken by lot: every number is the
mean over all ways to break them. Choosing at random is then the score that is the same for all.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence

Scores = Mapping[str, float]
"""Name of a backbone -> its score."""


def choose(scores: Scores, truth: Scores, num_taken: int) -> tuple[float, float, dict[str, float]]:
    """Recall and regret of taking the best `num_taken` by `scores`, and how likely each one is taken."""
    bound = sorted(scores.values(), reverse=True)[num_taken - 1]
    above = [name for name, score in scores.items() if score > bound]
    level = [name for name, score in scores.items() if score == bound]
    num_drawn = num_taken - len(above)
    taken = dict.fromkeys(above, 1.0) | dict.fromkeys(level, num_drawn / len(level))
    among = [truth[name] for name in scores]
    enough = sorted(among, reverse=True)[num_taken - 1]
    recall = sum(share for name, share in taken.items() if truth[name] >= enough) / num_taken
    reached = _expected_best([truth[name] for name in level], num_drawn, max((truth[name] for name in above), default=-math.inf))
    return min(recall, 1.0), max(max(among) - reached, 0.0), taken


def _expected_best(values: Iterable[float], num_drawn: int, known: float) -> float:
    """Mean of the largest of `known` and of `num_drawn` values drawn without replacement."""
    ordered = sorted(values)
    ways = math.comb(len(ordered), num_drawn)
    return sum(max(known, value) * math.comb(place, num_drawn - 1) / ways for place, value in enumerate(ordered))


def agreement(scores: Scores, truth: Scores) -> float | None:
    """Weighted Kendall tau in [-1, 1]: pairs among the best weigh most (hyperbolic weights, the mean over both orders).

    None when either is the same for all.

    Source: Vigna, A weighted correlation index for rankings with ties, WWW 2015.
    """
    from scipy.stats import weightedtau

    names = list(scores)
    if len(set(scores.values())) == 1 or len({truth[name] for name in names}) == 1:
        return None
    tau = float(weightedtau([truth[name] for name in names], [scores[name] for name in names]).statistic)
    return max(-1.0, min(1.0, tau))


def rank_average(first: Scores, second: Scores) -> Scores:
    """Mean of two ranks, 0 for the lowest, of those that have both scores."""
    both = [name for name in first if name in second]
    ranks = [_ranks([scores[name] for name in both]) for scores in (first, second)]
    return {name: (one + other) / 2 for name, one, other in zip(both, *ranks, strict=True)}


def _ranks(values: Sequence[float]) -> list[float]:
    """From 0 for the lowest; equal values share theirs."""
    ordered = sorted(values)
    return [(bisect_left(ordered, value) + bisect_right(ordered, value) - 1) / 2 for value in values]
