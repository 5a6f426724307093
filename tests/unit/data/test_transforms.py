"""Pictures reach each backbone as it saw them in pretraining; augmentation changes training pictures only."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from harness.compute.seeding import seed_generators
from harness.config import Augment
from harness.data.images import ArrayImage
from harness.data.preprocess import Preprocess
from harness.data.transforms import (
    PixelDataset,
    Transform,
    describe,
    eval_transform,
    normalise,
    pixel_transform,
    suits_grey,
    train_transform,
)

PREPROCESS = Preprocess(32, "bicubic", 0.875, "center", (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))


def _picture(height: int = 48, width: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def _apply(transform: Transform, seed: int) -> torch.Tensor:
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the generator that RandAugment draws from
    torch.manual_seed(seed)
    return transform(_picture())


def test_eval_uses_the_backbones_own_numbers() -> None:
    """Resize, crop, interpolation, mean and std are those of the preprocessing record, to the last pixel."""
    scaled = _picture(36, 72).resize((72, 36), Image.Resampling.BICUBIC)
    expected = (np.asarray(scaled.crop((20, 2, 52, 34))) / 255 - PREPROCESS.mean) / PREPROCESS.std
    found = eval_transform(PREPROCESS)(_picture(36, 72))
    np.testing.assert_allclose(found.permute(1, 2, 0).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("augment", list(Augment))
def test_every_augmentation_gives_the_input_size(augment: Augment) -> None:
    """The tensor is float32, three channels, and as large as the backbone's input."""
    image_CHW = _apply(train_transform(PREPROCESS, augment), 0)
    assert (image_CHW.shape, image_CHW.dtype) == ((3, 32, 32), torch.float32)


@pytest.mark.parametrize("augment", list(Augment))
def test_only_none_is_constant(augment: Augment) -> None:
    """`none` equals evaluation exactly, every time; the others vary with the seed and repeat with it."""
    transform, plain = train_transform(PREPROCESS, augment), eval_transform(PREPROCESS)(_picture())
    drawn = [_apply(transform, seed) for seed in range(8)]
    assert torch.equal(drawn[3], _apply(transform, 3))
    assert all(torch.equal(image_CHW, plain) for image_CHW in drawn) == (augment is Augment.none)


def test_flip_only_flips() -> None:
    """`flip` gives the evaluation picture or its mirror image, and both occur."""
    plain = eval_transform(PREPROCESS)(_picture())
    drawn = [_apply(train_transform(PREPROCESS, Augment.flip), seed) for seed in range(12)]
    mirrored = [torch.equal(image_CHW, plain.flip(2)) for image_CHW in drawn]
    assert all(is_mirrored or torch.equal(image_CHW, plain) for image_CHW, is_mirrored in zip(drawn, mirrored, strict=True))
    assert 0 < sum(mirrored) < 12


def test_pad_crop_moves_by_at_most_an_eighth() -> None:
    """At 32 pixels the picture is shifted by at most 4, over black."""
    white = replace(PREPROCESS, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    transform = train_transform(white, Augment.pad_crop)
    for seed in range(20):
        torch.manual_seed(seed)
        image_CHW = transform(Image.new("RGB", (32, 32), "white"))
        assert image_CHW[0, 4:-4, 4:-4].min() == 1
        assert set(image_CHW.flatten().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize(
    ("augment", "parts"),
    [
        (Augment.none, ["resize to 36 (bicubic)", "centre crop 32", "normalise by mean 0.5/0.4/0.3"]),
        (Augment.light, ["random crop of 80% to 100% of the area", "horizontal flip with probability 0.5"]),
        (Augment.strong, ["random crop of 8% to 100%", "RandAugment", "colour jitter"]),
        (Augment.pad_crop, ["pad by 4 and crop 32 at random"]),
    ],
)
def test_describe(augment: Augment, parts: list[str]) -> None:
    """The steps are told in words on one line."""
    words = describe(train_transform(PREPROCESS, augment))
    assert "\n" not in words
    assert all(part in words for part in parts)


def test_light_leaves_colours_alone() -> None:
    """`light` draws no colour change."""
    transform = train_transform(replace(PREPROCESS, mean=(0.0,) * 3, std=(1.0,) * 3), Augment.light)
    image_CHW = transform(Image.new("RGB", (50, 50), (51, 102, 153)))
    torch.testing.assert_close(image_CHW.mean((1, 2)), torch.tensor([0.2, 0.4, 0.6]))
    assert "jitter" not in describe(transform)


@pytest.mark.parametrize("crop_mode", ["center", "border", "squash"])
def test_crop_modes(crop_mode: str) -> None:
    """Every crop mode of timm's configurations is understood."""
    assert eval_transform(replace(PREPROCESS, crop_mode=crop_mode))(_picture(20, 90)).shape == (3, 32, 32)


@pytest.mark.parametrize("augment", [Augment.none, Augment.strong])
def test_pixels_then_normalise_is_the_transform(augment: Augment) -> None:
    """Keeping bytes and normalising whole batches gives the digits of the transform that does one image."""
    transform = train_transform(PREPROCESS, augment)
    pixels = PixelDataset([ArrayImage("a", "a", np.asarray(_picture()))], transform, seed=3)
    batch = torch.from_numpy(np.stack([pixels[0], pixels[0]]))
    seed_generators(3 * 1_000_003)
    image_CHW = transform(_picture())
    found = normalise(batch, PREPROCESS)
    assert torch.equal(found[0], image_CHW)
    assert torch.equal(found[1], image_CHW)


def test_a_seed_fixes_what_an_image_looks_like() -> None:
    """With a seed, item i of a randomly changing set is the same each time, and another seed gives another look."""
    images = [ArrayImage(str(i), str(i), np.asarray(_picture())) for i in range(2)]
    first, again, other = (PixelDataset(images, train_transform(PREPROCESS, Augment.strong), seed) for seed in (1, 1, 2))
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[1], other[1])
    assert not np.array_equal(first[0], first[1])


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "lanczos", "nearest"])
@pytest.mark.parametrize("crop_mode", ["center", "border", "squash"])
def test_grey_pictures_need_not_become_colour_before_they_are_resized(interpolation: str, crop_mode: str) -> None:
    """Evaluation of a picture in mode L gives the digits of the same picture in RGB; where the crop pads with a colour, it is not kept grey."""
    transform = eval_transform(replace(PREPROCESS, interpolation=interpolation, crop_mode=crop_mode))
    assert suits_grey(transform) == (crop_mode != "border")
    rng = np.random.default_rng(0)
    for height, width in ((48, 60), (300, 41), (9, 7)):
        grey = Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8))
        expected = pixel_transform(transform)(grey.convert("RGB"))
        np.testing.assert_array_equal(PixelDataset([ArrayImage("x", "hash", np.asarray(grey))], transform)[0], expected)


def test_augmentation_that_changes_colours_gets_colour_pictures() -> None:
    """Only evaluation is known to treat all channels alike: everything random is given RGB, and grey pictures give three channels."""
    pixels = np.full((40, 40), 90, dtype=np.uint8)
    for augment in Augment:
        transform = train_transform(PREPROCESS, augment)
        assert suits_grey(transform) == (augment is Augment.none)
        assert PixelDataset([ArrayImage("x", "hash", pixels)], transform, seed=0)[0].shape == (32, 32, 3)
