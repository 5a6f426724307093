"""How many more labelled images would tell the first two apart.

After the tied set, where it holds more than one: what a reader who wants a clear winner would have to do.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from harness.select.comparison import SAME
from harness.select.resamples import Difference
from harness.text.language import say

POWER = 0.8
"""How often that many images would show the difference, if it is what it seems to be."""

MAX_GROWTH = 100
"""Beyond this many times the present images the difference is hardly known at all, and neither is the number."""


@dataclass(frozen=True, slots=True)
class Separation:
    """Two candidates that val cannot tell apart, and what it would take."""

    first: str
    second: str
    difference: Difference
    """How much better the first is, on val."""
    num_images: int
    """Val images there are."""
    num_more: int | None
    """About how many more; None when no number would be honest."""
    reason: str | None
    """Why there is no number: one sentence."""


def separate(
    labels: tuple[str, str], difference: Difference, standard_errors: tuple[float, float], num_images: int, critical: float
) -> Separation:
    """What it would take to separate two candidates; the arguments are those of `images_to_separate`."""
    return Separation(*labels, difference, num_images, *images_to_separate(difference.value, standard_errors, num_images, critical))


def images_to_separate(
    difference: float, standard_errors: tuple[float, float], num_images: int, critical: float
) -> tuple[int | None, str | None]:
    """More images until a paired difference stands out with `POWER`; or None and why no number is given.

    It stands out when it exceeds `critical` standard errors, which with `POWER` takes a true difference of
    `critical` + 0.84 of them. The variance from images falls as 1/n; what comes from seeds stays as it is.

    Args:
        difference: as observed, any sign.
        standard_errors: of it, from the images alone, and from images and seeds; equal where seeds were not resampled.
        num_images: images that both were measured with.
        critical: what the tied set asks for: 1.96 for two candidates at 95 %, more for many.
    """
    if abs(difference) <= SAME:
        return None, say("The two score the same on these images, so that nothing says who is ahead, or by how much.")
    image_se, total_se = standard_errors
    allowed = (difference / (critical + NormalDist().inv_cdf(POWER))) ** 2
    if image_se**2 > MAX_GROWTH * allowed:
        return None, say(
            "The two are so close that even {number} times the images might not separate them: take either.", number=MAX_GROWTH
        )
    from_images = allowed - max(total_se**2 - image_se**2, 0.0)
    if image_se**2 > MAX_GROWTH * from_images:
        return None, say("The seeds of a candidate differ by so much that more images alone would not separate the two: run more seeds.")
    return max(math.ceil(num_images * (image_se**2 / from_images - 1)), 1), None
