"""Batch-norm folded into the convolution before it, for trunks that only compute: the same function with far less to move through memory.

Used by the passes that cache activations; a network that trains is never folded.
"""

import copy

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from harness.backbones.trace import PLAIN_CONVS, is_plain_conv, is_plain_norm, trace
from harness.features.fuse import fuse, sole_readers


def folded(trunk: nn.Module, *, fuses: bool = False) -> nn.Module:
    """A copy of `trunk` in eval mode, with the same module names, in which every batch-norm that directly follows a convolution is part of it.

    Equal to the trunk up to rounding; where the calls of the trunk cannot be recorded, an unchanged copy.

    Args:
        trunk: stays as it is.
        fuses: join activations to convolutions as well.
    """
    twin = copy.deepcopy(trunk).eval().requires_grad_(requires_grad=False)
    graph = trace(twin, lambda module, _: isinstance(module, (_BatchNorm, *PLAIN_CONVS)))
    if graph is not None:
        for conv, norm in _pairs(twin, graph):
            _fold(twin, conv, norm)
        if fuses:
            fuse(twin, graph)
    return twin.eval()


def _pairs(trunk: nn.Module, graph: fx.Graph) -> list[tuple[str, str]]:
    """Names of each convolution and the batch-norm that alone reads it."""
    modules = dict(trunk.named_modules())
    return [(conv, norm) for conv, norm in sole_readers(graph) if is_plain_conv(modules[conv]) and is_plain_norm(modules[norm])]


def _fold(trunk: nn.Module, conv_name: str, norm_name: str) -> None:
    conv, norm = trunk.get_submodule(conv_name), trunk.get_submodule(norm_name)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, _BatchNorm)
    # timm's batch-norm carries the activation that follows it, and sometimes a dropout before that.
    rest = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
    trunk.set_submodule(conv_name, fuse_conv_bn_eval(conv, norm))
    trunk.set_submodule(norm_name, nn.Sequential(*rest) if rest else nn.Identity())
