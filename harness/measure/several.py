"""Several labels an image: probabilities and their complements, thresholds, and metrics under scikit-learn's names and equal to its values.

Torch-free. Shapes: N images, C labels.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from harness.data.labels import is_right
from harness.errors import UndefinedMetricError
from harness.measure.quality import per_class
from harness.measure.statistics import Run, Statistic, require_every_class, statistic
from harness.text.metric_spec import MetricSpec

FloatArray = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

PLAIN_THRESHOLD = 0.5
MIN_POSITIVES = 5.0
"""Images expected to have a label, below which its F1 says too little to choose a threshold by."""
_CALIBRATION_BINS = 15
_TINY = float(np.finfo(np.float64).tiny)


def log_complement(log_probs_NC: FloatArray) -> Float64Array:
    """Return the log-probability that a label is not there, exact where it is nearly sure to be: log p, unlike p, still tells it from 1."""
    return np.log(np.maximum(-np.expm1(log_probs_NC.astype(np.float64)), _TINY))


def logits_of(log_probs_NC: FloatArray) -> Float64Array:
    """Return log p - log(1 - p)."""
    return np.asarray(log_probs_NC.astype(np.float64) - log_complement(log_probs_NC))


def thresholds(log_probs_NC: FloatArray, weights_C: FloatArray) -> Float64Array:
    """Return the probability from which on each label is called, shape C: what makes its F1 highest if the probabilities are true.

    That is half of the F1 that it then has. No label of an image is looked at, so that nothing is chosen by the truth that scores are about.

    Args:
        log_probs_NC: calibrated, of images that the model was not trained on.
        weights_C: what the loss weighted each label by where it is there: it has learnt odds that are as many times too high.

    Source: Lipton, Elkan and Naryanaswamy, Optimal thresholding of classifiers to maximize F1 measure, ECML 2014.
    """
    shift_C = np.log(weights_C)
    prob_NC = -np.sort(-expit(logits_of(log_probs_NC) - shift_C), axis=0)
    sum_NC, number_N1 = np.cumsum(prob_NC, axis=0), np.arange(1, len(prob_NC) + 1)[:, None]
    best_C = (2 * sum_NC / (number_N1 + sum_NC[-1])).max(axis=0)
    found_C = np.where(sum_NC[-1] < MIN_POSITIVES, PLAIN_THRESHOLD, best_C / 2)
    return np.asarray(expit(logit(found_C) + shift_C))


def f1_micro(predicted_N: IntArray, labels_N: IntArray) -> Statistic:
    """F1 of all labels of all images as one pool; 0 where there is none, as in scikit-learn."""
    hit_N, size_N = _overlap(predicted_N, labels_N)
    whole = max(float(size_N.sum()), 1.0)
    value = float(hit_N.sum()) / whole
    return Statistic(value, (hit_N - value * size_N) / whole)


def f1_samples(predicted_N: IntArray, labels_N: IntArray) -> Statistic:
    """Mean over images of the F1 of their labels; 1 where an image has no label and none is called (`zero_division=1`)."""
    hit_N, size_N = _overlap(predicted_N, labels_N)
    return _mean(np.where(size_N > 0, hit_N / np.maximum(size_N, 1), 1.0))


def subset_accuracy(predicted_N: IntArray, labels_N: IntArray) -> Statistic:
    """Share of images of which all labels are right."""
    return _mean(is_right(predicted_N, labels_N).astype(np.float64))


def mean_average_precision(log_probs_NC: FloatArray, labels_N: IntArray) -> Statistic:
    """Mean over labels of average precision. Raises UndefinedMetricError: no image has some label."""
    return statistic(MetricSpec("average_precision"), Run(labels_N, log_probs_NC, labels_N, labels_N.shape[1]))


def measure(
    log_probs_NC: FloatArray, labels_N: IntArray, predicted_N: IntArray, spec: MetricSpec | None = None
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Every metric of one split by its name, and why those that are None are undefined; `spec` is one more."""
    values: dict[str, float | None] = dict.fromkeys(OF_ONE_CLASS)
    undefined = dict.fromkeys(OF_ONE_CLASS, "an image may have several labels")
    wanted = _METRICS if spec is None else _METRICS | {spec.value: partial(_named, spec=spec)}
    for name, metric in wanted.items():
        try:
            values[name] = metric(log_probs_NC, labels_N, predicted_N)
        except UndefinedMetricError as reason:
            values[name], undefined[name] = None, str(reason)
    return values, undefined


def _overlap(predicted_N: IntArray, labels_N: IntArray) -> tuple[Float64Array, Float64Array]:
    """Twice the labels that are rightly called, and those that are there plus those that are called, of each image."""
    return 2.0 * (predicted_N * labels_N).sum(axis=1), 1.0 * (predicted_N + labels_N).sum(axis=1)


def _mean(value_N: Float64Array) -> Statistic:
    value = float(value_N.mean())
    return Statistic(value, (value_N - value) / len(value_N))


def _over_labels(name: str, labels_N: IntArray, predicted_N: IntArray, *, is_weighted: bool = False) -> float:
    require_every_class(labels_N, labels_N.shape[1])
    found = [getattr(each, name) for each in per_class(predicted_N, labels_N, labels_N.shape[1])]
    if None in found:
        raise UndefinedMetricError("precision does not exist for labels that are never called")
    return float(np.average(found, weights=labels_N.sum(axis=0) if is_weighted else None))


def _log_loss(log_probs_NC: FloatArray, labels_N: IntArray, _: IntArray) -> float:
    return float(-np.where(labels_N == 1, log_probs_NC.astype(np.float64), log_complement(log_probs_NC)).mean())


def _ece(log_probs_NC: FloatArray, labels_N: IntArray, _: IntArray) -> float:
    """Expected calibration error of each label, the mean: |probability - share that has it| over equal-width bins."""
    prob_NC = np.exp(log_probs_NC.astype(np.float64))
    bin_NC = np.minimum((prob_NC * _CALIBRATION_BINS).astype(np.int64), _CALIBRATION_BINS - 1)
    gaps = [
        np.abs(np.bincount(bin_NC[:, c], weights=prob_NC[:, c] - labels_N[:, c], minlength=_CALIBRATION_BINS)).sum()
        for c in range(labels_N.shape[1])
    ]
    return float(np.mean(gaps) / len(labels_N))


def _named(log_probs_NC: FloatArray, labels_N: IntArray, predicted_N: IntArray, spec: MetricSpec) -> float:
    return statistic(spec, Run(predicted_N, log_probs_NC, labels_N, labels_N.shape[1])).value


OF_ONE_CLASS = ("accuracy", "balanced_accuracy", "top5_accuracy")
"""Columns that have no meaning here."""

_METRICS: dict[str, Callable[[FloatArray, IntArray, IntArray], float]] = {
    "mean_average_precision": lambda log_probs_NC, labels_N, _: mean_average_precision(log_probs_NC, labels_N).value,
    "precision_macro": lambda _, labels_N, predicted_N: _over_labels("precision", labels_N, predicted_N),
    "recall_macro": lambda _, labels_N, predicted_N: _over_labels("recall", labels_N, predicted_N),
    "f1_macro": lambda _, labels_N, predicted_N: _over_labels("f1", labels_N, predicted_N),
    "f1_weighted": lambda _, labels_N, predicted_N: _over_labels("f1", labels_N, predicted_N, is_weighted=True),
    "f1_micro": lambda _, labels_N, predicted_N: f1_micro(predicted_N, labels_N).value,
    "f1_samples": lambda _, labels_N, predicted_N: f1_samples(predicted_N, labels_N).value,
    "subset_accuracy": lambda _, labels_N, predicted_N: subset_accuracy(predicted_N, labels_N).value,
    "log_loss": _log_loss,
    "ece": _ece,
}
