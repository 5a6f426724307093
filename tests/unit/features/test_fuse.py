"""Activations joined to convolutions: the same features with fewer calls, and nothing joined that somebody else reads."""

import copy
from typing import Any

import pytest
import timm.layers
import torch
from torch import Tensor, nn

from harness.compute.runtime import Runtime
from harness.config import Device, Precision
from harness.features.cut import difference
from harness.features.fold import folded
from harness.features.fuse import FusedConv, can_fuse
from harness.features.mode import modes
from tests.unit.tiny import images_of, random_backbone, settle

_timm: Any = timm.layers

NEEDS_BFLOAT16 = pytest.mark.skipif(not can_fuse(Device.cpu, Precision.bfloat16), reason="this processor has no such kernels for bfloat16")


def _fused(module: nn.Module) -> list[FusedConv]:
    return [part for part in module.modules() if isinstance(part, FusedConv)]


def _num_joined(module: nn.Module) -> int:
    return sum(part.activation is not None for part in _fused(module))


@pytest.mark.parametrize(
    ("name", "size", "num_joined"),
    [
        ("resnet18", 32, 9),  # the second of each block is read by the sum
        ("tf_efficientnet_lite0", 32, 33),  # convolutions that pad as TensorFlow does, ReLU6
        ("mobilenetv3", 32, 40),  # hardswish and ReLU
        ("tf_efficientnet_b0", 96, 49),  # swish, squeeze and excitation
        ("regnetx_002", 32, 27),
        ("shufflenet", 32, 37),  # torchvision's: batch-norm and activation are modules of their own
        ("densenet121", 32, 59),
        ("googlenet", 64, 0),  # torchvision's: activations are functions
        ("convnext_tiny", 32, 0),
    ],
)
@pytest.mark.parametrize("precision", [Precision.float32, pytest.param(Precision.bfloat16, marks=NEEDS_BFLOAT16)])
@torch.inference_mode()
def test_joined_activations_give_the_same_features(name: str, size: int, num_joined: int, precision: Precision) -> None:
    """As close to those in float64 as the separate calls come, in float32 and in bfloat16."""
    backbone = random_backbone(name, size)
    settle(backbone.trunk, images_of(backbone, 4, seed=2))
    trunk, images = backbone.trunk.eval(), images_of(backbone, 3)
    one, other = folded(trunk, fuses=True), folded(trunk)
    assert _num_joined(one) == num_joined
    wanted = copy.deepcopy(trunk).double()(images.double()).float()
    if precision is Precision.float32:
        assert difference(one(images), wanted) <= 4 * difference(other(images), wanted) + 1e-5
    else:
        with torch.autocast("cpu", torch.bfloat16):
            assert difference(one(images).float(), wanted) <= 2 * difference(other(images).float(), wanted)


def test_convolutions_without_an_activation_call_the_kernels_too() -> None:
    """One core computes those of one pixel more slowly through torch's own call. Where nothing is joined, nothing changes."""
    one, other = (folded(random_backbone(name, 32).trunk, fuses=True) for name in ("tf_efficientnet_lite0", "convnext_tiny"))
    is_all = {name.endswith(".conv") for name, module in one.named_modules() if isinstance(module, nn.Conv2d)}
    assert is_all == {True}
    assert {part.activation for part in _fused(one)} == {None, nn.ReLU6}
    assert _fused(other) == []


@pytest.mark.parametrize(("height", "width"), [(16, 16), (15, 15), (16, 15), (13, 14), (4, 3)])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "is_depthwise"), [(3, 2, 1, True), (5, 2, 1, True), (6, 1, 1, True), (3, 2, 1, False), (4, 1, 2, True)]
)
@torch.inference_mode()
def test_borders_are_those_of_the_convolution(
    height: int, width: int, kernel: int, stride: int, dilation: int, *, is_depthwise: bool
) -> None:
    """Of even and odd pictures, whether a side needs a line more than the other or not; batch after batch."""
    conv = _timm.Conv2dSame(8, 8, kernel, stride, dilation=dilation, groups=8 if is_depthwise else 1)
    fused = FusedConv(conv)
    for seed in range(2):
        images = torch.randn(2, 8, height, width, generator=torch.Generator().manual_seed(seed)).contiguous(
            memory_format=torch.channels_last
        )
        torch.testing.assert_close(fused(images), conv(images), rtol=1e-5, atol=1e-5)
    other = images.transpose(2, 3).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fused(other), conv(other), rtol=1e-5, atol=1e-5)


@NEEDS_BFLOAT16
@torch.inference_mode()
def test_a_bias_is_added_in_full() -> None:
    """In bfloat16 too: one that nearly cancels what the convolution gives is not rounded first."""
    conv = nn.Conv2d(1, 1, 1)
    conv.weight.fill_(-1.0)
    conv.get_parameter("bias").fill_(1.001)
    with torch.autocast("cpu", torch.bfloat16):
        found = FusedConv(conv, nn.ReLU)(torch.ones(1, 1, 2, 2))
    assert found.dtype is torch.bfloat16
    assert found.float().mean().item() == pytest.approx(0.001, rel=0.01)


def test_module_names_stay() -> None:
    """Segments of the trunk find every module that they call under its name, and the trunk itself is as it was."""
    trunk = random_backbone("tf_efficientnet_lite0", 32).trunk
    modules = dict(trunk.named_modules())
    leaves = {name for name, module in modules.items() if not any(module.children())}
    twin = folded(trunk, fuses=True)
    calls = {name.removesuffix(".conv") for name, _ in twin.named_modules()}
    assert {name for name in leaves if not name.endswith((".drop", ".act"))} <= calls
    assert dict(trunk.named_modules()) == modules


class _Branching(nn.Module):
    """A convolution whose output is read twice, one whose activation is used twice, and one with reflected borders."""

    def __init__(self) -> None:
        super().__init__()
        self.read_twice, self.first, self.second = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.mirrored = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")
        self.same = nn.Conv2d(3, 3, 3, padding="same")
        self.act, self.shared, self.after_mirrored, self.after_same = (nn.ReLU() for _ in range(4))
        self.leaky = nn.LeakyReLU()
        self.before_leaky = nn.Conv2d(3, 3, 1)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        found = self.read_twice(images_BCHW)
        found = found + self.act(found)
        found = self.shared(self.second(self.shared(self.first(found))))
        found = self.after_same(self.same(self.after_mirrored(self.mirrored(found))))
        return torch.as_tensor(self.leaky(self.before_leaky(found)))


def test_what_others_read_stays_apart() -> None:
    """Nothing is joined where the plain output is needed, where an activation serves twice, or where the kernels cannot do the same."""
    twin = folded(_Branching(), fuses=True)
    assert _fused(twin) == []


def test_joining_is_for_processors() -> None:
    """Elsewhere, or with a torch that has no such kernels, it is not offered."""
    assert can_fuse(Device.cpu, Precision.float32) == hasattr(torch.ops.mkldnn, "_convolution_pointwise")
    assert not can_fuse(Device.cuda, Precision.float32)
    assert not can_fuse(Device.mps, Precision.float32)


def test_kernels_that_refuse_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor without them for bfloat16, or a torch that calls them otherwise: found out by calling one, and passes run folded only."""

    def refuse(images_BCHW: Tensor, *_: object) -> Tensor:
        if images_BCHW.dtype is torch.bfloat16:
            raise RuntimeError("bf16 path needs the cpu support avx512bw")
        return images_BCHW

    monkeypatch.setattr(torch.ops.mkldnn, "_convolution_pointwise", refuse)
    can_fuse.cache_clear()
    monkeypatch.setattr("harness.features.mode.computes_bfloat16", lambda _: True)
    runtime = Runtime(Device.cpu, Precision.float32)
    assert [mode.is_fused for mode in modes(runtime, Precision.auto, lower=True)] == [False, True, False]
    can_fuse.cache_clear()
