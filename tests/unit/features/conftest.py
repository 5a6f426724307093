"""The tiny networks of `tests/unit/tiny.py`, cut, and a pool that computes them."""

import pytest

from harness.backbones.backbone import Backbone
from harness.compute.thread_pool import ThreadPool
from tests.unit.tiny import images_of, pool_of, random_backbone, settle


@pytest.fixture
def pool() -> ThreadPool:
    """Two threads in plain float32."""
    return pool_of(2)


@pytest.fixture
def resnet() -> Backbone:
    """The smallest convolutional network of timm, with batch-norms that do something; 32 pixels."""
    backbone = random_backbone("test_resnet", 32)
    settle(backbone.trunk, images_of(backbone, 8, seed=2))
    return backbone
