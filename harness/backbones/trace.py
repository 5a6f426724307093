"""A trunk recorded as a graph of calls, which can then be cut or rewritten. torch.fx records; timm names the leaf modules.

Used by `features/cut` and `features/fold`.
"""

from collections.abc import Callable
from typing import Any

import timm.layers
from torch import fx, nn

_timm: Any = timm.layers

PLAIN_CONVS: tuple[type[nn.Conv2d], ...] = (nn.Conv2d, _timm.Conv2dSame)
"""Convolutions that use their weight as it is; other subclasses may standardise or rebuild it in every call."""

_Norm = nn.modules.batchnorm._BatchNorm


def is_plain_conv(module: nn.Module) -> bool:
    """Whether it is a convolution that computes with its weight as it is; a hook, such as that of weight norm, may set another in every call."""
    return type(module) in PLAIN_CONVS and not _has_hooks(module)


def is_plain_norm(module: nn.Module) -> bool:
    """Whether it is torch's batch-norm or timm's, with statistics of its own; others may compute something else."""
    is_known = isinstance(module, _Norm) and type(module).__module__.startswith(("torch.", "timm."))
    return is_known and module.running_mean is not None and not _has_hooks(module)


def _has_hooks(module: nn.Module) -> bool:
    return bool(module._forward_pre_hooks or module._forward_hooks)


IsLeaf = Callable[[nn.Module, str], bool]
"""Whether the recording takes a module, given with its name, as one call instead of going into it."""


def trace(trunk: nn.Module, is_leaf: IsLeaf) -> fx.Graph | None:
    """The calls that `trunk` makes for one batch, or None when they depend on what is in the batch.

    Args:
        trunk: takes one tensor.
        is_leaf: modules to take as one call, besides those of torch and those that timm does not want entered.
    """
    try:
        graph = _Recorder(is_leaf).trace(trunk)
    except Exception:  # noqa: BLE001  control flow, odd arguments: architectures fail to be recorded in any way
        return None
    graph.lint()
    return graph


class _Recorder(fx.Tracer):
    """fx's tracer with timm's exceptions and the caller's leaves."""

    def __init__(self, is_leaf: IsLeaf) -> None:
        super().__init__(autowrap_functions=tuple(_timm.get_notrace_functions()))
        self._is_leaf = is_leaf
        self._untraceable = tuple(_timm.get_notrace_modules())

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Names as in fx, which calls this."""
        known = isinstance(m, self._untraceable) or super().is_leaf_module(m, module_qualified_name)
        return known or self._is_leaf(m, module_qualified_name)
