"""How far the scores of K candidates can be trusted: their joint errors, in resamples of the images and as a covariance.

Between scores and everything that judges them. Images are resampled within their class. Resampling one or two images of a class hardly
varies, so that noise would look like certainty: classes with few images are resampled together. Where images belong together, as those of a
patient do, whole groups are resampled: N is then their number, and what is said of an image here holds for a group (`units`).

Candidates may be measured on different images: those that one was not measured on add nothing to its score, and its influence there is zero.
Higher is always better here: log loss and costs carry a minus sign.
Shapes: R resamples, N images, J runs (one candidate with one seed), K candidates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist

import numpy as np

from harness.config import Metric, RankMetric
from harness.data.labels import strata_of
from harness.select.scores import SAME, BoolArray, FloatArray, IntArray, Runs, bounds, score_and_influence, shares
from harness.select.units import Units, strata

SEED_SD = 0.003
"""How much seeds differ where that is hardly known: 0.3 points, the middle of what repeated fine-tunes show."""
_ONE_MORE = 0.75
"""Of an image that tells two candidates apart, what is added to the variance of their difference. Half an image in each of the four cells of right and
wrong adds a whole one, less what the two cells take off in which nothing differs: a quarter where one image in 16 differs."""
_FEW_IMAGES = 8
"""Below, candidates are no more sure to differ than the exact sign test says."""
NOTHING_KNOWN = 10.0
"""Standard deviation of a difference of shares of which nothing is known."""
_SEED_FREEDOM = 2.0
"""As many degrees of freedom `SEED_SD` counts beside what the seeds of this study show."""
_MIN_FREEDOM = 3.0
"""Below, a t has no variance."""
_SEED = 20_240_229
_CHUNK_VALUES = 8_000_000
"""Values of the largest array held at once (8 bytes each)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """Scores of K candidates, and everything that is known about their errors."""

    scores_K: FloatArray
    """Means over seeds."""
    influence_KN: FloatArray
    """What each image adds to them (`scores.score_and_influence`)."""
    labels_N: IntArray
    """Strata: images, or groups, are drawn anew among those of the same label."""
    one_more_K: FloatArray
    """What one more image could change, as a standard deviation: candidates that differ in no image, or in few, are not sure to be equal."""
    same_K: IntArray
    """Equal numbers for candidates whose predictions are the same to the last digit: they are one, and share all errors."""
    seed_variance_K: FloatArray
    """Of the mean over a candidate's seeds; 0 where nobody was repeated, and then everything is conditional on these runs."""
    seed_freedom: float
    """Degrees of freedom of that variance."""
    num_equal_K: FloatArray
    """Images of equal weight that know as much about each score as its own do; fewer than there are where a rare class counts as much as others."""
    design_effect: float = 1.0
    """As of `Units`: above 1 where images belong together and are alike."""

    @classmethod
    def of(cls, runs: Runs, metric: RankMetric, seeds_per_candidate: Sequence[int], groups_N: IntArray | None = None) -> "Evidence":
        """Of candidates whose runs lie side by side, all on the same images. Every class needs an image. None: no images belong together."""
        scores_J, of_images_JN = score_and_influence(runs, metric)
        units = Units.of(strata_of(runs.labels_N), groups_N).judged_by(of_images_JN)
        influence_JN = units.gathered(of_images_JN)
        seeds_K = np.array(seeds_per_candidate)
        starts_K = np.cumsum([0, *seeds_K[:-1]])
        seed_variance, freedom = seed_variance_of(scores_J, influence_JN, seeds_per_candidate)
        return cls(
            scores_K=np.add.reduceat(scores_J, starts_K) / seeds_K,
            influence_KN=np.add.reduceat(influence_JN, starts_K, axis=0) / seeds_K[:, None],
            labels_N=units.strata_U,
            one_more_K=np.full(len(seeds_K), one_more(runs, metric, len(units.strata_U), units.design_effect)),
            same_K=_same(runs, starts_K, seeds_K),
            seed_variance_K=seed_variance / seeds_K,
            seed_freedom=freedom,
            num_equal_K=np.full(len(seeds_K), num_equal(runs.labels_N, metric) / units.design_effect),
            design_effect=units.design_effect,
        )

    @classmethod
    def of_seeds(cls, scores_K: FloatArray, sd_K: FloatArray) -> "Evidence":
        """Of candidates of which no predictions are known, only means over seeds: nothing varies but seeds, those of two candidates independently.

        Args:
            scores_K: higher is better.
            sd_K: standard errors of the means over seeds; NaN where nothing is known of them.
        """
        num = len(scores_K)
        variance_K = np.where(np.isnan(sd_K), NOTHING_KNOWN, sd_K) ** 2
        return cls(
            scores_K=scores_K,
            influence_KN=np.zeros((num, 0)),
            labels_N=np.empty(0, dtype=np.int64),
            one_more_K=np.zeros(num),
            same_K=np.arange(num),
            seed_variance_K=variance_K,
            seed_freedom=np.inf,
            num_equal_K=np.full(num, np.inf),
        )

    @property
    def is_known_K(self) -> BoolArray:
        """Whether anything is known of how much each score varies; who is not known is ranked by score and compared with nobody."""
        return np.asarray(self.seed_variance_K < NOTHING_KNOWN**2)

    def take(self, positions: Sequence[int]) -> "Evidence":
        """Some of the candidates, in the order given."""
        kept = list(positions)
        names = ("scores_K", "influence_KN", "one_more_K", "same_K", "seed_variance_K", "num_equal_K")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})

    def without_seeds(self) -> "Evidence":
        """The same runs again on other images."""
        return replace(self, seed_variance_K=np.zeros(len(self.scores_K))) if self.seed_variance_K.any() else self

    @cached_property
    def covariance_KK(self) -> FloatArray:
        """Of the errors of the scores, shape K x K, without bias, seeds included; for the posterior.

        What one more image could change is no part of it, as on 50 images it would hide half of how much candidates truly differ; it only
        bounds each variance from below, so that a score of 100 % is not taken for the truth.
        """
        covariance_KK = image_covariance(self.influence_KN, self.labels_N)
        lacking_K = np.maximum(self.one_more_K**2 / 2 - np.diag(covariance_KK), 0.0) + self.seed_variance_K
        firsts, seconds = np.nonzero(self.same_K[:, None] == self.same_K)
        covariance_KK[firsts, seconds] += np.sqrt(lacking_K[firsts] * lacking_K[seconds])
        return covariance_KK

    def draws(self, num_resamples: int) -> FloatArray:
        """Scores in resamples of the images, and with other seeds, shape R x K; always the same draws for the same labels.

        Errors have the tails of a multivariate t, since how much scores vary is itself known from few images, and few seeds, only.
        """
        return self.draws_around(image_errors(self.influence_KN, self.labels_N, num_resamples))

    def draws_around(self, image_error_RK: FloatArray) -> FloatArray:
        """The same from errors of the images that were drawn already."""
        num_resamples = len(image_error_RK)
        rng = np.random.default_rng((_SEED, 1))
        tail_R, seed_tail_R = (_tail(freedom, num_resamples, rng) for freedom in (self._freedom(), self.seed_freedom))
        _, first_K, group_K = np.unique(self.same_K, return_index=True, return_inverse=True)
        one_more_RK = rng.standard_normal((num_resamples, len(first_K)))[:, group_K]
        image_RK = image_error_RK + one_more_RK * (self.one_more_K / 2**0.5)
        draws_RK = self.scores_K + image_RK * tail_R[:, None]
        if not self.seed_variance_K.any():
            return np.asarray(draws_RK)
        seed_RK = rng.standard_normal((num_resamples, len(first_K)))[:, group_K]
        return np.asarray(draws_RK + seed_RK * np.sqrt(self.seed_variance_K) * seed_tail_R[:, None])

    def _freedom(self) -> float:
        """Degrees of freedom of the images: those of the spread of a difference to the best by score, the median over candidates.

        A spread known from N independent values has 2 N / (kurtosis - 1). The kurtosis is that of what an image adds to the difference, with one
        more image that tells the two apart either way. Of a single candidate it is that of its score.
        """
        best = int(self.scores_K.argmax())
        is_other_K = self.same_K != self.same_K[best]
        ahead_KN = self.influence_KN[is_other_K] - self.influence_KN[best] if is_other_K.any() else self.influence_KN[[best]]
        more_K = self.one_more_K[is_other_K] ** 2 if is_other_K.any() else self.one_more_K[[best]] ** 2 / 2
        square_K = (ahead_KN**2).sum(axis=1) + 2 * more_K
        if not (square_K > 0).any():
            return np.inf
        fourth_K = (ahead_KN**4).sum(axis=1) + 2 * more_K**2
        per_image = float(np.median(fourth_K[square_K > 0] / square_K[square_K > 0] ** 2))
        return float(max(2.0 / max(per_image - 1.0 / self.influence_KN.shape[1], SAME), _MIN_FREEDOM))


def bootstrap(runs: Runs, metric: RankMetric, num_resamples: int, seeds_per_candidate: Sequence[int]) -> FloatArray:
    """Scores of K candidates in R resamples of the images and seeds, shape R x K; always the same draws for the same labels.

    A candidate's runs lie side by side and are averaged. A score in a resample is its first-order expansion around the score of all images:
    exact for means over images, and free of the ceilings that make few images look certain (a class that a resample misses has no recall at all).
    """
    return Evidence.of(runs, metric, seeds_per_candidate).draws(num_resamples)


def draws(
    scores_K: FloatArray,
    influence_KN: FloatArray,
    labels_N: IntArray,
    num_resamples: int,
    *,
    one_more_K: FloatArray | None = None,
    seed_variance_K: FloatArray | None = None,
    seed_freedom: float = np.inf,
) -> FloatArray:
    """The same from scores and influences that were put together elsewhere, of candidates on different images, say.

    Args:
        scores_K: higher is better.
        influence_KN: zero where a candidate was not measured on an image.
        labels_N: strata of the images.
        num_resamples: R.
        one_more_K: what one more image could change; None: one image of those that the candidate was measured on.
        seed_variance_K: of each mean over seeds; None: everything is conditional on these runs.
        seed_freedom: degrees of freedom of that variance.
    """
    measured_K = np.maximum(np.count_nonzero(influence_KN, axis=1), 1)
    nothing_K = np.zeros(len(scores_K))
    return Evidence(
        scores_K=scores_K,
        influence_KN=influence_KN,
        labels_N=labels_N,
        one_more_K=_ONE_MORE**0.5 / measured_K if one_more_K is None else one_more_K,
        same_K=np.arange(len(scores_K)),
        seed_variance_K=nothing_K if seed_variance_K is None else seed_variance_K,
        seed_freedom=seed_freedom,
        num_equal_K=measured_K.astype(np.float64),
    ).draws(num_resamples)


def image_covariance(influence_KN: FloatArray, labels_N: IntArray) -> FloatArray:
    """Of scores on other images, class by class, shape K x K; unbiased, with n - 1 images of n."""
    covariance_KK, of_class_KK = np.zeros((2, len(influence_KN), len(influence_KN)))
    for members in strata(labels_N):
        centred_KM = influence_KN[:, members] - influence_KN[:, members].mean(axis=1, keepdims=True)
        np.matmul(centred_KM, centred_KM.T, out=of_class_KK)
        of_class_KK *= len(members) / max(1, len(members) - 1)
        covariance_KK += of_class_KK
    return covariance_KK


def image_errors(influence_KN: FloatArray, labels_N: IntArray, num_resamples: int) -> FloatArray:
    """Errors of K scores in resamples of the images, class by class, shape R x K."""
    rng, parts = np.random.default_rng(_SEED), strata(labels_N)
    scaled_KN = influence_KN.copy()
    for members in parts:
        scaled_KN[:, members] *= (len(members) / max(1, len(members) - 1)) ** 0.5  # drawn with replacement, n images vary by (n-1)/n
    chunks = _weights(parts, scaled_KN.shape, num_resamples, rng)
    return np.concatenate([(weights_RN - 1.0) @ scaled_KN.T for weights_RN in chunks])


def seed_variance_of(scores_J: FloatArray, influence_JN: FloatArray, seeds_per_candidate: Sequence[int]) -> tuple[float, float]:
    """How much one run differs from the mean of all seeds of its candidate, pooled over candidates, and its degrees of freedom.

    Two runs also differ because they err on different images; that part is in the errors of the images already and is taken off. Few
    degrees of freedom lean on `SEED_SD`. It is zero where nobody was repeated, and where repeats never changed a prediction.

    Source: Gelman et al., Bayesian Data Analysis, 2013, section 2.6 (the scaled inverse chi-squared prior of a variance).
    """
    between, of_images, freedom = 0.0, 0.0, 0
    for start, num in zip(np.cumsum([0, *seeds_per_candidate[:-1]]), seeds_per_candidate, strict=True):
        own = slice(start, start + num)
        between += float(((scores_J[own] - scores_J[own].mean()) ** 2).sum())
        of_images += float(((influence_JN[own] - influence_JN[own].mean(axis=0)) ** 2).sum())
        freedom += num - 1
    if freedom == 0 or (between <= SAME**2 and of_images <= SAME**2):
        return 0.0, np.inf
    total = freedom + _SEED_FREEDOM
    return (max(between - of_images, 0.0) + _SEED_FREEDOM * SEED_SD**2) / total, total


def one_more(runs: Runs, metric: RankMetric, num_units: int, design_effect: float) -> float:
    """What one more image could change, as a standard deviation: root mean square of what an image is of the score, times by how much two
    candidates may differ on it. Where images are alike, it is one of fewer: of as many as know as much. Of few groups there are few votes.

    Source: Agresti and Min, Effects and non-effects of paired identical observations, Statistics in Medicine 2004 (half an image in each cell).
    """
    low, high = bounds(metric)
    unit = float(np.sqrt((runs.true_log_prob_JN.astype(np.float64) ** 2).mean())) if metric is Metric.log_loss else high - low
    half_an_image = float(np.sqrt(_ONE_MORE * (shares(runs.labels_N, metric) ** 2).mean())) * design_effect
    return unit * max(half_an_image, _sign_test_sd(num_units))


def num_equal(labels_N: IntArray, metric: RankMetric) -> float:
    """Images of equal weight that know as much about a score as these do."""
    return 1.0 / float((shares(labels_N, metric) ** 2).sum())


def _sign_test_sd(num_images: int) -> float:
    """Of a difference that is as large as can be on few images: as many standard deviations from zero as the exact sign test allows.

    Nothing varies among two or five images that all speak for one candidate; one image separates nobody. Zero from `_FEW_IMAGES` on.
    """
    if num_images >= _FEW_IMAGES:
        return 0.0
    return min(1.0 / max(NormalDist().inv_cdf(1 - 0.5**num_images), SAME), NOTHING_KNOWN)


def _same(runs: Runs, starts_K: IntArray, seeds_K: IntArray) -> IntArray:
    """Numbers of candidates by what all their runs say of every image."""
    known: dict[bytes, int] = {}
    parts = (
        (runs.predicted_JN[start : start + num], runs.true_log_prob_JN[start : start + num])
        for start, num in zip(starts_K, seeds_K, strict=True)
    )
    return np.array([known.setdefault(predicted.tobytes() + log_prob.tobytes(), len(known)) for predicted, log_prob in parts])


def _weights(parts: Sequence[IntArray], shape: tuple[int, ...], num_resamples: int, rng: np.random.Generator) -> Iterator[FloatArray]:
    """How often each image is drawn, in chunks of resamples; every stratum keeps its number of images."""
    num_runs, num_images = shape
    size = max(1, _CHUNK_VALUES // max(num_images, num_runs))
    for start in range(0, num_resamples, size):
        weights_RN = np.zeros((min(size, num_resamples - start), num_images))
        for members in parts:
            weights_RN[:, members] = _counts(len(members), len(weights_RN), rng)
        yield weights_RN


def _counts(num_images: int, num_resamples: int, rng: np.random.Generator) -> IntArray:
    drawn = rng.integers(0, num_images, size=(num_resamples, num_images))
    drawn += np.arange(num_resamples)[:, None] * num_images
    return np.bincount(drawn.ravel(), minlength=num_resamples * num_images).reshape(num_resamples, num_images)


def _tail(freedom: float, num_resamples: int, rng: np.random.Generator) -> FloatArray:
    """Factors on the errors of each resample, shape R, that turn a normal spread into that of a multivariate t."""
    return np.sqrt(freedom / rng.chisquare(freedom, num_resamples)) if np.isfinite(freedom) else np.ones(num_resamples)
