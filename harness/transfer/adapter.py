"""What is trained inside frozen blocks: norms, biases, or updates of low rank to weights that stay as they are.

Between the freeze plan and the network. A low-rank update is part of every read of its weight, so whatever a module does with the weight, it
does with the sum, and merging writes down the tensor that was computed with: a merged network says the same, bit by bit. Names of tensors stay.

Source: Hu et al., LoRA, ICLR 2022; Ben Zaken et al., BitFit, ACL 2022. Shapes: O outputs, I inputs of a layer, R rank.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import torch
from torch import Tensor, nn

from harness.backbones.backbone import Block
from harness.config import Adapter
from harness.errors import ConfigError
from harness.transfer.freeze import FreezePlan

_UP, _DOWN = "lora_up_OR", "lora_down_RI"
"""Names of the two factors in a layer that has an update."""


def plan_adapter(plan: FreezePlan, trunk: nn.Module, blocks: Sequence[Block], adapter: Adapter) -> FreezePlan:
    """Return the plan with what the adapter trains in its frozen blocks. Raises ConfigError where there is nothing that it could train."""
    if adapter is Adapter.none:
        return plan
    found = {name for name in _TRAINED[adapter](trunk) if name in plan.frozen}
    if not found:
        raise ConfigError(
            f"adapter={adapter.value} freeze={plan.depth}: the frozen blocks of this backbone have no {_MEANT[adapter]}; "
            "give another adapter, or freeze more."
        )
    first = next(place for place, block in enumerate(blocks) if not found.isdisjoint(block.tensors))
    if adapter is Adapter.lora:
        factors = {f"{name.removesuffix('weight')}{key}" for name in found for key in (_UP, _DOWN)}
        return replace(plan, low_rank=frozenset(found), adapted=frozenset(factors), first_changed_block=first)
    return replace(plan, frozen=plan.frozen - found, adapted=frozenset(found), first_changed_block=first)


def _norms(trunk: nn.Module) -> Iterator[str]:
    """By the names of their classes: torch's, timm's and anybody's own."""
    for path, module in trunk.named_modules():
        if "norm" in type(module).__name__.lower():
            yield from (_joined(path, name) for name, own in module.named_parameters(recurse=False) if own.ndim == 1)


def _biases(trunk: nn.Module) -> Iterator[str]:
    yield from (name for name, parameter in trunk.named_parameters() if name.endswith("bias") and parameter.ndim == 1)


def _linear_maps(trunk: nn.Module) -> Iterator[str]:
    """Weights of layers that mix channels at one place."""
    for path, module in trunk.named_modules():
        is_pointwise = isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
        if is_pointwise or isinstance(module, nn.Linear):
            yield _joined(path, "weight")


_TRAINED: Mapping[Adapter, Callable[[nn.Module], Iterator[str]]] = {
    Adapter.norm: _norms,
    Adapter.bias: _biases,
    Adapter.lora: _linear_maps,
}
_MEANT = {Adapter.norm: "normalisation layer", Adapter.bias: "bias", Adapter.lora: "linear layer or 1x1 convolution"}


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def add_low_rank(trunk: nn.Module, weights: AbstractSet[str], rank: int, seed: int) -> None:
    """Add updates to these weights. They start at zero, as one of the two factors does; `seed` decides the other one.

    Args:
        trunk: on its device.
        weights: names of matrices, or of kernels of one pixel.
        rank: of each update; where a layer is smaller, as many as it has.
        seed: of the job.
    """
    generator = torch.Generator().manual_seed(seed)
    for name in sorted(weights):
        module = trunk.get_submodule(name.rpartition(".")[0])
        weight = module._parameters["weight"]
        assert weight is not None
        (outputs, inputs), bound = weight.shape[:2], 1 / math.sqrt(weight.shape[1])
        num = min(rank, outputs, inputs)
        down_RI = torch.empty(num, inputs).uniform_(-bound, bound, generator=generator)
        for key, factor in ((_UP, torch.zeros(outputs, num)), (_DOWN, down_RI)):
            module.register_parameter(key, nn.Parameter(factor.to(weight.device, weight.dtype)))
        module.__class__ = type(type(module).__name__, (_LowRank, type(module)), {})


@torch.no_grad()
def merge_low_rank(trunk: nn.Module) -> None:
    """Write the sums into the weights and take the updates off again; a weight whose update is still zero stays as it is to the last bit."""
    for module in trunk.modules():
        if isinstance(module, _LowRank):
            base, up_OR = module._parameters["weight"], module._parameters[_UP]
            assert base is not None
            assert up_OR is not None
            if up_OR.any():
                base.copy_(module.weight)
            module.__class__ = type(module).__mro__[2]
            for key in (_UP, _DOWN):
                delattr(module, key)


class _LowRank(nn.Module):
    """In front of a layer's own class: whoever reads `weight` gets the sum; `named_parameters` and `state_dict` still hold the frozen weight."""

    @property
    def weight(self) -> Tensor:
        base, up_OR, down_RI = (self._parameters[name] for name in ("weight", _UP, _DOWN))
        assert base is not None
        assert up_OR is not None
        assert down_RI is not None
        with torch.autocast(base.device.type, enabled=False):  # in full, whatever the layer computes in
            return base + (up_OR @ down_RI).view_as(base)
