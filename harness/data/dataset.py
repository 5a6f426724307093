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
FloatArray = npt.NDArray[np.float64]


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
    weights: FloatArray | None = None
    """How much each image counts in training, where 1 is the mean of train (`harness.data.weighting`). None: all count alike."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def counted_N(self) -> IntArray:
        """Places of the images that count in training: those of a weight above 0."""
        return np.arange(len(self)) if self.weights is None else np.flatnonzero(self.weights)

    def take(self, places_N: IntArray) -> "Split":
        """The images at these places."""
        return Split(
            [self.images[place] for place in places_N.tolist()],
            self.labels[places_N],
            None if self.groups is None else self.groups[places_N],
            None if self.weights is None else self.weights[places_N],
        )


def joined(*splits: Split) -> Split:
    """The images of some splits, one after the other."""
    groups = [split.groups for split in splits if split.groups is not None]
    weights = [split.weights for split in splits if split.weights is not None]
    return Split(
        [image for split in splits for image in split.images],
        np.concatenate([split.labels for split in splits]),
        np.concatenate(groups) if groups else None,
        np.concatenate(weights) if weights else None,
    )


@dataclass(frozen=True, slots=True)
class Dataset:
    """A labelled data set, split. `test` is empty when the user asked for no test split."""

    name: str
    class_names: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    fingerprint: str
    """Hash of content, labels, split and, where there are any, groups and weights of every image used; the order of files on disk does not matter."""
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
