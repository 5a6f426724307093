"""The best linear classifier on features that do not move: multinomial logistic regression with a chosen penalty.

The head's start before any step of training (`solve`, chosen on val), and the linear probe (`cross_validated`, chosen within
train). Shapes: N train images, M val images, C classes, D features, R of them independent.
"""

from dataclasses import dataclass, replace
from typing import Self

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
_PRECISE = 1e7 * float(np.finfo(np.float64).eps)
"""A fit ends when a step lowers the mean loss by less than this share of it (or, below 1, by less than this)."""
_COARSE = 1e-4
"""The same where fits only tell strengths apart: a hundredth of what folds differ by, at a third of the time."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A linear classifier: logits are `features_ND @ weight_CD.T + bias_C`."""

    weight_CD: Float64Array
    bias_C: Float64Array

    def log_probs(self, features_ND: FloatArray) -> Float64Array:
        """Natural logarithms of class probabilities, N x C."""
        return np.asarray(log_softmax(features_ND @ self.weight_CD.T + self.bias_C, axis=1))

    def log_loss(self, features_ND: FloatArray, labels_N: IntArray) -> float:
        """Mean negative log-probability of the true class (nats)."""
        return float(-self.log_probs(features_ND)[np.arange(len(labels_N)), labels_N].mean())


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
    return min(path(train_ND, train_labels_N, class_weights_C), key=lambda solution: solution.log_loss(val_MD, val_labels_M))


def path(train_ND: FloatArray, labels_N: IntArray, class_weights_C: FloatArray) -> list[Solution]:
    """The solution for each of `STRENGTHS`, in terms of the features as they are."""
    inputs = _Standardised.of(train_ND)
    problem = _Problem(inputs.values_NR, labels_N, class_weights_C)
    found, solutions = problem.zeros(), []
    for strength in STRENGTHS:
        found = problem.solve(strength, found)
        solutions.append(inputs.solution(found))
    return solutions


def cross_validated(train_ND: FloatArray, labels_N: IntArray, folds_N: IntArray) -> tuple[float, Solution]:
    """The strength with the least log loss on held-out folds, and the solution for it on all images.

    Strengths are tried in their order until the held-out loss rises; along such a path it falls to one lowest place, and the weak
    penalties behind it take the longest. Features are standardised once, on all images: that looks at no label.

    Args:
        train_ND: features.
        labels_N: class ids, each in [0, C) at least once.
        folds_N: fold of each image, from 0; -1: trains in every fold and is never held out.
    """
    inputs = _Standardised.of(train_ND)
    weights_C = np.ones(int(labels_N.max()) + 1)
    whole = _Problem(inputs.values_NR, labels_N, weights_C)
    found = [whole.zeros() for _ in range(int(folds_N.max()) + 1)]
    losses: list[float] = []
    for strength in STRENGTHS:
        found = [whole.part(folds_N != fold).solve(strength, start, _COARSE) for fold, start in enumerate(found)]
        losses.append(sum(whole.part(folds_N == fold).total_loss(fitted) for fold, fitted in enumerate(found)))
        if losses[-1] > min(losses):
            break
    chosen = STRENGTHS[int(np.argmin(losses))]
    return chosen, inputs.solution(whole.solve(chosen, whole.zeros()))


@dataclass(frozen=True, slots=True)
class _Standardised:
    """Features with mean 0 and deviation 1, in as few dimensions as hold them."""

    values_NR: Float64Array
    mean_D: Float64Array
    scale_D: Float64Array
    basis_DR: Float64Array | None
    """None: the D features themselves."""

    @classmethod
    def of(cls, train_ND: FloatArray) -> Self:
        mean_D, scale_D = train_ND.mean(axis=0, dtype=np.float64), train_ND.std(axis=0, dtype=np.float64)
        scale_D = np.where(scale_D > 0, scale_D, 1.0)
        inputs_ND = (train_ND - mean_D) / scale_D
        basis_DR = _span(inputs_ND)
        return cls(inputs_ND if basis_DR is None else inputs_ND @ basis_DR, mean_D, scale_D, basis_DR)

    def solution(self, found: Float64Array) -> Solution:
        """What `_Problem.solve` found, in terms of the features as they were."""
        weight_CR, bias_C = found[:, :-1], found[:, -1]
        weight_CD = (weight_CR if self.basis_DR is None else weight_CR @ self.basis_DR.T) / self.scale_D
        return Solution(weight_CD, bias_C - weight_CD @ self.mean_D)


def _span(inputs_ND: Float64Array) -> Float64Array | None:
    """An orthonormal basis of the rows, D x R, where it is smaller than D: the penalised solution lies in it. None: as they are."""
    num_images, num_features = inputs_ND.shape
    return np.linalg.qr(inputs_ND.T)[0] if num_images < num_features else None


@dataclass(frozen=True, slots=True)
class _Problem:
    inputs_NR: Float64Array
    labels_N: IntArray
    class_weights_C: FloatArray

    def zeros(self) -> Float64Array:
        """Where a path starts."""
        return np.zeros((len(self.class_weights_C), self.inputs_NR.shape[1] + 1))

    def part(self, is_in_N: npt.NDArray[np.bool_]) -> Self:
        """The problem of some of the images."""
        return replace(self, inputs_NR=self.inputs_NR[is_in_N], labels_N=self.labels_N[is_in_N])

    def total_loss(self, found: Float64Array) -> float:
        """Sum of log losses without class weights (nats)."""
        solution = Solution(found[:, :-1], found[:, -1])
        return len(self.labels_N) * solution.log_loss(self.inputs_NR, self.labels_N)

    def solve(self, strength: float, start: Float64Array, tolerance: float = _PRECISE) -> Float64Array:
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

        done = minimize(
            value_and_gradient,
            start.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MAX_ITERATIONS, "ftol": tolerance},
        )
        return np.asarray(done.x.reshape(start.shape))
