"""What a score is worth after picking: the val score of the chosen candidate less what being picked adds to it (winner's curse).

Follows the draws of `comparison` and the choice of `ranking`; stands in for a test score where there is none.
Higher is better here, as in `comparison`. Shapes: R resamples, K candidates.
"""

import numpy as np

from harness.select.comparison import FloatArray, interval

_CLOSE = 1.5
"""Candidates this many standard errors of the difference behind the best may well be as good as the best."""
_CONFIDENCE = 0.95
"""Of the interval whose lower end a corrected score does not fall below."""


def corrected_score(scores_K: FloatArray, draws_RK: FloatArray, chosen: int) -> float:
    """The chosen candidate's score, corrected for having been picked among all by the same images.

    What is corrected for is the chosen's place by score: each resample is a small world in which centres are known, and
    the mean error of whichever candidate lands in that place is the optimism of the place. For the best by score this is
    the classical correction. The cheapest candidate in the tied set was picked by its cost, which knows nothing of its luck, so
    that only its place tells of it: correcting it as if it were the maximum would take away more than a standard error too
    much when 20 candidates are equal, and not correcting it would leave the whole curse whenever the cheapest is the best.

    Around the scores as they are, the correction is short by a third when candidates are equal, because the scores of the
    best already differ by luck and the worlds add luck to luck. Those close to the best, and those behind, are therefore
    each moved together first, until they differ as much as their true scores probably do.

    Limits, by `benchmarks.studies`: among equal candidates up to a quarter of the optimism is left. A best that truly
    leads hundreds by three standard errors loses up to half a standard error too much. A cheapest candidate that is cheap
    because it is bad is in the tied set by a luck that its place does not show, and stays as optimistic as it was.

    Args:
        scores_K: score on all images; at least one candidate.
        draws_RK: the same in each resample (`comparison.bootstrap`).
        chosen: position of the chosen candidate.

    Returns:
        A score in the unit of `scores_K`, never above the chosen's own, and never below the lower end of its 95 % interval.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, section 10.2, applied to the best of several as
    by Tibshirani and Tibshirani, Annals of Applied Statistics 2009; centres with the spread of the truth: Louis, JASA 1984.
    """
    score = float(scores_K[chosen])
    place = int(np.count_nonzero(scores_K > score))
    error_RK = draws_RK - draws_RK.mean(axis=0)
    order_K = np.lexsort((error_RK.std(axis=0), -scores_K))  # the spread, so that equal scores come in the same order always
    error_RK = error_RK[:, order_K]
    world_RK = _centres(scores_K[order_K], error_RK) + error_RK
    in_place_R1 = np.sort(world_RK, axis=1)[:, [-1 - place]]
    holder_R = (world_RK == in_place_R1).argmax(axis=1)  # of equals the first; sorting values is several times faster than positions
    optimism = float(error_RK[np.arange(len(error_RK)), holder_R].mean())
    room = score - interval(draws_RK[:, chosen], _CONFIDENCE).low
    return score - max(min(optimism, room), 0.0)


def _centres(scores_K: FloatArray, error_RK: FloatArray) -> FloatArray:
    """Centres of the worlds for scores that come best first: those close to the best and those behind, each with the spread of the truth."""
    is_close_K = scores_K[0] - scores_K <= _CLOSE * (error_RK[:, :1] - error_RK).std(axis=0)
    centres_K = scores_K.copy()
    for is_member_K in (is_close_K, ~is_close_K):
        if np.count_nonzero(is_member_K) > 1:
            centres_K[is_member_K] = _with_true_spread(scores_K[is_member_K], error_RK[:, is_member_K])
    return centres_K


def _with_true_spread(scores_K: FloatArray, error_RK: FloatArray) -> FloatArray:
    """Two scores or more, moved towards their mean until their variance is the one seen less the one that chance alone makes."""
    mean, seen = scores_K.mean(), scores_K.var(ddof=1)
    chance = error_RK.var(axis=1, ddof=1).mean()
    true_share = max(1.0 - chance / seen, 0.0) if seen > 0 else 0.0
    return np.asarray(mean + np.sqrt(true_share) * (scores_K - mean))
