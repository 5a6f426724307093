"""Images that are unlike the others of their data set in how they appear: dark, blank, blurred, or of another size. What many images share is how the data are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

MAX_FRAC = 0.05
"""What more images have is no problem of single images."""


@dataclass(frozen=True, slots=True)
class OddImage:
    """One finding."""

    place: int
    problem: str
    score: float
    """What was measured: brightness, contrast, sharpness, or pixels."""


def odd_images(
    widths: Sequence[int], heights: Sequence[int], highlights: Sequence[float], contrasts: Sequence[float], sharpnesses: Sequence[float]
) -> list[OddImage]:
    """Those among N images, by `harness.data.facts`."""
    width_N, height_N = np.array(widths, dtype=np.float64), np.array(heights, dtype=np.float64)
    highlight_N, contrast_N, sharpness_N = (np.array(each, dtype=np.float64) for each in (highlights, contrasts, sharpnesses))
    is_blank_N = contrast_N < 0.01
    found: Mapping[str, tuple[BoolArray, FloatArray]] = {
        "dark": ((highlight_N < 0.2) & (highlight_N < np.median(highlight_N) / 2) & ~is_blank_N, highlight_N),
        "blank": (is_blank_N, contrast_N),
        "blurred": ((sharpness_N < 0.005) & (sharpness_N < np.median(sharpness_N) / 5) & ~is_blank_N, sharpness_N),
        "odd size": (_differs(np.sqrt(width_N * height_N), 4) | _differs(width_N / height_N, 2.5), width_N * height_N),
    }
    return [
        OddImage(place, problem, float(score_N[place]))
        for problem, (is_odd_N, score_N) in found.items()
        if is_odd_N.mean() <= MAX_FRAC
        for place in np.flatnonzero(is_odd_N).tolist()
    ]


def _differs(values_N: FloatArray, factor: float) -> BoolArray:
    """From the median, by more than a factor."""
    ratio_N = values_N / np.median(values_N)
    return (ratio_N > factor) | (ratio_N < 1 / factor)
