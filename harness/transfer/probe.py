"""The linear probe of a backbone as it was loaded: the best classifier on features that do not move, and what it is worth.

Its head is solved on train. What it is worth is said by heads that never saw the image in question: train and val together are dealt into
folds, so that every label takes part in comparing backbones. There are as many folds as make a head see about as many images as train
has. Shapes: N images of train and then val, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from harness.config import Metric
from harness.measure.choice import Selector, deal
from harness.measure.logistic import Solution, cross_fit, solve

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

MIN_FOLDS, MAX_FOLDS = 3, 10


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A head, and out-of-fold predictions of heads like it."""

    solution: Solution
    """On train."""
    strength: float
    """Inverse weight of the penalty, chosen on train and val out of fold."""
    temperature: float
    log_probs_NC: npt.NDArray[np.float32]
    """Out of fold, strength and temperature chosen by the other folds."""
    labels_N: IntArray
    folds_N: IntArray

    @property
    def state(self) -> dict[str, Tensor]:
        """Of a linear head."""
        return {"weight": torch.from_numpy(self.solution.weight_CD), "bias": torch.from_numpy(self.solution.bias_C)}


def linear_probe(
    features: Sequence[FloatArray],
    labels: Sequence[IntArray],
    *,
    metric: Metric,
    class_weights_C: FloatArray,
    prior_C: FloatArray,
    seed: int,
) -> Probe:
    """Solve a head and cross-fit others.

    Args:
        features: of train and of val, each images x D.
        labels: of train and of val, class ids in [0, C).
        metric: that the strength of the penalty is chosen by.
        class_weights_C: of the loss; ones for none.
        prior_C: class shares that this loss teaches.
        seed: decides the folds.
    """
    labels_N = np.concatenate(labels)
    folds_N = deal(labels_N, num_folds(len(labels[0]), len(labels[1])), seed)
    with threadpool_limits(1, user_api="blas"):  # products too small to share; on a busy machine threads wait for each other for seconds
        tried = cross_fit(np.concatenate(features), labels_N, folds_N, class_weights_C)
        selector = Selector(labels_N, metric, prior_C, folds_N)
        choice = selector.choose([selector.evaluate(log_probs_NC) for log_probs_NC in tried.log_probs_SNC])
        strength = tried.strengths[choice.position]
        solution = solve(features[0], labels[0], class_weights_C, strength)
    return Probe(solution, strength, choice.temperature, choice.log_probs_NC, labels_N, folds_N)


def num_folds(num_train: int, num_val: int) -> int:
    """So many that what is left of train and val without one of them is about as large as train."""
    return min(max(round((num_train + num_val) / max(num_val, 1)), MIN_FOLDS), MAX_FOLDS)
