"""The best linear head on features that do not move: multinomial logistic regression, its penalty chosen on val.

The head's start before any step of training. Shapes: N train images, M val images, C classes, D features, R of them independent.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax

FloatArray = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse weights of the penalty that are tried, the strongest penalty first; each fit starts from the one before."""

_MAX_ITERATIONS = 300
"""An unconverged fit is still a start, and its val loss says whether it is a good one."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A linear classifier: logits are `features_ND @ weight_CD.T + bias_C`."""

    weight_CD: Float64Array
    bias_C: Float64Array

    def log_loss(self, features_ND: FloatArray, labels_N: IntArray) -> float:
        """Mean negative log-probability of the true class (nats)."""
        log_probs_NC = log_softmax(features_ND @ self.weight_CD.T + self.bias_C, axis=1)
        return float(-log_probs_NC[np.arange(len(labels_N)), labels_N].mean())


def solve(
    train_ND: FloatArray, train_labels_N: IntArray, val_MD: FloatArray, val_labels_M: IntArray, class_weights_C: FloatArray
) -> Solution:
    """Minimise sum of weighted log losses + |W|^2 / (2 strength) on standardised features, for the strength with the least val log loss.

    Args:
        train_ND: features.
        train_labels_N: class ids in [0, C).
        val_MD: features that the strength is chosen on.
        val_labels_M: their class ids.
        class_weights_C: weight of an image of each class in the loss; ones for none.

    Returns:
        The solution in terms of the features as they are.
    """
    mean_D, scale_D = train_ND.mean(axis=0, dtype=np.float64), train_ND.std(axis=0, dtype=np.float64)
    scale_D = np.where(scale_D > 0, scale_D, 1.0)
    inputs_ND = (train_ND - mean_D) / scale_D
    basis_DR = _span(inputs_ND)
    problem = _Problem(inputs_ND if basis_DR is None else inputs_ND @ basis_DR, train_labels_N, class_weights_C)
    start = np.zeros((len(class_weights_C), problem.inputs_NR.shape[1] + 1))
    solutions = []
    for strength in STRENGTHS:
        start = problem.solve(strength, start)
        weight_CR, bias_C = start[:, :-1], start[:, -1]
        weight_CD = (weight_CR if basis_DR is None else weight_CR @ basis_DR.T) / scale_D
        solutions.append(Solution(weight_CD, bias_C - weight_CD @ mean_D))
    return min(solutions, key=lambda solution: solution.log_loss(val_MD, val_labels_M))


def _span(inputs_ND: Float64Array) -> Float64Array | None:
    """An orthonormal basis of the rows, D x R, where it is smaller than D: the penalised solution lies in it. None: as they are."""
    num_images, num_features = inputs_ND.shape
    return np.linalg.qr(inputs_ND.T)[0] if num_images < num_features else None


@dataclass(frozen=True, slots=True)
class _Problem:
    inputs_NR: Float64Array
    labels_N: IntArray
    class_weights_C: FloatArray

    def solve(self, strength: float, start: Float64Array) -> Float64Array:
        """Weights and, in the last column, biases; shape C x (R + 1). The penalty spares biases."""
        weights_N = self.class_weights_C[self.labels_N]
        targets_NC = np.eye(len(self.class_weights_C))[self.labels_N]

        def value_and_gradient(flat: Float64Array) -> tuple[float, Float64Array]:
            found = flat.reshape(start.shape)
            log_probs_NC = log_softmax(self.inputs_NR @ found[:, :-1].T + found[:, -1], axis=1)
            loss = -(weights_N * log_probs_NC[np.arange(len(weights_N)), self.labels_N]).sum()
            errors_NC = weights_N[:, None] * (np.exp(log_probs_NC) - targets_NC)
            slope = np.concatenate([errors_NC.T @ self.inputs_NR + found[:, :-1] / strength, errors_NC.sum(axis=0)[:, None]], axis=1)
            scale = 1.0 / len(weights_N)  # so that the optimiser's tolerances mean the same for any number of images
            return scale * (loss + (found[:, :-1] ** 2).sum() / (2 * strength)), scale * slope.ravel()

        done = minimize(value_and_gradient, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _MAX_ITERATIONS})
        return np.asarray(done.x.reshape(start.shape))
