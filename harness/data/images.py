"""Opening one picture: any mode Pillow reads becomes upright 8-bit RGB. Used by the audit once and by training every epoch."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from harness.errors import DataError

UInt8Array = npt.NDArray[np.uint8]

# Named, so that a file called `.png` never reaches a decoder that runs other programs, as Pillow's for EPS does.
_FORMATS = {
    "AVIF": "avif",
    "BMP": "bmp",
    "DIB": "dib",
    "GIF": "gif",
    "ICO": "ico",
    "JPEG": "jpg jpeg jpe jfif",
    "JPEG2000": "jp2 j2k",
    "PCX": "pcx",
    "PNG": "png apng",
    "PPM": "ppm pgm pbm pnm",
    "QOI": "qoi",
    "TGA": "tga",
    "TIFF": "tif tiff",
    "WEBP": "webp",
}
SUFFIXES = frozenset(f".{suffix}" for suffixes in _FORMATS.values() for suffix in suffixes.split())
"""Files that end so, in any case, are images."""
_BACKGROUND = "white"
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class FileImage:
    """An image file. `content_hash` is of its bytes."""

    id: str
    content_hash: str
    path: Path

    def open(self) -> Image.Image:
        try:
            with quiet(), open_file(self.path) as image:
                return to_rgb(image)
        except Exception as error:  # decoders raise nearly anything
            raise DataError(
                f"{str(self.path)!r}: could be read when the data set was loaded and no longer can ({error}); restore it and run again."
            ) from error


@dataclass(frozen=True, slots=True)
class ArrayImage:
    """Pixels in memory: uint8, (H, W) grey or (H, W, 3) RGB. `content_hash` is of type, shape and pixels."""

    id: str
    content_hash: str
    pixels: UInt8Array = field(repr=False, compare=False)

    def open(self) -> Image.Image:
        return Image.fromarray(self.pixels).convert("RGB")


def open_file(file: Path | BinaryIO) -> Image.Image:
    """Pillow's lazily decoded image of one of the formats in `SUFFIXES`."""
    Image.init()
    return Image.open(file, formats=sorted(_FORMATS.keys() & Image.OPEN.keys()))


def to_rgb(image: Image.Image) -> Image.Image:
    """Upright 8-bit RGB.

    Sixteen-bit grey is divided by 257, so that 65535 becomes 255. Transparency is laid on white. Integers (`I`) and floats (`F`)
    of unstated range are read as 0-1 (floats only), 0-255 or 0-65535, whichever is the first that holds every pixel.

    Raises:
        ValueError: pixels outside 0-65535 or not finite, or a colour space that Pillow cannot convert.
    """
    turn = _TURNS.get(_orientation(image))
    if image.mode.startswith(("I", "F")):
        image = _to_grey8(image)
    elif image.has_transparency_data:
        image = _on_background(image.convert("RGBA"))
    rgb = image.convert("RGB")
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) when there is none. A damaged tag block says nothing about the pixels: upright too."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - the parser raises nearly anything on damaged bytes
        return 1
    return value if isinstance(value, int) else 1


def _on_background(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, _BACKGROUND), image)


def _to_grey8(image: Image.Image) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    limit = 65535.0 if image.mode.startswith("I;16") else _known_range(values, is_float=image.mode.startswith("F"))
    return Image.fromarray(np.rint(values * (255.0 / limit)).astype(np.uint8))


def _known_range(values: npt.NDArray[np.float64], *, is_float: bool) -> float:
    low, high = float(values.min()), float(values.max())
    for limit in (1.0, 255.0, 65535.0) if is_float else (255.0, 65535.0):
        if low >= 0 and high <= limit:
            return limit
    raise ValueError(f"pixels from {low:g} to {high:g} have no known range; store it with 8 or 16 bits")


_quiet_lock = threading.Lock()
_quiet_depth = 0
_quiet_saved: "warnings.catch_warnings[None] | None" = None


@contextmanager
def quiet() -> Iterator[None]:
    """No warnings about odd but readable files (damaged EXIF, palettes with transparency).

    `warnings.catch_warnings` saves and restores a process-wide list, which threads that overlap would restore in the wrong order;
    here the first one in saves it and the last one out restores it.
    """
    global _quiet_depth, _quiet_saved  # noqa: PLW0603 - mirrors the process-wide state of the warnings module
    with _quiet_lock:
        if _quiet_depth == 0:
            _quiet_saved = warnings.catch_warnings()
            _quiet_saved.__enter__()
            warnings.simplefilter("ignore")
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if _quiet_depth == 0 and _quiet_saved is not None:
                _quiet_saved.__exit__(None, None, None)
