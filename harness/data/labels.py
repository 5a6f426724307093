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
LARGE_SET = 10
"""Images with the very same labels that are dealt out among themselves."""


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
    """Return which images are alike, shape N: those of a class; of several labels those with the same ones or, where these are few, the same rarest one.

    Dealing these out in equal shares does so for every rare label and every frequent combination, and nearly so for all others. Of several labels
    numbers are: the rarest one, C for none, and from C + 1 on combinations.

    Args:
        labels: of N images.
        units: what is dealt out whole, such as groups; None: images.
    """
    if not is_several(labels):
        return labels
    num_labels = labels.shape[1]
    order_C = np.argsort(labels.sum(axis=0), kind="stable")
    found_N = np.where(labels.any(axis=1), order_C[labels[:, order_C].argmax(axis=1)] if num_labels else 0, num_labels)
    set_N = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)
    large = [number for number, count in _num_units(set_N, units).items() if count >= LARGE_SET]
    found_N = np.where(np.isin(set_N, large) & (found_N < num_labels), num_labels + 1 + set_N, found_N)
    counts = _num_units(found_N, units)
    small = [code for code, count in counts.items() if count < LEAST_STRATUM]
    return np.asarray(
        np.where(np.isin(found_N, small), max(counts, key=lambda code: (counts[code], -code), default=0), found_N), dtype=np.int64
    )


def _num_units(codes_N: IntArray, units: Sequence[Hashable] | None) -> dict[int, int]:
    """Code -> units with it, in the order of the codes."""
    places = {code: np.flatnonzero(codes_N == code).tolist() for code in np.unique(codes_N).tolist()}
    return {code: len(own) if units is None else len({units[place] for place in own}) for code, own in places.items()}
