"""Labels of images as an array: class ids where each image is of exactly one class, else which of several labels each of them has.

Shapes: N images, C classes or labels. One class an image: (N,), in [0, C). Several labels: N x C, 1 where the image has the label, else 0.
"""

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

from harness.config import SEPARATOR

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

LEAST_STRATUM = 3
"""Images that are dealt out among their like: one for each split. Fewer are dealt with the most numerous ones."""


def is_several(labels: IntArray) -> bool:
    """Whether images may have several labels, or none."""
    return labels.ndim == 2


def count_classes(labels: IntArray, num_classes: int) -> IntArray:
    """Return the images of each class, or with each label, shape C."""
    if is_several(labels):
        return np.asarray(labels.sum(axis=0), dtype=np.int64)
    return np.bincount(labels, minlength=num_classes).astype(np.int64)


def named(labels: IntArray, class_names: Sequence[str]) -> list[str]:
    """Return the class of each image, or all labels that it has, in one text."""
    if is_several(labels):
        return [SEPARATOR.join(class_names[number] for number in np.flatnonzero(has).tolist()) for has in labels]
    return [class_names[label] for label in labels.tolist()]


def is_right(predicted: IntArray, labels: IntArray) -> BoolArray:
    """Return whether each image is called what it is, of several labels all of them: shape N, or ... x N."""
    is_same = predicted == labels
    return np.asarray(is_same.all(axis=-1) if is_several(labels) else is_same)


def strata_of(labels: IntArray, units: Sequence[Hashable] | None = None) -> IntArray:
    """Return which images are alike, shape N: those of a class; of several labels those with the same rarest one, or with none (C).

    Dealing these out in equal shares does so for every rare label, and nearly so for common ones, of which there are many.

    Args:
        labels: of N images.
        units: what is dealt out whole, such as groups; None: images.
    """
    if not is_several(labels):
        return labels
    num_labels = labels.shape[1]
    order_C = np.argsort(labels.sum(axis=0), kind="stable")
    found_N = np.where(labels.any(axis=1), order_C[labels[:, order_C].argmax(axis=1)] if num_labels else 0, num_labels)
    members = [len(set(_of(units, np.flatnonzero(found_N == code)))) for code in range(num_labels + 1)]
    small = [code for code, number in enumerate(members) if 0 < number < LEAST_STRATUM]
    return np.asarray(np.where(np.isin(found_N, small), int(np.argmax(members)), found_N), dtype=np.int64)


def _of(units: Sequence[Hashable] | None, places: IntArray) -> list[Hashable]:
    return places.tolist() if units is None else [units[place] for place in places.tolist()]
