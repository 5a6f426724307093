"""Networks that a user might have written; tests copy this file to where commands are started, and name its functions."""

from typing import Any

import timm
import torch
from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import weight_norm


class Small(nn.Module):
    """Two stages and a classifier, as in a first lesson."""

    input_size = 32
    mean = (0.4, 0.4, 0.4)
    std = (0.2, 0.2, 0.2)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.layers = nn.ModuleList([nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(3)])
        self.classifier = nn.Linear(8, 10)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        x = self.stem(images_BCHW)
        for layer in self.layers:
            x = layer(x)
        logits_BC: Tensor = self.classifier(x.mean((2, 3)))
        return logits_BC


class Pair(nn.Module):
    """Hands on a tuple."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.one = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.two = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.one(x), self.two(x)


class Reads(nn.Module):
    """Takes a tuple; the way through it depends on the size of what comes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.grouped = nn.Conv2d(channels, channels, 3, padding=1, groups=2)

    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        x = pair[0] + pair[1]
        if x.shape[-1] > 8:
            x = functional.max_pool2d(x, 2)
        found: Tensor = self.grouped(x)
        return found


class Attends(nn.Module):
    """Attention written with einsum, positions as a parameter of its own."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(1, 64, channels) / 10)
        self.to_qkv = nn.Linear(channels, 3 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        tokens_BND = x.flatten(2).transpose(1, 2) + self.positions[:, : height * width]
        q, k, v = self.to_qkv(tokens_BND).chunk(3, dim=-1)
        weights_BNM = torch.einsum("bnd,bmd->bnm", q, k).div(channels**0.5).softmax(dim=-1)
        return torch.einsum("bnm,bmd->bnd", weights_BNM, v).transpose(1, 2).reshape(batch, channels, height, width) + x


class Scales(nn.Module):
    """A buffer that is part of the function, a parameter that lies in the module itself."""

    shift: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.register_buffer("shift", torch.full((channels, 1, 1), 0.1))
        self.mix = weight_norm(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.mix(x * self.scale + self.shift)
        return found


class Odd(nn.Module):
    """Ten odd things: tuples inside, a layer used twice, functional pooling, a buffer, grouped convolutions, parameters of modules themselves,
    weight norm, a way that depends on a shape, attention by einsum, dropout; and half of the layers registered in another order than they run.
    """

    def __init__(self) -> None:
        super().__init__()
        self.attends = Attends(8)
        self.token = nn.Parameter(torch.zeros(1, 8, 1, 1))
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.reused = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.SiLU())
        self.pair, self.reads, self.scales = Pair(8), Reads(8), Scales(8)
        self.drop = nn.Dropout(0.1)
        self.last = nn.Linear(8, 12)
        self.classifier = nn.Linear(12, 5)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        x = self.stem(images_BCHW) + self.token
        x = self.reused(self.reused(x))
        x = self.scales(self.reads(self.pair(x)))
        x = self.attends(x)
        x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
        x = functional.dropout(functional.relu(self.last(x)), 0.1, training=self.training)
        logits_BC: Tensor = self.classifier(self.drop(x))
        return logits_BC


def small(pretrained: bool = False) -> nn.Module:
    """Its weights are the same each time when asked for. It imports what Python itself has, and no file that is called so."""
    from wave import WAVE_FORMAT_PCM

    if pretrained:
        torch.manual_seed(WAVE_FORMAT_PCM)
    return Small()


def odd() -> nn.Module:
    """At random start."""
    return Odd()


@register_model
def own_registered(pretrained: bool = False, **options: Any) -> nn.Module:
    """A model that timm knows once this file is imported."""
    model: nn.Module = timm.create_model("test_resnet", pretrained=False, **options)
    return model


def registered() -> str:
    """Its name."""
    return "own_registered"


class Wrong(nn.Module):
    """Everything that is not allowed at once."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Pair(3), Pair(3)])
        self.layers[1].one.weight = self.layers[0].one.weight  # type: ignore[union-attr]
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, images_BCHW: Tensor) -> Tensor:
        self.calls += 1
        x = images_BCHW
        for layer in self.layers:
            x = sum(layer(x))
        found: Tensor = x.mean((2, 3))
        return found - found.mean(0)


def wrong() -> nn.Module:
    """At random start."""
    return Wrong()


class Maps(nn.Module):
    """Returns maps, in a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor]:
        return (self.conv(images_BCHW),)


def maps() -> nn.Module:
    """At random start."""
    return Maps()


def nothing() -> nn.Module:
    """Without parameters."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
