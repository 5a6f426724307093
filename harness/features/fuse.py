"""Convolutions as calls of the kernels themselves, for trunks that only compute on a processor: less memory to go through, same values.

Activations are joined to the convolution before them, borders to depthwise ones.

The kernels are those that torch's compiler would call; here no compiler is needed.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import timm.layers
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from harness.backbones.trace import is_plain_conv
from harness.config import Device, Precision

_timm: Any = timm.layers

_Uneven = tuple[int, int]
"""Whether the border below is a line wider than the one above, and the one on the right than the one on the left; 0 or 1."""

_KINDS: Mapping[type[nn.Module] | None, tuple[str, list[float]]] = {
    None: ("none", []),
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.SiLU: ("swish", []),
    nn.Hardswish: ("hardswish", []),
}
"""How the kernels call an activation, and its bounds. Of these very types: a subclass may do something else."""


@cache
def can_fuse(device: Device, precision: Precision) -> bool:
    """Whether such kernels work here, found out by calling one: they are no public part of torch, and not every processor has them for bfloat16."""
    if device is not Device.cpu:
        return False
    ones = torch.ones(1, 1, 1, 1, dtype=torch.bfloat16 if precision is Precision.bfloat16 else torch.float32)
    with torch.inference_mode(), suppress(Exception):
        torch.ops.mkldnn._convolution_pointwise(ones, ones, torch.ones(1), (0, 0), (1, 1), (1, 1), 1, "relu", [], "")
        return True
    return False


class FusedConv(nn.Module):
    """A convolution and the activation of what comes out of it, if any: (B, C, H, W) to (B, C', H', W'), without gradients."""

    def __init__(self, conv: nn.Conv2d, activation: type[nn.Module] | None = None) -> None:
        super().__init__()
        self.conv, self.activation = conv, activation
        self._shifted: dict[_Uneven, Tensor] = {}

    def forward(self, images_BCHW: Tensor) -> Tensor:
        conv, (kind, bounds) = self.conv, _KINDS[self.activation]
        images_BCHW, weight, padding = self._bordered(images_BCHW)
        if torch.is_autocast_enabled("cpu"):  # which does not know these kernels
            dtype = torch.get_autocast_dtype("cpu")
            images_BCHW, weight = images_BCHW.to(dtype), weight.to(dtype)  # a folded bias is added in float32
        found_BCHW: Tensor = torch.ops.mkldnn._convolution_pointwise(
            images_BCHW, weight, conv.bias, padding, conv.stride, conv.dilation, conv.groups, kind, bounds, ""
        )
        return found_BCHW

    def _bordered(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        """Images, weight and padding on each side, such that borders are those of the convolution."""
        conv = self.conv
        if not isinstance(conv, _timm.Conv2dSame):
            assert not isinstance(conv.padding, str)  # `fuse` takes no such
            return images_BCHW, conv.weight, conv.padding
        sides = zip(images_BCHW.shape[-2:], conv.kernel_size, conv.stride, conv.dilation, strict=True)
        borders = [_timm.get_same_padding(*side) for side in sides]
        down, right = uneven = (borders[0] % 2, borders[1] % 2)
        if any(uneven) and not (conv.groups == conv.in_channels and conv.dilation == (1, 1)):
            return _timm.pad_same(images_BCHW, conv.kernel_size, conv.stride, conv.dilation), conv.weight, (0, 0)
        # The kernels know borders of one width only. One line more before the first, with a weight of zero for it, is as good
        # as one more behind the last, and spares a copy of the images; with one weight a place it costs next to nothing.
        if uneven not in self._shifted:
            self._shifted[uneven] = functional.pad(conv.weight, (right, 0, down, 0))
        return images_BCHW, self._shifted[uneven], tuple((border + 1) // 2 for border in borders)


def fuse(trunk: nn.Module, graph: fx.Graph) -> None:
    """Put a `FusedConv` for every convolution, together with an activation that alone reads it, which becomes an identity so that names stay.

    A trunk that has no such pair stays as it is: most of what it does is something else.

    Args:
        trunk: its batch-norms folded; changed in place.
        graph: the calls it made before they were folded, convolutions and batch-norms among them as one call each.
    """
    readers = dict(sole_readers(graph))
    calls = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    convs = [name for name in dict.fromkeys(calls) if _is_plain(trunk.get_submodule(name))]
    pairs = {name: reader for name in convs if (reader := _activation_of(name, trunk, readers))}
    for name in convs if pairs else ():
        reader = pairs.get(name)
        kind = None if reader is None else _kind(trunk.get_submodule(reader))
        trunk.set_submodule(name, FusedConv(trunk.get_submodule(name), kind))  # type: ignore[arg-type]
        if reader is not None:
            trunk.set_submodule(reader, nn.Identity())


def _activation_of(name: str, trunk: nn.Module, readers: Mapping[str, str]) -> str | None:
    """The first module behind this one that does something, if that is an activation that the kernels know."""
    reader = next((found for found in _follow(name, readers) if not _is_nothing(trunk.get_submodule(found))), None)
    return None if reader is None or _kind(trunk.get_submodule(reader)) is None else reader


def sole_readers(graph: fx.Graph) -> Iterator[tuple[str, str]]:
    """Names of (module, module) where the second is the only reader of the first and both are called once."""
    calls = [node for node in graph.nodes if node.op == "call_module"]
    names = [str(node.target) for node in calls]
    for node in calls:
        before = node.args[0] if node.args else None
        if isinstance(before, fx.Node) and before.op == "call_module" and len(before.users) == 1:
            pair = str(before.target), str(node.target)
            if all(names.count(name) == 1 for name in pair):
                yield pair


def _follow(name: str, readers: Mapping[str, str]) -> Iterator[str]:
    while name in readers:
        name = readers[name]
        yield name


def _is_plain(conv: nn.Module) -> bool:
    return is_plain_conv(conv) and getattr(conv, "padding_mode", "") == "zeros" and not isinstance(conv.padding, str)


def _is_nothing(module: nn.Module) -> bool:
    return _parts(module) == []


def _kind(module: nn.Module) -> type[nn.Module] | None:
    """The type of an activation that the kernels know, also where a folded batch-norm has left it alone in a Sequential."""
    parts = _parts(module)
    return type(parts[0]) if len(parts) == 1 and type(parts[0]) in _KINDS else None


def _parts(module: nn.Module) -> list[nn.Module]:
    """What a module calls one after the other, without what does nothing."""
    inside = list(module) if type(module) is nn.Sequential else [module]
    return [part for part in inside if type(part) is not nn.Identity]
