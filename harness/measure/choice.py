"""Choosing among checkpoints: which epoch at which learning rate is kept, how sure its probabilities may be, what the choice is worth.

Between training, which makes checkpoints, and the row. The score of the best of many on the images that it was chosen by promises too
much; what is reported is therefore *cross-chosen*: the images are dealt into folds, and each fold is predicted by the checkpoint, and at
the temperature, that the other folds choose.

Shapes: N images, C classes, T temperatures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.config import Metric
from harness.data.grouping import count_labels, deal_groups
from harness.data.labels import strata_of
from harness.measure.objective import Objective
from harness.measure.quality import FloatArray, IntArray

TEMPERATURES = tuple(2.0 ** (step / 10) for step in range(-20, 41))
"""From a quarter to 16, 7 % apart: the log loss of the best of them is within a thousandth of that of the best of all."""

NUM_FOLDS = 5
MIN_FOLDS, MAX_FOLDS = 3, 10
"""Of train and val."""

Value = tuple[float, float]
"""The primary metric and, for those that agree in it, minus the log loss at the best temperature; higher is better."""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What one checkpoint says about the images that choices are made on."""

    log_probs_NC: FloatArray
    """As the network gives them: temperature 1."""
    loss_NT: FloatArray
    """Negative log-probability of each image's class at each temperature (nats)."""
    value: Value
    """On all images."""


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The checkpoint that is kept, and what a choice like it says about images that took no part in it."""

    position: int
    """Among the evaluations."""
    temperature: float
    """Fitted on all images."""
    raw_log_probs_NC: FloatArray
    """Cross-chosen, at temperature 1."""
    log_probs_NC: FloatArray
    """The same at cross-fitted temperatures: the probabilities that a user would see."""


@dataclass(frozen=True, slots=True, eq=False)
class Selector:
    """The images that choices are made on, and the metric that makes them."""

    labels_N: IntArray
    metric: Metric
    objective: Objective
    folds_N: IntArray

    @classmethod
    def of(cls, labels_N: IntArray, metric: Metric, objective: Objective, groups_N: IntArray | None = None) -> "Selector":
        """Of val images; those of one group are in one fold."""
        return cls(labels_N, metric, objective, deal(labels_N, NUM_FOLDS, groups_N=groups_N))

    def evaluate(self, log_probs_NC: FloatArray) -> Evaluation:
        """Of one checkpoint."""
        loss_NT = self.objective.losses(log_probs_NC, self.labels_N, TEMPERATURES)
        return Evaluation(log_probs_NC, loss_NT, self._value(log_probs_NC, loss_NT, self._everyone)[0])

    def log_loss_and_accuracy(self, log_probs_NC: FloatArray) -> tuple[float, float]:
        """Return what a learning curve shows of one checkpoint: log loss (nats) and the share of likeliest classes that are right."""
        right = self.objective.score(log_probs_NC, self.labels_N, Metric.accuracy)
        return self.objective.log_loss(log_probs_NC, self.labels_N), right

    def choose(self, evaluations: Sequence[Evaluation]) -> Choice:
        """The best of one or more; the first of equals."""
        best, temperature = self._best(evaluations, self._everyone)
        raw_NC, heat_N = np.array(evaluations[best].log_probs_NC), np.full(len(self.labels_N), temperature)
        for fold in np.unique(self.folds_N):
            is_in_N = self.folds_N == fold
            if not is_in_N.all():
                chosen, heat_N[is_in_N] = self._best(evaluations, ~is_in_N)
                raw_NC[is_in_N] = evaluations[chosen].log_probs_NC[is_in_N]
        return Choice(best, temperature, raw_NC, self.objective.log_probs(raw_NC, heat_N))

    @property
    def _everyone(self) -> npt.NDArray[np.bool_]:
        return np.ones(len(self.labels_N), dtype=np.bool_)

    def _best(self, evaluations: Sequence[Evaluation], among_N: npt.NDArray[np.bool_]) -> tuple[int, float]:
        """By some of the images: the checkpoint, and its temperature."""
        found = [self._value(each.log_probs_NC, each.loss_NT, among_N) for each in evaluations]
        best = max(range(len(found)), key=lambda number: (found[number][0], -number))
        return best, found[best][1]

    def _value(self, log_probs_NC: FloatArray, loss_NT: FloatArray, among_N: npt.NDArray[np.bool_]) -> tuple[Value, float]:
        temperature, loss = best_temperature(loss_NT[among_N])
        calibrated_NC = self.objective.log_probs(log_probs_NC[among_N], temperature)
        return (self.objective.score(calibrated_NC, self.labels_N[among_N], self.metric), -loss), temperature


def best_temperature(loss_NT: FloatArray) -> tuple[float, float]:
    """The temperature with the lowest mean loss, and that loss.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.
    """
    mean_T = loss_NT.mean(axis=0)
    place = int(np.argmin(mean_T))
    return TEMPERATURES[place], float(mean_T[place])


def deal(labels_N: IntArray, num_folds: int, seed: int = 0, groups_N: IntArray | None = None) -> IntArray:
    """Folds of nearly equal size with nearly equal shares of each class: every class is shuffled, then all are dealt out in turn.

    Images of one group are in one fold, and then sizes and shares are as equal as whole groups allow.
    """
    rng, labels_N = np.random.default_rng(seed), strata_of(labels_N, None if groups_N is None else groups_N.tolist())
    if groups_N is not None:
        counts_GC, group_N = count_labels(labels_N, groups_N)
        return deal_groups(counts_GC, [1 / num_folds] * num_folds, rng.permutation(len(counts_GC)).tolist())[group_N]
    order_N = np.concatenate([rng.permutation(np.flatnonzero(labels_N == label)) for label in np.unique(labels_N)])
    folds_N = np.empty(len(labels_N), dtype=np.int64)
    folds_N[order_N] = np.arange(len(labels_N)) % num_folds
    return folds_N


def num_folds(num_train: int, num_val: int, groups_N: IntArray | None = None) -> int:
    """Of train and val: so many that what is left without one of them is about as large as train, and no more than there are groups."""
    most = MAX_FOLDS if groups_N is None else min(MAX_FOLDS, len(np.unique(groups_N)))
    return min(max(round((num_train + num_val) / max(num_val, 1)), MIN_FOLDS), most)
