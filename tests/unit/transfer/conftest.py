"""The tiny networks and images of `tests/unit/tiny.py` as fixtures."""

import pytest

from harness.backbones.backbone import Backbone
from harness.compute.runtime import Runtime
from harness.data.dataset import Dataset
from tests.unit.tiny import PLAIN_CPU, colours, random_backbone


@pytest.fixture
def dataset() -> Dataset:
    """Three classes that differ in colour; 25 train images, so that the last batch of 8 holds one."""
    return colours()


@pytest.fixture
def runtime() -> Runtime:
    """Plain float32 on the processor."""
    return PLAIN_CPU


@pytest.fixture(params=["test_resnet", "test_vit"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    """The smallest convolutional network and vision transformer of timm, with random weights."""
    return random_backbone(request.param)
