"""The tiny networks of `tests/unit/tiny.py`, cut, and a team that computes them."""

from collections.abc import Iterator

import pytest
import torch

from harness.backbones.backbone import Backbone
from harness.team import Team
from tests.unit.tiny import PLAIN_CPU, images_of, random_backbone, settle


@pytest.fixture
def team() -> Iterator[Team]:
    """Two threads in plain float32, however many cores there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield Team(PLAIN_CPU)
    torch.set_num_threads(before)


@pytest.fixture
def resnet() -> Backbone:
    """The smallest convolutional network of timm, with batch-norms that do something; 32 pixels."""
    backbone = random_backbone("test_resnet", 32)
    settle(backbone.trunk, images_of(backbone, 8, seed=2))
    return backbone
