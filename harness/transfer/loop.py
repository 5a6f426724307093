"""The inner loop of training: one epoch, the optimiser, the course of the learning rate, the loss.

Shapes: B images of a batch, C classes.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness.config import Optimizer, Schedule, TrainConfig
from harness.errors import DivergedError
from harness.transfer.samples import Batch


@dataclass(frozen=True, slots=True)
class Learner:
    """What takes one step after another; lives as long as one phase."""

    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    loss: nn.Module


def new_learner(network: nn.Module, cfg: TrainConfig, *, lr: float, num_steps: int, class_weights_C: Tensor | None) -> Learner:
    """An optimiser over what is trainable; weight decay spares norms and biases, as is usual for fine-tuning."""
    free = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [parameter for parameter in free if parameter.ndim > 1], "weight_decay": cfg.weight_decay},
        {"params": [parameter for parameter in free if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = OPTIMIZERS[cfg.optimizer](groups, lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_factor(cfg, num_steps))
    return Learner(optimizer, schedule, nn.CrossEntropyLoss(weight=class_weights_C))


def run_epoch(tail: nn.Module, batches: Iterable[Batch], learner: Learner) -> tuple[float, float]:
    """One pass over the training samples, which are at the boundary that `tail` takes.

    Returns:
        Mean loss and accuracy over the epoch's own batches.

    Raises:
        DivergedError: the loss is not finite.
    """
    total_loss, hits, seen = 0.0, 0, 0
    for crossing, labels_B in batches:
        logits_BC = tail(*crossing)
        loss = learner.loss(logits_BC, labels_B)
        if not torch.isfinite(loss):
            raise DivergedError(f"train loss is {loss.item()}; try a lower train.lr.")
        learner.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        learner.optimizer.step()
        learner.schedule.step()
        total_loss += loss.item() * len(labels_B)
        hits += int((logits_BC.argmax(dim=1) == labels_B).sum())
        seen += len(labels_B)
    return total_loss / seen, hits / seen


def lr_factor(cfg: TrainConfig, num_steps: int) -> Callable[[int], float]:
    """The learning rate's factor at each step: a linear rise, then the chosen course."""
    warmup = math.ceil(cfg.warmup_frac * num_steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return SCHEDULES[cfg.schedule]((step - warmup) / max(1, num_steps - warmup))

    return factor


OPTIMIZERS: Mapping[Optimizer, Callable[[list[dict[str, Any]], float], torch.optim.Optimizer]] = {
    Optimizer.adamw: lambda groups, lr: torch.optim.AdamW(groups, lr=lr),
    Optimizer.adam: lambda groups, lr: torch.optim.Adam(groups, lr=lr),
    Optimizer.sgd: lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9),
}

SCHEDULES: Mapping[Schedule, Callable[[float], float]] = {
    Schedule.constant: lambda _done_frac: 1.0,
    Schedule.cosine: lambda done_frac: (1 + math.cos(math.pi * min(1.0, done_frac))) / 2,
}
