"""A set of images, each seen in one way: what passes read and what addresses name."""

from collections.abc import Sequence
from dataclasses import dataclass

from harness.config import Augment
from harness.data.dataset import ImageRef
from harness.data.preprocess import Preprocess
from harness.data.transforms import PixelDataset, Transform, train_transform


@dataclass(frozen=True, slots=True)
class View:
    """Images in an order."""

    images: Sequence[ImageRef]
    preprocess: Preprocess
    augment: Augment = Augment.none
    number: int | None = None
    """Which of several cached augmented views, whose random changes it decides. None: they are drawn anew."""

    @property
    def transform(self) -> Transform:
        return train_transform(self.preprocess, self.augment)

    def pixels(self) -> PixelDataset:
        """The images as the backbone sees them, before normalisation."""
        return PixelDataset(self.images, self.transform, self.number)
