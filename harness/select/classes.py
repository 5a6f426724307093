"""Per-class results and confusion matrix of the recommended candidate. After the ranking."""

from dataclasses import dataclass

import numpy as np

from harness.config import RankMetric
from harness.data.labels import is_several
from harness.measure.quality import PerClass, confusion, per_class
from harness.select.candidates import Candidate
from harness.select.comparison import IntArray
from harness.select.ranking import Ranking
from harness.select.said import Said


@dataclass(frozen=True, slots=True, eq=False)
class ClassScores:
    """Per-class results of one candidate on one split, its seeds taken together."""

    label: str
    split: str
    classes: list[PerClass]
    confusion_CC: IntArray | None
    """None where images may have several labels."""
    thresholds: list[float]
    """Of labels, means over its seeds; none where an image is of one class."""

    @classmethod
    def of(cls, candidate: Candidate, split: str, said: Said, labels_N: IntArray, *, num_classes: int, metric: RankMetric) -> "ClassScores":
        """By what the candidate says of the images of that split."""
        predicted_N = np.concatenate(said.decided_SN(metric))
        labels_N = np.concatenate([labels_N] * len(candidate.rows))
        thresholds = np.mean([row.details.thresholds for row in candidate.rows], axis=0).tolist()
        counts_CC = None if is_several(labels_N) else confusion(predicted_N, labels_N, num_classes)
        return cls(candidate.label, split, per_class(predicted_N, labels_N, num_classes), counts_CC, thresholds)


def val_scores(ranking: Ranking) -> list[ClassScores]:
    """On val: the recommended, else the best, and the runner-up."""
    first = ranking.recommended or ranking.best
    return [_on_val(ranking, entry.candidate) for entry in (first, ranking.runner_up) if entry is not None]


def final_scores(ranking: Ranking) -> ClassScores | None:
    """The recommended on test, or on val where there is no test split or it stays sealed; None without a recommendation."""
    if ranking.decision is None:
        return None
    candidate, opening = ranking.decision.recommended.candidate, ranking.decision.opening
    if opening is None or not opening.tests:
        return _on_val(ranking, candidate)
    tests, num_classes = list(opening.tests.values()), len(ranking.pool.class_names)
    return ClassScores.of(
        candidate,
        "test",
        Said.of(candidate.rows, tests, keeps_probabilities=True),
        tests[0].labels_N,
        num_classes=num_classes,
        metric=ranking.metric,
    )


def _on_val(ranking: Ranking, candidate: Candidate) -> ClassScores:
    pool = ranking.pool
    return ClassScores.of(candidate, "val", candidate.val, pool.labels_N, num_classes=len(pool.class_names), metric=ranking.metric)
