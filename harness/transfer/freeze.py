"""The freeze plan: which tensors stay frozen, how the network is put in train mode, and the proof that nothing frozen has moved."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from harness.backbones.backbone import Block
from harness.backbones.tensors import tensor_digest, tensors_of
from harness.errors import FrozenChangedError
from harness.transfer.depth import FreezeDepth


@dataclass(frozen=True, slots=True)
class FreezePlan:
    """Which part of a trunk is frozen in one phase of training."""

    depth: FreezeDepth
    num_blocks: int
    num_frozen_blocks: int
    first_changed_block: int
    """The first block, from 0, whose function training may change; `num_blocks`: none. Activations at this boundary stay those of the backbone as
    it was loaded. Without an adapter it is the first block that is not frozen, else the first that the adapter is in."""
    boundary: str | None
    """Module name of the last frozen block; None when nothing is frozen."""
    frozen: frozenset[str]
    """Names of the trunk's parameters and buffers that training does not change by a bit."""
    adapted: frozenset[str] = frozenset()
    """Names of the parameters in frozen blocks that an adapter trains, those that it adds included."""
    low_rank: frozenset[str] = frozenset()
    """Frozen weights that an adapter trains an update beside, which is merged into them when training is over."""

    @property
    def as_loaded(self) -> frozenset[str]:
        """Names of what a network still has from the backbone as it was loaded, once all is done."""
        return self.frozen - self.low_rank

    @property
    def trains_head_only(self) -> bool:
        """Whether no block computes anything else after training."""
        return self.first_changed_block == self.num_blocks


def plan_freeze(blocks: Sequence[Block], depth: FreezeDepth) -> FreezePlan:
    """Return the plan that freezes the first blocks of a trunk. Raises ConfigError when the depth asks for more blocks than there are."""
    num_frozen = depth.num_frozen(len(blocks))
    frozen = blocks[:num_frozen]
    return FreezePlan(
        depth=depth,
        num_blocks=len(blocks),
        num_frozen_blocks=num_frozen,
        first_changed_block=num_frozen,
        boundary=frozen[-1].name if frozen else None,
        frozen=frozenset(name for block in frozen for name in block.tensors),
    )


def apply_freeze(trunk: nn.Module, plan: FreezePlan) -> None:
    """Let gradients flow into the trainable parameters only."""
    for name, parameter in trunk.named_parameters():
        parameter.requires_grad_(name not in plan.frozen)


def set_train_mode(trunk: nn.Module, plan: FreezePlan, *, fix_batch_norm: bool) -> None:
    """Train mode for what learns, eval mode for frozen blocks, whatever an adapter trains in them.

    Batch-norm in train mode would move its running statistics although its block is frozen, and dropout in a
    frozen block would make its output random: both belong in eval mode. With `fix_batch_norm` free batch-norm layers
    normalise with their running statistics too, so that the head meets the features that it was fitted on.
    """
    trunk.train()
    if fix_batch_norm:
        for module in trunk.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
    in_frozen_blocks = plan.frozen | plan.adapted
    for name, module in trunk.named_modules():
        owned = [f"{name}.{key}" if name else key for key in tensors_of(module)]
        if owned and in_frozen_blocks.issuperset(owned):
            module.eval()


def frozen_digests(trunk: nn.Module, plan: FreezePlan) -> dict[str, str]:
    """A hash of the bytes of each frozen tensor."""
    return {name: tensor_digest(tensor) for name, tensor in tensors_of(trunk).items() if name in plan.frozen}


def check_frozen(trunk: nn.Module, plan: FreezePlan, before: dict[str, str]) -> None:
    """Compare frozen tensors with their digests from before training, bit by bit. Raises FrozenChangedError with their names."""
    after = frozen_digests(trunk, plan)
    moved = [name for name, digest in before.items() if after.get(name) != digest]
    if moved:
        names = ", ".join(moved[:3]) + (f" and {len(moved) - 3} more" if len(moved) > 3 else "")
        raise FrozenChangedError(
            f"freeze={plan.depth}: {names} changed during training although frozen; the row is not to be trusted. Please report this."
        )
