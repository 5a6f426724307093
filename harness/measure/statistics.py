"""Metrics with a parameter or a class (`text/metric_spec`): their value, equal to scikit-learn's, and what each image adds to it.

Every one is a function T of the weights of the images, here all 1. What an image adds is its derivative, dT / dw: to first order, the value
on other images is the value here plus the sum of what those that take part add, each as often as it does, less once. For the area under the ROC
curve these are the placement values of DeLong. All are exact but for the sensitivity at a specificity, a step function whose slope is a
difference quotient over the threshold's own standard error.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 21 (the infinitesimal jackknife); DeLong et al., Biometrics 1988;
Linnet, Comparison of quantitative diagnostic tests, Statistics in Medicine 1987 (sensitivity at a specificity).
Shapes: N images, C classes, G groups of images of equal score.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.data.labels import count_classes, is_several
from harness.errors import UndefinedMetricError
from harness.text.counts import counted
from harness.text.metric_spec import MetricSpec

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_TINY = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Statistic:
    """A value, and what each image adds to it (shape N), in the metric's own unit."""

    value: float
    influence_N: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What one run says of N images."""

    predicted_N: IntArray
    """Classes that they are called, decided as the metric asks; where images may have several labels which of them, N x C, as `labels_N`."""
    log_probs_NC: FloatArray | None
    """Not looked at where the metric needs classes only."""
    labels_N: IntArray
    num_classes: int

    def is_of_N(self, number: int) -> BoolArray:
        """Whether each image is of a class, or has a label."""
        return np.asarray(self.labels_N[:, number] == 1 if is_several(self.labels_N) else self.labels_N == number)

    def is_called_N(self, number: int) -> BoolArray:
        """Whether it is called so."""
        return np.asarray(self.predicted_N[:, number] == 1 if is_several(self.labels_N) else self.predicted_N == number)


def statistic(spec: MetricSpec, run: Run) -> Statistic:
    """Value and influence of a bound metric.

    Raises:
        UndefinedMetricError: it has no value here; the message says why.
    """
    if spec.name in ("matthews_corrcoef", "cohen_kappa"):
        return _agreement(run, is_kappa=spec.name == "cohen_kappa")
    if spec.name == "expected_cost":
        return _mean(np.array(spec.costs)[run.labels_N, run.predicted_N])
    if spec.name == "top_k_accuracy":
        return _top_k(run, int(spec.parameter or 0))
    if spec.class_index is not None:
        return _of_class(spec, run, spec.class_index, spec.label)
    require_every_class(run.labels_N, run.num_classes)
    is_pair = run.num_classes == 2 and not is_several(run.labels_N) and spec.name == "roc_auc"  # of two classes, both are equal
    classes = [run.num_classes - 1] if is_pair else range(run.num_classes)
    found = [_of_class(spec, run, number, None) for number in classes]
    return Statistic(float(np.mean([each.value for each in found])), np.mean([each.influence_N for each in found], axis=0))


def require_every_class(labels_N: IntArray, num_classes: int) -> None:
    """Raises UndefinedMetricError: a mean over classes, or labels, has nothing to say of one without an image."""
    if missing := int((count_classes(labels_N, num_classes) == 0).sum()):
        what = ("label", "labels") if is_several(labels_N) else ("class", "classes")
        raise UndefinedMetricError(f"no image of {counted(missing, *what)} in this split")


def _of_class(spec: MetricSpec, run: Run, number: int, label: str | None) -> Statistic:
    """Of one class against the rest."""
    name, is_member_N, is_called_N = f"class {label or number}", run.is_of_N(number), run.is_called_N(number)
    if spec.name == "precision":
        return _ratio(is_member_N & is_called_N, is_called_N, f"no image is called {name}")
    if spec.name == "recall":
        return _ratio(is_member_N & is_called_N, is_member_N, f"no image of {name} in this split")
    if spec.name in ("f1", "fbeta"):
        square = 1.0 if spec.name == "f1" else float(spec.parameter or 0) ** 2
        size_N = square * is_member_N + is_called_N
        return _ratio((1 + square) * (is_member_N & is_called_N), size_N, f"no image of {name} in this split, and none is called so")
    if is_member_N.all() or not is_member_N.any():
        raise UndefinedMetricError(f"{'no image of' if not is_member_N.any() else 'every image is of'} {name} in this split")
    assert run.log_probs_NC is not None
    score_N = run.log_probs_NC[:, number]
    if spec.name == "roc_auc":
        return _roc_auc(score_N, is_member_N)
    if spec.name == "average_precision":
        return _average_precision(score_N, is_member_N)
    return _sensitivity(score_N, is_member_N, float(spec.parameter or 0))


def _ratio(part_N: npt.ArrayLike, whole_N: npt.ArrayLike, why_undefined: str) -> Statistic:
    """Sum of the parts over the sum of the wholes."""
    part_N, whole_N = np.asarray(part_N, dtype=np.float64), np.asarray(whole_N, dtype=np.float64)
    whole = float(whole_N.sum())
    if whole == 0:
        raise UndefinedMetricError(why_undefined)
    value = float(part_N.sum()) / whole
    return Statistic(value, (part_N - value * whole_N) / whole)


def _mean(value_N: npt.ArrayLike) -> Statistic:
    return _ratio(value_N, np.ones(len(np.asarray(value_N))), "there is no image")


def _top_k(run: Run, k: int) -> Statistic:
    """Images whose class is among the k likeliest; of equals the class of the higher number, as scikit-learn has it."""
    if k >= run.num_classes:
        raise UndefinedMetricError(f"with {run.num_classes} classes every image is right among the {k} most likely")
    assert run.log_probs_NC is not None
    best_NK = np.argsort(run.log_probs_NC, axis=1, kind="stable")[:, -k:]
    return _mean((best_NK == run.labels_N[:, None]).any(axis=1))


def _agreement(run: Run, *, is_kappa: bool) -> Statistic:
    """Cohen's kappa, or the correlation of Matthews (Gorodkin's for more than two classes): hits beyond those of chance, over what they could be.

    The correlation is 0 where all images are of one class, or called so.
    """
    labels_N, predicted_N, num = run.labels_N, run.predicted_N, float(len(run.labels_N))
    true_C, called_C = (np.bincount(each_N, minlength=run.num_classes).astype(np.float64) for each_N in (labels_N, predicted_N))
    is_hit_N = (labels_N == predicted_N).astype(np.float64)
    hits, chance = float(is_hit_N.sum()), float(true_C @ called_C)
    more_chance_N = called_C[labels_N] + true_C[predicted_N]
    beyond, more_beyond_N = num * hits - chance, hits + num * is_hit_N - more_chance_N
    if is_kappa:
        possible, more_possible_N = num**2 - chance, 2 * num - more_chance_N
        if possible == 0:
            raise UndefinedMetricError("every image is of one class and called so")
        return Statistic(beyond / possible, (more_beyond_N - beyond / possible * more_possible_N) / possible)
    called, true = num**2 - float(called_C @ called_C), num**2 - float(true_C @ true_C)
    if called * true == 0:
        return Statistic(0.0, np.zeros(len(labels_N)))
    size = (called * true) ** 0.5
    growth_N = (num - called_C[predicted_N]) / called + (num - true_C[labels_N]) / true
    return Statistic(beyond / size, more_beyond_N / size - beyond / size * growth_N)


def _roc_auc(score_N: FloatArray, is_positive_N: BoolArray) -> Statistic:
    """How often a positive scores above a negative, ties half: means of placement values."""
    positive, negative = score_N[is_positive_N], score_N[~is_positive_N]
    above, below = _placement(positive, negative), 1.0 - _placement(negative, positive)
    value, influence_N = float(above.mean()), np.empty(len(score_N))
    influence_N[is_positive_N] = (above - value) / len(positive)
    influence_N[~is_positive_N] = (below - value) / len(negative)
    return Statistic(value, influence_N)


def _placement(score: FloatArray, others: FloatArray) -> FloatArray:
    """Share of the others below each score, ties half."""
    ordered = np.sort(others)
    return np.asarray((np.searchsorted(ordered, score, "left") + np.searchsorted(ordered, score, "right")) / (2 * len(others)))


def _average_precision(score_N: FloatArray, is_positive_N: BoolArray) -> Statistic:
    """Mean over positives of the precision at their own score."""
    positive_N = is_positive_N.astype(np.float64)
    _, group_N = np.unique(-score_N, return_inverse=True)  # the highest score first
    positive_G, num_positive = np.bincount(group_N, weights=positive_N), float(positive_N.sum())
    size_G = np.cumsum(np.bincount(group_N))
    precision_G = np.cumsum(positive_G) / size_G
    value = float(positive_G @ precision_G) / num_positive
    share_G = positive_G / (num_positive * size_G)
    later_G, later_precision_G = (
        np.cumsum(each_G[::-1])[::-1] for each_G in (share_G, share_G * precision_G)
    )  # thresholds that an image is above
    own_N = positive_N * (precision_G[group_N] - value) / num_positive
    return Statistic(value, own_N + positive_N * later_G[group_N] - later_precision_G[group_N])


def _sensitivity(score_N: FloatArray, is_positive_N: BoolArray, specificity: float) -> Statistic:
    """The highest share of positives above a threshold that at most a share of 1 - specificity of the negatives is above."""
    positive, negative = score_N[is_positive_N], np.sort(score_N[~is_positive_N])[::-1]
    num = len(negative)
    allowed = int((1 - specificity) * num + _TINY)

    def found(number: int) -> float:
        """Share of positives above all negatives but the first few."""
        return float((positive > negative[number]).mean()) if number < num else 1.0

    value, share = found(allowed), (allowed + 1) / (num + 1)
    reach = max(1, round(1.5 * (num * share * (1 - share)) ** 0.5))
    low, high = max(allowed - reach, 0), min(allowed + reach, num)
    slope = (found(high) - found(low)) / ((high - low) / num)
    threshold, influence_N = negative[min(allowed, num - 1)], np.empty(len(score_N))
    influence_N[is_positive_N] = ((positive > threshold) - value) / len(positive) if allowed < num else 0.0
    is_above = score_N[~is_positive_N] >= threshold
    influence_N[~is_positive_N] = -slope * (is_above - is_above.mean()) / num
    return Statistic(value, influence_N)
