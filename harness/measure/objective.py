"""What depends on the kind of label, in one object: probabilities, decisions, what each image says, metrics, the start of a head.

Asked by training, heads, probe, choice, rows and ranking. Torch-free; the loss on tensors is `transfer/objective`. A second kind of label is
a second object with these methods. Shapes: N images, C classes, T temperatures, D features, S strengths.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from harness.config import Metric, RankMetric
from harness.measure.logistic import Solution, Strengths, cross_fit, solve
from harness.measure.quality import FloatArray, IntArray, decide, quality, score
from harness.text.metric_spec import MetricSpec


@dataclass(frozen=True, slots=True, eq=False)
class SingleLabel:
    """Every image is of exactly one class: softmax, cross-entropy, one decision per image."""

    prior_C: FloatArray
    """Class shares that the loss teaches: those of train, or equal ones where it is weighted by class."""

    def log_probs(self, logits_NC: FloatArray, temperature: float | FloatArray = 1.0) -> npt.NDArray[np.float32]:
        """Return log-probabilities of logits, or of other log-probabilities, at a temperature, one for all images or one for each; float32."""
        cooled_NC = logits_NC.astype(np.float64) / np.asarray(temperature, dtype=np.float64).reshape(-1, 1)
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

    def cross_fit_heads(self, features_ND: FloatArray, labels_N: IntArray, folds_N: IntArray, class_weights_C: FloatArray) -> Strengths:
        """Return what heads of several strengths say of folds that they never saw (`logistic.cross_fit`)."""
        return cross_fit(features_ND, labels_N, folds_N, class_weights_C)

    def solve_head(self, features_ND: FloatArray, labels_N: IntArray, class_weights_C: FloatArray, strength: float) -> Solution:
        """Return the best linear head on features that do not move (`logistic.solve`): where a new head starts."""
        return solve(features_ND, labels_N, class_weights_C, strength)


Objective = SingleLabel
"""The kinds of label there are."""
