"""Labelled features brought into one form, and the factorisation that the scores of `transferability` share.

The form does not depend on the order of the images or on the numbers of the classes, and so neither does any score, to the last digit.

Shapes: N images, D features, C classes, R principal axes (of nonzero variance), K leading ones of them.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from harness.errors import DataError, UndefinedMetricError

FloatArray = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

NUM_LEADING_AXES = 64
_LARGEST = 1e60
"""Fourth powers of features, summed, stay finite below it."""


@dataclass(frozen=True)
class Labelled:
    """Float64 copies: images in the order of their values' bytes, classes numbered as they come in that order."""

    values_ND: Float64Array
    labels_N: IntArray
    classes_C: IntArray
    """The label that was given for each class."""

    @classmethod
    def of(cls, features_ND: FloatArray, labels_N: IntArray, name: str = "features") -> Self:
        """Check and copy; `name` is what messages call the features.

        Raises:
            DataError: the arrays are not N x D numbers and N class ids.
            UndefinedMetricError: values that are not finite, or a single class.
        """
        values_ND, given_N = checked(features_ND, labels_N, name)
        order_N = values_ND.view(f"V{values_ND.itemsize * values_ND.shape[1]}").ravel().argsort(kind="stable")
        sorted_N, first_N, inverse_N = np.unique(given_N[order_N], return_index=True, return_inverse=True)
        if len(sorted_N) < 2:
            raise UndefinedMetricError(
                f"all {len(given_N)} images are of class {sorted_N[0]}; a score needs images of two classes or more."
            )
        by_first_C = first_N.argsort()
        return cls(values_ND[order_N], by_first_C.argsort()[inverse_N], sorted_N[by_first_C])

    def numbers_of(self, labels_M: IntArray) -> IntArray:
        """The same numbers for other images. Raises UndefinedMetricError for a class that these images lack."""
        order_C = self.classes_C.argsort()
        found_M: IntArray = order_C[np.searchsorted(self.classes_C, labels_M, sorter=order_C).clip(max=len(order_C) - 1)]
        missing = np.unique(labels_M[self.classes_C[found_M] != labels_M])
        if len(missing):
            raise UndefinedMetricError(f"class {missing[0]} of the test images has no image in train, so it has no probability.")
        return found_M

    @cached_property
    def counts_C(self) -> IntArray:
        """Images of each class; at least one."""
        return np.bincount(self.labels_N)

    @cached_property
    def distinct(self) -> "Labelled":
        """Without images whose features and class are those of another, which are neighbours in this order."""
        is_new_N = np.append(True, (self.values_ND[1:] != self.values_ND[:-1]).any(axis=1))
        kept_N = np.unique(is_new_N.cumsum() * len(self.classes_C) + self.labels_N, return_index=True)[1]
        return self if len(kept_N) == len(self.labels_N) else Labelled(self.values_ND[kept_N], self.labels_N[kept_N], self.classes_C)

    @cached_property
    def spectrum(self) -> "Spectrum":
        """Of these features, computed once."""
        return Spectrum.of(self)


def checked(features_ND: FloatArray, labels_N: IntArray, name: str) -> tuple[Float64Array, IntArray]:
    """Features as contiguous float64, of finite size, and labels as int64; neither is the caller's array if it had to change."""
    features, labels = np.asarray(features_ND), np.asarray(labels_N)
    if features.ndim != 2 or 0 in features.shape or not np.can_cast(features.dtype, np.float64):
        raise DataError(f"{name}: given {_described(features)}; give real numbers of shape (images, columns), at least one of each.")
    if labels.shape != features.shape[:1] or labels.dtype.kind not in "iu":
        raise DataError(f"labels of {name}: given {_described(labels)}; give {len(features)} integer class ids, one for each image.")
    values = np.ascontiguousarray(features, dtype=np.float64)
    if not np.maximum(values.max(), -values.min()) < _LARGEST:  # false for NaN
        num_bad = int((~(np.abs(values) < _LARGEST)).any(axis=1).sum())
        raise UndefinedMetricError(
            f"{name}: {num_bad} of {len(values)} images have values that are not finite, or {_LARGEST:g} and beyond."
        )
    return values, labels.astype(np.int64)


def _described(array: npt.NDArray[Any]) -> str:
    return f"{array.dtype} of shape {array.shape}"


@dataclass(frozen=True, slots=True)
class Spectrum:
    """The centred features X = U diag(s) V', without axes whose s is rounding error, and what the labels and the mean are on its axes."""

    num_images: int
    num_features: int
    norms_N: Float64Array
    """Squared length of each centred image."""
    squares_R: Float64Array
    """s^2, ascending."""
    targets_RC: Float64Array
    """U'y of each class, y being 1 for its images and 0 for others."""
    mean_R: Float64Array
    """V'm of the mean image m."""
    mean_rest: float
    """Squared length of what of m lies off all axes."""
    leading_NK: Float64Array
    """Coordinates of the images on the axes of largest variance, at most 64."""

    @classmethod
    def of(cls, data: Labelled) -> Self:
        """Factorise whichever of XX' and X'X is smaller: several times faster than a singular value decomposition of X."""
        first_D = data.values_ND[0]
        centred_ND = data.values_ND - first_D  # so that a column that never changes is exactly zero, whatever its value
        shift_D = centred_ND.mean(axis=0)
        centred_ND -= shift_D
        factorise = _by_images if centred_ND.shape[0] < centred_ND.shape[1] else _by_features
        num_images, num_features = centred_ND.shape
        norms_N = np.einsum("nd,nd->n", centred_ND, centred_ND)
        return cls(num_images, num_features, norms_N, *factorise(centred_ND, data, first_D + shift_D))


_Parts = tuple[Float64Array, Float64Array, Float64Array, float, Float64Array]


def _by_images(centred_ND: Float64Array, data: Labelled, mean_D: Float64Array) -> _Parts:
    squares_R, u_NR = _axes(centred_ND @ centred_ND.T, centred_ND.shape)
    sizes_R = np.sqrt(squares_R)
    mean_R = u_NR.T @ (centred_ND @ mean_D) / sizes_R
    rest_D = mean_D - centred_ND.T @ (u_NR @ (mean_R / sizes_R))
    targets_RC = u_NR.T @ np.eye(len(data.counts_C))[data.labels_N]
    return squares_R, targets_RC, mean_R, float(rest_D @ rest_D), _leading(u_NR) * sizes_R[-NUM_LEADING_AXES:]


def _by_features(centred_ND: Float64Array, data: Labelled, mean_D: Float64Array) -> _Parts:
    squares_R, v_DR = _axes(centred_ND.T @ centred_ND, centred_ND.shape)
    mean_R = v_DR.T @ mean_D
    rest_D = mean_D - v_DR @ mean_R
    sums_DC = centred_ND.T @ np.eye(len(data.counts_C))[data.labels_N]
    targets_RC = (v_DR.T @ sums_DC) / np.sqrt(squares_R)[:, None]
    return squares_R, targets_RC, mean_R, float(rest_D @ rest_D), centred_ND @ _leading(v_DR)


def _axes(gram: Float64Array, shape: tuple[int, ...]) -> tuple[Float64Array, Float64Array]:
    squares, axes = np.linalg.eigh(gram)
    is_kept = squares > squares[-1] * max(shape) * np.finfo(np.float64).eps
    return squares[is_kept], axes[:, is_kept]


def _leading(axes: Float64Array) -> Float64Array:
    return axes[:, -NUM_LEADING_AXES:]
