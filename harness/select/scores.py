"""Scores of runs, and what every image adds to them: the evidence that intervals, ties and the posterior are made of.

First step of a comparison. Here higher is always better: log loss and costs carry a minus sign. Costs are in units of the range from the
lowest to the highest cost of a decision, so that a point is a hundredth of that (`unit`).
Shapes: N images, J runs (one candidate with one seed), C classes.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from harness.config import Metric, RankMetric, is_higher_better
from harness.data.labels import is_right, is_several
from harness.errors import TableError, UndefinedMetricError
from harness.measure.several import f1_micro, f1_samples, mean_average_precision
from harness.measure.statistics import Run, Statistic, statistic
from harness.text.metric_spec import MetricSpec

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

SAME = 1e-9
"""Scores and spreads below this are rounding, far below what one image among a million changes."""
PER_CLASS = (Metric.balanced_accuracy, Metric.f1_macro)
"""Metrics in which every class counts alike, so that an image of a rare class counts more."""
_PER_CLASS_NAMES = ("roc_auc", "average_precision", "fbeta", "matthews_corrcoef", "cohen_kappa")
"""The same of those with a parameter or a class, where they are of all classes."""
_MEANS_OVER_IMAGES = (Metric.log_loss, Metric.subset_accuracy, Metric.f1_samples)
"""Metrics of several labels in which every image counts alike."""
_TWO_SIDED = ("roc_auc", "sensitivity")
"""Metrics of one class that others count in as much as its own images."""


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """What J runs said about the same N images."""

    predicted_JN: IntArray
    """Decisions; where images may have several labels J x N x C, as `labels_N` is N x C."""
    true_log_prob_JN: npt.NDArray[np.floating]
    labels_N: IntArray
    num_classes: int
    log_probs_JNC: npt.NDArray[np.floating] | None = None
    """Of every class, where the metric needs them."""

    def one(self, j: int) -> Run:
        """One of them."""
        return Run(self.predicted_JN[j], None if self.log_probs_JNC is None else self.log_probs_JNC[j], self.labels_N, self.num_classes)


def score_and_influence(runs: Runs, metric: RankMetric) -> tuple[FloatArray, FloatArray]:
    """Scores of every run, shape J, and what each image adds to them, shape J x N.

    A score on other images is, to first order, the score here plus the sum of the influences of the images that take part, each as often as
    it does, less once. Every class needs an image.

    Raises:
        TableError: a run says NaN of an image, so that nothing can be said of it.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 21 (the infinitesimal jackknife).
    """
    num_undefined_J = np.isnan(runs.true_log_prob_JN).sum(axis=1)
    if num_undefined_J.any():
        run = int(num_undefined_J.argmax())
        raise TableError(
            f"predictions of run {run + 1} of {len(num_undefined_J)}: {num_undefined_J[run]} of {len(runs.labels_N)} images have NaN as their "
            "log-probability; training diverged or the file is damaged. Delete its row and run the sweep again."
        )
    return _SCORES[metric](runs) if isinstance(metric, Metric) else _statistics(runs, metric)


def scores(runs: Runs, metric: RankMetric) -> FloatArray:
    """Scores of every run on the images as they are, shape J; higher is better. Every class needs an image."""
    return score_and_influence(runs, metric)[0]


def bounds(metric: RankMetric) -> tuple[float, float]:
    """Lowest and highest score."""
    if isinstance(metric, MetricSpec):
        return metric.bounds
    return (-np.inf, 0.0) if metric is Metric.log_loss else (0.0, 1.0)


def unit(metric: RankMetric) -> float:
    """What one here is in the metric's own numbers."""
    return metric.unit if isinstance(metric, MetricSpec) else 1.0


def natural(metric: RankMetric, score: float) -> float:
    """A score in the metric's own numbers, of which lower may be better."""
    return (score if is_higher_better(metric) else -score) * unit(metric)


def shares(labels_N: IntArray, metric: RankMetric) -> FloatArray:
    """How much of the score each image is, shape N; they sum to one."""
    if is_several(labels_N):
        return _shares_of_labels(labels_N, metric)
    if isinstance(metric, MetricSpec) and metric.class_index is not None:
        is_member_N = labels_N == metric.class_index
        if metric.name not in _TWO_SIDED:
            return np.asarray(is_member_N / max(int(is_member_N.sum()), 1))
        labels_N = is_member_N.astype(np.int64)
    elif metric.name not in _PER_CLASS_NAMES if isinstance(metric, MetricSpec) else metric not in PER_CLASS:
        return np.full(len(labels_N), 1.0 / len(labels_N))
    _, codes_N, counts_C = np.unique(labels_N, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / (len(counts_C) * counts_C[codes_N]))


def _statistics(runs: Runs, spec: MetricSpec) -> tuple[FloatArray, FloatArray]:
    """Run by run. A run without a value, as it never calls an image the class whose precision is asked for, scores 0 as in scikit-learn."""
    sign = (1.0 if spec.is_higher_better else -1.0) / spec.unit
    score_J, influence_JN = _each(runs, partial(statistic, spec))
    return sign * score_J, sign * influence_JN


def _each(runs: Runs, statistic_of: Callable[[Run], Statistic]) -> tuple[FloatArray, FloatArray]:
    score_J, influence_JN = np.zeros(len(runs.predicted_JN)), np.zeros(runs.true_log_prob_JN.shape)
    for j in range(len(score_J)):
        with suppress(UndefinedMetricError):
            found = statistic_of(runs.one(j))
            score_J[j], influence_JN[j] = found.value, found.influence_N
    return score_J, influence_JN


def _shares_of_labels(labels_NC: IntArray, metric: RankMetric) -> FloatArray:
    """Of an image that may have several: of a mean over images its part, else what it is of all that have its labels, which count alike."""
    if metric in _MEANS_OVER_IMAGES:
        return np.full(len(labels_NC), 1.0 / len(labels_NC))
    if metric is Metric.f1_micro:
        return np.asarray(labels_NC.sum(axis=1) / max(int(labels_NC.sum()), 1))
    if isinstance(metric, MetricSpec) and metric.class_index is not None:
        return shares(labels_NC[:, metric.class_index], replace(metric, class_index=1))
    spec = metric if isinstance(metric, MetricSpec) else MetricSpec("f1")
    of_labels = [shares(has_N, replace(spec, class_index=1)) for has_N in labels_NC.T]
    return np.asarray(np.mean(of_labels, axis=0))


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
    return np.asarray(is_right(runs.predicted_JN, runs.labels_N), dtype=np.float64)


def _f1(runs: Runs, *, is_weighted: bool) -> tuple[FloatArray, FloatArray]:
    """Mean over classes of F1 = 2 TP / (images of the class + images called so), each class counting once or by its images."""
    score_J, influence_JN = np.zeros(len(runs.predicted_JN)), np.zeros(runs.true_log_prob_JN.shape)
    several = is_several(runs.labels_N)
    for label in range(runs.num_classes):
        is_member_N = runs.labels_N[:, label] == 1 if several else runs.labels_N == label
        is_called_JN = (runs.predicted_JN[:, :, label] == 1 if several else runs.predicted_JN == label).astype(np.float64)
        share = is_member_N.mean() if is_weighted else 1.0 / runs.num_classes
        hit_JN, size_J1 = is_called_JN * is_member_N, np.maximum(is_member_N.sum() + is_called_JN.sum(axis=1, keepdims=True), 1.0)
        f1_J1 = 2 * hit_JN.sum(axis=1, keepdims=True) / size_J1
        score_J += share * f1_J1[:, 0]
        influence_JN += share * (2 * hit_JN - f1_J1 * (is_member_N + is_called_JN)) / size_J1
        if is_weighted:
            influence_JN += f1_J1 * (is_member_N - share) / len(runs.labels_N)
    return score_J, influence_JN


def _probabilities(run: Run) -> npt.NDArray[np.floating]:
    assert run.log_probs_NC is not None
    return run.log_probs_NC


_SCORES: Mapping[Metric, Callable[[Runs], tuple[FloatArray, FloatArray]]] = {
    Metric.accuracy: _accuracy,
    Metric.balanced_accuracy: _balanced_accuracy,
    Metric.f1_macro: partial(_f1, is_weighted=False),
    Metric.f1_weighted: partial(_f1, is_weighted=True),
    Metric.log_loss: _log_loss,
    Metric.mean_average_precision: partial(_each, statistic_of=lambda run: mean_average_precision(_probabilities(run), run.labels_N)),
    Metric.f1_micro: partial(_each, statistic_of=lambda run: f1_micro(run.predicted_N, run.labels_N)),
    Metric.f1_samples: partial(_each, statistic_of=lambda run: f1_samples(run.predicted_N, run.labels_N)),
    Metric.subset_accuracy: _accuracy,
}
