"""Choosing among looks: which epoch at which learning rate is kept, how sure its probabilities may be, and what the choice is worth.

Between training, which makes looks, and the row. A look is what one state of a network says about the images that choices are made on.
The score of the best of many looks on the images that it was picked by promises too much; what is reported is therefore
*cross-chosen*: the images are dealt into folds, and each fold is predicted by the look, and at the temperature, that the others pick.

Shapes: N images, C classes, T temperatures, L looks.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from harness.config import Metric
from harness.measure.quality import FloatArray, IntArray, decide, score

TEMPERATURES = tuple(2.0 ** (step / 10) for step in range(-20, 41))
"""From a quarter to 16, 7 % apart: the log loss of the best of them is within a thousandth of that of the best of all."""

NUM_FOLDS = 5

Value = tuple[float, float]
"""The primary metric and, for those that agree in it, minus the log loss at the best temperature; higher is better."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What one state of a network says."""

    log_probs_NC: FloatArray
    """As the network gives them: temperature 1."""
    loss_NT: FloatArray
    """Negative log-probability of each image's class at each temperature (nats)."""
    value: Value
    """On all images."""


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The look that is kept, and what a choice like it says about images that took no part in it."""

    look: int
    temperature: float
    """Fitted on all images."""
    log_probs_NC: FloatArray
    """Cross-chosen, at temperature 1."""
    temperature_N: FloatArray
    """Cross-fitted."""


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """The images that choices are made on, and the metric that makes them."""

    labels_N: IntArray
    metric: Metric
    prior_C: FloatArray
    """Class shares that the network has learnt; see `quality.decide`."""
    folds_N: IntArray

    @classmethod
    def of(cls, labels_N: IntArray, metric: Metric, prior_C: FloatArray) -> "Judge":
        return cls(labels_N, metric, prior_C, deal(labels_N, NUM_FOLDS))

    def look(self, log_probs_NC: FloatArray) -> Look:
        """Judge one state."""
        loss_NT = losses(log_probs_NC, self.labels_N)
        return Look(log_probs_NC, loss_NT, self._value(log_probs_NC, loss_NT, np.ones(len(self.labels_N), dtype=np.bool_))[0])

    def choose(self, looks: Sequence[Look]) -> Choice:
        """The best look; the first of equals. One at least."""
        best, temperature = self._best(looks, np.ones(len(self.labels_N), dtype=np.bool_))
        log_probs_NC, temperature_N = np.array(looks[best].log_probs_NC), np.full(len(self.labels_N), temperature, dtype=np.float32)
        for fold in np.unique(self.folds_N):
            is_in_N = self.folds_N == fold
            if not is_in_N.all():
                chosen, temperature_N[is_in_N] = self._best(looks, ~is_in_N)
                log_probs_NC[is_in_N] = looks[chosen].log_probs_NC[is_in_N]
        return Choice(best, temperature, log_probs_NC, temperature_N)

    def _best(self, looks: Sequence[Look], among_N: npt.NDArray[np.bool_]) -> tuple[int, float]:
        """Of some images: the look, and its temperature."""
        found = [self._value(look.log_probs_NC, look.loss_NT, among_N) for look in looks]
        best = max(range(len(found)), key=lambda number: (found[number][0], -number))
        return best, found[best][1]

    def _value(self, log_probs_NC: FloatArray, loss_NT: FloatArray, among_N: npt.NDArray[np.bool_]) -> tuple[Value, float]:
        temperature, loss = coolest(loss_NT[among_N])
        predicted_N = decide(calibrated(log_probs_NC[among_N], temperature), self.metric, self.prior_C)
        return (score(predicted_N, self.labels_N[among_N], self.metric), -loss), temperature


def losses(log_probs_NC: FloatArray, labels_N: IntArray) -> FloatArray:
    """Negative log-probability of each image's class at each of `TEMPERATURES`, shape N x T (nats)."""
    true_N = log_probs_NC[np.arange(len(labels_N)), labels_N].astype(np.float64)
    columns = [logsumexp(log_probs_NC.astype(np.float64) / heat, axis=1) - true_N / heat for heat in TEMPERATURES]
    return np.stack(columns, axis=1)


def coolest(loss_NT: FloatArray) -> tuple[float, float]:
    """The temperature with the lowest mean loss, and that loss.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    mean_T = loss_NT.mean(axis=0)
    place = int(np.argmin(mean_T))
    return TEMPERATURES[place], float(mean_T[place])


def calibrated(log_probs_NC: FloatArray, temperature: float | FloatArray) -> FloatArray:
    """Log-probabilities at a temperature, one for all images or one for each."""
    cooled_NC = log_probs_NC.astype(np.float64) / np.asarray(temperature, dtype=np.float64).reshape(-1, 1)
    return np.asarray(cooled_NC - logsumexp(cooled_NC, axis=1, keepdims=True))


def deal(labels_N: IntArray, num_folds: int, seed: int = 0) -> IntArray:
    """Folds of nearly equal size with nearly equal shares of each class: every class is shuffled, then all are dealt out in turn."""
    rng = np.random.default_rng(seed)
    order_N = np.concatenate([rng.permutation(np.flatnonzero(labels_N == label)) for label in np.unique(labels_N)])
    folds_N = np.empty(len(labels_N), dtype=np.int64)
    folds_N[order_N] = np.arange(len(labels_N)) % num_folds
    return folds_N
