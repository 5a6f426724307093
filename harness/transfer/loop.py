"""The inner loop of training: one epoch, the optimiser, the learning-rate schedule, the loss.

Shapes: B images of a batch, C classes.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from harness.backbones.backbone import Block
from harness.backbones.tensors import tensors_of
from harness.config import Optimizer, Schedule, TrainConfig
from harness.errors import DivergedError
from harness.transfer.averaging import WeightAverage
from harness.transfer.network import Tail
from harness.transfer.objective import Loss
from harness.transfer.rungs import held_epochs
from harness.transfer.split_inputs import Batch


@dataclass(frozen=True, slots=True)
class Learner:
    """What takes one step after another; lives as long as one phase."""

    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    loss: Loss
    clip_grad: float | None = None
    """Largest norm of the gradients; None: any."""
    average: WeightAverage | None = None
    """Of the weights of all steps; None: nobody wants it."""
    scaler: GradScaler | None = None
    """Of losses, so that gradients keep within the range of float16; None: they do anyway."""

    def step(self) -> None:
        """Move the weights by the gradients that are there. Where these overflowed for the scaler's sake, nothing moves, nor does the schedule.

        Raises:
            DivergedError: a gradient is not finite.
        """
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        if not math.isfinite(norm := self._clipped_norm()):
            self._leave_out(norm)
            return
        if self.scaler is None:
            self.optimizer.step()
        else:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.schedule.step()
        if self.average is not None:
            self.average.update()

    def state(self) -> dict[str, Any]:
        """Everything that changes from step to step, in plain values and tensors that are not copied."""
        scaler = {} if self.scaler is None else self.scaler.state_dict()
        average = {} if self.average is None else self.average.state()
        return {"optimizer": self.optimizer.state_dict(), "schedule": self.schedule.state_dict(), "average": average, "scaler": scaler}

    def go_back(self, state: Mapping[str, Any]) -> None:
        """Be what it was when the state was taken."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if self.average is not None:
            self.average.go_back(state["average"])
        if self.scaler is not None:
            self.scaler.load_state_dict(state["scaler"])

    def _clipped_norm(self) -> float:
        """Norm of the gradients, before those that are too large are scaled down."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.clip_grad is not None:
            nn.utils.clip_grads_with_norm_(parameters, self.clip_grad, norm)
        return float(norm)

    def _leave_out(self, norm: float) -> None:
        """Halve the scale for the next batch; with none, or one that is small already, the gradients themselves are too large."""
        if self.scaler is not None:
            before = self.scaler.get_scale()
            self.scaler.update()
            if 1 <= self.scaler.get_scale() < before:
                return
        raise DivergedError(f"the norm of the gradients is {norm}; try a lower train.lr.")


def new_learner(
    network: nn.Module,
    cfg: TrainConfig,
    *,
    lr: float,
    epochs: int,
    epoch_steps: int,
    loss: Loss,
    blocks: Sequence[Block] = (),
    scaler: GradScaler | None = None,
) -> Learner:
    """An optimiser over what is trainable; what lies in none of the trunk's `blocks` learns at the full rate."""
    learner = learner_of(_groups(network, cfg, lr, blocks), cfg, epochs=epochs, epoch_steps=epoch_steps, loss=loss)
    average = WeightAverage(_moving(network), cfg.ema) if cfg.ema else None
    return replace(learner, clip_grad=cfg.clip_grad, average=average, scaler=scaler)


def _moving(network: nn.Module) -> dict[str, Tensor]:
    """What training moves: trainable parameters, and the statistics of layers in train mode."""
    return {name: tensor for name, tensor in tensors_of(network).items() if tensor.requires_grad or not isinstance(tensor, nn.Parameter)}


def _groups(network: nn.Module, cfg: TrainConfig, lr: float, blocks: Sequence[Block]) -> list[dict[str, Any]]:
    """Trainable parameters by rate and decay; weight decay spares norms and biases, as is usual for fine-tuning.

    Source of rates by layer: Bao et al., BEiT, ICLR 2022.
    """
    places = {f"trunk.{name}": place for place, block in enumerate(reversed(blocks), start=1) for name in block.tensors}
    found: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            rate = lr * cfg.layer_decay ** places.get(name, 0)
            found.setdefault((rate, cfg.weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [{"params": found[rate, decay], "lr": rate, "weight_decay": decay} for rate, decay in sorted(found, reverse=True)]


def learner_of(groups: list[dict[str, Any]], cfg: TrainConfig, *, epochs: int, epoch_steps: int, loss: Loss) -> Learner:
    """An optimiser over groups of parameters, each with its own peak `lr` and `weight_decay`."""
    optimizer = OPTIMIZERS[cfg.optimizer](groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_factor(cfg, epochs=epochs, epoch_steps=epoch_steps))
    return Learner(optimizer, schedule, loss)


def run_epoch(
    tail: Tail, batches: Iterable[Batch], learner: Learner, micro_batch: int | None = None, weights_N: Tensor | None = None
) -> tuple[float, float]:
    """One pass over the training samples, which are at the boundary that `tail` takes.

    Args:
        tail: what is trained.
        batches: of the epoch.
        learner: takes a step after each batch.
        micro_batch: images at once where a whole batch would take too much memory. Batch statistics are then those of fewer images.
        weights_N: of the epoch's images, in the order in which they come; None: all weigh the same.

    Returns:
        Mean loss and accuracy over the epoch's own batches.

    Raises:
        DivergedError: the loss or a gradient is not finite.
    """
    total_loss, hits, seen = 0.0, 0, 0
    for activations, labels_B in batches:
        num_pieces = -(-len(labels_B) // (micro_batch or len(labels_B)))  # of nearly equal sizes: one image alone has no batch statistics
        pieces = list(zip(*(torch.tensor_split(part, num_pieces) for part in (*activations, labels_B)), strict=True))
        weights = None if weights_N is None else torch.tensor_split(weights_N[seen : seen + len(labels_B)], num_pieces)
        loss, num_hits = set_gradients(tail, pieces, learner.loss, weights, learner.scaler)
        if not math.isfinite(loss):
            raise DivergedError(f"train loss is {loss}; try a lower train.lr.")
        learner.step()
        total_loss += loss * len(labels_B)
        hits += num_hits
        seen += len(labels_B)
    return total_loss / seen, hits / seen


def set_gradients(
    tail: Tail, pieces: Sequence[Sequence[Tensor]], loss: Loss, weights: Sequence[Tensor] | None = None, scaler: GradScaler | None = None
) -> tuple[float, int]:
    """Set the gradients of a batch's mean loss, piece by piece.

    Args:
        tail: what is trained.
        pieces: of one batch; activations and labels.
        loss: of an image.
        weights: of the images of each piece; None: all weigh the same.
        scaler: of the loss; None: gradients are those of the loss itself.

    Returns:
        The loss and the number of images correctly classified.
    """
    tail.zero_grad()
    labels_B = torch.cat([piece[-1] for piece in pieces])
    share = loss.share(labels_B)
    losses, hits = [], 0
    for (*entering, labels), weights_B in zip(pieces, weights or repeat(None, len(pieces)), strict=True):
        logits = tail(*entering)
        part = share * loss.total(logits, labels, weights_B)
        torch.autograd.backward(part if scaler is None else scaler.scale(part))
        losses.append(part.item())
        hits += int(loss.num_correct(logits, labels))
    return math.fsum(losses), hits


def lr_factor(cfg: TrainConfig, *, epochs: int, epoch_steps: int) -> Callable[[int], float]:
    """The learning rate's factor at each step: a rise, then held for as long as the schedule says, then half a cosine to zero.

    The rise is linear; that of one cycle is half a cosine too. Source: Smith & Topin, Super-Convergence, 2018.
    """
    num_steps = epochs * epoch_steps
    warmup = math.ceil(cfg.warmup_frac * num_steps)
    held = {Schedule.constant: num_steps, Schedule.held: held_epochs(epochs) * epoch_steps, Schedule.cosine: 0, Schedule.one_cycle: 0}[
        cfg.schedule
    ]
    falls_from = max(warmup, held)

    def factor(step: int) -> float:
        if step < warmup:
            risen = (step + 1) / warmup
            return (1 - math.cos(math.pi * risen)) / 2 if cfg.schedule is Schedule.one_cycle else risen
        if step < falls_from:
            return 1.0
        return (1 + math.cos(math.pi * min(1.0, (step - falls_from) / max(1, num_steps - falls_from)))) / 2

    return factor


OPTIMIZERS: Mapping[Optimizer, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]] = {
    Optimizer.adamw: torch.optim.AdamW,
    Optimizer.adam: torch.optim.Adam,
    Optimizer.sgd: partial(torch.optim.SGD, momentum=0.9),
}
