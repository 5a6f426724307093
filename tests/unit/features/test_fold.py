"""Folded trunks: the same function with fewer layers, and nothing folded that must not be."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import timm.layers
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from harness.features.cut import difference
from harness.features.fold import folded
from tests.unit.tiny import images_of, own_backbone, random_backbone, settle

_timm: Any = timm.layers


def _num_norms(module: nn.Module) -> int:
    return sum(isinstance(part, _BatchNorm) for part in module.modules())


@torch.no_grad()
def _same(trunk: nn.Module, images_BCHW: Tensor) -> None:
    """In float64, where rounding hides no mistake."""
    exact, images = copy.deepcopy(trunk).eval().double(), images_BCHW.double()
    wanted = exact(images)
    assert difference(wanted[:1], wanted[1:2]) > 1e-3  # else any images would do
    assert (folded(exact)(images) - wanted).abs().max() <= 1e-9 * wanted.abs().max()


@pytest.mark.parametrize(
    ("name", "size", "num_norms", "num_left"),
    [
        ("resnet18", 32, 20, 0),
        ("tf_efficientnet_lite0", 32, 49, 0),
        ("mobilenetv3", 32, 46, 0),
        ("inception", 80, 94, 0),
        ("googlenet", 64, 57, 0),
        ("densenet121", 32, 121, 62),  # one before each convolution that reads several layers, and the last
        ("test_resnet", None, 15, 0),
        ("convnext_tiny", 32, 0, 0),
        ("test_vit", None, 0, 0),
    ],
)
def test_every_pair_is_folded_and_the_answers_stay(name: str, size: int | None, num_norms: int, num_left: int) -> None:
    """With statistics, scales and shifts of its own each batch-norm behind a convolution becomes part of it; those before one stay."""
    backbone = random_backbone(name, size)
    settle(backbone.trunk, images_of(backbone, 4, seed=2))
    assert (_num_norms(backbone.trunk), _num_norms(folded(backbone.trunk))) == (num_norms, num_left)
    _same(backbone.trunk, images_of(backbone, 3))


def test_the_original_is_untouched() -> None:
    """The trunk goes on to train: its tensors, its mode, its modules and what is free in it are as before; the copy is fixed and in eval mode."""
    trunk = random_backbone("test_resnet").trunk.train()
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}
    modules = dict(trunk.named_modules())
    twin = folded(trunk)
    assert trunk.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in trunk.state_dict().items())
    assert dict(trunk.named_modules()) == modules
    assert all(parameter.requires_grad for parameter in trunk.parameters())
    assert all(module.training for module in trunk.modules())
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    assert not twin.training
    assert not any(part.training for part in twin.modules() if isinstance(part, (_BatchNorm, nn.Dropout, nn.Conv2d)))
    own = {tensor.data_ptr() for tensor in trunk.state_dict().values()}
    assert own.isdisjoint(tensor.data_ptr() for tensor in twin.state_dict().values())


def test_module_names_stay() -> None:
    """Segments of the trunk find every module that they call under its name in the folded copy."""
    trunk = random_backbone("test_resnet").trunk
    leaves = {name for name, module in trunk.named_modules() if not any(module.children())}
    assert leaves <= {name for name, _ in folded(trunk).named_modules()}


def test_what_a_batch_norm_carries_stays() -> None:
    """The activation inside timm's batch-norm runs after the fold too."""
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3), _timm.BatchNormAct2d(4, act_layer=nn.SiLU))
    settle(trunk, torch.randn(4, 3, 16, 16))
    assert _num_norms(folded(trunk)) == 0
    _same(trunk, torch.randn(2, 3, 16, 16))


class _Chain(nn.Module):
    """A convolution and a batch-norm; how they are joined is a test's own."""

    def __init__(self, conv: nn.Module | None = None, norm: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = conv or nn.Conv2d(3, 4, 3, padding=1)
        self.norm = norm or nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.joined(x).flatten(1)
        return features

    def joined(self, x: Tensor) -> Any:
        return self.norm(self.conv(x))


class _TwoReaders(_Chain):
    def joined(self, x: Tensor) -> Any:
        x = self.conv(x)
        return self.norm(x) + x


class _Before(_Chain):
    def __init__(self) -> None:
        super().__init__(norm=nn.BatchNorm2d(3))

    def joined(self, x: Tensor) -> Any:
        return self.conv(self.norm(x))


class _Between(_Chain):
    def joined(self, x: Tensor) -> Any:
        return self.norm(torch.relu(self.conv(x)))


class _ConvTwice(_Chain):
    """The same convolution runs again without the batch-norm."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3))

    def joined(self, x: Tensor) -> Any:
        return self.norm(self.conv(torch.relu(self.conv(x))))


class _NormTwice(_Chain):
    """The same batch-norm runs again behind something else."""

    def joined(self, x: Tensor) -> Any:
        return self.norm(torch.relu(self.norm(self.conv(x))))


class _Depends(_Chain):
    """Asks the images what to do, so that its calls cannot be recorded."""

    def joined(self, x: Tensor) -> Any:
        x = self.conv(x)
        return self.norm(x) if x.sum() > 0 else x


@pytest.mark.parametrize(
    "build",
    [
        lambda: _Chain(_timm.ScaledStdConv2d(3, 4, 3, padding=1)),
        lambda: _Chain(_timm.StdConv2d(3, 4, 3, padding=1)),
        lambda: _Chain(nn.ConvTranspose2d(3, 4, 3, padding=1)),
        _TwoReaders,
        _Before,
        _Between,
        _ConvTwice,
        _NormTwice,
        _Depends,
    ],
    ids=["scaled-std", "std", "transposed", "two-readers", "norm-first", "between", "conv-twice", "norm-twice", "depends"],
)
def test_what_is_no_pair_is_left_alone(build: Callable[[], nn.Module]) -> None:
    """A weight that is rebuilt in every call, a value with two readers, a batch-norm elsewhere, a layer used twice: the answers stay."""
    backbone = own_backbone(build(), ["conv", "norm"])
    settle(backbone.trunk, images_of(backbone, 4, seed=2))
    assert _num_norms(folded(backbone.trunk)) == 1
    _same(backbone.trunk, images_of(backbone, 3))


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("is_affine", [True, False])
def test_a_pair_may_lack_bias_or_scale(has_bias: bool, is_affine: bool) -> None:
    """Convolutions without bias and batch-norms without scale and shift fold too, grouped and strided ones included."""
    conv = nn.Conv2d(4, 8, 3, stride=2, groups=4, bias=has_bias)
    trunk = nn.Sequential(nn.Conv2d(3, 4, 1), conv, nn.BatchNorm2d(8, affine=is_affine), nn.Flatten())
    norm = trunk[2]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    assert _num_norms(folded(trunk)) == 0
    _same(trunk, torch.randn(2, 3, 16, 16))
