"""Activations joined to the convolution before them, for trunks that only compute on a processor: one trip through memory instead of two.

The kernels are those that torch's compiler would call; here no compiler is needed.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from typing import Any

import timm.layers
import torch
from torch import Tensor, fx, nn

from harness.backbones.trace import PLAIN_CONVS
from harness.config import Device, Precision

_timm: Any = timm.layers

_KINDS: Mapping[type[nn.Module], tuple[str, list[float]]] = {
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
    """A convolution and the activation of what comes out of it: (B, C, H, W) to (B, C', H', W'), without gradients."""

    def __init__(self, conv: nn.Conv2d, kind: type[nn.Module]) -> None:
        super().__init__()
        self.conv, self._kind = conv, kind

    def forward(self, images_BCHW: Tensor) -> Tensor:
        conv, (kind, bounds) = self.conv, _KINDS[self._kind]
        weight, bias = conv.weight, conv.bias
        if torch.is_autocast_enabled("cpu"):  # which does not know these kernels
            dtype = torch.get_autocast_dtype("cpu")
            images_BCHW, weight = images_BCHW.to(dtype), weight.to(dtype)  # a folded bias is added in float32
        padding = conv.padding
        if isinstance(conv, _timm.Conv2dSame):
            images_BCHW, padding = _timm.pad_same(images_BCHW, conv.kernel_size, conv.stride, conv.dilation), (0, 0)
        found_BCHW: Tensor = torch.ops.mkldnn._convolution_pointwise(
            images_BCHW, weight, bias, padding, conv.stride, conv.dilation, conv.groups, kind, bounds, ""
        )
        return found_BCHW


def fuse(trunk: nn.Module, graph: fx.Graph) -> None:
    """Put a `FusedConv` for every convolution that only an activation reads; that becomes an identity, so that module names stay.

    Args:
        trunk: its batch-norms folded; changed in place.
        graph: the calls it made before they were folded, convolutions and batch-norms among them as one call each.
    """
    readers = dict(sole_readers(graph))
    for name in readers:
        conv = trunk.get_submodule(name)
        if not (type(conv) in PLAIN_CONVS and _is_plain(conv)):
            continue
        reader = next((found for found in _follow(name, readers) if not _is_nothing(trunk.get_submodule(found))), None)
        kind = None if reader is None else _kind(trunk.get_submodule(reader))
        if reader is not None and kind is not None:
            trunk.set_submodule(name, FusedConv(conv, kind))  # type: ignore[arg-type]
            trunk.set_submodule(reader, nn.Identity())


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
    return isinstance(conv, nn.Conv2d) and conv.padding_mode == "zeros" and not isinstance(conv.padding, str)


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
