"""The best linear classifier on features that do not move: logistic regression with a chosen penalty, multinomial or one for each label.

The linear probe: heads that never saw an image say what it is (`cross_fit`), and one on all of train (`solve`) is what a head starts from.
Shapes: N images, C classes, D features, R of them independent, S strengths.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, log_expit, log_softmax

from harness.data.labels import is_several

FloatArray = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

STRENGTHS = tuple(10.0 ** (step / 2) for step in range(-10, 7))
"""Inverse weights of the penalty that are tried, the strongest penalty first; each fit starts from the one before."""

_MAX_RISES = 2
"""Strengths that may be worse than the best before no weaker ones are tried."""

_FEW = 0.1
"""Images that a class without any counts as having, where a path starts."""

_MAX_ITERATIONS = 300
"""An unconverged fit is still a start, and its val loss says whether it is a good one."""
_PRECISE = 1e7 * float(np.finfo(np.float64).eps)
"""A fit ends when a step lowers the mean loss by less than this share of it (or, below 1, by less than this)."""
_COARSE = 1e-5
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


@dataclass(frozen=True, slots=True, eq=False)
class Strengths:
    """What classifiers of several strengths say about images that they never saw."""

    strengths: list[float]
    """Ascending."""
    log_probs_SNC: list[Float64Array]
    """One for each of them."""


def cross_fit(
    features_ND: FloatArray, labels_N: IntArray, folds_N: IntArray, class_weights_C: FloatArray, weights_N: FloatArray | None = None
) -> Strengths:
    """Predict every fold by classifiers trained on the others, for strengths from the weakest on until the held-out loss rises twice.

    Along such a path it falls to one lowest place, and the weak penalties behind it take the longest. Features are standardised once, on
    all images: that looks at no label.

    Args:
        features_ND: features.
        labels_N: class ids in [0, C), or which labels each has; a class of a single image is unknown to the classifier that predicts it.
        folds_N: fold of each image, from 0; two at least.
        class_weights_C: weight in the loss of an image of each class, or of one that has each label; ones for none.
        weights_N: weight of each image where it is learned from; the held-out loss counts each once. None: all weigh the same.
    """
    whole = _problem(_Standardised.of(features_ND, weights_N).values_NR, labels_N, class_weights_C, weights_N)
    folds = [np.flatnonzero(folds_N == fold) for fold in np.unique(folds_N)]
    parts = [whole.part((folds_N != folds_N[members[0]]) & (whole.weights_N > 0)) for members in folds]
    found = [part.start() for part in parts]
    tried, said, losses = list[float](), list[Float64Array](), list[float]()
    for strength in STRENGTHS:
        found = [part.solve(strength, start, _COARSE) for part, start in zip(parts, found, strict=True)]
        log_probs_NC = np.empty((len(labels_N), len(class_weights_C)))
        for members, each in zip(folds, found, strict=True):
            log_probs_NC[members] = whole.log_probs(whole.inputs_NR[members] @ each[:, :-1].T + each[:, -1])
        tried.append(strength)
        said.append(log_probs_NC)
        losses.append(whole.log_loss(log_probs_NC))
        if len(losses) - 1 - int(np.argmin(losses)) == _MAX_RISES:
            break
    return Strengths(tried, said)


def solve(
    features_ND: FloatArray, labels_N: IntArray, class_weights_C: FloatArray, strength: float, weights_N: FloatArray | None = None
) -> Solution:
    """Minimise sum of weighted log losses + |W|^2 / (2 strength) on standardised features (`_Standardised`).

    An image of weight w is as good as w equal images, and one of weight 0 as good as none.

    Args:
        features_ND: features.
        labels_N: class ids in [0, C), or which labels each has.
        class_weights_C: weight in the loss of an image of each class, or of one that has each label; ones for none.
        strength: inverse weight of the penalty.
        weights_N: weight of each image; None: all weigh the same.

    Returns:
        The solution in terms of the features as they are.
    """
    if weights_N is not None:
        counted_N = np.flatnonzero(weights_N)
        features_ND, labels_N, weights_N = features_ND[counted_N], labels_N[counted_N], weights_N[counted_N]
    inputs = _Standardised.of(features_ND, weights_N)
    problem = _problem(inputs.values_NR, labels_N, class_weights_C, weights_N)
    found = problem.start()
    for weaker in (*(each for each in STRENGTHS if each < strength), strength):
        found = problem.solve(weaker, found, _PRECISE if weaker == strength else _COARSE)
    return inputs.solution(found)


@dataclass(frozen=True, slots=True)
class _Standardised:
    """Features with mean 0, divided by their deviation or by the median one, whichever is larger; in as few dimensions as hold them.

    On photographs of solar cells that is worth 0.7 points of accuracy on new images over dividing each by its own deviation.
    """

    values_NR: Float64Array
    mean_D: Float64Array
    scale_D: Float64Array
    basis_DR: Float64Array | None
    """None: the D features themselves."""

    @classmethod
    def of(cls, train_ND: FloatArray, weights_N: FloatArray | None) -> Self:
        if weights_N is None:
            mean_D, scale_D = train_ND.mean(axis=0, dtype=np.float64), train_ND.std(axis=0, dtype=np.float64)
        else:
            mean_D = np.average(train_ND, axis=0, weights=weights_N)
            scale_D = np.sqrt(np.average((train_ND - mean_D) ** 2, axis=0, weights=weights_N))
        varies_D = scale_D > 0
        # A channel that is all but dead here may be thousands of such deviations away in another image, and would decide it alone.
        typical = float(np.median(scale_D[varies_D])) if varies_D.any() else 1.0
        scale_D = np.where(varies_D, np.maximum(scale_D, typical), 1.0)
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


@dataclass(frozen=True)  # no slots: the kind of label extends it
class _Problem:
    """Of images that are of exactly one class."""

    inputs_NR: Float64Array
    labels_N: IntArray
    class_weights_C: FloatArray
    weights_N: FloatArray

    def log_probs(self, logits_NC: Float64Array) -> Float64Array:
        """Natural logarithms of class probabilities."""
        return np.asarray(log_softmax(logits_NC, axis=1))

    def log_loss(self, log_probs_NC: Float64Array) -> float:
        """Mean negative log-probability of the true class (nats)."""
        return float(-log_probs_NC[np.arange(len(self.labels_N)), self.labels_N].mean())

    def start(self) -> Float64Array:
        """Where a path starts: features say nothing, biases are those of the class shares."""
        found = np.zeros((len(self.class_weights_C), self.inputs_NR.shape[1] + 1))
        counts_C = np.bincount(self.labels_N, self.weights_N, minlength=len(found))
        found[:, -1] = np.log(np.maximum(counts_C * self.class_weights_C, _FEW))
        found[:, -1] -= found[:, -1].mean()
        return found

    def losses(self) -> Callable[[Float64Array], tuple[float, Float64Array]]:
        """A function from logits, N x C, to the weighted sum of log losses and its derivative by them."""
        weights_N = self.weights_N * self.class_weights_C[self.labels_N]
        targets_NC = np.eye(len(self.class_weights_C))[self.labels_N]

        def found(logits_NC: Float64Array) -> tuple[float, Float64Array]:
            log_probs_NC = log_softmax(logits_NC, axis=1)
            loss = -(weights_N * log_probs_NC[np.arange(len(weights_N)), self.labels_N]).sum()
            return loss, weights_N[:, None] * (np.exp(log_probs_NC) - targets_NC)

        return found

    def part(self, is_in_N: npt.NDArray[np.bool_]) -> Self:
        """The problem of some of the images."""
        return replace(self, inputs_NR=self.inputs_NR[is_in_N], labels_N=self.labels_N[is_in_N], weights_N=self.weights_N[is_in_N])

    def solve(self, strength: float, start: Float64Array, tolerance: float = _PRECISE) -> Float64Array:
        """Weights and, in the last column, biases; shape C x (R + 1). The penalty spares biases."""
        loss_and_errors, scale = self.losses(), 1.0 / self.weights_N.sum()  # so that tolerances mean the same for any number of images

        def value_and_gradient(flat: Float64Array) -> tuple[float, Float64Array]:
            found = flat.reshape(start.shape)
            loss, errors_NC = loss_and_errors(self.inputs_NR @ found[:, :-1].T + found[:, -1])
            slope = np.concatenate([errors_NC.T @ self.inputs_NR + found[:, :-1] / strength, errors_NC.sum(axis=0)[:, None]], axis=1)
            return scale * (loss + (found[:, :-1] ** 2).sum() / (2 * strength)), scale * slope.ravel()

        done = minimize(
            value_and_gradient,
            start.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MAX_ITERATIONS, "ftol": tolerance},
        )
        return np.asarray(done.x.reshape(start.shape))


class _SeveralProblem(_Problem):
    """Of images that may have several labels, each a question of its own; one penalty for all."""

    def log_probs(self, logits_NC: Float64Array) -> Float64Array:
        """Natural logarithms of how probably each label is there."""
        return np.asarray(log_expit(logits_NC))

    def log_loss(self, log_probs_NC: Float64Array) -> float:
        """Mean negative log-probability of what is true of a label (nats)."""
        others_NC = np.log(np.maximum(-np.expm1(log_probs_NC), np.finfo(np.float64).tiny))
        return float(-np.where(self.labels_N == 1, log_probs_NC, others_NC).mean())

    def start(self) -> Float64Array:
        """As of one class, label by label."""
        found = np.zeros((len(self.class_weights_C), self.inputs_NR.shape[1] + 1))
        with_C = self.weights_N @ self.labels_N * self.class_weights_C
        found[:, -1] = np.log(np.maximum(with_C, _FEW) / np.maximum(self.weights_N @ (1 - self.labels_N), _FEW))
        return found

    def losses(self) -> Callable[[Float64Array], tuple[float, Float64Array]]:
        """As of one class; the loss of an image is the sum over labels."""
        weights_NC = self.weights_N[:, None] * np.where(self.labels_N == 1, self.class_weights_C, 1.0)
        sign_NC = 2.0 * self.labels_N - 1

        def found(logits_NC: Float64Array) -> tuple[float, Float64Array]:
            loss = -float((weights_NC * log_expit(sign_NC * logits_NC)).sum())
            return loss, np.asarray(weights_NC * (expit(logits_NC) - self.labels_N))

        return found


def _problem(inputs_NR: Float64Array, labels_N: IntArray, class_weights_C: FloatArray, weights_N: FloatArray | None) -> _Problem:
    weights_N = np.ones(len(labels_N)) if weights_N is None else weights_N
    return (_SeveralProblem if is_several(labels_N) else _Problem)(inputs_NR, labels_N, class_weights_C, weights_N)
