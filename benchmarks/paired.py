"""Classifiers that answered for the same test images of several splits: scores, and intervals of differences. Used by `benchmarks.finetune`.

Shapes: N test images of a split, C classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Answers:
    """What each method said of one split's test images."""

    images_N: Sequence[str]
    """Names of the images: one that is a test image of several splits has the same in each."""
    labels_N: IntArray
    predicted: Mapping[str, IntArray]
    """Method -> class ids, N."""


def score(answers: Answers, method: str, *, is_balanced: bool, weights_N: FloatArray | None = None) -> float:
    """Accuracy, or the mean recall over the classes that have weight (fractions); `weights_N` says how often each image counts."""
    weights_N = np.ones(len(answers.labels_N)) if weights_N is None else weights_N
    hits_N = weights_N * (answers.predicted[method] == answers.labels_N)
    if not is_balanced:
        return float(hits_N.sum() / weights_N.sum())
    hits_C, weights_C = np.bincount(answers.labels_N, hits_N), np.bincount(answers.labels_N, weights_N)
    return float((hits_C[weights_C > 0] / weights_C[weights_C > 0]).mean())


def difference(splits: Sequence[Answers], one: str, other: str, *, is_balanced: bool) -> float:
    """Score of `one` less that of `other`, mean over splits."""
    return float(np.mean([score(split, one, is_balanced=is_balanced) - score(split, other, is_balanced=is_balanced) for split in splits]))


def interval(splits: Sequence[Answers], one: str, other: str, *, is_balanced: bool) -> tuple[float, float]:
    """The 95 % interval of `difference`, by drawing anew both images and splits.

    An image drawn twice counts twice in every split that tests it: test sets of several splits overlap, and hard images are hard in each.
    Drawing both at once is on the safe side (Owen, "The pigeonhole bootstrap", 2007).
    """
    found = [_resampled(splits, one, other, draw, is_balanced) for draw in _draws(splits)]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def _draws(splits: Sequence[Answers]) -> Iterator[tuple[IntArray, list[FloatArray]]]:
    """Resamples: which splits, and for each split how often each of its images counts."""
    rng = np.random.default_rng(0)
    codes = np.unique([image for split in splits for image in split.images_N], return_inverse=True)[1]
    codes_by_split = np.split(codes, np.cumsum([len(split.images_N) for split in splits])[:-1])
    num_images = int(codes.max()) + 1
    for _ in range(RESAMPLES):
        counts = np.bincount(rng.integers(num_images, size=num_images), minlength=num_images).astype(np.float64)
        yield rng.integers(len(splits), size=len(splits)), [counts[codes_N] for codes_N in codes_by_split]


def _resampled(splits: Sequence[Answers], one: str, other: str, draw: tuple[IntArray, list[FloatArray]], is_balanced: bool) -> float:
    chosen, weights = draw
    gaps = [
        score(splits[i], one, is_balanced=is_balanced, weights_N=weights[i])
        - score(splits[i], other, is_balanced=is_balanced, weights_N=weights[i])
        for i in chosen
    ]
    return float(np.mean(gaps))
