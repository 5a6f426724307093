"""The output of a source: names of images and their labels, listed without decoding any. The draw, the audit and the splits follow."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from harness.data.dataset import FloatArray, ImageRef, IntArray
from harness.data.facts import Facts, Measures
from harness.data.images import ArrayImage, FileImage, Piece, UInt8Array, content_hash, depth_of, holds_more, opened, upright
from harness.data.labels import is_several

POOL = "pool"
"""Key of the images of a data set that has no official splits."""


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

    def ref(self, facts: Facts, white: float | None) -> ImageRef:
        """The handle that splits carry. `white`: what `harness.data.white` decided for pictures of more than 8 bits."""


@dataclass(frozen=True, slots=True)
class FileCandidate:
    """An image file, or a piece of a file."""

    id: str
    path: Path
    piece: Piece | None = None

    def stamp(self) -> tuple[str, int, int, int] | None:
        status = self.path.stat()
        name = str(self.path) if self.piece is None else f"{self.path}:{self.piece.offset}+{self.piece.size}"
        return name, status.st_size, status.st_mtime_ns, status.st_ctime_ns

    def examine(self) -> Facts:
        with opened(self.path, piece=self.piece) as (found, image):
            depth, mode = depth_of(image), image.mode
            picture = upright(image, white=None if depth is None else max(depth.high, 1.0), keep_grey=True)
            more = holds_more(image)
        kind, high = (mode, None) if depth is None else (depth.mode, depth.high)
        return Facts(found, picture.width, picture.height, kind, Measures.of(picture), more, high)

    def ref(self, facts: Facts, white: float | None) -> ImageRef:
        return FileImage(self.id, facts.content_hash if white is None else f"{facts.content_hash}/{white:.10g}", self.path, self.piece)


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
        picture = Image.fromarray(pixels)
        return Facts(content_hash(content), picture.width, picture.height, picture.mode, Measures.of(picture))

    def ref(self, facts: Facts, white: float | None) -> ImageRef:  # noqa: ARG002  all have 8 bits
        return ArrayImage(self.id, facts.content_hash, np.array(self.load()))


@dataclass(frozen=True, slots=True)
class Part:
    """The candidates of one official split, or of the pool, with their labels (`harness.data.labels`)."""

    candidates: Sequence[Candidate]
    labels: IntArray
    groups: Sequence[str] | None = None
    """What the images belong to, such as a patient: those of one group are never in two splits. None: every image stands for itself."""
    weights: FloatArray | None = None
    """How much each image counts in training, as it was given: finite, 0 or more. None: all count alike."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything a source offers."""

    class_names: tuple[str, ...]
    parts: Mapping[str, Part]
    """Keys: `pool` alone, or `train` and any of `val` and `test`."""
    root: Path | None
    """None for data that ships in a package."""
    remarks: list[str] = field(default_factory=list)
    """Sentences about how it was read, where that is not plain."""
    left_out: list[str] = field(default_factory=list)
    """Sentences about what is there and not offered."""
    revision: str | None = None
    """Commit of a data set of the hub."""
    licence: str | None = None
    """Of the images, where their source states one."""
    group: str | None = None
    """What the groups of its parts are called; None: it has none."""
    weight: str | None = None
    """What the weights of its parts are called; None: it has none."""
    num_dropped: int = 0
    """Images that `data.drop` took away."""

    @property
    def is_several(self) -> bool:
        """Whether an image may have several labels."""
        return any(is_several(part.labels) for part in self.parts.values())

    def rows(self) -> list["Listed"]:
        """All candidates of all parts, ordered by id, so that the order on disk plays no part in what follows."""
        rows = []
        for given, part in self.parts.items():
            groups: Sequence[str | None] = part.groups or [None] * len(part.candidates)
            classes = (
                [tuple(np.flatnonzero(has).tolist()) for has in part.labels] if self.is_several else [(c,) for c in part.labels.tolist()]
            )
            weights: Sequence[float | None] = [None] * len(part.candidates) if part.weights is None else part.weights.tolist()
            for candidate, own, group, weight in zip(part.candidates, classes, groups, weights, strict=True):
                rows.append(Listed(candidate, own, given, group, weight))
        return sorted(rows, key=lambda row: row.candidate.id)

    def labels_of(self, rows: Sequence["Listed"]) -> IntArray:
        """Their labels as an array."""
        if not self.is_several:
            return np.array([row.classes[0] for row in rows], dtype=np.int64)
        found = np.zeros((len(rows), len(self.class_names)), dtype=np.int64)
        for place, row in enumerate(rows):
            found[place, list(row.classes)] = 1
        return found


@dataclass(frozen=True, slots=True)
class Listed:
    """One row of a listing."""

    candidate: Candidate
    classes: tuple[int, ...]
    """One, or all labels that it has: maybe none."""
    given: str
    """Official split, or `pool`."""
    group: str | None = None
    """What it belongs to; None where nothing is said of that."""
    weight: float | None = None
    """How much it counts in training, as it was given; None where nothing is said of that."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One readable image and where it ended up."""

    listed: Listed
    facts: Facts
    split: str | None
    """None: left out, because an equal image, or one of its group, is in an official val or test split."""
    group: int | None = None
    """Number of its group; None: the data set has none."""
