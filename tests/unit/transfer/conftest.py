"""A tiny real network and a handful of random images, enough to train in a second."""

from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from harness.backbones.backbone import Backbone, Weights, WeightsSource
from harness.backbones.catalog import resolve
from harness.backbones.load import load_backbone
from harness.config import Device, Features, Precision
from harness.data.dataset import Dataset, Split
from harness.data.profile import Profile
from harness.runtime import Runtime


@dataclass(frozen=True)
class Pixels:
    """An image in memory."""

    id: str
    content_hash: str
    seed: int
    label: int

    def open(self) -> Image.Image:
        noise = np.random.default_rng(self.seed).integers(0, 160, (32, 32, 3))
        noise[..., self.label] += 80
        return Image.fromarray(noise.astype(np.uint8))


def _split(start: int, num_images: int) -> Split:
    labels = np.arange(num_images, dtype=np.int64) % 3
    return Split([Pixels(str(start + i), str(start + i), start + i, int(label)) for i, label in enumerate(labels)], labels)


@pytest.fixture
def dataset() -> Dataset:
    """Three classes that differ in colour; 25 train images, so that the last batch of 8 holds one."""
    profile = Profile(source="test", root=None, num_found=49, num_used=49, class_counts={}, imbalance_ratio=1.0, split_origin={})
    return Dataset("colours", ("red", "green", "blue"), _split(0, 25), _split(100, 12), _split(200, 12), "fingerprint", profile)


@pytest.fixture
def runtime() -> Runtime:
    """Plain float32 on the processor."""
    return Runtime(Device.cpu, Precision.float32)


@pytest.fixture(params=["test_resnet", "test_vit"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    """The smallest convolutional network and vision transformer of timm, with random weights."""
    weights = Weights(WeightsSource.random, None, "random", None, None, None)
    return load_backbone(resolve(request.param), weights, image_size=None, features=Features.pooled, seed=0)
