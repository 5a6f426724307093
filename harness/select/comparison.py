"""Who is tied with the best: a paired, class-stratified bootstrap over val images, the same resamples for every candidate.

Resampling one or two images within their class hardly varies, so that noise would look like certainty: classes with few
images are resampled together.

Inside this module higher is always better: log loss carries a minus sign.
Shapes: R resamples, N images, J runs (one candidate with one seed), K candidates.
"""

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
"""Images that are resampled among themselves; a stratum of n understates the variance by 1/n."""

_SEED = 20_240_229
_CHUNK_VALUES = 8_000_000
"""Values of the largest array held at once (8 bytes each)."""
_SAME = 1e-9
"""Scores and spreads below this are rounding, far below what one image among a million changes."""


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


def scores(runs: Runs, metric: Metric, weights_RN: npt.NDArray[np.floating]) -> FloatArray:
    """Scores of every run when image n counts `weights_RN[r, n]` times, shape R x J; higher is better.

    Means over classes are means over the classes that have weight in the resample.
    """
    return _SCORES[metric](runs, weights_RN.astype(np.float64, copy=False))


def bootstrap(runs: Runs, metric: Metric, num_resamples: int, seeds_per_candidate: Sequence[int]) -> FloatArray:
    """Scores of K candidates in R resamples of the images, shape R x K; always the same draws for the same labels.

    A candidate's runs lie side by side and are averaged; with three or more, which of them are averaged is drawn too.
    """
    rng = np.random.default_rng(_SEED)
    chunks = _weights(runs, num_resamples, rng)
    draws_RJ = np.concatenate([scores(runs, metric, weights_RN) for weights_RN in chunks])
    return _over_seeds(draws_RJ, seeds_per_candidate, rng)


def tied_set(scores_K: FloatArray, draws_RK: FloatArray, confidence: float) -> BoolArray:
    """Candidates that the evidence cannot separate from the best: multiple comparisons with the best, marginal max-t.

    Candidate i stays if T_i = max_j (a_j - a_i) / se_ij is at most the `confidence` quantile over resamples of the
    same maximum of the centred draws. A pair that differs by the same amount in every resample is separated;
    a pair that never differs is tied.

    Source: Hsu, Multiple Comparisons: Theory and Methods, 1996; bootstrap max-t of Romano and Wolf, Econometrica 2005.
    """
    centred_KR = np.ascontiguousarray((draws_RK - draws_RK.mean(axis=0)).T)
    spread_KK = _spread(centred_KR)
    pairs = _Pairs(centred_KR.astype(np.float32), np.empty(centred_KR.shape, dtype=np.float32), confidence)
    tied = [pairs.is_tied(i, scores_K - scores_K[i], spread_KK[i]) for i in range(len(scores_K))]
    return np.array(tied, dtype=np.bool_)


def interval(draws_R: FloatArray, confidence: float) -> Interval:
    """The central `confidence` share of the draws (percentile bootstrap)."""
    low, high = np.quantile(draws_R, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """One candidate against all others at a time, in memory that is used again for each."""

    centred_KR: npt.NDArray[np.float32]
    scratch_KR: npt.NDArray[np.float32]
    confidence: float

    def is_tied(self, i: int, ahead_K: FloatArray, spread_K: FloatArray) -> bool:
        """Whether the others' lead over candidate i, in units of its spread, is what chance alone would show."""
        is_fixed_K = spread_K <= _SAME
        if bool((is_fixed_K & (ahead_K > _SAME)).any()):
            return False
        inverse_K = np.where(is_fixed_K, 0.0, 1.0 / np.where(is_fixed_K, 1.0, spread_K))
        np.subtract(self.centred_KR, self.centred_KR[i], out=self.scratch_KR)
        np.multiply(self.scratch_KR, inverse_K.astype(np.float32)[:, None], out=self.scratch_KR)
        bound = float(np.quantile(self.scratch_KR.max(axis=0), self.confidence))
        return bool((ahead_K * inverse_K).max() <= bound)


def _spread(centred_KR: FloatArray) -> FloatArray:
    """Standard deviation over resamples of every pair's difference, shape K x K."""
    cross_KK = centred_KR @ centred_KR.T / centred_KR.shape[1]
    own_K = np.diag(cross_KK)
    return np.asarray(np.sqrt(np.maximum(own_K[:, None] + own_K[None, :] - 2 * cross_KK, 0.0)))


def _weights(runs: Runs, num_resamples: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """How often each image is drawn, in chunks of resamples; every stratum keeps its number of images."""
    strata = _strata(runs.labels_N)
    num_images, num_runs = len(runs.labels_N), len(runs.predicted_JN)
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


def _over_seeds(draws_RJ: FloatArray, seeds_per_candidate: Sequence[int], rng: np.random.Generator) -> FloatArray:
    columns, start = [], 0
    for num_seeds in seeds_per_candidate:
        own_RS = draws_RJ[:, start : start + num_seeds]
        if num_seeds >= MIN_SEEDS_TO_RESAMPLE:
            own_RS = np.take_along_axis(own_RS, rng.integers(0, num_seeds, size=own_RS.shape), axis=1)
        columns.append(own_RS.mean(axis=1))
        start += num_seeds
    return np.stack(columns, axis=1)


def _accuracy(runs: Runs, weights_RN: FloatArray) -> FloatArray:
    hit_JN = (runs.predicted_JN == runs.labels_N).astype(np.float64)
    return np.asarray(weights_RN @ hit_JN.T / len(runs.labels_N))


def _hits(runs: Runs, weights_RN: FloatArray, label: int) -> tuple[FloatArray, FloatArray]:
    """One class in every resample: its weight, shape R x 1, and what every run got right of it, shape R x J."""
    is_member_N = runs.labels_N == label
    own_RM, hit_JM = weights_RN[:, is_member_N], runs.predicted_JN[:, is_member_N] == label
    return own_RM.sum(axis=1, keepdims=True), own_RM @ hit_JM.T.astype(np.float64)


def _balanced_accuracy(runs: Runs, weights_RN: FloatArray) -> FloatArray:
    total_RJ = np.zeros((len(weights_RN), len(runs.predicted_JN)))
    present_R1 = np.zeros((len(weights_RN), 1))
    for label in range(runs.num_classes):
        weight_R1, hits_RJ = _hits(runs, weights_RN, label)
        total_RJ += hits_RJ / np.maximum(weight_R1, _SAME)
        present_R1 += weight_R1 > 0
    return total_RJ / present_R1


def _log_loss(runs: Runs, weights_RN: FloatArray) -> FloatArray:
    return np.asarray(weights_RN @ runs.true_log_prob_JN.T.astype(np.float64) / len(runs.labels_N))


def _f1(runs: Runs, weights_RN: FloatArray, *, is_weighted: bool) -> FloatArray:
    """Mean over classes of F1 = 2 TP / (images of the class + images called so), each class counting once or by its images."""
    total_RJ = np.zeros((len(weights_RN), len(runs.predicted_JN)))
    shares_R1 = np.zeros((len(weights_RN), 1))
    for label in range(runs.num_classes):
        weight_R1, hits_RJ = _hits(runs, weights_RN, label)
        called_RJ = weights_RN @ (runs.predicted_JN == label).T.astype(np.float64)
        share_R1 = weight_R1 if is_weighted else (weight_R1 > 0).astype(np.float64)
        total_RJ += share_R1 * 2 * hits_RJ / np.maximum(weight_R1 + called_RJ, _SAME)
        shares_R1 += share_R1
    return total_RJ / shares_R1


_SCORES: Mapping[Metric, Callable[[Runs, FloatArray], FloatArray]] = {
    Metric.accuracy: _accuracy,
    Metric.balanced_accuracy: _balanced_accuracy,
    Metric.f1_macro: partial(_f1, is_weighted=False),
    Metric.f1_weighted: partial(_f1, is_weighted=True),
    Metric.log_loss: _log_loss,
}
