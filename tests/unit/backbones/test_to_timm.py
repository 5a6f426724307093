"""Trunks and linear heads become timm's own models again, or it is said why they cannot."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from harness.backbones.backbone import Backbone
from harness.backbones.catalog import resolve
from harness.backbones.load import load_backbone
from harness.backbones.to_timm import NotInTimmError, as_timm, load_folder, timm_config_of
from harness.config import Features
from tests.unit.tiny import RANDOM

NAMES = ["a", "b", "c"]


def _backbone(name: str, size: int | None) -> Backbone:
    return load_backbone(resolve(name), RANDOM, image_size=size, features=Features.pooled, seed=0)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("test_resnet", 48),
        ("test_vit", None),
        ("test_vit", 32),  # another grid of patches
        ("test_efficientnet", 40),
        ("test_convnext", 64),
        ("deit_tiny_distilled_patch16_224", 32),  # two classifiers, of which the mean counts
        ("mobilenetv3_small_050", 32),
    ],
)
def test_a_folder_that_timm_loads_has_the_same_logits(name: str, size: int | None, tmp_path: Path) -> None:
    """From `config.json` and `model.safetensors` alone, at any size of the input."""
    found = _backbone(name, size)
    head = nn.Linear(found.num_features, len(NAMES))
    config = timm_config_of(found.spec, found.preprocess, NAMES, "mit")
    network = as_timm(found.trunk, head, config)
    save_file({key: tensor.clone() for key, tensor in network.state_dict().items()}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = load_folder(tmp_path)
    images = torch.randn(2, 3, found.preprocess.image_size, found.preprocess.image_size)
    with torch.inference_mode():
        own, theirs = head(found.trunk(images)), loaded(images)
    assert torch.allclose(theirs, own, atol=1e-5)
    stated: Any = loaded.pretrained_cfg
    assert tuple(stated["input_size"]) == images.shape[1:]
    assert (stated["label_names"], stated["license"]) == (NAMES, "mit")


def test_what_timm_cannot_hold_is_said() -> None:
    """Hidden layers, torchvision's architectures, and networks that timm would compute otherwise."""
    found = _backbone("test_resnet", 32)
    config = timm_config_of(found.spec, found.preprocess, NAMES, None)
    assert "license" not in config["pretrained_cfg"]  # that of the published weights says nothing of these
    hidden = nn.Sequential(nn.Linear(found.num_features, 8), nn.ReLU(), nn.Linear(8, 3))
    with pytest.raises(NotInTimmError, match="hidden layer"):
        as_timm(found.trunk, hidden, config)
    head, doubled = nn.Linear(found.num_features, 3), found.trunk
    doubled.register_forward_hook(lambda _, __, features_BD: 2 * features_BD)
    with pytest.raises(NotInTimmError, match="computes something else"):
        as_timm(doubled, head, config)
    other = _backbone("squeezenet1_1", 64)
    with pytest.raises(NotInTimmError, match="squeezenet1_1 is torchvision's"):
        timm_config_of(other.spec, other.preprocess, NAMES, None)
