"""Many heads trained together on the features of a fixed backbone: what `loop` does for images, for J heads at the cost of few.

Heads that differ in seed, learning rate, weight decay or start read the same features, so they take their steps as one batched
computation, by hand and in float64. What an arm comes to does not depend on its company, to the last digit: every product is
one of an arm's own matrices, every other operation is elementwise or within one row of one arm, and rounds once. (A fused
operation such as `lerp` may round twice in the tail of a tensor and once elsewhere; where the tail lies depends on J.) One thread
computes: the pieces are too small to share, and a product split between threads may round differently.

Shapes: J arms, V views, N train images, M val images, B images of a batch or chunk, S steps of an epoch, C classes, D features,
O outputs of a layer, I its inputs: D or hidden units, then a constant 1 for the bias, then zeros up to whole cache lines.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from harness.config import Optimizer, TrainConfig
from harness.progress import track
from harness.study.row import Epoch
from harness.transfer.loop import lr_factor

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

_GROUP_MIB = 4
"""What the arms of one group hold at once, so that a step stays in the processor's cache; from timings of 1 to 64 MiB."""

_CHUNK_MIB = 64
_CHUNK_IMAGES = 1024
"""Val images that are float64 at once: the smaller of the two limits."""

_LINE = 8
"""Float64 numbers of a cache line."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One head among those trained together: only these may differ."""

    seed: int
    """Decides the order of the images and, with views, which view of each is drawn."""
    lr: float
    weight_decay: float
    start: nn.Module
    """As `new_head` makes them: a linear layer, or linear layers with ReLU between them. Not modified."""


@dataclass(frozen=True, slots=True)
class HeadData:
    """What all arms learn from and are chosen on. Arrays may be lazy: only slices and integer arrays index them."""

    train_VND: FloatArray
    """V augmented views of each image; 1: none."""
    train_labels_N: IntArray
    val_MD: FloatArray
    val_labels_M: IntArray
    num_classes: int
    class_weights_C: Tensor | None


@dataclass(frozen=True, slots=True)
class HeadFit:
    """What one arm came to. With an error, the other fields hold what was good before it."""

    curve: tuple[Epoch, ...]
    best: dict[str, Tensor]
    """State dict of `Arm.start`'s form, float32, at the epoch with the lowest val log loss; empty before a first epoch."""
    best_epoch: int
    """-1 before a first epoch."""
    best_val_log_probs_MC: FloatArray
    """Float32; no rows before a first epoch."""
    last: dict[str, Tensor]
    """State dict, float32, after the last epoch that was good; the start before a first one."""
    error: str | None
    """The loss stopped being finite, in the words of `DivergedError`."""


@torch.no_grad()
def train_heads(arms: Sequence[Arm], data: HeadData, cfg: TrainConfig, *, epochs: int, phase: int, first_epoch: int) -> list[HeadFit]:
    """Train every arm as `loop` would train it alone with its seed, on the processor and in float64.

    Args:
        arms: heads of one form; the answer to each is the same whatever the others are.
        data: features and labels of train and val.
        cfg: batch size, optimiser and course of the learning rate. Its `lr` and `weight_decay` give way to the arms'.
        epochs: passes over train.
        phase: number of the phase, part of what seeds the order of images.
        first_epoch: number of the first point of the curves.

    Returns:
        One fit per arm, in the order of `arms`. An arm that diverges carries an error and leaves the others as they are.
    """
    size = _group_size(arms, data, cfg)
    fits: list[HeadFit] = []
    with _one_thread():
        for start in range(0, len(arms), size):
            group = _Group(arms[start : start + size], data, cfg, epochs, phase)
            what = f"heads {start + 1}-{start + len(group.arms)} of {len(arms)}, phase {phase}"
            for number in track(range(first_epoch, first_epoch + epochs), what):
                group.run_epoch(number)
            fits.extend(record.fit() for record in group.records)
    return fits


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _group_size(arms: Sequence[Arm], data: HeadData, cfg: TrainConfig) -> int:
    """How many arms fit the budget; at least one."""
    num_parameters = sum(layer.weight.numel() for layer in _linears(arms[0].start).values()) if arms else 0
    _, num_images, num_features = data.train_VND.shape
    held = cfg.batch_size * num_features + 5 * num_parameters + num_images + len(data.val_labels_M) * data.num_classes
    return max(1, int(_GROUP_MIB * 2**20 / (8 * held)))


class _Group:
    """Arms that take their steps together, and what is known of each."""

    def __init__(self, arms: Sequence[Arm], data: HeadData, cfg: TrainConfig, epochs: int, phase: int) -> None:
        self.arms = arms
        self._data = data
        self._phase = phase
        self._batch_size = cfg.batch_size
        self._layers = _stack(arms, OPTIMIZERS[cfg.optimizer])
        self._factor = lr_factor(cfg, epochs=epochs, epoch_steps=math.ceil(len(data.train_labels_N) / cfg.batch_size))
        self._num_steps = 0
        self._lr_J = torch.tensor([arm.lr for arm in arms], dtype=torch.float64)
        self._orders = [torch.Generator().manual_seed(arm.seed * 1000 + phase) for arm in arms]
        self._labels_N = torch.from_numpy(np.array(data.train_labels_N))
        weights_C = torch.ones(data.num_classes) if data.class_weights_C is None else data.class_weights_C
        self._class_weights_C = weights_C.to("cpu", torch.float64)
        width = self._layers[0].weight_JOI.shape[2]
        self._batch_JBI = _with_bias(len(arms), min(cfg.batch_size, len(self._labels_N)), data.train_VND.shape[2], width)
        rows = min(_CHUNK_IMAGES, max(1, _CHUNK_MIB * 2**20 // (8 * width)), len(data.val_labels_M))
        self._chunk_1BI = _with_bias(1, rows, data.val_MD.shape[1], width)
        self.records = [_Record(self._state(j), data.num_classes) for j in range(len(arms))]

    def run_epoch(self, number: int) -> None:
        """One pass over train and one over val; a point for every arm whose losses are finite."""
        if all(record.error is not None for record in self.records):
            return
        losses_JS, mean_losses_J, accuracies_J = self._train()
        log_probs_JMC = self._val_log_probs()
        for j, (arm, record) in enumerate(zip(self.arms, self.records, strict=True)):
            if record.error is not None:
                continue
            val_loss, val_accuracy = _scores(log_probs_JMC[j], self._data.val_labels_M)
            record.error = _divergence(losses_JS[j], val_loss, number)
            if record.error is None:
                point = Epoch(
                    epoch=number,
                    phase=self._phase,
                    lr=arm.lr,
                    train_loss=float(mean_losses_J[j]),
                    train_accuracy=float(accuracies_J[j]),
                    val_loss=val_loss,
                    val_accuracy=val_accuracy,
                )
                record.add(point, log_probs_JMC[j], self._state(j))

    def _train(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Steps over one shuffle of train. Returns the loss of each step, its mean over images, and the accuracy."""
        picks_JN, num_images = self._shuffle(), len(self._labels_N)
        losses, total_J, hits_J = [], torch.zeros(len(self.arms), dtype=torch.float64), torch.zeros(len(self.arms), dtype=torch.int64)
        for start in range(0, num_images, self._batch_size):
            views_JB, images_JB = np.divmod(picks_JN[:, start : start + self._batch_size], num_images)
            size = images_JB.shape[1]
            self._batch_JBI.numpy()[:, :size, : self._data.train_VND.shape[2]] = self._data.train_VND[views_JB, images_JB]
            loss_J, hit_JB = self._step(self._batch_JBI[:, :size], self._labels_N[torch.from_numpy(images_JB)])
            losses.append(loss_J)
            total_J += loss_J * size
            hits_J += hit_JB.sum(dim=1)
        return torch.stack(losses, dim=1).numpy(), (total_J / num_images).numpy(), (hits_J.double() / num_images).numpy()

    def _shuffle(self) -> IntArray:
        """Each arm's own order of the images, a drawn view of each among them, as view * N + image."""
        num_views, num_images = len(self._data.train_VND), len(self._labels_N)
        picks_JN = np.empty((len(self.arms), num_images), dtype=np.int64)
        for picks_N, generator in zip(picks_JN, self._orders, strict=True):
            order_N = torch.randperm(num_images, generator=generator)
            if num_views > 1:
                order_N += num_images * torch.randint(num_views, (num_images,), generator=generator)
            picks_N[:] = order_N.numpy()
        return picks_JN

    def _step(self, inputs_JBI: Tensor, labels_JB: Tensor) -> tuple[Tensor, Tensor]:
        """One step of every arm. Returns the loss of each before the step, and which images it had right."""
        seen, logits_JBC = _forward(self._layers, inputs_JBI)
        weights_JB = self._class_weights_C[labels_JB]
        shares_JB1 = (weights_JB / weights_JB.sum(dim=1, keepdim=True)).unsqueeze(2)
        labels_JB1 = labels_JB.unsqueeze(2)
        loss_J = -(torch.log_softmax(logits_JBC, dim=2).gather(2, labels_JB1) * shares_JB1).sum(dim=(1, 2))
        errors_JBC = torch.softmax(logits_JBC, dim=2).scatter_add_(2, labels_JB1, -torch.ones_like(shares_JB1))
        _backward(self._layers, seen, _aligned_product(errors_JBC, shares_JB1))
        lr_J = self._lr_J * self._factor(self._num_steps)
        for layer in self._layers:
            layer.step(lr_J.view(-1, 1, 1))
        self._num_steps += 1
        return loss_J, logits_JBC.argmax(dim=2) == labels_JB

    def _val_log_probs(self) -> npt.NDArray[np.float32]:
        num_images, num_features = self._data.val_MD.shape
        log_probs_JMC = torch.empty(len(self.arms), num_images, self._data.num_classes)
        rows = self._chunk_1BI.shape[1]
        for start in range(0, num_images, rows):
            stop = min(start + rows, num_images)
            self._chunk_1BI.numpy()[0, : stop - start, :num_features] = self._data.val_MD[start:stop]
            _, logits_JBC = _forward(self._layers, self._chunk_1BI[:, : stop - start].expand(len(self.arms), -1, -1))
            log_probs_JMC[:, start:stop] = torch.log_softmax(logits_JBC, dim=2)
        return log_probs_JMC.numpy()

    def _state(self, j: int) -> dict[str, Tensor]:
        return {name: tensor for layer in self._layers for name, tensor in layer.state(j).items()}


class _Record:
    """What is kept of one arm from epoch to epoch."""

    def __init__(self, start: dict[str, Tensor], num_classes: int) -> None:
        self.error: str | None = None
        self._curve: list[Epoch] = []
        self._best: dict[str, Tensor] = {}
        self._best_point: Epoch | None = None
        self._best_val_log_probs_MC: FloatArray = np.empty((0, num_classes), dtype=np.float32)
        self._last = start

    def add(self, point: Epoch, val_log_probs_MC: FloatArray, state: dict[str, Tensor]) -> None:
        """Take one point of the curve; its weights are the last, and the best if its val log loss is the lowest so far."""
        self._curve.append(point)
        self._last = state
        if self._best_point is None or point.val_loss < self._best_point.val_loss:
            self._best_point, self._best, self._best_val_log_probs_MC = point, state, val_log_probs_MC.copy()

    def fit(self) -> HeadFit:
        best_epoch = -1 if self._best_point is None else self._best_point.epoch
        return HeadFit(tuple(self._curve), self._best, best_epoch, self._best_val_log_probs_MC, self._last, self.error)


def _scores(log_probs_MC: FloatArray, labels_M: IntArray) -> tuple[float, float]:
    """Log loss (nats) and accuracy, as `quality` has them, without the metrics that a curve does not show."""
    true_M = log_probs_MC.astype(np.float64)[np.arange(len(labels_M)), labels_M]
    return float(-true_M.mean()), float((log_probs_MC.argmax(axis=1) == labels_M).mean())


def _divergence(losses_S: FloatArray, val_loss: float, epoch: int) -> str | None:
    """Why an arm cannot go on, or None."""
    bad = losses_S[~np.isfinite(losses_S)]
    if bad.size:
        return f"train loss is {bad[0]}; try a lower train.lr."
    if not math.isfinite(val_loss):
        return f"val log loss is {val_loss} after epoch {epoch}; try a lower train.lr."
    return None


class _Rule(Protocol):
    """Turns gradients into the direction of a step. May overwrite what it is given."""

    def direction(self, grad_JOI: Tensor) -> Tensor: ...


class _Adam:
    """Moments of gradients with torch's default constants. Source: Kingma & Ba, ICLR 2015."""

    _BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8

    def __init__(self, like_JOI: Tensor) -> None:
        self._mean_JOI, self._square_JOI = torch.zeros_like(like_JOI), torch.zeros_like(like_JOI)
        self._scratch_JOI = torch.empty_like(like_JOI)
        self._num_steps = 0

    def direction(self, grad_JOI: Tensor) -> Tensor:
        self._num_steps += 1
        scratch_JOI = self._scratch_JOI
        self._mean_JOI.mul_(self._BETA1).add_(torch.mul(grad_JOI, 1 - self._BETA1, out=scratch_JOI))
        self._square_JOI.mul_(self._BETA2).add_(torch.mul(grad_JOI, grad_JOI, out=scratch_JOI).mul_(1 - self._BETA2))
        mean_scale, square_scale = 1 - self._BETA1**self._num_steps, 1 - self._BETA2**self._num_steps
        torch.sqrt(self._square_JOI, out=scratch_JOI).mul_(mean_scale / math.sqrt(square_scale)).add_(self._EPS * mean_scale)
        return torch.div(self._mean_JOI, scratch_JOI, out=grad_JOI)


class _Momentum:
    """A running sum of gradients, as torch's SGD with momentum 0.9."""

    _MOMENTUM = 0.9

    def __init__(self, like_JOI: Tensor) -> None:
        self._sum_JOI = torch.zeros_like(like_JOI)

    def direction(self, grad_JOI: Tensor) -> Tensor:
        return self._sum_JOI.mul_(self._MOMENTUM).add_(grad_JOI)


@dataclass(frozen=True, slots=True)
class _Optimizer:
    """A rule, and whether weight decay shrinks the weights themselves or is L2 within the gradient."""

    new_rule: Callable[[Tensor], _Rule]
    is_decay_decoupled: bool


OPTIMIZERS: Mapping[Optimizer, _Optimizer] = {
    Optimizer.adamw: _Optimizer(_Adam, is_decay_decoupled=True),
    Optimizer.adam: _Optimizer(_Adam, is_decay_decoupled=False),
    Optimizer.sgd: _Optimizer(_Momentum, is_decay_decoupled=False),
}


class _Layer:
    """One linear layer of every arm; the bias is the weight of an input that is always 1."""

    def __init__(self, name: str, linears: Sequence[nn.Linear], decay_J: Tensor, optimizer: _Optimizer) -> None:
        self._prefix = f"{name}." if name else ""
        self.num_outputs, self.num_inputs = linears[0].weight.shape
        width = _padded(self.num_inputs + 1)
        self.weight_JOI = torch.zeros(len(linears), self.num_outputs, width, dtype=torch.float64)
        for weight_OI, linear in zip(self.weight_JOI, linears, strict=True):
            weight_OI[:, : self.num_inputs] = linear.weight
            weight_OI[:, self.num_inputs] = linear.bias
        self.grad_JOI = torch.zeros_like(self.weight_JOI)
        self._decay_J11 = decay_J.view(-1, 1, 1)
        self._rule = optimizer.new_rule(self.weight_JOI)
        self._is_decay_decoupled = optimizer.is_decay_decoupled

    def step(self, lr_J11: Tensor) -> None:
        """Move along the gradients at hand, which are used up; biases do not decay."""
        decaying_JOI = self.weight_JOI[:, :, : self.num_inputs]
        if self._is_decay_decoupled:
            decaying_JOI.mul_(1 - lr_J11 * self._decay_J11)
        else:
            self.grad_JOI[:, :, : self.num_inputs].add_(decaying_JOI * self._decay_J11)
        self.weight_JOI.sub_(self._rule.direction(self.grad_JOI) * lr_J11)

    def state(self, j: int) -> dict[str, Tensor]:
        """The layer of one arm as an entry of a state dict: copies, float32."""
        weight_OI = self.weight_JOI[j].float()
        return {
            f"{self._prefix}weight": weight_OI[:, : self.num_inputs].clone(),
            f"{self._prefix}bias": weight_OI[:, self.num_inputs].clone(),
        }


def _stack(arms: Sequence[Arm], optimizer: _Optimizer) -> list[_Layer]:
    heads = [_linears(arm.start) for arm in arms]
    decay_J = torch.tensor([arm.weight_decay for arm in arms], dtype=torch.float64)
    return [_Layer(name, [head[name] for head in heads], decay_J, optimizer) for name in heads[0]]


def _linears(head: nn.Module) -> dict[str, nn.Linear]:
    """The linear layers of a head by name, from the features to the logits."""
    return {name: module for name, module in head.named_modules() if isinstance(module, nn.Linear)}


def _forward(layers: Sequence[_Layer], inputs_JBI: Tensor) -> tuple[list[Tensor], Tensor]:
    """What each layer sees, and the logits (J x B x C) that come out."""
    seen = [inputs_JBI]
    for layer, above in pairwise(layers):
        outputs_JBO = torch.bmm(seen[-1], layer.weight_JOI.mT)
        hidden_JBI = _with_bias(len(outputs_JBO), outputs_JBO.shape[1], layer.num_outputs, above.weight_JOI.shape[2])
        hidden_JBI[:, :, : layer.num_outputs] = outputs_JBO.relu_()
        seen.append(hidden_JBI)
    return seen, torch.bmm(seen[-1], layers[-1].weight_JOI.mT)


def _backward(layers: Sequence[_Layer], seen: Sequence[Tensor], grad_JBO: Tensor) -> None:
    """Set every layer's gradients, given those of the logits."""
    for number in reversed(range(len(layers))):
        torch.bmm(grad_JBO.mT, seen[number], out=layers[number].grad_JOI)
        if number > 0:
            used = slice(layers[number - 1].num_outputs)
            grad_JBO = _aligned_product(torch.bmm(grad_JBO, layers[number].weight_JOI)[:, :, used], seen[number][:, :, used] > 0)


def _aligned_product(left_JBO: Tensor, right_JBO: Tensor) -> Tensor:
    """The elementwise product, every arm's part beginning a cache line: a matrix product may round by where its operands lie."""
    num_arms, size, num_outputs = left_JBO.shape
    room = torch.empty(num_arms, _padded(size * num_outputs), dtype=torch.float64)
    return torch.mul(left_JBO, right_JBO, out=room[:, : size * num_outputs].view(num_arms, size, num_outputs))


def _with_bias(num_arms: int, size: int, num_inputs: int, width: int) -> Tensor:
    """Room for inputs, with the constant 1 behind them."""
    room_JBI = torch.zeros(num_arms, size, width, dtype=torch.float64)
    room_JBI[:, :, num_inputs] = 1.0
    return room_JBI


def _padded(count: int) -> int:
    return math.ceil(count / _LINE) * _LINE
