"""The result of every data source: three splits of labelled images that are opened one at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from harness.data.facts import Facts
from harness.data.labels import is_several
from harness.data.profile import Profile

IntArray = npt.NDArray[np.int64]


class ImageRef(Protocol):
    """One image that has not been decoded yet. Picklable; equal content has an equal `content_hash`."""

    @property
    def id(self) -> str:
        """Name for people: the path below the root, or the index in an array."""

    @property
    def content_hash(self) -> str:
        """Hash of the stored bytes (files) or pixels (arrays)."""

    def open(self, *, keep_grey: bool = False) -> Image.Image:
        """The decoded picture: upright, 8 bits a channel, mode RGB; grey ones in mode L if they may be kept so."""


@dataclass(frozen=True, slots=True)
class Split:
    """Images in a fixed order with their class ids in [0, C), or N x C: which labels each has (`harness.data.labels`)."""

    images: Sequence[ImageRef]
    labels: IntArray
    groups: IntArray | None = None
    """Number of each image's group, such as a patient: no group is in two splits. None: every image stands for itself."""

    def __len__(self) -> int:
        return len(self.images)


def groups_of(*splits: Split) -> IntArray | None:
    """Groups of the images of some splits, one after the other; None where there are none."""
    found = [split.groups for split in splits if split.groups is not None]
    return np.concatenate(found) if found else None


@dataclass(frozen=True, slots=True)
class Dataset:
    """A labelled data set, split. `test` is empty when the user asked for no test split."""

    name: str
    class_names: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    fingerprint: str
    """Hash of content, labels, split and, where there are any, groups of every image used; the order of files on disk does not matter."""
    profile: Profile
    facts: Mapping[str, Facts] = field(default_factory=dict)
    """Of each image in a split, by its id."""

    @property
    def is_several(self) -> bool:
        """Whether an image may have several labels."""
        return is_several(self.train.labels)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)
