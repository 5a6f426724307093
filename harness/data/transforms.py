"""From picture to tensor, as each backbone saw pictures when its weights were trained. timm's transform factory does the work."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data.transforms import ResizeKeepRatio
from timm.data.transforms_factory import create_transform, transforms_imagenet_train
from torch.utils.data import Dataset
from torchvision import transforms

from harness.compute.seeding import seed_generators
from harness.config import Augment
from harness.data.dataset import ImageRef
from harness.data.images import UInt8Array
from harness.data.preprocess import Preprocess

Transform = Callable[[Image.Image], torch.Tensor]
"""From an RGB picture to a normalised float32 tensor (3, image_size, image_size)."""


def eval_transform(preprocess: Preprocess) -> Transform:
    """Resize, crop and normalise; nothing random."""
    transform: Transform = _eval(preprocess, preprocess.crop_frac)
    return transform


def train_transform(preprocess: Preprocess, augment: Augment) -> Transform:
    """As `eval_transform`, with the random changes that `augment` names.

    timm's crops and RandAugment draw from `random` and `numpy.random`, torchvision's flips and pads from torch: seed all three.
    """
    return _AUGMENTS[augment](preprocess)


def pixel_transform(transform: Transform) -> Callable[[Image.Image], UInt8Array]:
    """`transform` without its end, scaling and normalisation: an RGB picture becomes uint8 (image_size, image_size, 3)."""
    geometry = transforms.Compose(_geometry(transform))
    return lambda picture: np.array(_in_colour(geometry(picture)))


def suits_grey(transform: Transform) -> bool:
    """Whether `pixel_transform` gives the same digits for a grey picture in mode L as for that picture in RGB."""
    return all(isinstance(step, _MOVE_PIXELS) for step in _geometry(transform))


_MOVE_PIXELS = (transforms.Resize, transforms.CenterCrop, ResizeKeepRatio)
"""Treat each channel alike. What pads does not: it fills in a colour."""


def _geometry(transform: Transform) -> list[Any]:
    steps: list[Any] = getattr(transform, "transforms")  # noqa: B009  every transform here is a Compose
    return steps[:-2]


def _in_colour(picture: Image.Image) -> Image.Image:
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def normalise(pixels_BHWC: torch.Tensor, preprocess: Preprocess) -> torch.Tensor:
    """The end of every transform for a batch at once, with the same digits: uint8 to float32 (B, 3, H, W), channels-last in memory."""
    num_images, height, width, channels = pixels_BHWC.shape
    # Whole lines of pixels at once: an innermost dimension of three is slow.
    mean, std = (torch.tensor(values, device=pixels_BHWC.device).repeat(width) for values in (preprocess.mean, preprocess.std))
    lines = pixels_BHWC.reshape(num_images, height, width * channels).float().div_(255).sub_(mean).div_(std)
    return lines.reshape(num_images, height, width, channels).permute(0, 3, 1, 2)


class PixelDataset(Dataset[UInt8Array]):
    """Images as a backbone will see them, before normalisation: item i is uint8 (image_size, image_size, 3).

    With a `seed`, item i gets the same random changes each time; they are drawn from the process's global generators, so
    that such a data set belongs into a worker process of its own.
    """

    def __init__(self, images: Sequence[ImageRef], transform: Transform, seed: int | None = None) -> None:
        self.images = images
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> UInt8Array:
        if self.seed is not None:
            seed_generators(self.seed * 1_000_003 + index)
        return pixel_transform(self.transform)(self.images[index].open(keep_grey=suits_grey(self.transform)))


def describe(transform: Transform) -> str:
    """The steps in words, in order, on one line."""
    return ", ".join(_in_words(step) for step in getattr(transform, "transforms", [transform]))


def _in_words(step: Any) -> str:
    words = _WORDS.get(type(step).__name__)
    return words(step) if words else type(step).__name__


def _side(size: Any) -> str:
    """`224`, or `224 x 192` where the sides differ."""
    sides = dict.fromkeys(size) if isinstance(size, (tuple, list)) else [size]
    return " x ".join(str(side) for side in sides)


def _numbers(values: Any) -> str:
    return "/".join(f"{float(value):.3g}" for value in values)


_WORDS: dict[str, Callable[[Any], str]] = {
    "Resize": lambda step: f"resize to {_side(step.size)} ({step.interpolation.value})",
    "ResizeKeepRatio": lambda step: f"resize the longer side to {_side(step.size)} ({step.interpolation})",
    "CenterCrop": lambda step: f"centre crop {_side(step.size)}",
    "CenterCropOrPad": lambda step: f"centre crop or pad to {_side(step.size)}",
    "RandomCrop": lambda step: f"pad by {step.padding} and crop {_side(step.size)} at random",
    "RandomResizedCropAndInterpolation": lambda step: (
        f"random crop of {step.scale[0]:.0%} to {step.scale[1]:.0%} of the area, resized to {_side(step.size)}"
    ),
    "RandomHorizontalFlip": lambda step: f"horizontal flip with probability {step.p:g}",
    "ColorJitter": lambda _: "colour jitter",
    "MaybeToTensor": lambda _: "scale to 0-1",
    "Normalize": lambda step: f"normalise by mean {_numbers(step.mean)} and std {_numbers(step.std)}",
}


def _eval(preprocess: Preprocess, crop_frac: float) -> transforms.Compose:
    return create_transform(
        preprocess.image_size,
        interpolation=preprocess.interpolation,
        mean=preprocess.mean,
        std=preprocess.std,
        crop_pct=crop_frac,
        crop_mode=preprocess.crop_mode,
    )


def _with_random(base: transforms.Compose, *steps: Any) -> transforms.Compose:
    """`steps` between the crop and the conversion to a tensor, the last two steps of timm's pipelines."""
    return transforms.Compose([*base.transforms[:-2], *steps, *base.transforms[-2:]])


def _flip(preprocess: Preprocess) -> transforms.Compose:
    return _with_random(_eval(preprocess, preprocess.crop_frac), transforms.RandomHorizontalFlip())


def _light(preprocess: Preprocess) -> transforms.Compose:
    return create_transform(
        preprocess.image_size,
        is_training=True,
        scale=(0.8, 1.0),
        color_jitter=None,  # type: ignore[arg-type]  # timm's own word for no colour change
        interpolation=preprocess.interpolation,
        mean=preprocess.mean,
        std=preprocess.std,
    )


def _strong(preprocess: Preprocess) -> transforms.Compose:
    return transforms_imagenet_train(
        preprocess.image_size,
        auto_augment="rand-m9-mstd0.5",
        color_jitter=0.4,
        force_color_jitter=True,  # timm drops colour jitter beside RandAugment unless told
        interpolation=preprocess.interpolation,
        mean=preprocess.mean,
        std=preprocess.std,
    )


def _pad_crop(preprocess: Preprocess) -> transforms.Compose:
    """Crops the whole picture rather than the backbone's central crop of it: the padding is what gets cropped."""
    size = preprocess.image_size
    return _with_random(_eval(preprocess, 1.0), transforms.RandomCrop(size, padding=size // 8), transforms.RandomHorizontalFlip())


_AUGMENTS: dict[Augment, Callable[[Preprocess], Transform]] = {
    Augment.none: eval_transform,
    Augment.flip: _flip,
    Augment.light: _light,
    Augment.strong: _strong,
    Augment.pad_crop: _pad_crop,
}
