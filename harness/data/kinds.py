"""Image formats: which can be read here, and what to say of the others. Content decides where a name does not."""

import importlib
import io
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

# Named, so that a file called `.png` never reaches a decoder that runs other programs, as Pillow's for EPS does.
_FORMATS = {
    "AVIF": "avif avifs",
    "BMP": "bmp",
    "DIB": "dib",
    "GIF": "gif",
    "HEIF": "heic heif hif heics heifs",
    "ICO": "ico",
    "JPEG": "jpg jpeg jpe jfif pjpeg pjp mpo",
    "JPEG2000": "jp2 j2k jpx jpf jpc j2c",
    "JXL": "jxl",
    "PCX": "pcx",
    "PNG": "png apng",
    "PPM": "ppm pgm pbm pnm",
    "QOI": "qoi",
    "TGA": "tga",
    "TIFF": "tif tiff",
    "WEBP": "webp",
}
_RAW = "3fr ari arw bay cap cr2 cr3 crw dcr dng erf fff iiq k25 kdc mef mos mrw nef nrw orf pef ptx raf raw rw2 rwl sr2 srf srw x3f"
_OTHER = "psd psb xcf ai eps svg svgz emf wmf dcm dicom nii czi lif nd2 svs ndpi vsi exr hdr dds jxr wdp hdp pic pict bpg flif fits fit"
_UNREAD = {f".{suffix}": "a camera's raw file; develop it to JPEG or TIFF" for suffix in _RAW.split()} | {
    f".{suffix}": f".{suffix} is not read; store it as PNG, JPEG or TIFF" for suffix in _OTHER.split()
}
"""Pictures that are not read. Some begin like a TIFF, which would show the small preview inside."""
SUFFIXES = frozenset(f".{suffix}" for suffixes in _FORMATS.values() for suffix in suffixes.split()) | _UNREAD.keys()
"""Files that end so, in any case, are images."""
_TELLING = ("AVIF", "GIF", "HEIF", "JPEG", "JPEG2000", "JXL", "PNG", "QOI", "TIFF", "WEBP")
"""Formats whose first bytes are theirs alone: what begins so is an image whatever it is called."""
_NUM_FIRST = 32
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_WORDS = {"HEIF": "HEIC", "JXL": "JPEG XL"}


@dataclass(frozen=True, slots=True)
class _Plugin:
    """A package that teaches Pillow a format."""

    module: str
    register: Callable[[object], object]
    """What to do with the imported module."""
    remedy: str


_PLUGINS: Mapping[str, _Plugin] = {
    "HEIF": _Plugin("pillow_heif", lambda module: getattr(module, "register_heif_opener")(), "python -m pip install pillow-heif"),  # noqa: B009
    "JXL": _Plugin("pillow_jxl", lambda module: module, "python -m pip install pillow-jxl-plugin"),
}
_BUILT_WITHOUT = "this Pillow was built without it: python -m pip install --upgrade pillow"


def is_image(path: Path) -> bool:
    """By its suffix, else by its first bytes. What cannot be opened and has no suffix may be one."""
    suffix = path.suffix.lower()
    return suffix in SUFFIXES or _begins_like_one(path, if_unknown=not suffix)


def unread(suffix: str) -> str | None:
    """Why pictures of this suffix are not even tried, and what to do; None for all others."""
    return _UNREAD.get(suffix.lower())


def open_as_image(content: bytes, suffix: str) -> Image.Image:
    """Pillow's lazily decoded image of one of the formats in `SUFFIXES`.

    Raises:
        OSError: it is of none that is read here, with the way out. Otherwise whatever the decoder raises.
    """
    if (why := unread(suffix) or _what_it_takes(content)) is not None:
        raise OSError(why)
    return Image.open(io.BytesIO(content), formats=_readable())


@cache
def _readable() -> list[str]:
    """Formats that this Pillow reads, with the packages that are here."""
    Image.init()
    for plugin in _PLUGINS.values():
        if find_spec(plugin.module) is not None:
            with suppress(ImportError):  # one that does not fit this Pillow is as good as none
                plugin.register(importlib.import_module(plugin.module))
    return sorted(_FORMATS.keys() & Image.OPEN.keys())


def _what_it_takes(content: bytes) -> str | None:
    """What reads a picture that begins so, where nothing here does."""
    name = _by_brand(content)
    if name is None or name in _readable():
        return None
    return f"AVIF; {_BUILT_WITHOUT}" if name == "AVIF" else f"{_WORDS[name]}; {_PLUGINS[name].remedy} has it read"


def _by_brand(content: bytes) -> str | None:
    """The format of a picture that not every Pillow reads."""
    if content.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JXL"
    brands = content[8:_NUM_FIRST] if content[4:8] == b"ftyp" else b""
    if brands.startswith((b"avif", b"avis")) or (brands and b"avif" in brands):
        return "AVIF"
    return "HEIF" if brands.startswith(_HEIF_BRANDS) else None


def _begins_like_one(path: Path, *, if_unknown: bool) -> bool:
    """Opened without waiting, as a pipe would keep its reader."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError:
        return if_unknown
    try:
        first = os.read(descriptor, _NUM_FIRST)
    except OSError:
        return if_unknown
    finally:
        os.close(descriptor)
    return _by_brand(first) is not None or any(_accepts(name, first) for name in _TELLING if name in _readable())


def _accepts(name: str, first: bytes) -> bool:
    accept = Image.OPEN[name][1]
    return accept is None or accept(first) is True
