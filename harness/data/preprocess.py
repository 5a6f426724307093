"""Preprocessing that a model expects, taken from the configuration of its weights."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preprocess:
    """How the weights saw images when they were trained."""

    image_size: int
    """Side of the square input (pixels)."""
    interpolation: str
    crop_frac: float
    """Side of the central crop divided by the side of the resized image."""
    crop_mode: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
