"""What trains in a second, shared by the tests of features and transfer: tiny networks and a handful of random images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness.backbones.backbone import Backbone, BackboneSpec, Block, Weights, WeightsSource
from harness.backbones.catalog import resolve
from harness.backbones.load import load_backbone
from harness.backbones.tensors import tensors_of
from harness.compute.runtime import Runtime
from harness.compute.thread_pool import ThreadPool
from harness.config import Device, Features, Precision
from harness.data.dataset import Dataset, Split
from harness.data.preprocess import Preprocess
from harness.data.profile import Profile

RANDOM = Weights(WeightsSource.random, None, "random", None, None, None)

PLAIN_CPU = Runtime(Device.cpu, Precision.float32)


def pool_of(num_threads: int) -> ThreadPool:
    """A pool in plain float32 of so many threads, however many cores there are; the caller's own operations keep theirs."""
    before = torch.get_num_threads()
    torch.set_num_threads(num_threads)
    pool = ThreadPool(PLAIN_CPU)
    torch.set_num_threads(before)
    return pool


@dataclass(frozen=True)
class Pixels:
    """An image in memory."""

    id: str
    content_hash: str
    seed: int
    label: int

    def open(self, *, keep_grey: bool = False) -> Image.Image:  # noqa: ARG002
        noise = np.random.default_rng(self.seed).integers(0, 160, (32, 32, 3))
        noise[..., self.label] += 80
        return Image.fromarray(noise.astype(np.uint8))


def split(start: int, num_images: int) -> Split:
    """Images of three classes in turn; equal numbers give equal images."""
    labels = np.arange(num_images, dtype=np.int64) % 3
    return Split([Pixels(str(start + i), str(start + i), start + i, int(label)) for i, label in enumerate(labels)], labels)


def colours() -> Dataset:
    """Three classes that differ in colour; 25 train images, so that the last batch of 8 holds one."""
    profile = Profile(source="test", root=None, num_found=49, num_used=49, class_counts={}, imbalance_ratio=1.0, split_origin={})
    return Dataset("colours", ("red", "green", "blue"), split(0, 25), split(100, 12), split(200, 12), "fingerprint", profile)


def random_backbone(name: str, image_size: int | None = None, features: Features = Features.pooled) -> Backbone:
    """A published architecture with random weights."""
    return load_backbone(resolve(name), RANDOM, image_size=image_size, features=features, seed=0)


def own_backbone(trunk: nn.Module, blocks: Sequence[str], image_size: int = 16) -> Backbone:
    """A network of a test's own; each block is the module of that name, and belongs to it whole."""
    names = list(tensors_of(trunk))
    parts = tuple(Block(block, tuple(name for name in names if name.startswith(f"{block}."))) for block in blocks)
    assert sorted(names) == sorted(name for part in parts for name in part.tensors)
    with torch.no_grad():
        num_features = trunk.eval()(torch.zeros(1, 3, image_size, image_size)).shape[1]
    preprocess = Preprocess(image_size, "bilinear", 1.0, "center", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    return Backbone(BackboneSpec("own", "own", None, "own", "own"), RANDOM, trunk, num_features, parts, preprocess)


def images_of(backbone: Backbone, num_images: int, seed: int = 1) -> torch.Tensor:
    """Random images of the size that the trunk takes, (B, 3, S, S)."""
    size = backbone.preprocess.image_size
    return torch.randn(num_images, 3, size, size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def settle(trunk: nn.Module, images_BCHW: torch.Tensor, seed: int = 0) -> None:
    """Give batch-norms the statistics of some images, slightly off, and scales and shifts of their own.

    As built they do nothing, and through many of them random weights leave nothing of the images.
    """
    norms = [module for module in trunk.modules() if isinstance(module, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    generator = torch.Generator().manual_seed(seed)
    for norm in norms:
        norm.momentum = 1.0
        for tensor, low, high in ((norm.weight, 0.5, 1.5), (norm.bias, -0.5, 0.5)):
            tensor.uniform_(low, high, generator=generator)
    with torch.random.fork_rng(devices=[]):
        trunk.train()(images_BCHW)
    trunk.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        assert norm.running_var is not None
        norm.running_var.mul_(torch.empty_like(norm.running_var).uniform_(0.8, 1.25, generator=generator)).add_(1e-3)
