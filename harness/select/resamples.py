"""Scores of K candidates on one split under one metric, and the same in R resamples of its images (and seeds).

The one thing that intervals, differences, ties, ranks and fronts are read from; higher is better throughout, and `natural` turns back.
Shapes: S seeds, N images.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.config import Metric
from harness.select.comparison import Interval, interval, score_interval
from harness.select.evidence import Evidence, image_errors
from harness.select.metric import is_higher_better
from harness.select.scores import FloatArray, IntArray, Runs

Answers = tuple[IntArray, npt.NDArray[np.floating]]
"""What one candidate said about the images: predicted class (S x N), log-probability of the true class (S x N)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better one candidate scores than another on the same images; negative: worse. In the metric's unit."""

    value: float
    interval: Interval


@dataclass(frozen=True, slots=True, eq=False)
class Resamples:
    """Scores and draws; log loss carries a minus sign here."""

    metric: Metric
    scores_K: FloatArray
    """Means over seeds."""
    draws_RK: FloatArray
    """Images drawn anew and, where any candidate was repeated, seeds."""
    image_draws_RK: FloatArray
    """Images alone drawn anew, the same ones, seeds averaged: what more images would change."""
    num_equal_K: FloatArray
    """Images of equal weight that know as much about each score as its own do."""

    @classmethod
    def of(
        cls,
        answers: Sequence[Answers],
        labels_N: IntArray,
        num_classes: int,
        metric: Metric,
        num_resamples: int,
        groups_N: IntArray | None = None,
    ) -> "Resamples":
        """Resample candidates together, the same images, or groups of them, for all.

        Every class needs an image unless the metric is a mean over images.
        """
        runs = Runs(
            predicted_JN=np.concatenate([predicted_SN for predicted_SN, _ in answers]),
            true_log_prob_JN=np.concatenate([true_log_prob_SN for _, true_log_prob_SN in answers]),
            labels_N=labels_N,
            num_classes=num_classes,
        )
        evidence = Evidence.of(runs, metric, [len(predicted_SN) for predicted_SN, _ in answers], groups_N)
        return cls.from_evidence(evidence, metric, num_resamples)

    @classmethod
    def from_evidence(cls, evidence: Evidence, metric: Metric, num_resamples: int) -> "Resamples":
        """Of candidates whose scores and influences are known, whatever images each was measured on."""
        image_error_RK = image_errors(evidence.influence_KN, evidence.labels_N, num_resamples)
        draws_RK = evidence.draws_around(image_error_RK)
        image_draws_RK = evidence.without_seeds().draws_around(image_error_RK) if evidence.seed_variance_K.any() else draws_RK
        return cls(metric, evidence.scores_K, draws_RK, image_draws_RK, evidence.num_equal_K)

    def natural(self, found: Interval) -> Interval:
        """An interval of scores in the metric's own unit and order."""
        return found if is_higher_better(self.metric) else Interval(-found.high, -found.low)

    def score(self, k: int) -> float:
        """In the metric's own unit."""
        return float(self.scores_K[k] if is_higher_better(self.metric) else -self.scores_K[k])

    def interval(self, k: int, confidence: float) -> Interval:
        """Of one candidate's score, in the metric's own unit."""
        score, num_equal = float(self.scores_K[k]), float(self.num_equal_K[k])
        return self.natural(score_interval(self.draws_RK[:, k], self.metric, confidence, score=score, num_equal=num_equal))

    def difference(self, first: int, second: int, confidence: float) -> Difference:
        """How much better the first is, paired in every draw."""
        draws_R = self.draws_RK[:, first] - self.draws_RK[:, second]
        return Difference(float(self.scores_K[first] - self.scores_K[second]), interval(draws_R, confidence))

    def standard_errors(self, first: int, second: int) -> tuple[float, float]:
        """Of their difference: from the images alone, and from images and seeds."""
        image_se, total_se = ((draws_RK[:, first] - draws_RK[:, second]).std() for draws_RK in (self.image_draws_RK, self.draws_RK))
        return float(image_se), float(total_se)
