"""Quality from per-image log-probabilities, under scikit-learn's names and equal to its values (a test compares them).

Both the sweep and the report call this, so it needs neither torch nor scikit-learn, whose import takes seconds.

Shapes: N images, C classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from harness.config import Metric, RankMetric
from harness.data.labels import is_several
from harness.errors import UndefinedMetricError
from harness.measure.statistics import Run, statistic
from harness.text.counts import counted
from harness.text.metric_spec import MetricSpec

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


def decide(log_probs_NC: FloatArray, metric: RankMetric, prior_C: FloatArray) -> IntArray:
    """The class that each image is called, shape N: the best guess under a metric.

    Accuracy asks for the likeliest class. Balanced accuracy counts a class with few images as much as one with many, so its best guess is
    the class whose probability is highest *for its share*: the share that the network has learnt is divided out. Where decisions have costs, it
    is the class with the lowest cost to be expected. Other metrics judge what a study's models decide (`MetricSpec.is_balanced`).

    Args:
        log_probs_NC: natural logarithms of class probabilities.
        metric: what is to be high.
        prior_C: the class shares that these probabilities know of: those of train, or equal ones where the loss was weighted by class.

    Source: Menon et al., Long-tail learning via logit adjustment, ICLR 2021.
    """
    if isinstance(metric, MetricSpec) and metric.costs is not None:
        return np.asarray((np.exp(log_probs_NC.astype(np.float64)) @ np.array(metric.costs)).argmin(axis=1), dtype=np.int64)
    if not (metric.is_balanced if isinstance(metric, MetricSpec) else metric is Metric.balanced_accuracy):
        return np.asarray(log_probs_NC.argmax(axis=1), dtype=np.int64)
    return np.asarray((log_probs_NC - np.log(prior_C)).argmax(axis=1), dtype=np.int64)


def score(predicted_N: IntArray, labels_N: IntArray, metric: Metric) -> float:
    """Accuracy, or balanced accuracy over the classes that are there: what a metric by rule can be."""
    is_hit_N = predicted_N == labels_N
    if metric is not Metric.balanced_accuracy:
        return float(is_hit_N.mean())
    counts_C = np.bincount(labels_N)
    return float(np.mean(np.bincount(labels_N, weights=is_hit_N)[counts_C > 0] / counts_C[counts_C > 0]))


def quality(
    log_probs_NC: FloatArray, labels_N: IntArray, predicted_N: IntArray | None = None, spec: MetricSpec | None = None
) -> tuple[dict[str, float | None], dict[str, str]]:
    """Every quality metric of one split.

    Args:
        log_probs_NC: natural logarithms of class probabilities; each row's probabilities sum to one.
        labels_N: true class ids in [0, C).
        predicted_N: what the images are called (`decide`); None: the likeliest class.
        spec: one more metric.

    Returns:
        The metrics by scikit-learn's names, fractions in [0, 1] except `log_loss` (nats), and, for those that
        are None, why they are undefined.
    """
    values: dict[str, float | None] = {}
    undefined: dict[str, str] = {}
    said = _Said(log_probs_NC, labels_N, log_probs_NC.argmax(axis=1) if predicted_N is None else predicted_N)
    wanted = _METRICS if spec is None else _METRICS | {spec.value: partial(_named, spec=spec)}
    for name, measure in wanted.items():
        try:
            values[name] = measure(said)
        except UndefinedMetricError as reason:
            values[name] = None
            undefined[name] = str(reason)
    return values, undefined


@dataclass(frozen=True, slots=True, eq=False)
class _Said:
    """What is known of one split."""

    log_probs_NC: FloatArray
    labels_N: IntArray
    predicted_N: IntArray

    @property
    def num_classes(self) -> int:
        return int(self.log_probs_NC.shape[1])

    @property
    def classes(self) -> list[PerClass]:
        return per_class(self.predicted_N, self.labels_N, self.num_classes)


def per_class(predicted_N: IntArray, labels_N: IntArray, num_classes: int) -> list[PerClass]:
    """Precision, recall, F1 and number of images of each class, or label, in class order."""
    if is_several(labels_N):
        hits_C, true_C, predicted_C = (each_NC.sum(axis=0) for each_NC in (predicted_N * labels_N, labels_N, predicted_N))
    else:
        counts_CC = confusion(predicted_N, labels_N, num_classes)
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


def confusion(predicted_N: IntArray, labels_N: IntArray, num_classes: int) -> IntArray:
    """Images by true class (rows) and predicted class (columns), shape C x C."""
    return np.bincount(labels_N * num_classes + predicted_N, minlength=num_classes**2).reshape(num_classes, num_classes)


def _named(said: _Said, spec: MetricSpec) -> float:
    return statistic(spec, Run(said.predicted_N, said.log_probs_NC, said.labels_N, said.num_classes)).value


def _ratio(part: int, whole: int) -> float | None:
    return float(part) / float(whole) if whole else None


def _accuracy(said: _Said) -> float:
    return float(np.mean(said.predicted_N == said.labels_N))


def _balanced_accuracy(said: _Said) -> float:
    return _mean_over_classes("recall", said)


def _precision_macro(said: _Said) -> float:
    never = set(range(said.num_classes)) - set(said.predicted_N.tolist())
    if never:
        raise UndefinedMetricError(f"precision does not exist for {counted(len(never), 'class', 'classes')} never predicted")
    return float(np.mean([found.precision for found in said.classes]))


def _f1_macro(said: _Said) -> float:
    return _mean_over_classes("f1", said)


def _f1_weighted(said: _Said) -> float:
    return _mean_over_classes("f1", said, np.bincount(said.labels_N, minlength=said.num_classes))


def _mean_over_classes(name: str, said: _Said, weights_C: IntArray | None = None) -> float:
    missing = said.num_classes - len(np.unique(said.labels_N))
    if missing:
        raise UndefinedMetricError(f"no image of {counted(missing, 'class', 'classes')} in this split")
    return float(np.average([getattr(found, name) for found in said.classes], weights=weights_C))


def _top5_accuracy(said: _Said) -> float:
    if said.num_classes < 6:
        raise UndefinedMetricError(f"with {said.num_classes} classes every image is right among the five most likely")
    best_N5 = np.argsort(said.log_probs_NC, axis=1, kind="stable")[:, -5:]
    return float(np.mean((best_N5 == said.labels_N[:, None]).any(axis=1)))


def _log_loss(said: _Said) -> float:
    return float(-said.log_probs_NC.astype(np.float64)[np.arange(len(said.labels_N)), said.labels_N].mean())


def _ece(said: _Said) -> float:
    """Expected calibration error: mean |confidence - accuracy| of the likeliest class over equal-width bins. Source: Guo et al., ICML 2017."""
    confidence_N = np.exp(said.log_probs_NC.max(axis=1).astype(np.float64))
    hit_N = (said.log_probs_NC.argmax(axis=1) == said.labels_N).astype(np.float64)
    bin_N = np.minimum((confidence_N * _CALIBRATION_BINS).astype(np.int64), _CALIBRATION_BINS - 1)
    gaps = np.bincount(bin_N, weights=confidence_N - hit_N, minlength=_CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(said.labels_N))


_METRICS: dict[str, Callable[[_Said], float]] = {
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
