"""Frozen means frozen: parameters and buffers, bit by bit."""

import pytest
import torch
from torch import nn

from harness.backbones.backbone import Backbone, Block
from harness.backbones.tensors import tensors_of
from harness.errors import FrozenChangedError
from harness.transfer.depth import parse_freeze
from harness.transfer.freeze import apply_freeze, check_frozen, frozen_digests, plan_freeze, set_train_mode


@pytest.mark.parametrize("depth", ["all", "0.5", "-1", "none"])
def test_gradients_flow_only_behind_the_boundary(backbone: Backbone, depth: str) -> None:
    """Every parameter of a frozen block is fixed and every other one is free."""
    plan = plan_freeze(backbone.blocks, parse_freeze(depth))
    apply_freeze(backbone.trunk, plan)
    free = {name for name, parameter in backbone.trunk.named_parameters() if parameter.requires_grad}
    expected = {name for block in backbone.blocks[plan.num_frozen_blocks :] for name in block.tensors}
    assert free == expected & dict(backbone.trunk.named_parameters()).keys()
    assert (plan.boundary is None) == (depth == "none")
    assert plan.first_changed_block == plan.num_frozen_blocks, "nothing is added to frozen blocks"
    assert plan.trains_head_only == (depth == "all")


def _network() -> tuple[nn.Sequential, list[Block]]:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    names = list(tensors_of(network))
    first = tuple(name for name in names if name[0] in "01")
    return network, [Block("1", first), Block("4", tuple(name for name in names if name not in first))]


def test_frozen_batch_norm_keeps_its_statistics_while_the_rest_learns() -> None:
    """After a training step the frozen running mean is where it was and the free one has moved."""
    network, blocks = _network()
    plan = plan_freeze(blocks, parse_freeze("-1"))
    apply_freeze(network, plan)
    before = {name: tensor.clone() for name, tensor in tensors_of(network).items()}
    set_train_mode(network, plan, fix_batch_norm=False)
    network(torch.randn(8, 3, 12, 12) + 3).sum().backward()
    after = tensors_of(network)
    assert torch.equal(before["1.running_mean"], after["1.running_mean"])
    assert torch.equal(before["1.num_batches_tracked"], after["1.num_batches_tracked"])
    assert not torch.equal(before["4.running_mean"], after["4.running_mean"])


def test_fixed_batch_norm_keeps_statistics_but_learns_its_scale() -> None:
    """Free batch-norm layers on fixed statistics: the running mean stays, the scale gets a gradient."""
    network, blocks = _network()
    plan = plan_freeze(blocks, parse_freeze("none"))
    apply_freeze(network, plan)
    set_train_mode(network, plan, fix_batch_norm=True)
    network(torch.randn(8, 3, 12, 12) + 3).sum().backward()
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert torch.equal(norm.running_mean, torch.zeros(4))
    assert norm.weight.grad is not None
    assert network[2].training


def test_a_network_left_in_train_mode_is_caught() -> None:
    """The tutorials' mistake: frozen parameters, drifting statistics. The check names the running mean."""
    network, blocks = _network()
    plan = plan_freeze(blocks, parse_freeze("all"))
    apply_freeze(network, plan)
    before = frozen_digests(network, plan)
    network.train()
    network(torch.randn(8, 3, 12, 12) + 3)
    with pytest.raises(FrozenChangedError, match="running_mean"):
        check_frozen(network, plan, before)


def test_a_single_changed_weight_is_caught(backbone: Backbone) -> None:
    """One value of one frozen tensor, changed by the smallest step a float can take."""
    plan = plan_freeze(backbone.blocks, parse_freeze("all"))
    before = frozen_digests(backbone.trunk, plan)
    check_frozen(backbone.trunk, plan, before)
    name, weight = next(iter(backbone.trunk.named_parameters()))
    with torch.no_grad():
        flat = weight.view(-1)
        flat[0] = torch.nextafter(flat[0], torch.tensor(torch.inf))
    with pytest.raises(FrozenChangedError, match=name):
        check_frozen(backbone.trunk, plan, before)
