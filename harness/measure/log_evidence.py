"""The largest evidence of a Bayesian linear model of the labels: the maximum behind `transferability.logme`.

Shapes: N images, C classes, R principal axes, G grid points.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from harness.errors import UndefinedMetricError
from harness.measure.labelled import Labelled, Spectrum

Float64Array = npt.NDArray[np.float64]

_STEP = 0.5
"""Of the grid over ln(a/b). Each axis fades in over several units of it, so the evidence has no finer detail."""
_BEYOND = 1e8
"""The grid goes this far past the smallest and the largest square, where the features explain all they can, and nothing."""
_EXACT_FRAC = 1e-10
"""A smaller share of the labels than this, left unexplained, is rounding error."""


def max_log_evidence(data: Labelled) -> float:
    """See `transferability.logme`."""
    data = data.distinct
    model, grid_G = _Model.of(data), _grid(data.spectrum)
    values_GC = model.log_evidence(grid_G, slice(None))
    best_C = values_GC.argmax(axis=0)
    if not model.is_spanned and (best_C == 0).any():
        raise UndefinedMetricError("the features explain a class exactly, so its evidence has no upper bound.")
    highest = [_refined(model, grid_G, int(best), slice(c, c + 1)) for c, best in enumerate(best_C)]
    return float(np.maximum(highest, values_GC.max(axis=0)).mean() / data.spectrum.num_images)


def _refined(model: "_Model", grid_G: Float64Array, best: int, which: slice) -> float:
    around = grid_G[max(best - 1, 0)], grid_G[min(best + 1, len(grid_G) - 1)]
    found = minimize_scalar(
        lambda log_ratio: -float(model.log_evidence(np.array([log_ratio]), which)[0, 0]), bounds=around, method="bounded"
    )
    return -float(found.fun)


def _grid(spectrum: Spectrum) -> Float64Array:
    mean_square = spectrum.num_images * (spectrum.mean_R @ spectrum.mean_R + spectrum.mean_rest)
    squares = np.append(spectrum.squares_R, mean_square)
    squares = squares[squares > 0] if squares.any() else np.ones(1)
    low, high = np.log(squares.min() / _BEYOND), np.log(squares.max() * _BEYOND)
    return np.linspace(low, high, int((high - low) / _STEP) + 2)


@dataclass(frozen=True, slots=True)
class _Model:
    """Of each class, y = Fw + e, on the principal axes of the centred features F - 1m'.

    The mean m adds a term of rank one to FF'. It enters as if the mean of y were one more image, seen after all others; so an offset
    of the features, however large, costs no digits.
    """

    spectrum: Spectrum
    means_C: Float64Array
    """Of y: the share of the class."""
    rest_C: Float64Array
    """Squared length of what of y, less its mean, lies off all axes."""
    is_spanned: bool
    """The axes hold every centred y: then the evidence is bounded however well the features explain the labels."""

    @classmethod
    def of(cls, data: Labelled) -> Self:
        spectrum, means_C = data.spectrum, data.counts_C / len(data.labels_N)
        spread_C = data.counts_C * (1 - means_C)
        rest_C = spread_C - (spectrum.targets_RC**2).sum(axis=0)
        is_spanned = len(spectrum.squares_R) == spectrum.num_images - 1
        return cls(spectrum, means_C, np.where(is_spanned | (rest_C < _EXACT_FRAC * spread_C), 0.0, rest_C), is_spanned)

    def log_evidence(self, log_ratios_G: Float64Array, which: slice) -> Float64Array:
        """Of some of the classes, G x C, for each ratio a/b at the b that is best for it."""
        spectrum, targets_RC, num_images = self.spectrum, self.spectrum.targets_RC[:, which], self.spectrum.num_images
        ratios_G = np.exp(log_ratios_G)
        inverses_GR = 1 / (ratios_G[:, None] + spectrum.squares_R)
        leverage_G = num_images * (inverses_GR @ spectrum.mean_R**2 + spectrum.mean_rest / ratios_G)
        miss_GC = self.means_C[which] - inverses_GR @ ((spectrum.mean_R * np.sqrt(spectrum.squares_R))[:, None] * targets_RC)
        losses_GC = (
            self.rest_C[which] + ratios_G[:, None] * (inverses_GR @ targets_RC**2) + num_images * miss_GC**2 / (1 + leverage_G)[:, None]
        )
        log_det_G = np.log1p(spectrum.squares_R / ratios_G[:, None]).sum(axis=1) + np.log1p(leverage_G)
        found_GC: Float64Array = (num_images * (np.log(num_images / (2 * np.pi * losses_GC)) - 1) - log_det_G[:, None]) / 2
        return found_GC
