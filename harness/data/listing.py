"""What a source hands on: names of images and their labels, listed without decoding any. The draw, the audit and the splits follow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from harness.data.dataset import ImageRef, IntArray
from harness.data.images import ArrayImage, FileImage, UInt8Array, content_hash, holds_more, opened, upright

POOL = "pool"
"""Key of the images of a data set that has no official splits."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What one full decode tells. Width and height are those of the upright picture (pixels); mode is Pillow's, as stored."""

    content_hash: str
    width: int
    height: int
    mode: str
    holds_more: bool = False
    """Whether the file has further pictures, frames or pages, which are not used."""


class Candidate(Protocol):
    """An image that was listed but not read."""

    @property
    def id(self) -> str:
        """Unique in the listing."""

    def stamp(self) -> tuple[str, int, int, int] | None:
        """Absolute path, bytes, mtime and ctime (ns): equal stamps mean equal facts. None: not a file, always examined.

        A program may set mtime, as those that unpack and synchronise do; ctime tells of every change.
        """

    def examine(self) -> Facts:
        """Read and decode it. Raises whatever the decoder raises."""

    def ref(self, facts: Facts) -> ImageRef:
        """The handle that splits carry."""


@dataclass(frozen=True, slots=True)
class FileCandidate:
    """An image file."""

    id: str
    path: Path

    def stamp(self) -> tuple[str, int, int, int] | None:
        status = self.path.stat()
        return str(self.path), status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def examine(self) -> Facts:
        with opened(self.path) as (found, image):
            mode, picture = image.mode, upright(image, keep_grey=True)
            return Facts(found, picture.width, picture.height, mode, holds_more(image))

    def ref(self, facts: Facts) -> ImageRef:
        return FileImage(self.id, facts.content_hash, self.path)


@dataclass(frozen=True, slots=True)
class ArrayCandidate:
    """Pixels that `load` fetches: uint8, (H, W) or (H, W, 3)."""

    id: str
    load: Callable[[], UInt8Array]

    def stamp(self) -> tuple[str, int, int, int] | None:
        return None

    def examine(self) -> Facts:
        pixels = np.ascontiguousarray(self.load())
        content = f"{pixels.dtype} {pixels.shape} ".encode() + pixels.tobytes()
        height, width = pixels.shape[:2]
        return Facts(content_hash(content), width, height, "L" if pixels.ndim == 2 else "RGB")

    def ref(self, facts: Facts) -> ImageRef:
        return ArrayImage(self.id, facts.content_hash, np.array(self.load()))


@dataclass(frozen=True, slots=True)
class Group:
    """The candidates of one official split, or of the pool, with their class ids in [0, C)."""

    candidates: Sequence[Candidate]
    labels: IntArray


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything a source offers."""

    class_names: tuple[str, ...]
    groups: Mapping[str, Group]
    """Keys: `pool` alone, or `train` and any of `val` and `test`."""
    root: Path | None
    """None for data that ships in a package."""
    notes: list[str] = field(default_factory=list)
    """Sentences about what was passed over."""

    def rows(self) -> list["Listed"]:
        """All candidates of all groups, ordered by id, so that the order on disk plays no part in what follows."""
        rows = [
            Listed(candidate, label, given)
            for given, group in self.groups.items()
            for candidate, label in zip(group.candidates, group.labels.tolist(), strict=True)
        ]
        return sorted(rows, key=lambda row: row.candidate.id)


@dataclass(frozen=True, slots=True)
class Listed:
    """One row of a listing."""

    candidate: Candidate
    label: int
    given: str
    """Official split, or `pool`."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One readable image and where it ended up."""

    listed: Listed
    facts: Facts
    split: str | None
    """None: left out, because an equal image is in an official val or test split."""
