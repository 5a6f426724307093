"""Quality from per-image log-probabilities, under scikit-learn's names and equal to its values (a test compares them).

Both the sweep and the report call this, so it needs neither torch nor scikit-learn, whose import takes seconds.

Shapes: N images, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.config import Metric
from harness.errors import UndefinedMetricError
from harness.words import counted

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

IMBALANCE_RATIO = 2.0
"""From this ratio of the largest to the smallest class on, accuracy mostly rewards the large class."""

_CALIBRATION_BINS = 15


@dataclass(frozen=True, slots=True)
class PerClass:
    """One class's scores; fractions, higher is better. None: undefined, as nothing was predicted or nothing is there."""

    precision: float | None
    recall: float | None
    f1: float | None
    support: int


def primary_metric(class_counts: Sequence[int]) -> Metric:
    """Accuracy, or balanced accuracy when the largest class of train has at least twice the images of the smallest."""
    return Metric.balanced_accuracy if imbalance_ratio(class_counts) >= IMBALANCE_RATIO else Metric.accuracy


def imbalance_ratio(class_counts: Sequence[int]) -> float:
    """Images of the largest class over those of the smallest; 1 is perfectly balanced."""
    return max(class_counts) / max(min(class_counts), 1)


def quality(log_probs_NC: FloatArray, labels_N: IntArray) -> tuple[dict[str, float | None], dict[str, str]]:
    """Every quality metric of one split.

    Args:
        log_probs_NC: natural logarithms of class probabilities; each row's probabilities sum to one.
        labels_N: true class ids in [0, C).

    Returns:
        The metrics by scikit-learn's names, fractions in [0, 1] except `log_loss` (nats), and, for those that
        are None, why they are undefined.
    """
    values: dict[str, float | None] = {}
    undefined: dict[str, str] = {}
    for name, measure in _METRICS.items():
        try:
            values[name] = measure(log_probs_NC, labels_N)
        except UndefinedMetricError as reason:
            values[name] = None
            undefined[name] = str(reason)
    return values, undefined


def per_class(log_probs_NC: FloatArray, labels_N: IntArray, num_classes: int) -> list[PerClass]:
    """Precision, recall, F1 and number of images of each class, in class order."""
    counts_CC = confusion(log_probs_NC, labels_N, num_classes)
    hits_C, true_C, predicted_C = np.diag(counts_CC), counts_CC.sum(axis=1), counts_CC.sum(axis=0)
    return [
        PerClass(
            precision=_ratio(hits, predicted),
            recall=_ratio(hits, true),
            f1=_ratio(2 * hits, true + predicted),
            support=int(true),
        )
        for hits, true, predicted in zip(hits_C, true_C, predicted_C, strict=True)
    ]


def confusion(log_probs_NC: FloatArray, labels_N: IntArray, num_classes: int) -> IntArray:
    """Images by true class (rows) and predicted class (columns), shape C x C."""
    cells_N = labels_N * num_classes + log_probs_NC.argmax(axis=1)
    return np.bincount(cells_N, minlength=num_classes**2).reshape(num_classes, num_classes)


def _ratio(part: int, whole: int) -> float | None:
    return float(part) / float(whole) if whole else None


def _accuracy(log_probs_NC: FloatArray, labels_N: IntArray) -> float:
    return float(np.mean(log_probs_NC.argmax(axis=1) == labels_N))


def _balanced_accuracy(log_probs_NC: FloatArray, labels_N: IntArray) -> float:
    return _mean_over_classes("recall", log_probs_NC, labels_N)


def _precision_macro(log_probs_NC: FloatArray, labels_N: IntArray) -> float:
    never = set(range(log_probs_NC.shape[1])) - set(log_probs_NC.argmax(axis=1).tolist())
    if never:
        raise UndefinedMetricError(f"precision does not exist for {counted(len(never), 'class', 'classes')} never predicted")
    return float(np.mean([found.precision for found in per_class(log_probs_NC, labels_N, log_probs_NC.shape[1])]))


def _f1_macro(log_probs_NC: FloatArray, labels_N: IntArray) -> float:
    return _mean_over_classes("f1", log_probs_NC, labels_N)


def _f1_weighted(log_probs_NC: FloatArray, labels_N: IntArray) -> float:
    return _mean_over_classes("f1", log_probs_NC, labels_N, np.bincount(labels_N, minlength=log_probs_NC.shape[1]))


def _mean_over_classes(name: str, log_probs_NC: FloatArray, labels_N: IntArray, weights_C: IntArray | None = None) -> float:
    missing = log_probs_NC.shape[1] - len(np.unique(labels_N))
    if missing:
        raise UndefinedMetricError(f"no image of {counted(missing, 'class', 'classes')} in this split")
    values = [getattr(found, name) for found in per_class(log_probs_NC, labels_N, log_probs_NC.shape[1])]
    return float(np.average(values, weights=weights_C))


def _top5_accuracy(log_probs_NC: FloatArray, labels_N: IntArray) -> float:
    num_classes = log_probs_NC.shape[1]
    if num_classes < 6:
        raise UndefinedMetricError(f"with {num_classes} classes every image is right among the five most likely")
    best_N5 = np.argsort(log_probs_NC, axis=1, kind="stable")[:, -5:]
    return float(np.mean((best_N5 == labels_N[:, None]).any(axis=1)))


def _log_loss(log_probs_NC: FloatArray, labels_N: IntArray) -> float:
    return float(-log_probs_NC.astype(np.float64)[np.arange(len(labels_N)), labels_N].mean())


def _ece(log_probs_NC: FloatArray, labels_N: IntArray) -> float:
    """Expected calibration error: mean |confidence - accuracy| over equal-width bins. Source: Guo et al., ICML 2017."""
    confidence_N = np.exp(log_probs_NC.max(axis=1).astype(np.float64))
    hit_N = (log_probs_NC.argmax(axis=1) == labels_N).astype(np.float64)
    bin_N = np.minimum((confidence_N * _CALIBRATION_BINS).astype(np.int64), _CALIBRATION_BINS - 1)
    gaps = np.bincount(bin_N, weights=confidence_N - hit_N, minlength=_CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(labels_N))


_METRICS: dict[str, Callable[[FloatArray, IntArray], float]] = {
    "accuracy": _accuracy,
    "balanced_accuracy": _balanced_accuracy,
    "precision_macro": _precision_macro,
    "recall_macro": _balanced_accuracy,
    "f1_macro": _f1_macro,
    "f1_weighted": _f1_weighted,
    "top5_accuracy": _top5_accuracy,
    "log_loss": _log_loss,
    "ece": _ece,
}
