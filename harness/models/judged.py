"""How good a model is on images whose labels are known, what 8-bit numbers take from that, and how far a file is from its model. Torch-free.

Shapes: N images, C classes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.config import RankMetric
from harness.data.dataset import Split
from harness.measure.objective import Objective
from harness.select.comparison import Interval
from harness.select.evidence import Evidence
from harness.select.resamples import Difference, Resamples
from harness.select.scores import Runs

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

NUM_RESAMPLES, CONFIDENCE = 2000, 0.95


@dataclass(frozen=True, slots=True)
class Judged:
    """How a model does on images whose labels were given."""

    num_images: int
    metric: RankMetric
    score: float | None
    interval: Interval | None
    """95 %, of the choice of images."""
    reason: str | None
    """Why there is no score."""
    num_groups: int | None = None
    """Groups of images that the interval draws; None: it draws images."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far one form is from the model itself."""

    num_images: int
    largest: float
    """Difference of a probability, over all images and classes."""
    num_changed: int
    """Images that it calls another class."""


def score(
    objective: Objective, metric: RankMetric, log_probs_NC: FloatArray, labels_N: IntArray, groups_N: IntArray | None = None
) -> Judged:
    """The metric on labelled images, of which there is one or more. None: every image stands for itself."""
    values, undefined = objective.quality(log_probs_NC, labels_N, metric)
    if metric.value in undefined:
        return Judged(len(labels_N), metric, None, None, undefined[metric.value])
    seen = _resamples(objective, metric, labels_N, groups_N, log_probs_NC)
    num_groups = None if groups_N is None else len(np.unique(groups_N))
    return Judged(len(labels_N), metric, values[metric.value], seen.interval(0, CONFIDENCE), None, num_groups)


def difference(objective: Objective, metric: RankMetric, split: Split, first_NC: FloatArray, second_NC: FloatArray) -> Difference | None:
    """How much better the first log-probabilities score than the second, paired by image; None where the metric has no value."""
    if metric.value in objective.quality(first_NC, split.labels, metric)[1]:
        return None
    return _resamples(objective, metric, split.labels, split.groups, first_NC, second_NC).difference(0, 1, CONFIDENCE)


def _resamples(
    objective: Objective, metric: RankMetric, labels_N: IntArray, groups_N: IntArray | None, *log_probs: FloatArray
) -> Resamples:
    runs = Runs(
        predicted_JN=np.stack([objective.decide(each, metric) for each in log_probs]),
        true_log_prob_JN=np.stack([objective.true_log_probs(each, labels_N) for each in log_probs]),
        labels_N=labels_N,
        num_classes=log_probs[0].shape[1],
        log_probs_JNC=np.stack(log_probs),
    )
    return Resamples.from_evidence(Evidence.of(runs, metric, [1] * len(log_probs), groups_N), metric, NUM_RESAMPLES)
