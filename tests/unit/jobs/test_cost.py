"""What a network costs, counted without changing it."""

import torch
from torch import Tensor, nn

from harness.jobs.cost import count_macs
from harness.transfer.depth import parse_freeze
from harness.transfer.freeze import apply_freeze, plan_freeze
from tests.unit.tiny import PLAIN_CPU, own_backbone


class _Asks(nn.Module):
    """A learned question, the same for all images, goes through a layer: attention pooling as SigLIP has it."""

    def __init__(self) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.ones(1, 3))
        self.layer = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(self.latent.expand(len(x), -1)) + x.sum((2, 3)).sum(1, keepdim=True)
        return found


def test_a_learned_question_is_counted() -> None:
    """Its layer's 15 multiply-adds are there; what was to be trained still is, and nothing else."""
    trunk = nn.Sequential(nn.Conv2d(3, 3, 1), _Asks())
    backbone = own_backbone(trunk, ["0", "1"])
    plan = plan_freeze(backbone.blocks, parse_freeze("0.5"))
    apply_freeze(trunk, plan)
    assert count_macs(nn.Sequential(trunk), plan.frozen, 4, PLAIN_CPU).gmacs * 1e9 == 9 * 16 + 15
    assert [name for name, parameter in trunk.named_parameters() if parameter.requires_grad] == [
        "1.latent",
        "1.layer.weight",
        "1.layer.bias",
    ]
