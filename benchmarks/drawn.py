"""Pictures drawn on the spot: a folder per shape, each picture with a place, a size, colours and noise of its own. Used by `benchmarks.precision`."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SHAPES = ("circle", "square", "triangle", "cross")
SIDE = 64
"""Of a picture (pixels)."""


def draw_folder(folder: Path, num_images: int, seed: int = 0) -> Path:
    """As many pictures, dealt out to a folder per shape. Returns `folder`; the same seed gives the same pictures."""
    rng = np.random.default_rng(seed)
    for number in range(num_images):
        shape = SHAPES[number % len(SHAPES)]
        path = folder / shape / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        _drawn(shape, rng).save(path)
    return folder


def _drawn(shape: str, rng: np.random.Generator) -> Image.Image:
    picture = Image.new("RGB", (SIDE, SIDE), _colour(rng))
    draw, half, colour = ImageDraw.Draw(picture), int(rng.integers(8, 20)), _colour(rng)
    x, y = (int(place) for place in rng.integers(half, SIDE - half, 2))
    left, top, right, bottom = box = (x - half, y - half, x + half, y + half)
    if shape == "circle":
        draw.ellipse(box, fill=colour)
    elif shape == "square":
        draw.rectangle(box, fill=colour)
    elif shape == "triangle":
        draw.polygon([(x, top), (left, bottom), (right, bottom)], fill=colour)
    else:
        draw.line([(left, top), (right, bottom)], fill=colour, width=5)
        draw.line([(left, bottom), (right, top)], fill=colour, width=5)
    noisy = np.asarray(picture, dtype=np.int64) + rng.integers(-40, 41, (SIDE, SIDE, 3))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def _colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue
