"""Freeze steps: how many there are, that they run in order, and what joins what."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from harness.backbones.backbone import Backbone
from harness.backbones.blocks import NUMBERED, find_blocks
from harness.backbones.catalog import resolve
from harness.backbones.load import load_backbone
from harness.backbones.weights import find_weights
from harness.config import Features


def _load(name: str, size: int | None) -> Backbone:
    """Built on the meta device: names and the order of execution need no numbers."""
    spec = resolve(name)
    with torch.device("meta"):
        return load_backbone(spec, find_weights(spec, "random"), image_size=size, features=Features.pooled, seed=0)


def _order_of_execution(backbone: Backbone) -> Iterator[int]:
    """Block indices in the order in which modules that own tensors first run."""
    owner = {name.rpartition(".")[0]: i for i, block in enumerate(backbone.blocks) for name in block.tensors}
    seen: list[int] = []
    for name, module in backbone.trunk.named_modules():
        if name in owner:
            module.register_forward_pre_hook(lambda _module, _inputs, i=owner[name]: seen.append(i))
    with torch.no_grad(), torch.device("meta"):
        backbone.trunk(torch.zeros(1, 3, *[backbone.preprocess.image_size] * 2))
    return iter(dict.fromkeys(seen))


@pytest.mark.parametrize(
    ("name", "size", "num_blocks", "first", "last"),
    [
        ("alexnet", 64, 7, "features.0", "classifier.4"),
        ("vgg16", 32, 14, "features.0", "pre_logits"),
        ("vgg19", 32, 17, "features.0", "pre_logits"),
        ("vgg11_bn", 32, 9, "features.1", "pre_logits"),
        ("resnet18", 32, 1 + 8, "bn1", "layer4.1"),
        ("resnet50", 32, 1 + 16, "bn1", "layer4.2"),
        ("resnet152", 32, 1 + 50, "bn1", "layer4.2"),
        ("inception_v3", 96, 13, "Conv2d_2b_3x3", "Mixed_7c"),
        ("densenet121", 32, 1 + 58, "features.norm0", "features.norm5"),
        ("mobilenetv2_100", 32, 1 + 17 + 1, "bn1", "bn2"),
        ("mobilenetv3_large_100", 32, 1 + 16 + 1, "bn1", "conv_head"),
        ("squeezenet1_1", 64, 1 + 8, "features.0", "features.12"),
        ("efficientnet_b0", 32, 1 + 16 + 1, "bn1", "bn2"),
        ("tf_efficientnet_lite0", 32, 1 + 16 + 1, "bn1", "bn2"),
        ("vit_small_patch16_224", 32, 1 + 12, "patch_embed", "norm"),
        ("convnext_tiny", 32, 1 + 18, "stem", "head"),
        ("swin_tiny_patch4_window7_224", 64, 1 + 12, "patch_embed", "norm"),
        ("regnety_002", 32, 1 + 13, "stem", "s4.b7"),
        ("deit_tiny_patch16_224", 32, 1 + 12, "patch_embed", "norm"),
        ("googlenet", 64, 3 + 9, "conv1", "inception5b"),
        ("shufflenet_v2_x1_0", 64, 1 + 16 + 1, "conv1", "conv5"),
        ("test_resnet", None, 1 + 4, "bn1", "layer4.0"),
        ("test_vit", None, 1 + 6, "patch_embed", "norm"),
        ("pit_ti_224", None, 1 + 12 + 2, "patch_embed", "norm"),
        ("poolformer_s12", 32, 1 + 12 + 3, "stem.conv", "head"),
        ("csatv2", 64, 22, "stem_dct", "head"),
    ],
)
def test_blocks_run_from_input_to_output(name: str, size: int | None, num_blocks: int, first: str, last: str) -> None:
    """The blocks are as many as the architecture has steps, and first run in the order in which freezing counts them."""
    backbone = _load(name, size)
    names = [block.name for block in backbone.blocks]
    assert (len(names), names[0], names[-1]) == (num_blocks, first, last)
    order = list(_order_of_execution(backbone))
    assert order == sorted(order)
    assert set(order) == set(range(len(names)))


class _Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 4))
        self.stem = nn.Linear(4, 4)
        self.stages = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)) for _ in range(2))
        self.norm = nn.LayerNorm(4)
        self.register_buffer("scale", torch.ones(1), persistent=False)


def test_steps_without_kernels_join_the_one_before() -> None:
    """Norms and buffers belong to the step they follow, tokens to the first module; non-persistent buffers are owned too."""
    blocks = find_blocks(_Tiny(), NUMBERED)
    assert [block.name for block in blocks] == ["stem", "stages.0", "norm"]
    assert set(blocks[0].tensors) == {"token", "scale", "stem.weight", "stem.bias"}
    assert {"stages.1.0.weight", "stages.1.1.running_var", "norm.weight"} <= set(blocks[2].tensors)
