"""Whether features that were computed in a lower precision lead to the answers of float32: decisions and probabilities of a linear probe.

Asked by the pass that caches features, before it computes all of them. Shapes: N images that are checked, D features.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.config import Metric
from harness.data.dataset import Dataset
from harness.data.labels import is_right, is_several
from harness.measure.choice import deal
from harness.measure.objective import plain_objective

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

NUM_CHECKED = 256
"""Images of train and val that are computed in both ways."""

LEAST_IMAGES = 2000
"""With fewer, checking takes about as long as a lower precision spares: they are computed in float32."""

MAX_OFF = 0.2
"""How far the log-probability of an image's own class may be off (nats)."""

_FOLDS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """Some images of train and val with their labels."""

    rows_N: IntArray
    """Where they lie among the images of train, val and test."""
    labels_N: IntArray

    def __call__(self, fast_ND: FloatArray, exact_ND: FloatArray) -> str | None:
        """What is wrong with fast features, by probes that never saw an image: one on each kind, at the penalty that is best in float32."""
        changed, off = compare(self.labels_N, fast_ND, exact_ND)
        if not changed and off <= MAX_OFF:
            return None
        return f"changed {changed} of {len(self.labels_N)} decisions, and log-probabilities by up to {off:.2g} nats"


def judge_of(dataset: Dataset) -> Judge | None:
    """A judge for the features of a data set; None where it has too few images."""
    labels_N = np.concatenate([dataset.train.labels, dataset.val.labels])
    if len(labels_N) + len(dataset.test) < LEAST_IMAGES:
        return None
    rows_N = np.unique(np.linspace(0, len(labels_N) - 1, NUM_CHECKED).round().astype(np.int64))
    return Judge(rows_N, labels_N[rows_N])


def compare(labels_N: IntArray, fast_ND: FloatArray, exact_ND: FloatArray) -> tuple[int, float]:
    """Decisions that differ, and the largest difference of the log-probability of an image's own class (nats)."""
    if not np.isfinite(fast_ND).all():
        return len(labels_N), float("inf")
    weights_C = np.ones(labels_N.shape[1] if is_several(labels_N) else int(labels_N.max()) + 1)
    folds_N, objective = deal(labels_N, _FOLDS), plain_objective(labels_N, len(weights_C))
    fast, exact = (objective.cross_fit_heads(features_ND, labels_N, folds_N, weights_C) for features_ND in (fast_ND, exact_ND))
    num_both = min(len(fast.strengths), len(exact.strengths))
    best = min(range(num_both), key=lambda place: objective.log_loss(exact.log_probs_SNC[place], labels_N))
    one_NC, other_NC = fast.log_probs_SNC[best], exact.log_probs_SNC[best]
    off_N = np.abs(objective.true_log_probs(one_NC, labels_N) - objective.true_log_probs(other_NC, labels_N))
    same_N = is_right(objective.decide(one_NC, Metric.accuracy), objective.decide(other_NC, Metric.accuracy))
    return int((~same_N).sum()), float(off_N.max())
