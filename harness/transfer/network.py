"""A backbone with a new head, and the part of both behind a boundary.

Shapes: B images, C classes, D features, H, W pixels.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from harness.compute.runtime import Runtime
from harness.config import Head, TrainConfig
from harness.features.cut import CutTrunk


class Network(nn.Module):
    """`head(trunk(images_BCHW)) -> logits_BC`. The trunk may run under autocast; the head is always float32."""

    def __init__(self, trunk: nn.Module, head: nn.Module, runtime: Runtime) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = head
        self.runtime = runtime

    def features(self, images_BCHW: Tensor) -> Tensor:
        """What the head sees, float32, shape B x D."""
        with self.autocast():
            features_BD: Tensor = self.trunk(images_BCHW)
        return features_BD.float()

    def autocast(self) -> AbstractContextManager[object]:
        """The arithmetic of the trunk: that of training where gradients are asked for."""
        return self.runtime.autocast(self.runtime.precision, trains=torch.is_grad_enabled())

    def forward(self, images_BCHW: Tensor) -> Tensor:
        logits_BC: Tensor = self.head(self.features(images_BCHW))
        return logits_BC


class Tail(nn.Module):
    """The part of a network behind a boundary: `tail(*activations) -> logits_BC`, with the network's own modules."""

    def __init__(self, network: Network, trunk: CutTrunk, boundary: int) -> None:
        """`trunk` says where a trunk like the network's is cut; it may be another copy."""
        super().__init__()
        self.network = network
        self.segment = trunk.segment(boundary, trunk.last, network.trunk)

    def forward(self, *activations: Tensor) -> Tensor:
        # Cached activations may be of a lower precision, which layers that train in float32 do not take.
        entering = [part.float() if part.is_floating_point() else part for part in activations]
        with self.network.autocast():
            (features_BD,) = self.segment(*entering)
        logits_BC: Tensor = self.network.head(features_BD.float())
        return logits_BC


def new_head(num_features: int, num_classes: int, cfg: TrainConfig, seed: int) -> nn.Module:
    """An untrained head whose random start depends on `seed` alone."""
    with _forked_rng(seed):
        if cfg.head is Head.linear:
            return nn.Linear(num_features, num_classes)
        return nn.Sequential(nn.Linear(num_features, cfg.head_hidden), nn.ReLU(), nn.Linear(cfg.head_hidden, num_classes))


@contextmanager
def _forked_rng(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
