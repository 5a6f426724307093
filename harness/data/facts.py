"""What one full decode of an image tells, remembered for as long as its file does not change."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from harness.data.white import Depth

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MAX_AUDITED = 50_000
"""Images of a data set whose facts are handed on: each pair of them is compared."""
SMALL = 64
"""Side of the grey picture by which images are compared (pixels)."""
_HASH_SIDE = 16
_MEASURED_SIDE = 256
"""Longer side at which sharpness is measured: about what networks see (pixels)."""
_LAPLACIAN = ImageFilter.Kernel((3, 3), (0, 1, 0, 1, -4, 1, 0, 1, 0), scale=1, offset=128)


@dataclass(frozen=True, slots=True)
class Measures:
    """How an image appears, whatever it shows."""

    dhash: str
    """Difference hash: whether each of 16 x 16 parts is darker than the one to its right, as 64 hexadecimal digits."""
    highlight: float
    """Brightness that 1 % of the picture exceeds, in [0, 1]."""
    contrast: float
    """Standard deviation of the brightness, in [0, 0.5]."""
    sharpness: float
    """Variance of the Laplacian by that of the brightness; 0 where there is no contrast."""

    @classmethod
    def of(cls, picture: Image.Image) -> "Measures":
        """Of an upright picture of any size."""
        scale = min(1.0, _MEASURED_SIDE / max(picture.size))
        grey = _grey(picture, (max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
        counts = np.array(grey.histogram())
        variance, detail = _variance(counts), _variance(np.array(_edges(grey).histogram()))
        return cls(
            dhash=_dhash(grey),
            highlight=int(np.searchsorted(counts.cumsum(), 0.99 * counts.sum())) / 255,
            contrast=round(variance**0.5 / 255, 4),
            sharpness=round(detail / variance, 6) if variance > 0 else 0.0,
        )


@dataclass(frozen=True, slots=True)
class Facts:
    """Width and height are those of the upright picture (pixels); mode is Pillow's, as stored."""

    content_hash: str
    width: int
    height: int
    mode: str
    measures: Measures
    holds_more: bool = False
    """Whether the file has further pictures, frames or pages, which are not used."""
    high: float | None = None
    """Largest value of a picture of more than 8 bits a channel; None for all others."""

    @property
    def depth(self) -> Depth | None:
        return None if self.high is None else Depth(self.mode, self.high)


def small_grey(picture: Image.Image) -> FloatArray:
    """A picture of any shape as 64 x 64 grey values in [0, 255]."""
    return np.asarray(_grey(picture, (SMALL, SMALL)), dtype=np.float64)


def _dhash(grey: Image.Image) -> str:
    values = np.asarray(_grey(grey, (_HASH_SIDE + 1, _HASH_SIDE)))
    return np.packbits(values[:, 1:] > values[:, :-1]).tobytes().hex()


def _grey(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    return picture.resize(size, Image.Resampling.BOX, reducing_gap=2.0).convert("L")


def _edges(grey: Image.Image) -> Image.Image:
    """The Laplacian around 128, without the border, which the filter leaves as it is."""
    width, height = grey.size
    return grey.filter(_LAPLACIAN).crop((1, 1, max(2, width - 1), max(2, height - 1)))


def _variance(counts: IntArray) -> float:
    """Of values in [0, 255] that occur so often."""
    values, total = np.arange(len(counts)), counts.sum()
    mean = float((values * counts).sum()) / float(total)
    return float(((values - mean) ** 2 * counts).sum()) / float(total)
