"""From picture to tensor, as each backbone saw pictures when its weights were trained. timm's transform factory does the work."""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from timm.data.transforms_factory import create_transform, transforms_imagenet_train
from torch.utils.data import Dataset
from torchvision import transforms

from harness.backbones.backbone import Preprocess
from harness.config import Augment
from harness.data.dataset import Split

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


class ImageDataset(Dataset[tuple[torch.Tensor, int]]):
    """One split as torch sees it: item i is (image_CHW, class id)."""

    def __init__(self, split: Split, transform: Transform) -> None:
        self.split = split
        self.transform = transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.split.images[index].open()), int(self.split.labels[index])


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
