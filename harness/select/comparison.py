"""Who is tied with the best: a paired, class-stratified bootstrap over val images, the same resamples for every candidate.

Resampling one or two images within their class hardly varies, so that noise would look like certainty: classes with few
images are resampled together.

Inside this module higher is always better: log loss carries a minus sign.
Shapes: R resamples, N images, J runs (one candidate with one seed), K candidates.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from harness.config import Metric

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MIN_SEEDS_TO_RESAMPLE = 3
"""From this many seeds on, seeds are resampled as well as images; fewer say too little about their spread."""

MIN_STRATUM = 10
"""Images that are resampled among themselves; fewer know too little about how much they vary."""

_SEED = 20_240_229
_CHUNK_VALUES = 8_000_000
"""Values of the largest array held at once (8 bytes each)."""
SAME = 1e-9
"""Scores and spreads below this are rounding, far below what one image among a million changes."""
_ROUNDING = 1e-5
"""Relative error of single precision, with room to spare."""
_MIN_FREEDOM = 3.0
"""Below, a t has no variance."""
_BLOCK = 64
"""Candidates compared at once, so that what is compared stays in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Two ends, in the unit of what they bound."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """What J runs said about the same N images."""

    predicted_JN: IntArray
    true_log_prob_JN: npt.NDArray[np.floating]
    labels_N: IntArray
    num_classes: int


def scores(runs: Runs, metric: Metric) -> FloatArray:
    """Scores of every run on the images as they are, shape J; higher is better. Every class needs an image."""
    return _SCORES[metric](runs)[0]


def bootstrap(runs: Runs, metric: Metric, num_resamples: int, seeds_per_candidate: Sequence[int]) -> FloatArray:
    """Scores of K candidates in R resamples of the images, shape R x K; always the same draws for the same labels.

    A candidate's runs lie side by side and are averaged; with three or more, which of them are averaged is drawn too.
    A score in a resample is its first-order expansion around the score of all images: exact for means over images, and
    free of the ceilings that make few images look certain (a class that a resample misses has no recall at all). Errors
    have the tails of a multivariate t, since how much scores vary is itself known from few images only.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 21 (the infinitesimal jackknife).
    """
    score_J, influence_JN = _SCORES[metric](runs)
    rng, strata = np.random.default_rng(_SEED), _strata(runs.labels_N)
    for members in strata:
        influence_JN[:, members] *= (len(members) / max(1, len(members) - 1)) ** 0.5  # drawn with replacement, n images vary by (n-1)/n
    chunks = _weights(strata, influence_JN.shape, num_resamples, rng)
    error_RJ = np.concatenate([(weights_RN - 1.0) @ influence_JN.T for weights_RN in chunks])
    error_RJ *= _few_images(influence_JN, num_resamples, rng)[:, None]
    return _over_seeds(score_J + error_RJ, seeds_per_candidate, rng)


def tied_set(scores_K: FloatArray, draws_RK: FloatArray, confidence: float) -> BoolArray:
    """Candidates that the evidence cannot separate from the best: multiple comparisons with the best, marginal max-t.

    Candidate i is behind by T_i = max_j (a_j - a_i) / se_ij. It stays if in at least 1 - `confidence` of the resamples the
    same maximum of the centred draws, which is what chance alone shows, is as large. A pair that differs by the same
    amount in every resample is separated; a pair that never differs is tied.

    Source: Hsu, Multiple Comparisons: Theory and Methods, 1996; bootstrap max-t of Romano and Wolf, Econometrica 2005.
    """
    chance = Chance.of(draws_RK, confidence)
    return np.array([chance.explains(i, scores_K) for i in range(len(scores_K))], dtype=np.bool_)


def pair_spread(draws_RK: FloatArray) -> FloatArray:
    """Standard deviation over resamples of every pair's difference, shape K x K."""
    centred_RK = draws_RK - draws_RK.mean(axis=0)
    cross_KK = centred_RK.T @ centred_RK / len(centred_RK)
    own_K = np.diag(cross_KK)
    return np.asarray(np.sqrt(np.maximum(own_K[:, None] + own_K[None, :] - 2 * cross_KK, 0.0)))


def interval(draws_R: FloatArray, confidence: float) -> Interval:
    """The central `confidence` share of the draws (percentile bootstrap)."""
    low, high = np.quantile(draws_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def score_interval(draws_R: FloatArray, metric: Metric, confidence: float) -> Interval:
    """The interval of a score itself, kept on the metric's scale, which expanded draws may leave by a little."""
    low, high = (-np.inf, 0.0) if metric is Metric.log_loss else (0.0, 1.0)
    return interval(np.clip(draws_R, low, high), confidence)


@dataclass(frozen=True, slots=True, eq=False)
class Chance:
    """What chance alone shows: one candidate against all others at a time, only as far as it takes to decide."""

    centred_KR: npt.NDArray[np.float32]
    """Draws less their mean: resamples of no difference."""
    lowest_K: FloatArray
    highest_K: FloatArray
    """Least and largest of them for each candidate."""
    spread_KK: FloatArray
    """Standard deviation of every pair's difference."""
    enough: int
    """Resamples in which a lead must turn up before chance explains it."""

    @classmethod
    def of(cls, draws_RK: FloatArray, confidence: float) -> "Chance":
        """Of K candidates drawn together in R resamples."""
        centred_KR = np.ascontiguousarray((draws_RK - draws_RK.mean(axis=0)).T)
        enough = math.ceil((1 - confidence) * len(draws_RK) - SAME)
        return cls(centred_KR.astype(np.float32), centred_KR.min(axis=1), centred_KR.max(axis=1), pair_spread(draws_RK), enough)

    def explains(self, i: int, scores_K: FloatArray, within_K: BoolArray | None = None) -> bool:
        """Whether the largest lead over candidate i, in units of its spread, turns up in enough resamples of no difference.

        Args:
            i: the candidate.
            scores_K: of all candidates; higher is better.
            within_K: the rivals that count; None: all.
        """
        ahead_K = scores_K - scores_K[i]
        spread_K = self.spread_KK[i] if within_K is None else np.where(within_K, self.spread_KK[i], np.inf)
        is_fixed_K = spread_K <= SAME
        if bool((is_fixed_K & (ahead_K > SAME)).any()):
            return False
        inverse_K = np.where(is_fixed_K, 0.0, 1.0 / np.where(is_fixed_K, 1.0, spread_K))
        lead = float((ahead_K * inverse_K).max())
        if lead <= 0:
            return True
        reach_K = (self.highest_K - self.lowest_K[i]) * inverse_K  # in no resample does anyone lead by more
        rivals = np.flatnonzero(reach_K >= lead * (1 - _ROUNDING))
        return self._turns_up(i, lead, rivals[np.argsort(-reach_K[rivals])], inverse_K.astype(np.float32))

    def _turns_up(self, i: int, lead: float, rivals: IntArray, inverse_K: npt.NDArray[np.float32]) -> bool:
        turned_up_R = np.zeros(self.centred_KR.shape[1], dtype=np.bool_)
        for start in range(0, len(rivals), _BLOCK):
            block = rivals[start : start + _BLOCK]
            leads_BR = (self.centred_KR[block] - self.centred_KR[i]) * inverse_K[block, None]
            turned_up_R |= leads_BR.max(axis=0) >= lead
            if np.count_nonzero(turned_up_R) >= self.enough:
                return True
        return False


def _weights(strata: Sequence[IntArray], shape: tuple[int, ...], num_resamples: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """How often each image is drawn, in chunks of resamples; every stratum keeps its number of images."""
    num_runs, num_images = shape
    size = max(1, _CHUNK_VALUES // max(num_images, num_runs))
    for start in range(0, num_resamples, size):
        weights_RN = np.zeros((min(size, num_resamples - start), num_images))
        for members in strata:
            weights_RN[:, members] = _counts(len(members), len(weights_RN), rng)
        yield weights_RN


def _strata(labels_N: IntArray) -> list[IntArray]:
    """Image numbers of each class; the smallest classes share one stratum until it has `MIN_STRATUM` images."""
    by_size = sorted((np.flatnonzero(labels_N == label) for label in np.unique(labels_N)), key=len)
    pooled: list[IntArray] = []
    while by_size and (len(by_size[0]) < MIN_STRATUM or 0 < sum(map(len, pooled)) < MIN_STRATUM):
        pooled.append(by_size.pop(0))
    return [*([np.concatenate(pooled)] if pooled else []), *by_size]


def _counts(num_images: int, num_resamples: int, rng: np.random.Generator) -> IntArray:
    drawn = rng.integers(0, num_images, size=(num_resamples, num_images))
    drawn += np.arange(num_resamples)[:, None] * num_images
    return np.bincount(drawn.ravel(), minlength=num_resamples * num_images).reshape(num_resamples, num_images)


def _few_images(influence_JN: FloatArray, num_resamples: int, rng: np.random.Generator) -> FloatArray:
    """Factors on the errors of each resample, shape R, that turn a normal spread into that of a multivariate t.

    The degrees of freedom are N / (kurtosis + 6), the kurtosis being that of what an image adds to a score (median over
    runs): few where a rare class or a few bad guesses decide, many with many images. A spread known from N independent values has
    2 N / (kurtosis - 1); but the largest of many leads is looked for, which finds the spreads that came out too small, and with that
    formula simulated tied sets miss the best too often when candidates are many.
    """
    square_J = (influence_JN**2).sum(axis=1)
    varies_J = square_J > 0
    if not varies_J.any():
        return np.ones(num_resamples)
    kurtosis_per_image = float(np.median((influence_JN[varies_J] ** 4).sum(axis=1) / square_J[varies_J] ** 2))
    freedom = max(1.0 / (kurtosis_per_image + 6.0 / influence_JN.shape[1]), _MIN_FREEDOM)
    return np.asarray(np.sqrt(freedom / rng.chisquare(freedom, num_resamples)))


def _over_seeds(draws_RJ: FloatArray, seeds_per_candidate: Sequence[int], rng: np.random.Generator) -> FloatArray:
    columns, start = [], 0
    for num_seeds in seeds_per_candidate:
        own_RS = draws_RJ[:, start : start + num_seeds]
        if num_seeds >= MIN_SEEDS_TO_RESAMPLE:
            own_RS = np.take_along_axis(own_RS, rng.integers(0, num_seeds, size=own_RS.shape), axis=1)
        columns.append(own_RS.mean(axis=1))
        start += num_seeds
    return np.stack(columns, axis=1)


def _mean(values_JN: FloatArray, share_N: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted mean over images, and what each image adds to it; shares sum to one."""
    score_J = np.asarray(values_JN @ share_N)
    return score_J, (values_JN - score_J[:, None]) * share_N


def _accuracy(runs: Runs) -> tuple[FloatArray, FloatArray]:
    return _mean(_is_hit(runs), np.full(len(runs.labels_N), 1.0 / len(runs.labels_N)))


def _balanced_accuracy(runs: Runs) -> tuple[FloatArray, FloatArray]:
    counts_C = np.bincount(runs.labels_N, minlength=runs.num_classes)
    return _mean(_is_hit(runs), 1.0 / (runs.num_classes * counts_C[runs.labels_N]))


def _log_loss(runs: Runs) -> tuple[FloatArray, FloatArray]:
    return _mean(runs.true_log_prob_JN.astype(np.float64), np.full(len(runs.labels_N), 1.0 / len(runs.labels_N)))


def _is_hit(runs: Runs) -> FloatArray:
    return np.asarray(runs.predicted_JN == runs.labels_N, dtype=np.float64)


def _f1(runs: Runs, *, is_weighted: bool) -> tuple[FloatArray, FloatArray]:
    """Mean over classes of F1 = 2 TP / (images of the class + images called so), each class counting once or by its images."""
    score_J, influence_JN = np.zeros(len(runs.predicted_JN)), np.zeros(runs.predicted_JN.shape)
    for label in range(runs.num_classes):
        is_member_N, is_called_JN = runs.labels_N == label, (runs.predicted_JN == label).astype(np.float64)
        share = is_member_N.mean() if is_weighted else 1.0 / runs.num_classes
        hit_JN, size_J1 = is_called_JN * is_member_N, np.maximum(is_member_N.sum() + is_called_JN.sum(axis=1, keepdims=True), 1.0)
        f1_J1 = 2 * hit_JN.sum(axis=1, keepdims=True) / size_J1
        score_J += share * f1_J1[:, 0]
        influence_JN += share * (2 * hit_JN - f1_J1 * (is_member_N + is_called_JN)) / size_J1
        if is_weighted:
            influence_JN += f1_J1 * (is_member_N - share) / len(runs.labels_N)
    return score_J, influence_JN


_SCORES: Mapping[Metric, Callable[[Runs], tuple[FloatArray, FloatArray]]] = {
    Metric.accuracy: _accuracy,
    Metric.balanced_accuracy: _balanced_accuracy,
    Metric.f1_macro: partial(_f1, is_weighted=False),
    Metric.f1_weighted: partial(_f1, is_weighted=True),
    Metric.log_loss: _log_loss,
}
