"""What a comparison draws anew: single images or, where they belong together, whole groups of them, such as the images of a patient.

Between scores and evidence. Images of a patient are alike, so that ten of them know less than ten of ten patients; another sample would hold other
patients. Shapes: J runs, N images, U units.
"""

from dataclasses import dataclass, replace

import numpy as np

from harness.select.scores import SAME, FloatArray, IntArray

MIN_STRATUM = 10
"""Units that are resampled among themselves; fewer know too little about how much they vary."""


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """The units of N images. Without groups they are the images, and everything here leaves numbers as they are."""

    labels_N: IntArray
    """Strata of the images."""
    unit_N: IntArray | None
    """Which unit each image is of, in the order of their first images; None: each is its own."""
    strata_U: IntArray
    """Units are drawn anew among those of the same stratum: that of most of their images."""
    design_effect: float = 1.0
    """Variance of a score over what it would be if the images were independent: so many images know as much as one of its own."""

    @classmethod
    def of(cls, labels_N: IntArray, groups_N: IntArray | None) -> "Units":
        """Of images with these strata; None: without groups."""
        if groups_N is None:
            return cls(labels_N, None, labels_N)
        _, first_U, unit_N = np.unique(groups_N, return_index=True, return_inverse=True)
        unit_N = first_U.argsort().argsort()[unit_N]
        known, label_N = np.unique(labels_N, return_inverse=True)
        counts_UC = np.zeros((len(first_U), len(known)), dtype=np.int64)
        np.add.at(counts_UC, (unit_N, label_N), 1)
        return cls(labels_N, unit_N, known[counts_UC.argmax(axis=1)])

    def gathered(self, influence_JN: FloatArray) -> FloatArray:
        """What each unit adds to the scores, shape J x U: the sum over its images.

        As images are drawn anew within their stratum, what all images of a stratum have in common tells nothing and is taken off; with units of
        unequal size it would count.
        """
        if self.unit_N is None:
            return influence_JN
        centred_JN = influence_JN.copy()
        for members in strata(self.labels_N):
            centred_JN[:, members] -= centred_JN[:, members].mean(axis=1, keepdims=True)
        order_N = np.argsort(self.unit_N, kind="stable")
        starts_U = np.searchsorted(self.unit_N[order_N], np.arange(len(self.strata_U)))
        return np.asarray(np.add.reduceat(centred_JN[:, order_N], starts_U, axis=1))

    def judged_by(self, influence_JN: FloatArray) -> "Units":
        """The same, with the design effect that all runs show together; where nothing varies, images of a unit count as one.

        Source: Kish, Survey Sampling, 1965, section 8.2.
        """
        if self.unit_N is None:
            return self
        of_images = float(variances(influence_JN, self.labels_N).sum())
        of_units = float(variances(self.gathered(influence_JN), self.strata_U).sum())
        most = len(self.labels_N) / len(self.strata_U)
        return replace(self, design_effect=max(of_units / of_images, 1.0) if of_images > SAME**2 else most)

    def num_of(self, places: IntArray) -> int:
        """Units that some of the images are of."""
        return len(places if self.unit_N is None else np.unique(self.unit_N[places]))


def variances(influence_JN: FloatArray, labels_N: IntArray) -> FloatArray:
    """Of scores on other images, shape J; unbiased, with n - 1 images of n in each stratum."""
    found_J = np.zeros(len(influence_JN))
    for members in strata(labels_N):
        found_J += influence_JN[:, members].var(axis=1) * len(members) ** 2 / max(1, len(members) - 1)
    return found_J


def strata(labels_N: IntArray) -> list[IntArray]:
    """Numbers of the images, or units, of each class; the smallest classes share one stratum until it has `MIN_STRATUM`."""
    by_size: list[IntArray] = sorted((np.flatnonzero(labels_N == label) for label in np.unique(labels_N)), key=len)
    pooled: list[IntArray] = []
    while by_size and (len(by_size[0]) < MIN_STRATUM or 0 < sum(map(len, pooled)) < MIN_STRATUM):
        pooled.append(by_size.pop(0))
    return [*([np.concatenate(pooled)] if pooled else []), *by_size]
