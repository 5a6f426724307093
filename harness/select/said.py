"""What the runs of a candidate say of images: what each is called, and how probable its true class is held to be.

Shapes: S seeds, N images, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from harness.config import Metric, RankMetric
from harness.data.labels import is_several
from harness.measure.quality import decide
from harness.select.scores import Runs
from harness.study.row import Row
from harness.study.row_objective import objective_of
from harness.study.store import Predictions
from harness.text.metric_spec import MetricSpec

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What the runs of a candidate say of N images."""

    predicted_SN: IntArray
    """The likeliest class, or the labels that are called, S x N x C."""
    balanced_SN: IntArray
    """The likeliest class for its share: what balanced accuracy asks for."""
    true_log_prob_SN: FloatArray
    """Log-probability (nats) that each seed gives to the true class."""

    @classmethod
    def of(cls, rows: Sequence[Row], found: Sequence[Predictions], *, keeps_probabilities: bool = False) -> "Said":
        """One row and its predictions for each seed; with the probabilities of all classes where a metric needs them."""
        decided = [
            [objective_of(row).decide(each.log_probs_NC, metric) for row, each in zip(rows, found, strict=True)]
            for metric in (Metric.accuracy, Metric.balanced_accuracy)
        ]
        true = [objective_of(row).true_log_probs(each.log_probs_NC, each.labels_N) for row, each in zip(rows, found, strict=True)]
        parts = np.stack(decided[0]), np.stack(decided[1]), np.stack(true)
        keeps = keeps_probabilities or is_several(found[0].labels_N)
        return SaidOfAll(*parts, np.stack([each.log_probs_NC for each in found])) if keeps else cls(*parts)

    @classmethod
    def nothing(cls) -> "Said":
        """Of nobody about no image."""
        return cls(np.empty((0, 0), dtype=np.int64), np.empty((0, 0), dtype=np.int64), np.empty((0, 0), dtype=np.float32))

    @classmethod
    def joined(cls, seeds: Sequence["Said"]) -> "Said":
        """Of several seeds on as many images."""
        kind = type(seeds[0])
        return kind(*(np.concatenate([getattr(each, field.name) for each in seeds]) for field in fields(kind)))

    def take(self, images: IntArray) -> "Said":
        """Of some of the images, in the order given."""
        return type(self)(*(getattr(self, field.name)[:, images] for field in fields(self)))

    def seed(self, s: int) -> "Said":
        """Of one seed."""
        return type(self)(*(getattr(self, field.name)[[s]] for field in fields(self)))

    def decided_SN(self, metric: RankMetric) -> IntArray:
        """What each image is called under a metric."""
        is_balanced = metric.is_balanced if isinstance(metric, MetricSpec) else metric is Metric.balanced_accuracy
        return self.balanced_SN if is_balanced else self.predicted_SN

    def runs(self, labels_N: IntArray, num_classes: int, metric: RankMetric) -> Runs:
        """For scoring."""
        return Runs(self.decided_SN(metric), self.true_log_prob_SN, labels_N, num_classes)


@dataclass(frozen=True, slots=True, eq=False)
class SaidOfAll(Said):
    """The same with what the runs say of every class."""

    log_probs_SNC: FloatArray

    def decided_SN(self, metric: RankMetric) -> IntArray:
        """What each image is called under a metric; by its costs, where decisions have any."""
        if not isinstance(metric, MetricSpec) or metric.costs is None:
            return Said.decided_SN(self, metric)
        equal_C = np.ones(self.log_probs_SNC.shape[2])
        return np.stack([decide(log_probs_NC, metric, equal_C) for log_probs_NC in self.log_probs_SNC])

    def runs(self, labels_N: IntArray, num_classes: int, metric: RankMetric) -> Runs:
        """For scoring."""
        return Runs(self.decided_SN(metric), self.true_log_prob_SN, labels_N, num_classes, self.log_probs_SNC)
