"""What the runs of a candidate say of images: what each is called, and how probable its true class is held to be.

Shapes: S seeds, N images.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from harness.config import Metric
from harness.select.scores import Runs
from harness.study.row import Row
from harness.study.row_objective import objective_of
from harness.study.store import Predictions

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """What the runs of a candidate say of N images."""

    predicted_SN: IntArray
    """The likeliest class."""
    balanced_SN: IntArray
    """The likeliest class for its share: what balanced accuracy asks for."""
    true_log_prob_SN: FloatArray
    """Log-probability (nats) that each seed gives to the true class."""

    @classmethod
    def of(cls, rows: Sequence[Row], found: Sequence[Predictions]) -> "Said":
        """One row and its predictions for each seed."""
        decided = [
            [objective_of(row).decide(each.log_probs_NC, metric) for row, each in zip(rows, found, strict=True)]
            for metric in (Metric.accuracy, Metric.balanced_accuracy)
        ]
        true = [objective_of(row).true_log_probs(each.log_probs_NC, each.labels_N) for row, each in zip(rows, found, strict=True)]
        return cls(np.stack(decided[0]), np.stack(decided[1]), np.stack(true))

    @classmethod
    def joined(cls, seeds: Sequence["Said"]) -> "Said":
        """Of several seeds on as many images."""
        return cls(*(np.concatenate([getattr(each, field.name) for each in seeds]) for field in fields(cls)))

    def take(self, images: IntArray) -> "Said":
        """Of some of the images, in the order given."""
        return Said(*(getattr(self, field.name)[:, images] for field in fields(Said)))

    def seed(self, s: int) -> "Said":
        """Of one seed."""
        return Said(*(getattr(self, field.name)[[s]] for field in fields(Said)))

    def decided_SN(self, metric: Metric) -> IntArray:
        """What each image is called under a metric."""
        return self.balanced_SN if metric is Metric.balanced_accuracy else self.predicted_SN

    def runs(self, labels_N: IntArray, num_classes: int, metric: Metric) -> Runs:
        """For scoring."""
        return Runs(self.decided_SN(metric), self.true_log_prob_SN, labels_N, num_classes)
