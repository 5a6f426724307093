"""The linear probe of a backbone as it was loaded: the best classifier on features that do not move, and what it is worth.

Its head is fitted on train. What it is worth is said by heads that never saw the image in question: train and val together are dealt into
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
from harness.measure.choice import NUM_FOLDS, Selector, deal, num_folds
from harness.measure.logistic import Solution
from harness.measure.objective import Objective

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A head, and out-of-fold predictions of heads like it."""

    solution: Solution
    """On train."""
    strength: float
    """Inverse weight of the penalty, chosen on train and val out of fold."""
    temperature: float
    log_probs_NC: npt.NDArray[np.float32]
    """Out of fold, strength and temperature chosen by the other folds, of the images given."""
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
    objective: Objective,
    seed: int,
    groups_N: IntArray | None = None,
    weights_N: FloatArray | None = None,
) -> Probe:
    """Solve a head and cross-fit others.

    Args:
        features: of train and of val, each images x D; of train alone where val may not be known.
        labels: of the same, class ids in [0, C).
        metric: that the strength of the penalty is chosen by.
        class_weights_C: of the loss; ones for none.
        objective: of the labels.
        seed: decides the folds.
        groups_N: of the images, which folds keep together; None: every image stands for itself.
        weights_N: of the images where they are learned from; what heads are judged by counts each once. None: all weigh the same.
    """
    labels_N = np.concatenate(labels)
    num_val = len(labels_N) - len(labels[0]) or len(labels_N) // NUM_FOLDS
    folds_N = deal(labels_N, num_folds(len(labels_N) - num_val, num_val, groups_N), seed, groups_N)
    with threadpool_limits(1, user_api="blas"):  # products too small to share; on a busy machine threads wait for each other for seconds
        tried = objective.cross_fit_heads(np.concatenate(features), labels_N, folds_N, class_weights_C, weights_N)
        selector = Selector(labels_N, metric, objective, folds_N)
        choice = selector.choose([selector.evaluate(log_probs_NC) for log_probs_NC in tried.log_probs_SNC])
        strength = tried.strengths[choice.position]
        own_N = None if weights_N is None else weights_N[: len(labels[0])]
        solution = objective.solve_head(features[0], labels[0], class_weights_C, strength, own_N)
    return Probe(solution, strength, choice.temperature, choice.log_probs_NC, labels_N, folds_N)
