"""What the true scores of K candidates probably are: what was measured, and what was known of them before.

Beside the tied set, on the same scores. The tied set states who cannot be excluded as best; the posterior says how good each probably is,
how probably it is the best, and what choosing it may cost, which is what a decision needs.
Shapes: R draws in P pairs, K candidates, G values of the unknown spread t; D distinct candidates, whose predictions are not another's, M of them measured
and U not.

The model, in points: a score is the truth plus the error of the images, Gaussian with a covariance that is known. The truth is
a + b1 z(published top-1) + b2 log2(cost) + b3 own rank + an effect of depth + e, where e has standard deviation t, shared in parts by family and
by backbone. What b and depth may be is in units of t too: where candidates hardly differ, nothing that is known of them matters much. Given t
everything is Gaussian and exact; t itself is log-normal and summed over a grid. All candidates are drawn jointly, a thousand as well.

What all errors have in common is not learnt from the scores: easy images raise low scores more than high ones, whose errors are smaller, so that it
would be the cheapest explanation of why scores differ. Scores are taken as they are, and how far all of them may be off together is added to
what is not known (a cut posterior).

Source: Gelman et al., Bayesian Data Analysis, 2013, chapters 5 and 15; Kornblith et al., Do Better ImageNet Models Transfer Better?, CVPR 2019
(the sign of what accuracy is worth); sizes are chosen on simulated studies by `benchmarks.studies`. Rasmussen and Williams,
Gaussian Processes for Machine Learning, 2006, chapter 2. Plummer, Cuts in Bayesian graphical models, Statistics and Computing 2015.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from harness.select.afar import Afar, Others, Seen
from harness.select.comparison import SAME, BoolArray, FloatArray, IntArray
from harness.select.structure import INTERCEPT_POINTS, Known, shrunk, structure

__all__ = ["POINT", "Draws", "Known", "Others", "Posterior", "posterior", "posteriors", "shrunk"]

NUM_DRAWS = 4000
POINT = 0.01
"""One point: a hundredth of an accuracy, or 0.01 nats of log loss."""

SPREAD_POINTS = 1.0
"""Median of t before anything is seen: recorded tables have true scores with standard deviations of 0.8 to 2.5 points, of which e is a part."""
SPREAD_LOG_SD = 0.7
"""Standard deviation of ln t: a study whose scores differ by much more soon says so."""
_GRID_POINTS = np.geomspace(0.1, 30.0, 20)
_NEGLIGIBLE = 1e-3
"""Posterior weight of a spread t below which it is left out."""
_SEED = 20_261_128


@dataclass(frozen=True, eq=False)
class Posterior:
    """A mixture of Gaussians, in the unit of the scores; higher is better. Candidates that are one share everything."""

    weights_G: FloatArray
    mean_GD: FloatArray
    covariance_GDD: FloatArray
    distinct_K: IntArray
    """Which of the D distinct ones each candidate is."""
    whole: "tuple[Posterior, IntArray] | None" = None
    """Of more candidates, and which of its distinct ones these are: draws of some are those of all."""
    others_H: FloatArray | None = None
    """Expected true scores of those that are known by their scores alone; None: there are none."""

    @cached_property
    def mean_K(self) -> FloatArray:
        """Expected true scores."""
        return np.asarray((self.weights_G @ self.mean_GD)[self.distinct_K])

    @cached_property
    def sd_K(self) -> FloatArray:
        """Standard deviations of the true scores."""
        second_D = self.weights_G @ (np.diagonal(self.covariance_GDD, axis1=1, axis2=2) + self.mean_GD**2)
        return np.asarray(np.sqrt(np.maximum(second_D[self.distinct_K] - self.mean_K**2, 0.0)))

    @cached_property
    def draws_RK(self) -> FloatArray:
        """Joint draws, always the same ones; their mean is exactly `mean_K`."""
        return self._draws_RD[:, self.distinct_K]

    @cached_property
    def prob_best_K(self) -> FloatArray:
        """How probably each is the best; candidates that nothing tells apart share it, so that all add up to one."""
        is_best_D = (self._draws_RD >= self._best_R[:, None]).mean(axis=0)
        return np.asarray((is_best_D / np.bincount(self.distinct_K))[self.distinct_K])

    @cached_property
    def expected_loss_K(self) -> FloatArray:
        """Expected score of the best, whoever that is, less one's own."""
        return np.asarray((self._best_R[:, None] - self._draws_RD).mean(axis=0)[self.distinct_K])

    def best_R(self, cost_K: FloatArray) -> FloatArray:
        """Score less cost of whoever has most left, in each draw."""
        return np.asarray(self._worth_RD(cost_K).max(axis=1))

    def prob_behind(self, k: int, margin: float, cost: float, best_R: FloatArray) -> float:
        """How probably candidate `k`, whose score costs something, is behind `best_R` by more than `margin`."""
        return float((best_R - (self._draws_RD[:, self.distinct_K[k]] - cost) > margin).mean())

    def prob_behind_K(self, margin: float, cost_K: FloatArray | None = None) -> FloatArray:
        """How probably another is better than each candidate by more than `margin`, each one's score less its cost; None: scores cost nothing.

        Of candidates that are one, as if each cost what the cheapest does: what it really costs can only set it further behind.
        """
        worth_RD = self._worth_RD(np.zeros(len(self.distinct_K)) if cost_K is None else cost_K)
        return np.asarray((worth_RD.max(axis=1, keepdims=True) - worth_RD > margin).mean(axis=0)[self.distinct_K])

    def _worth_RD(self, cost_K: FloatArray) -> FloatArray:
        """Score less cost, of candidates that are one of the cheapest."""
        lowest_D = np.full(self._draws_RD.shape[1], np.inf)
        np.minimum.at(lowest_D, self.distinct_K, cost_K)
        return np.asarray(self._draws_RD - lowest_D)

    def take(self, positions: Sequence[int]) -> "Posterior":
        """Of some of the candidates, in the order given; what is believed of them stays as it is."""
        kept_D, distinct_K = np.unique(self.distinct_K[list(positions)], return_inverse=True)
        are_all = len(kept_D) == self.covariance_GDD.shape[1]
        covariance_GDD = self.covariance_GDD if are_all else self.covariance_GDD[:, kept_D[:, None], kept_D]
        return Posterior(self.weights_G, self.mean_GD[:, kept_D], covariance_GDD, np.asarray(distinct_K, dtype=np.int64), (self, kept_D))

    def alone(self, positions: Sequence[int]) -> "Posterior":
        """The same of some of the candidates, drawn without the others: in less time, and other draws."""
        return replace(self.take(positions), whole=None)

    def observe(self, k: int, score: float, variance: float) -> "Posterior":
        """After candidate `k` scored once more, on images that nothing else was measured on.

        Args:
            k: the candidate.
            score: in the unit of the others.
            variance: of its error.
        """
        d = self.distinct_K[k]
        own_GD = self.covariance_GDD[:, d]
        total_G = np.maximum(own_GD[:, d] + variance, SAME**2)
        surprise_G = score - self.mean_GD[:, d]
        gain_GD = own_GD / total_G[:, None]
        return Posterior(
            _normalised(np.log(self.weights_G) - (surprise_G**2 / total_G + np.log(total_G)) / 2),
            self.mean_GD + gain_GD * surprise_G[:, None],
            self.covariance_GDD - gain_GD[:, :, None] * own_GD[:, None, :],
            self.distinct_K,
        )

    @cached_property
    def _best_R(self) -> FloatArray:
        return np.asarray(self._draws_RD.max(axis=1))

    @cached_property
    def draws(self) -> "Draws":
        """Joint draws of the D distinct candidates, always the same ones.

        Numbers of draws by weight; normal numbers are dealt to candidates by their means, not by their place in the list.
        """
        if self.whole is not None:
            whole, kept_D = self.whole
            return whole.draws.take(kept_D)
        mean_D = self.weights_G @ self.mean_GD
        order_D = np.argsort(-mean_D, kind="stable")
        half_PD = _normal_PD(len(order_D))
        ends_G = np.round(np.cumsum(self.weights_G) * len(half_PD)).astype(np.int64)
        away_PD = np.empty_like(half_PD)
        for start, end, covariance in zip((0, *ends_G[:-1]), ends_G, self.covariance_GDD, strict=True):
            away_PD[start:end, order_D] = half_PD[start:end] @ _root(covariance[np.ix_(order_D, order_D)]).T
        return Draws.of(self.mean_GD, np.diff(ends_G, prepend=0), away_PD, mean_D)

    @cached_property
    def _draws_RD(self) -> FloatArray:
        return self.draws.value_RD


@dataclass(frozen=True, eq=False, slots=True)
class Draws:
    """Joint draws in the few bytes that a page can carry: pairs of opposite sign around a centre, the distance in whole steps.

    P pairs, which are R = 2 P draws.
    """

    centre_GD: FloatArray
    step_GD: FloatArray
    num_pairs_G: IntArray
    """Pairs of each of the mixture's Gaussians, one after the other."""
    steps_PD: npt.NDArray[np.int8]

    @classmethod
    def of(cls, mean_GD: FloatArray, num_pairs_G: IntArray, away_PD: FloatArray, mean_D: FloatArray) -> "Draws":
        """Round distances from the means to 127 steps either way, a thirtieth of a standard deviation each; the mean is exactly `mean_D`."""
        firsts_G = np.cumsum(num_pairs_G) - num_pairs_G
        step_GD, steps_PD = np.zeros_like(mean_GD), np.zeros(away_PD.shape, dtype=np.int8)
        for step_D, first, number in zip(step_GD, firsts_G, num_pairs_G, strict=True):
            if number:
                own_PD = away_PD[first : first + number]
                step_D[:] = np.abs(own_PD).max(axis=0) / 127
                steps_PD[first : first + number] = np.rint(np.divide(own_PD, step_D, out=np.zeros_like(own_PD), where=step_D > 0))
        return cls(mean_GD + (mean_D - num_pairs_G @ mean_GD / num_pairs_G.sum()), step_GD, num_pairs_G, steps_PD)

    def take(self, kept_D: IntArray) -> "Draws":
        """Of some of the candidates."""
        return Draws(self.centre_GD[:, kept_D], self.step_GD[:, kept_D], self.num_pairs_G, self.steps_PD[:, kept_D])

    @property
    def value_RD(self) -> FloatArray:
        """The draws themselves: one of each pair, then the others."""
        centre_PD, step_PD = (np.repeat(each_GD, self.num_pairs_G, axis=0) for each_GD in (self.centre_GD, self.step_GD))
        away_PD = self.steps_PD * step_PD
        return np.concatenate([centre_PD + away_PD, centre_PD - away_PD])


def posterior(scores_K: FloatArray, covariance_KK: FloatArray, known: Sequence[Known], *, point: float = POINT) -> Posterior:
    """Of the true scores of K candidates, of which one or more were measured.

    Candidates with equal scores whose difference has no variance are one, such as a backbone that fine-tuning left as it was: they count
    once, with what is known of the most frozen.

    Args:
        scores_K: higher is better; NaN where nothing was measured: what is believed there follows from what is known and from the others.
        covariance_KK: of their errors; seeds and whatever else makes them vary included. Not looked at where a score is NaN.
        known: what was known before, in the same order.
        point: what the scale of the prior is stated in: a hundredth for fractions, 0.01 nats for log loss.
    """
    return next(posteriors(scores_K[None, :], covariance_KK, known, point=point))


def posteriors(
    scores_HK: FloatArray, covariance_KK: FloatArray, known: Sequence[Known], *, point: float = POINT, others: Others | None = None
) -> Iterator[Posterior]:
    """The same of H sets of scores with equal errors: what does not depend on the scores, which is nearly all, is computed once.

    Sets in which other candidates are one, or were measured, share nothing. `others`: candidates that are known by their scores alone, of which nothing
    is asked but what they tell of these.
    """
    pairs, frozen_K = _never_differ(covariance_KK), np.array([-1.0 if each.frozen_frac is None else each.frozen_frac for each in known])
    found = [_distinct(scores_K, pairs, frozen_K) for scores_K in scores_HK]
    keys = [
        (first_D.tobytes(), distinct_K.tobytes(), np.isfinite(scores_K).tobytes())
        for (first_D, distinct_K), scores_K in zip(found, scores_HK, strict=True)
    ]
    models: dict[tuple[bytes, ...], _Model] = {}
    weights_HG = np.empty((len(keys), len(_GRID_POINTS)))
    for key in dict.fromkeys(keys):
        own = [h for h, other in enumerate(keys) if other == key]
        models[key] = _Model.of(*found[own[0]], np.isfinite(scores_HK[own[0]]), covariance_KK, known, point=point, others=others)
        weights_HG[own] = models[key].weights_HG(scores_HK[own])
    for key, scores_K, weights_G in zip(keys, scores_HK, weights_HG, strict=True):
        yield models[key].posterior(scores_K, weights_G)


def _never_differ(covariance_KK: FloatArray) -> tuple[IntArray, IntArray]:
    """Pairs of candidates, both ways round, whose difference has no variance."""
    variance_K = np.diag(covariance_KK)
    apart_KK = variance_K[:, None] + variance_K[None, :] - 2 * covariance_KK
    firsts, seconds = np.nonzero(apart_KK <= 1e-9 * np.maximum(variance_K[:, None], variance_K[None, :]))
    return firsts, seconds


def _distinct(scores_K: FloatArray, pairs: tuple[IntArray, IntArray], frozen_K: FloatArray) -> tuple[IntArray, IntArray]:
    """Positions of the distinct candidates, and which of these each candidate is; of those that are one the most frozen stands for them."""
    firsts, seconds = pairs
    is_same_P = np.abs(scores_K[firsts] - scores_K[seconds]) <= SAME
    group_K = np.arange(len(scores_K))
    np.minimum.at(group_K, firsts[is_same_P], seconds[is_same_P])  # the first that is the same
    distinct_K = np.unique(group_K, return_inverse=True)[1]
    order = np.lexsort((-frozen_K, distinct_K))
    first_D = order[np.unique(distinct_K[order], return_index=True)[1]]
    return first_D.astype(np.int64), distinct_K.astype(np.int64)


@dataclass(frozen=True, eq=False)
class _Model:
    """Errors and prior of some candidates of which the same ones are one and the same ones were measured, whatever their scores."""

    first_D: IntArray
    """Positions of the distinct among the K."""
    distinct_K: IntArray
    seen: IntArray
    """Positions of the M that were measured among the D."""
    expected_D: FloatArray
    structure_DD: FloatArray
    error_MM: FloatArray
    """In points, as all else here; less what all errors have in common."""
    common_M: FloatArray
    """By how much each error moves with one standard deviation of that."""
    point: float
    afar: Afar | None = None
    known: "dict[int, _Given]" = field(default_factory=dict)
    """What `_given` has computed."""

    @classmethod
    def of(
        cls,
        first_D: IntArray,
        distinct_K: IntArray,
        is_seen_K: BoolArray,
        covariance_KK: FloatArray,
        known: Sequence[Known],
        *,
        point: float,
        others: Others | None = None,
    ) -> "_Model":
        """Of candidates whose distinctness is given."""
        seen, known_D = np.flatnonzero(is_seen_K[first_D]), [known[k] for k in first_D]
        first_M = first_D[seen]
        error_MM = shrunk(covariance_KK[np.ix_(first_M, first_M)], [known[k] for k in first_M]) / point**2
        correlation = _mean_correlation(error_MM)
        common_M = _common(error_MM, correlation)
        afar = None if others is None else Afar.of(known_D, others, correlation, point)
        return cls(first_D, distinct_K, seen, *structure(known_D), error_MM - np.outer(common_M, common_M), common_M, point, afar)

    def weights_HG(self, scores_HK: FloatArray) -> FloatArray:
        """How probable each spread t is, by its prior and by each set of scores less what they should be."""
        told = [self._in_points(scores_K) for scores_K in scores_HK]
        log_weight_GH = [self._log_weights(t, told) for t in _GRID_POINTS]
        return np.array([_normalised(log_weight_G) for log_weight_G in np.array(log_weight_GH).T])

    def posterior(self, scores_K: FloatArray, weights_G: FloatArray) -> Posterior:
        """Of one set of scores, with the weights that it gives."""
        centre, score_M = self._in_points(scores_K)
        kept = np.flatnonzero(weights_G > _NEGLIGIBLE)
        weights_G = weights_G[kept] / weights_G[kept].sum()
        given = [self._given(int(g)) for g in kept]
        mean_GD = [each.mean_D(score_M, centre, self.seen) for each in given]
        return Posterior(
            weights_G,
            centre + self.point * np.array(mean_GD),
            self.point**2 * np.array([each.covariance_DD for each in given]),
            self.distinct_K,
            others_H=self._of_others(weights_G, given),
        )

    def _of_others(self, weights_G: FloatArray, given: "Sequence[_Given]") -> FloatArray | None:
        """Expected true scores of those that are known by their scores alone."""
        if self.afar is None:
            return None
        expected_GH = [each.prior.seen.expected_H for each in given if each.prior.seen is not None]
        return np.asarray(self.afar.centre + self.point * (weights_G @ np.array(expected_GH)))

    def _in_points(self, scores_K: FloatArray) -> tuple[float, FloatArray]:
        """Mean of the scores, and the scores of the measured around it."""
        score_M = scores_K[self.first_D[self.seen]]
        centre = float(score_M.mean())
        return centre, (score_M - centre) / self.point

    def _prior(self, t: float) -> "_Prior":
        """Under one t, of all but the scores of these candidates."""
        if self.afar is None:
            return _Prior(t * self.expected_D, np.asarray(INTERCEPT_POINTS**2 + t**2 * self.structure_DD))
        seen = self.afar.at(t)
        return _Prior(seen.expected_D, seen.covariance_DD, seen, self.afar.centre, self.point)

    def _log_weights(self, t: float, told: Sequence[tuple[float, FloatArray]]) -> list[float]:
        """Of one t, up to a constant, for each set of scores and its centre."""
        prior = self._prior(t)
        factor = cho_factor(prior.covariance_DD[np.ix_(self.seen, self.seen)] + self.error_MM, lower=True)
        log_size = float(np.log(np.diag(factor[0])).sum()) - (0.0 if prior.seen is None else prior.seen.log_evidence)
        log_prior = -float((np.log(t / SPREAD_POINTS) / SPREAD_LOG_SD) ** 2) / 2  # the grid is even in log t
        surprises = [score_M - prior.expected(centre)[self.seen] for centre, score_M in told]
        return [-float(each_M @ cho_solve(factor, each_M)) / 2 - log_size + log_prior for each_M in surprises]

    def _given(self, g: int) -> "_Given":
        """Under one t of the grid; computed when first asked for."""
        if g not in self.known:
            prior = self._prior(_GRID_POINTS[g])
            self.known[g] = _Given(prior, *self._gain_and_covariance(prior.covariance_DD))
        return self.known[g]

    def _gain_and_covariance(self, prior_DD: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Written in errors, not in differences of the far larger prior, wherever something was measured."""
        seen, error_MM = self.seen, self.error_MM
        unseen = np.setdiff1d(np.arange(len(prior_DD)), seen)
        prior_MU, prior_UU = prior_DD[np.ix_(seen, unseen)], prior_DD[np.ix_(unseen, unseen)]
        factor = cho_factor(prior_DD[np.ix_(seen, seen)] + error_MM, lower=True)
        gain_DM = np.empty((len(prior_DD), len(seen)))
        gain_DM[seen] = np.eye(len(seen)) - cho_solve(factor, error_MM).T
        gain_DM[unseen] = cho_solve(factor, prior_MU).T
        covariance_DD = np.empty_like(prior_DD)
        covariance_DD[:, seen] = gain_DM @ error_MM
        covariance_DD[np.ix_(seen, unseen)] = covariance_DD[np.ix_(unseen, seen)].T
        covariance_DD[np.ix_(unseen, unseen)] = prior_UU - gain_DM[unseen] @ prior_MU
        shift_D = gain_DM @ self.common_M  # of what is expected, by one standard deviation of the common error
        return gain_DM, covariance_DD + np.outer(shift_D, shift_D)


@dataclass(frozen=True, slots=True, eq=False)
class _Prior:
    """Of the D distinct candidates under one spread, in points."""

    expected_D: FloatArray
    covariance_DD: FloatArray
    seen: Seen | None = None
    """What those say that are known by their scores alone."""
    centre: float | None = None
    """Score around which the expected ones are; None: any, as that is what the intercept leaves open."""
    point: float = POINT

    def expected(self, centre: float) -> FloatArray:
        """Around the mean of some scores."""
        if self.centre is None:
            return self.expected_D
        return self.expected_D + (self.centre - centre) / self.point


@dataclass(frozen=True, slots=True, eq=False)
class _Given:
    """What scores say under one spread."""

    prior: _Prior
    gain_DM: FloatArray
    """Of the truth in the scores."""
    covariance_DD: FloatArray
    """Of the truth."""

    def mean_D(self, score_M: FloatArray, centre: float, seen: IntArray) -> FloatArray:
        """Of the truth, in points around the mean of the scores."""
        expected_D = self.prior.expected(centre)
        return np.asarray(expected_D + self.gain_DM @ (score_M - expected_D[seen]))


def _common(error_MM: FloatArray, correlation: float) -> FloatArray:
    """The part of M errors that is the same for all but its size: what their mean, in standard deviations of each, tells of each.

    Less what the mean of as many independent errors would tell.
    """
    sd_M = np.sqrt(np.diag(error_MM))
    told_M = error_MM @ np.divide(1.0, sd_M, out=np.zeros_like(sd_M), where=sd_M > 0)
    variance = float(np.divide(told_M, sd_M, out=np.zeros_like(sd_M), where=sd_M > 0).sum())
    excess = max(variance - len(sd_M) * (1 - correlation), 0.0)
    return np.asarray(told_M * excess**0.5 / max(variance, SAME**2))


def _mean_correlation(error_MM: FloatArray) -> float:
    """Of the errors of two candidates."""
    sd_M = np.sqrt(np.diag(error_MM))
    among_MM = np.divide(error_MM, np.outer(sd_M, sd_M), out=np.zeros_like(error_MM), where=np.outer(sd_M, sd_M) > 0)
    num_pairs = max(len(sd_M) * (len(sd_M) - 1), 1)
    return float(np.clip((among_MM.sum() - np.trace(among_MM)) / num_pairs, 0.0, 0.99))


@lru_cache(maxsize=1)
def _normal_PD(num: int) -> FloatArray:
    """One of each pair of opposite sign, always the same ones."""
    return np.random.default_rng(_SEED).standard_normal((NUM_DRAWS // 2, num))


def _normalised(log_weight_G: FloatArray) -> FloatArray:
    weight_G = np.exp(log_weight_G - log_weight_G.max())
    return np.asarray(weight_G / weight_G.sum())


def _root(covariance_DD: FloatArray) -> FloatArray:
    """A matrix whose product with its transpose is the covariance, which may be singular."""
    room = SAME * max(float(np.diag(covariance_DD).max()), 0.0)
    if room == 0:
        return np.zeros_like(covariance_DD)
    return np.asarray(np.linalg.cholesky(covariance_DD + room * np.eye(len(covariance_DD))))
