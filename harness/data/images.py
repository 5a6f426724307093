"""Opening one picture: any mode Pillow reads becomes upright 8-bit RGB. Used by the audit once and by training every epoch.

Files are untrusted: each is read once, into memory, as a regular file of bounded size, and decoded from there, so that the bytes
that were hashed are those that become pixels.
"""

import hashlib
import math
import os
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError

from harness.data.kinds import open_as_image
from harness.data.white import Depth, kind_of, lowest_white
from harness.errors import DataError
from harness.text.untrusted import one_line

UInt8Array = npt.NDArray[np.uint8]

MAX_FILE_BYTES = 2**30
"""Larger files are not read. The largest picture that Pillow decodes, of 179 million pixels, takes half of it uncompressed."""
_LARGE_FILE_BYTES, _LARGE_PIXELS = 2**26, 2**24
"""From here on pictures are opened one after the other, since a decoder per core of the largest would fill most machines."""
_STRIP_PIXELS = 2**22
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
class Piece:
    """Where an image lies inside a larger file, such as a tar, as the very bytes that a file of its own would have."""

    offset: int
    size: int
    """Bytes."""
    suffix: str
    """`.png`: what a file of its own would be called."""


@dataclass(frozen=True, slots=True)
class FileImage:
    """An image file, or a piece of a file. `content_hash` is of its bytes; behind it is what is white (`/4095`), where they do not say so."""

    id: str
    content_hash: str
    path: Path
    piece: Piece | None = None
    """None: the whole file."""

    def open(self, *, keep_grey: bool = False) -> Image.Image:
        """The decoded picture, of the very bytes that the audit saw.

        Raises:
            DataError: the file is gone, cannot be read or holds other bytes by now.
        """
        try:
            of_bytes, _, white = self.content_hash.partition("/")
            with opened(self.path, of_bytes, self.piece) as (_, image):
                return upright(image, white=float(white) if white else None, keep_grey=keep_grey)
        except MemoryError:  # says nothing about the file
            raise
        except Exception as error:  # decoders raise nearly anything
            inside = "" if self.piece is None else f"{self.id!r} in "
            raise DataError(
                f"{inside}{str(self.path)!r}: could be read when the data set was loaded and no longer can ({reason(error)}); restore it, "
                f"or run the sweep again to measure on the images as they are now."
            ) from error


@dataclass(frozen=True, slots=True)
class ArrayImage:
    """Pixels in memory: uint8, (H, W) grey or (H, W, 3) RGB. `content_hash` is of type, shape and pixels."""

    id: str
    content_hash: str
    pixels: UInt8Array = field(repr=False, compare=False)

    def open(self, *, keep_grey: bool = False) -> Image.Image:
        picture = Image.fromarray(self.pixels)
        return picture if keep_grey else picture.convert("RGB")


def content_hash(content: bytes) -> str:
    """What names the bytes of an image."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


@contextmanager
def opened(path: Path, wanted_hash: str | None = None, piece: Piece | None = None) -> Iterator[tuple[str, Image.Image]]:
    """The content hash of a file, or of a piece of it, and Pillow's lazily decoded image of the same bytes. Large pictures wait for each other.

    Raises:
        OSError: no file that can be read, or its hash is not the wanted one. Otherwise whatever the decoder raises.
    """
    with quiet(), ExitStack() as alone:
        if (path.stat().st_size if piece is None else piece.size) >= _LARGE_FILE_BYTES:
            alone.enter_context(_alone)
        content = read_file(path, piece)
        found = content_hash(content)
        if wanted_hash not in (None, found):
            raise OSError("it holds other bytes by now")
        with open_as_image(content, path.suffix if piece is None else piece.suffix) as image:
            if image.width * image.height >= _LARGE_PIXELS:
                alone.enter_context(_alone)
            yield found, image


_alone = threading.RLock()


def read_file(path: Path, piece: Piece | None = None) -> bytes:
    """All bytes of a regular file, or those of a piece of it.

    A pipe, a socket or a device would keep its reader waiting, or never end: the file is opened without waiting, and looked at
    before it is read.

    Raises:
        OSError: it is not there, not to be read, no regular file, empty, or larger than `MAX_FILE_BYTES`; or it ends before the piece does.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("not a regular file")
        offset, size = (0, status.st_size) if piece is None else (piece.offset, piece.size)
        if size > MAX_FILE_BYTES:
            raise OSError(f"the file has {size / 2**30:,.1f} GiB, and at most {MAX_FILE_BYTES / 2**30:g} are read")
        if size == 0:
            raise OSError("the file is empty")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            file.seek(offset)
            content = file.read(size)
        if piece is not None and len(content) < size:
            raise OSError("the file that holds it ends before it does")
        return content
    finally:
        os.close(descriptor)


def reason(error: Exception) -> str:
    """Why a file cannot be used, in a few words on one line."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image that Pillow can read"
    text = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
    return one_line(text) or type(error).__name__


def holds_more(image: Image.Image) -> bool:
    """Whether there are pictures behind the first one, the only one that is used: an animation, or pages. Leaves the first one."""
    try:
        image.seek(1)
    except Exception:  # noqa: BLE001 - decoders raise nearly anything on damaged bytes
        return False
    return True


def upright(image: Image.Image, *, white: float | None = None, keep_grey: bool = False) -> Image.Image:
    """The picture as its maker saw it, in 8-bit RGB. With `keep_grey`, what is 8-bit grey stays so: a third of the pixels to work on.

    Transparency is laid on white.

    Args:
        image: as Pillow opened it.
        white: the value that becomes 255 in grey of more than 8 bits; None: the lowest usual one that this picture does not exceed.
        keep_grey: whether 8-bit grey may stay grey.

    Raises:
        ValueError: pixels that are negative, not finite or of no known range, or a colour space that Pillow cannot convert.
    """
    image.load()  # Pillow turns TIFF itself while it loads, and then takes the tag away
    turn = _TURNS.get(_orientation(image))
    if image.mode.startswith(("I", "F")):
        limit = white or _own_white(image)
        rgb = _in_strips(image, lambda strip: _to_grey8(strip, limit).convert("RGB"))
    elif image.has_transparency_data:
        rgb = _in_strips(image, lambda strip: _on_background(strip.convert("RGBA")).convert("RGB"))
    elif keep_grey and image.mode == "L":
        rgb = image.copy()  # `image` ends with its file
    else:
        rgb = image.convert("RGB")
    return rgb if turn is None else rgb.transpose(turn)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) when there is none. A damaged tag block says nothing about the pixels: upright too."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - the parser raises nearly anything on damaged bytes
        return 1
    return value if isinstance(value, int) else 1


def _in_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """The conversion of each pixel, a few lines at a time: what it needs in between is that of a strip, not of a large picture."""
    if image.width * image.height <= _STRIP_PIXELS:
        return convert(image)
    whole = Image.new("RGB", image.size)
    for box in _strips(image):
        whole.paste(convert(image.crop(box)), box)
    return whole


def _strips(image: Image.Image) -> Iterator[tuple[int, int, int, int]]:
    height = max(1, _STRIP_PIXELS // max(1, image.width))
    for top in range(0, image.height, height):
        yield 0, top, image.width, min(top + height, image.height)


def _on_background(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, _BACKGROUND), image)


def _to_grey8(image: Image.Image, limit: float) -> Image.Image:
    values = np.asarray(image).astype(np.float64)
    return Image.fromarray(np.rint(values * (255.0 / limit)).astype(np.uint8))


def depth_of(image: Image.Image) -> Depth | None:
    """The depth of a picture of more than 8 bits a channel, which is loaded by this; None: 8 bits or fewer.

    Raises:
        ValueError: negative values, or such as are not finite.
    """
    is_deep_colour = any(";16" in str(tile.args) for tile in getattr(image, "tile", []))  # known until it is loaded
    if image.mode.startswith(("I", "F")):
        return Depth(image.mode, _highest(image))
    if not is_deep_colour:
        return None
    upper_bytes = [high for _, high in _bands(image.getextrema())]
    return Depth(f"{image.mode};16", 256.0 * max(upper_bytes) + 255)


def _bands(extrema: Any) -> list[tuple[int, int]]:
    return list(extrema) if isinstance(extrema[0], tuple) else [extrema]


def _highest(image: Image.Image) -> float:
    ends = [(values.min(), values.max()) for values in (np.asarray(image.crop(box)) for box in _strips(image))]
    low, high = float(np.min(ends)), float(np.max(ends))  # both are NaN when any pixel is
    if not (low >= 0 and high < math.inf):
        raise ValueError(f"pixels from {low:g} to {high:g} have no known range; store it with 8 or 16 bits")
    return high


def _own_white(image: Image.Image) -> float:
    high = _highest(image)
    white = lowest_white(kind_of(image.mode), high)
    if white is None:
        raise ValueError(f"pixels up to {high:g} have no known range; store it with 8 or 16 bits")
    return white


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
