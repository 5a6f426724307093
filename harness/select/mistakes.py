"""What a candidate gets wrong on val and what it is unsure of, image by image: from the ranking to the pictures of the report. Test images never take part.

By what the run of its lowest seed says. Shapes: N images, C classes or labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.data.labels import is_several, named
from harness.measure.quality import confusion
from harness.select.candidates import Candidate
from harness.select.comparison import IntArray
from harness.select.ranking import Ranking
from harness.select.said import FloatArray
from harness.study.store import Predictions, Study

Pair = tuple[int, int]
"""True and predicted class."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """An image that is called what it is not."""

    path: str
    """Its name in the data set."""
    true: str
    """Its class, or all of its labels."""
    called: str
    """The predicted class; of several labels the most confident wrong decision on one of them."""
    prob: float
    """That the candidate gives to what it says."""
    pair: Pair | None = None
    """None where images may have several labels."""


@dataclass(frozen=True, slots=True)
class Unsure:
    """An image whose two likeliest classes are nearly as likely."""

    path: str
    true: str
    first: str
    first_prob: float
    second: str
    second_prob: float


@dataclass(frozen=True, slots=True, eq=False)
class OnVal:
    """What one run of a candidate says of the val images."""

    predictions: Predictions
    decided_N: IntArray
    """The class that each image is called, or N x C: the labels."""
    class_names: Sequence[str]

    @classmethod
    def of(cls, study: Study, ranking: Ranking, candidate: Candidate) -> "OnVal":
        """Of the lowest seed, classes decided as the ranking's metric asks. Raises TableError where its predictions cannot be read any more."""
        predictions = study.val_predictions(candidate.row.job_id)
        return cls(predictions, candidate.val.decided_SN(ranking.metric)[0], ranking.pool.class_names)

    @property
    def confusion_CC(self) -> IntArray | None:
        """Images by true and predicted class; None where images may have several labels."""
        labels_N = self.predictions.labels_N
        return None if is_several(labels_N) else confusion(self.decided_N, labels_N, len(self.class_names))

    @property
    def is_by_share(self) -> bool:
        """Whether some image is called another class than its likeliest one, as the metric asks."""
        labels_N = self.predictions.labels_N
        return not is_several(labels_N) and bool((self.decided_N != self.predictions.log_probs_NC.argmax(axis=1)).any())

    def mistakes(self) -> list[Mistake]:
        """All of them, the most confident first."""
        found = self._of_labels() if is_several(self.predictions.labels_N) else self._of_classes()
        return sorted(found, key=lambda each: (-each.prob, each.path))

    def unsure(self) -> list[Unsure]:
        """All images, those with the smallest difference of two classes first; none where images may have several labels."""
        if is_several(self.predictions.labels_N) or len(self.class_names) < 2:
            return []
        probs_NC, true = self._probs_NC, self._true
        best_N2 = np.argsort(-probs_NC, axis=1, kind="stable")[:, :2]
        two_N2 = np.take_along_axis(probs_NC, best_N2, axis=1)
        order_N = np.argsort(two_N2[:, 0] - two_N2[:, 1], kind="stable")
        return [
            Unsure(self.predictions.ids_N[n], true[n], self.class_names[first], first_prob, self.class_names[second], second_prob)
            for n in order_N.tolist()
            for first, second in [best_N2[n].tolist()]
            for first_prob, second_prob in [two_N2[n].tolist()]
        ]

    @property
    def _probs_NC(self) -> FloatArray:
        return np.exp(self.predictions.log_probs_NC.astype(np.float64))

    @property
    def _true(self) -> list[str]:
        return named(self.predictions.labels_N, self.class_names)

    def _of_classes(self) -> list[Mistake]:
        labels_N, probs_NC, true = self.predictions.labels_N, self._probs_NC, self._true
        return [
            Mistake(
                self.predictions.ids_N[n], true[n], self.class_names[called], float(probs_NC[n, called]), pair=(int(labels_N[n]), called)
            )
            for n in np.flatnonzero(self.decided_N != labels_N).tolist()
            for called in [int(self.decided_N[n])]
        ]

    def _of_labels(self) -> list[Mistake]:
        labels_NC, true = self.predictions.labels_N, self._true
        says_NC = np.where(self.decided_N == 1, self._probs_NC, 1 - self._probs_NC)
        wrong_NC = np.where(self.decided_N == labels_NC, -1.0, says_NC)
        worst_N = wrong_NC.argmax(axis=1)
        return [
            Mistake(
                self.predictions.ids_N[n], true[n], f"{'' if self.decided_N[n, c] else 'not '}{self.class_names[c]}", float(says_NC[n, c])
            )
            for n in np.flatnonzero((self.decided_N != labels_NC).any(axis=1)).tolist()
            for c in [int(worst_N[n])]
        ]
