"""Small pictures of a study's images, in one file for each protocol: what its report may show where the images themselves are out of reach.

A file carries its checksum as a row does (`sealed`). Made at the end of a sweep (`jobs.thumbnails`), of images of train and val only.
"""

import io
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from harness.data.images import quiet
from harness.study.sealed import dumped, unsealed

THUMBNAILS_SCHEMA = 1
SIDE = 96
"""Longer side of a picture (pixels)."""
MAX_CHARACTERS = 2**20
"""Of all pictures on one page, as base 64; what is kept in a file is no more."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A train image as it is, and as training saw it once: two WebP files."""

    path: str
    """Its name in the data set."""
    original: bytes
    augmented: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Thumbnails:
    """WebP files of at most `SIDE` pixels a side."""

    pictures: Mapping[str, bytes]
    """By the image's name in the data set."""
    augment: str = "none"
    """What `train.augment` was where `pairs` come from."""
    pairs: tuple[Pair, ...] = field(default=())
    """What augmentation does; none where there is no augmentation."""


def encode(found: Thumbnails) -> bytes:
    """The bytes to write."""
    return dumped(
        {
            "schema": THUMBNAILS_SCHEMA,
            "pictures": {path: in_base64(picture) for path, picture in found.pictures.items()},
            "augment": found.augment,
            "pairs": [[pair.path, in_base64(pair.original), in_base64(pair.augmented)] for pair in found.pairs],
        }
    )


def decode(content: bytes) -> Thumbnails:
    """The inverse of `encode`, for any bytes. That each picture can be shown is not looked at: see `is_shown`.

    Raises:
        ValueError: these are not the bytes that were written; the message says why, as a clause that follows a file name.
    """
    record, is_sealed = unsealed(content)
    if not is_sealed:
        raise ValueError("is not as it was written")
    if record.get("schema") != THUMBNAILS_SCHEMA:
        raise ValueError(f"holds thumbnails of another schema than {THUMBNAILS_SCHEMA}")
    try:
        return Thumbnails(
            pictures={path: b64decode(picture, validate=True) for path, picture in record["pictures"].items()},
            augment=str(record["augment"]),
            pairs=tuple(_pair(*each) for each in record["pairs"]),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError("holds what no thumbnails have") from error


def in_base64(picture: bytes) -> str:
    """As a page and the file hold it."""
    return b64encode(picture).decode("ascii")


def is_shown(picture: bytes) -> bool:
    """Whether these bytes are a WebP file of at most `SIDE` pixels a side that can be decoded: nothing else comes onto a page."""
    try:
        with quiet(), Image.open(io.BytesIO(picture), formats=["WEBP"]) as image:
            if max(image.size) > SIDE:
                return False
            image.load()
    except Exception:  # noqa: BLE001 - decoders raise nearly anything
        return False
    return True


def _pair(path: Any, original: Any, augmented: Any) -> Pair:
    return Pair(str(path), b64decode(original, validate=True), b64decode(augmented, validate=True))
