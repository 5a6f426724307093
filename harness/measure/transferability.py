"""What features of a frozen backbone say about a task before any fine-tuning: a probe, neighbours, and closed-form scores.

Between cached features and the row's diagnostic columns. Each score follows its definition, in float64; higher is better, except for a
log loss. None modifies its inputs, or depends on the order of the images or the numbers of the classes.

Shapes: N train images, M test images, D features, C classes, S source classes, R principal axes, K leading ones.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from harness.errors import DataError, UndefinedMetricError
from harness.measure.labelled import Labelled
from harness.measure.log_evidence import max_log_evidence
from harness.measure.neighbours import leave_one_out

FloatArray = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_SUM_TOLERANCE = 0.02
"""Source probabilities may have been computed in bfloat16."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The scores of one backbone on one data set."""

    columns: dict[str, float | None]
    """Under the names of the table's columns, `transferability_s` included."""
    undefined: dict[str, str]
    """Column -> why it is None."""


def evidence(
    train_ND: FloatArray,
    train_labels_N: IntArray,
    source_probs_NS: FloatArray | None = None,
) -> Evidence:
    """Every score that has a column; what they share is computed once.

    Args:
        train_ND: features of train.
        train_labels_N: class ids, any integers.
        source_probs_NS: train under the classifier that the backbone came with; None: it came without.

    Raises:
        DataError: the arrays do not have these shapes.
    """
    started = time.perf_counter()
    columns: dict[str, float | None] = {}
    undefined: dict[str, str] = {}
    data = cache(lambda: Labelled.of(train_ND, train_labels_N, "train features"))
    for names, score in {
        ("knn_accuracy",): lambda: [leave_one_out(data(), 1, "cosine")],
        ("logme",): lambda: [max_log_evidence(data())],
        ("gbc",): lambda: [_gbc(data())],
        ("leep",): lambda: [_leep_of(source_probs_NS, train_labels_N)],
        ("h_score",): lambda: [_h_score(data())],
    }.items():
        values, reason = _value_or_reason(score)
        columns.update(zip(names, values or (None,) * len(names), strict=True))
        undefined.update(dict.fromkeys(names, reason) if reason else {})
    columns["transferability_s"] = time.perf_counter() - started
    return Evidence(columns, undefined)


def _value_or_reason(score: Callable[[], Sequence[float]]) -> tuple[Sequence[float] | None, str | None]:
    try:
        return score(), None
    except UndefinedMetricError as reason:
        return None, str(reason)


def _leep_of(source_probs_NS: FloatArray | None, labels_N: IntArray) -> float:
    if source_probs_NS is None:
        raise UndefinedMetricError("the weights come without a classifier of their own.")
    return leep(source_probs_NS, labels_N)


def knn_accuracy(features_ND: FloatArray, labels_N: IntArray, k: int = 1, metric: str = "cosine") -> float:
    """Leave-one-out accuracy of a vote among the k nearest other images, a fraction in [0, 1].

    Images at one distance share the votes that are left for them, and classes with equal votes share the hit.

    Args:
        features_ND: any real numbers.
        labels_N: class ids, any integers.
        k: neighbours, from 1 to N - 1.
        metric: "cosine" or "euclidean".

    Raises:
        ConfigError: `k` below 1, or another metric.
        DataError: wrong shapes.
        UndefinedMetricError: values that are not finite, a single class, too few images, or an image without direction (cosine).
    """
    return leave_one_out(Labelled.of(features_ND, labels_N), k, metric)


def logme(features_ND: FloatArray, labels_N: IntArray) -> float:
    """Log maximum evidence of a Bayesian linear model of each class against the others, per image, averaged over classes (nats).

    For each class y = Fw + e, with y 1 for its images and 0 for others, w ~ N(0, 1/a) and e ~ N(0, 1/b), so y ~ N(0, 1/b + FF'/a),
    maximised over a and b. The best b for a ratio a/b is known, and the ratio is searched along a line: that finds the highest maximum,
    where the usual iteration stops at whichever it meets. Images with equal features and one class count once: they are no independent
    observations, and where features outnumber images they would make the evidence infinite.

    Raises:
        DataError: wrong shapes.
        UndefinedMetricError: values that are not finite, a single class, or an unbounded evidence: some class is an exact linear
            function of fewer independent features than there are images.

    Source: You et al., ICML 2021.
    """
    return max_log_evidence(Labelled.of(features_ND, labels_N))


def leep(source_probs_NS: FloatArray, labels_N: IntArray) -> float:
    """Log expected empirical prediction (nats, at most 0): the mean of ln sum over z of P(y given z) theta_z.

    Args:
        source_probs_NS: theta, probabilities of source classes for each image; rows sum to 1.
        labels_N: class ids, any integers.

    Raises:
        DataError: wrong shapes, or no probabilities.
        UndefinedMetricError: values that are not finite, or a single class.

    Source: Nguyen et al., ICML 2020.
    """
    data = _source(source_probs_NS, labels_N)
    probs_NS = data.values_ND
    joint_CS = np.eye(len(data.counts_C))[data.labels_N].T @ probs_NS
    totals_S = joint_CS.sum(axis=0)
    given_CS = joint_CS / np.where(totals_S > 0, totals_S, 1.0)
    return float(np.log((probs_NS @ given_CS.T)[np.arange(len(probs_NS)), data.labels_N]).mean())


def nce(source_probs_NS: FloatArray, labels_N: IntArray) -> float:
    """Negative conditional entropy of the labels given the most likely source class (nats, at most 0).

    Args and errors as in `leep`. Source: Tran et al., ICCV 2019.
    """
    data = _source(source_probs_NS, labels_N)
    num_images, num_sources = data.values_ND.shape
    cells_N = data.labels_N * num_sources + data.values_ND.argmax(axis=1)
    counts_CS = np.bincount(cells_N, minlength=len(data.counts_C) * num_sources).reshape(-1, num_sources)
    classes, sources = np.nonzero(counts_CS)
    counts = counts_CS[classes, sources]
    return float((counts * np.log(counts / counts_CS.sum(axis=0)[sources])).sum() / num_images)


def _source(source_probs_NS: FloatArray, labels_N: IntArray) -> Labelled:
    data = Labelled.of(source_probs_NS, labels_N, "source probabilities")
    sums_N = data.values_ND.sum(axis=1)
    if data.values_ND.min() < 0 or np.abs(sums_N - 1).max() > _SUM_TOLERANCE:
        raise DataError(
            f"source probabilities: from {data.values_ND.min():g}, rows sum to {sums_N.min():g} to {sums_N.max():g}; give a softmax, not logits."
        )
    data.values_ND[:] /= sums_N[:, None]
    return data


def gbc(features_ND: FloatArray, labels_N: IntArray) -> float:
    """Gaussian Bhattacharyya coefficient: minus the sum over pairs of classes of exp(-D_B), in [-C (C - 1) / 2, 0].

    Classes are spherical Gaussians on the 64 principal axes of largest variance (K, where there are fewer). With squared distance d2 of
    means and mean variance v, D_B = d2 / (8 v) + K/2 ln(v / sqrt(v_1 v_2)). A class with one image has the pooled variance of the others.

    Raises:
        DataError: wrong shapes.
        UndefinedMetricError: values that are not finite, a single class, or no class with two images.

    Source: Pandy et al., CVPR 2022.
    """
    return _gbc(Labelled.of(features_ND, labels_N))


def _gbc(data: Labelled) -> float:
    leading_NK, counts_C = data.spectrum.leading_NK, data.counts_C
    num_images, num_axes = leading_NK.shape
    if (counts_C == 1).all():
        raise UndefinedMetricError("every class has a single image, so none has a spread.")
    means_CK = np.eye(len(counts_C))[data.labels_N].T @ leading_NK / counts_C[:, None]
    sums_C = np.bincount(data.labels_N, ((leading_NK - means_CK[data.labels_N]) ** 2).sum(axis=1))
    pooled = sums_C.sum() / (num_images - len(counts_C))
    variances_C = np.where(counts_C > 1, sums_C / np.maximum(counts_C - 1, 1), pooled) / max(num_axes, 1)
    # Rounding error of the variance: classes without any spread overlap fully where they coincide, and nowhere else.
    variances_C = np.maximum(variances_C, np.finfo(np.float64).eps * (leading_NK**2).mean() if num_axes else 1.0)
    first, second = np.triu_indices(len(counts_C), 1)
    distances = ((means_CK[first] - means_CK[second]) ** 2).sum(axis=1)
    v_1, v_2 = variances_C[first], variances_C[second]
    v = (v_1 + v_2) / 2
    return -float(np.exp(-distances / (8 * v) - num_axes / 2 * np.log(v / np.sqrt(v_1 * v_2))).sum())


def h_score(features_ND: FloatArray, labels_N: IntArray) -> float:
    """Shrunk H-score: tr(S^-1 (1 - l) cov(E[F given y])), with S the Ledoit-Wolf covariance and l its shrinkage; in [0, C - 1].

    Raises:
        DataError: wrong shapes.
        UndefinedMetricError: values that are not finite, a single class, or features that are the same for all images.

    Source: Ibrahim et al., ECML PKDD 2022; Ledoit and Wolf, J. Multivariate Anal. 2004.
    """
    return _h_score(Labelled.of(features_ND, labels_N))


def _h_score(data: Labelled) -> float:
    spectrum = data.spectrum
    num_images, num_features = spectrum.num_images, spectrum.num_features
    if len(spectrum.squares_R) == 0:
        raise UndefinedMetricError("the features are the same for all images.")
    eigenvalues_R = spectrum.squares_R / num_images
    mean = eigenvalues_R.sum() / num_features
    # Of Ledoit and Wolf: how far the sample covariance is from its shrinkage target, and how much of that is noise.
    distance = (eigenvalues_R**2).sum() - num_features * mean**2
    noise = ((spectrum.norms_N**2).mean() - (eigenvalues_R**2).sum()) / num_images
    shrinkage = min(noise / distance, 1.0) if noise > 0 else 0.0
    between_R = eigenvalues_R * (spectrum.targets_RC**2 / data.counts_C).sum(axis=1)
    return float((1 - shrinkage) * (between_R / ((1 - shrinkage) * eigenvalues_R + shrinkage * mean)).sum())
