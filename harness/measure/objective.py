"""What depends on the kind of label, in one object: probabilities, decisions, what each image says, metrics, the start of a head.

Asked by training, heads, probe, choice, rows and ranking. Torch-free; the loss on tensors is `transfer/objective`. There are two kinds: one
class an image, and several labels. Labels are arrays as of `harness.data.labels`; decisions have their form. Shapes: N images, C classes or labels,
T temperatures, D features, S strengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.special import log_expit, logsumexp

from harness.config import Metric, RankMetric
from harness.data.labels import is_several
from harness.measure import several
from harness.measure.logistic import Solution, Strengths, cross_fit, solve
from harness.measure.quality import FloatArray, IntArray, decide, quality, score
from harness.text.metric_spec import MetricSpec


@dataclass(frozen=True, slots=True, eq=False)
class SingleLabel:
    """Every image is of exactly one class: softmax, cross-entropy, one decision per image."""

    prior_C: FloatArray
    """Class shares that the loss teaches: those of train, or equal ones where it is weighted by class."""

    @property
    def thresholds(self) -> list[float]:
        """None: the likeliest class is called."""
        return []

    def settled(self, _: FloatArray) -> Self:
        """Return what decides once the model has said something of images that it was not trained on: this needs none of it."""
        return self

    def log_probs(self, log_probs_NC: FloatArray, temperature: float | FloatArray = 1.0) -> npt.NDArray[np.float32]:
        """Return log-probabilities at a temperature, one for all images or one for each; float32."""
        cooled_NC = log_probs_NC.astype(np.float64) / np.asarray(temperature, dtype=np.float64).reshape(-1, 1)
        return np.asarray(cooled_NC - logsumexp(cooled_NC, axis=1, keepdims=True), dtype=np.float32)

    def true_log_probs(self, log_probs_NC: FloatArray, labels_N: IntArray) -> FloatArray:
        """Return the log-probability of each image's own class, shape N (nats)."""
        return np.asarray(log_probs_NC[np.arange(len(labels_N)), labels_N])

    def log_loss(self, log_probs_NC: FloatArray, labels_N: IntArray) -> float:
        """Return the mean negative log-probability of an image's own class (nats)."""
        return float(-self.true_log_probs(log_probs_NC, labels_N).astype(np.float64).mean())

    def losses(self, log_probs_NC: FloatArray, labels_N: IntArray, temperatures: Sequence[float]) -> FloatArray:
        """Return the negative log-probability of each image's class at each temperature, shape N x T (nats)."""
        exact_NC = log_probs_NC.astype(np.float64)
        true_N = self.true_log_probs(exact_NC, labels_N)
        return np.stack([logsumexp(exact_NC / heat, axis=1) - true_N / heat for heat in temperatures], axis=1)

    def decide(self, log_probs_NC: FloatArray, metric: RankMetric) -> IntArray:
        """Return the class that each image is called under a metric, shape N."""
        return decide(log_probs_NC, metric, self.prior_C)

    def score(self, log_probs_NC: FloatArray, labels_N: IntArray, metric: Metric) -> float:
        """Return accuracy, or balanced accuracy over the classes that are there: what a metric by rule can be."""
        return score(self.decide(log_probs_NC, metric), labels_N, metric)

    def quality(self, log_probs_NC: FloatArray, labels_N: IntArray, metric: RankMetric) -> tuple[dict[str, float | None], dict[str, str]]:
        """Return every quality metric of one split, classes decided as `metric` asks, and why those that are None are undefined."""
        return quality(log_probs_NC, labels_N, self.decide(log_probs_NC, metric), metric if isinstance(metric, MetricSpec) else None)

    def cross_fit_heads(
        self,
        features_ND: FloatArray,
        labels_N: IntArray,
        folds_N: IntArray,
        class_weights_C: FloatArray,
        weights_N: FloatArray | None = None,
    ) -> Strengths:
        """Return what heads of several strengths say of folds that they never saw (`logistic.cross_fit`)."""
        return cross_fit(features_ND, labels_N, folds_N, class_weights_C, weights_N)

    def solve_head(
        self, features_ND: FloatArray, labels_N: IntArray, class_weights_C: FloatArray, strength: float, weights_N: FloatArray | None = None
    ) -> Solution:
        """Return the best linear head on features that do not move (`logistic.solve`): where a new head starts."""
        return solve(features_ND, labels_N, class_weights_C, strength, weights_N)


@dataclass(frozen=True, slots=True, eq=False)
class SeveralLabels:
    """An image may have any of several labels: sigmoid, binary cross-entropy (the mean over labels), a threshold for each label."""

    prior_C: FloatArray
    """Shares of the train images that have each label."""
    threshold_C: FloatArray
    """Probability from which on a label is called."""
    weights_C: FloatArray | None = None
    """Weight in the loss of a label where it is there; None: as where it is not. Not known of a kept model, which has its thresholds."""

    @property
    def thresholds(self) -> list[float]:
        """One for each label."""
        return [float(each) for each in self.threshold_C]

    def settled(self, log_probs_NC: FloatArray) -> Self:
        """Return the same with thresholds that suit calibrated log-probabilities of images that the model was not trained on."""
        weights_C = np.ones(len(self.prior_C)) if self.weights_C is None else self.weights_C
        return replace(self, threshold_C=several.thresholds(log_probs_NC, weights_C))

    def log_probs(self, log_probs_NC: FloatArray, temperature: float | FloatArray = 1.0) -> npt.NDArray[np.float32]:
        """Return log-probabilities of labels at a temperature, one for all images or one for each; float32."""
        cooled_NC = several.logits_of(log_probs_NC) / np.asarray(temperature, dtype=np.float64).reshape(-1, 1)
        return np.asarray(log_expit(cooled_NC), dtype=np.float32)

    def true_log_probs(self, log_probs_NC: FloatArray, labels_N: IntArray) -> FloatArray:
        """Return the log-probability of what is true of each image, the mean over labels, shape N (nats)."""
        return np.asarray(np.where(labels_N == 1, log_probs_NC, several.log_complement(log_probs_NC)).mean(axis=1))

    def log_loss(self, log_probs_NC: FloatArray, labels_N: IntArray) -> float:
        """Return the mean negative log-probability of what is true of a label (nats)."""
        return float(-self.true_log_probs(log_probs_NC, labels_N).mean())

    def losses(self, log_probs_NC: FloatArray, labels_N: IntArray, temperatures: Sequence[float]) -> FloatArray:
        """Return the same of each image at each temperature, shape N x T (nats)."""
        true_NC = np.where(labels_N == 1, 1.0, -1.0) * several.logits_of(log_probs_NC)
        return np.stack([-log_expit(true_NC / heat).mean(axis=1) for heat in temperatures], axis=1)

    def decide(self, log_probs_NC: FloatArray, _: RankMetric) -> IntArray:
        """Return which labels are called, N x C, whatever the metric."""
        return np.asarray(np.exp(log_probs_NC.astype(np.float64)) >= self.threshold_C, dtype=np.int64)

    def score(self, log_probs_NC: FloatArray, labels_N: IntArray, metric: Metric) -> float:
        """Return mean average precision over the labels that are there; by accuracy, which curves show, the share of images whose labels are all correct at 0.5."""
        if metric is Metric.accuracy:
            return several.subset_accuracy((log_probs_NC > np.log(several.PLAIN_THRESHOLD)).astype(np.int64), labels_N).value
        is_there_C = labels_N.any(axis=0)
        return several.mean_average_precision(log_probs_NC[:, is_there_C], labels_N[:, is_there_C]).value if is_there_C.any() else 0.0

    def quality(self, log_probs_NC: FloatArray, labels_N: IntArray, metric: RankMetric) -> tuple[dict[str, float | None], dict[str, str]]:
        """Return every quality metric of one split, and why those that are None are undefined."""
        spec = metric if isinstance(metric, MetricSpec) else None
        return several.measure(log_probs_NC, labels_N, self.decide(log_probs_NC, metric), spec)

    def cross_fit_heads(
        self,
        features_ND: FloatArray,
        labels_N: IntArray,
        folds_N: IntArray,
        class_weights_C: FloatArray,
        weights_N: FloatArray | None = None,
    ) -> Strengths:
        """Return what heads of several strengths say of folds that they never saw (`logistic.cross_fit`)."""
        return cross_fit(features_ND, labels_N, folds_N, class_weights_C, weights_N)

    def solve_head(
        self, features_ND: FloatArray, labels_N: IntArray, class_weights_C: FloatArray, strength: float, weights_N: FloatArray | None = None
    ) -> Solution:
        """Return the best linear head on features that do not move (`logistic.solve`): where a new head starts."""
        return solve(features_ND, labels_N, class_weights_C, strength, weights_N)


Objective = SingleLabel | SeveralLabels
"""The kinds of label there are."""


def objective(prior_C: FloatArray, thresholds: Sequence[float]) -> Objective:
    """Return the objective that a row or a kept model states: thresholds are of labels."""
    return SeveralLabels(prior_C, np.array(thresholds)) if len(thresholds) else SingleLabel(prior_C)


def plain_objective(labels_N: IntArray, num_classes: int) -> Objective:
    """Return one that knows of no shares, whose thresholds are one half."""
    if is_several(labels_N):
        return SeveralLabels(np.full(num_classes, several.PLAIN_THRESHOLD), np.full(num_classes, several.PLAIN_THRESHOLD))
    return SingleLabel(np.full(num_classes, 1.0 / num_classes))
