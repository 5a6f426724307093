"""Many heads trained together on the features of a frozen backbone: what `loop` does for images, for J heads at the cost of few.

Heads that differ in seed, learning rate, weight decay or start read the same features, so they take their steps as one batched
computation in float64. What a head comes to does not depend on its company, but for the rounding of float64: no operation adds
numbers of different heads, save the sum of the losses, whose gradients are each head's own. One thread computes: the pieces are too
small to share.

Shapes: J heads, V views, N train images, M val images, B images of a batch or chunk, S steps of an epoch, C classes, D features,
O outputs of a layer, I its inputs.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from harness.config import TrainConfig
from harness.measure.choice import Evaluation, Selector
from harness.measure.epoch import Epoch
from harness.process.progress import track
from harness.transfer.averaging import WeightAverage
from harness.transfer.loop import learner_of
from harness.transfer.objective import Loss

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

_GROUP_MIB = 256
"""What the weights, moments and batches of the heads of one group take at once."""

_CHUNK_IMAGES = 256
"""Val images that are float64 at once."""

_TINY = 1e-6
"""Added to a norm that gradients are divided by, as torch does."""


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """One head among those trained together: only these may differ."""

    seed: int
    """Decides the order of the images and, with views, which view of each is drawn."""
    lr: float
    weight_decay: float
    start: nn.Module
    """As `new_head` makes them: a linear layer, or linear layers with ReLU between them. Not modified."""


@dataclass(frozen=True, slots=True)
class HeadData:
    """What all heads learn from and are judged on. Arrays may be lazy: only slices and integer arrays index them."""

    train_VND: FloatArray
    """V augmented views of each image; 1: none."""
    train_labels_N: IntArray
    val_MD: FloatArray
    loss: Loss
    train_weights_N: FloatArray | None = field(default=None, kw_only=True)
    """None: all images weigh the same."""


@dataclass(frozen=True, slots=True)
class HeadFit:
    """What one head came to. With an error, the other fields hold what was good before it."""

    last: dict[str, Tensor]
    """State dict of `HeadSpec.start`'s form, float32, after the last epoch that was good; the start before a first one."""
    curve: tuple[Epoch, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    """One for each point of the curve."""
    best: dict[str, Tensor] = field(default_factory=dict)
    """State dict, float32, of the best epoch; empty before a first epoch."""
    best_evaluation: int = -1
    """Its place in `evaluations`; -1 before a first epoch."""
    error: str | None = None
    """The loss stopped being finite, in the words of `DivergedError`."""

    def grown(self, point: Epoch, found: Evaluation, state: dict[str, Tensor]) -> "HeadFit":
        """With one more epoch, the best if none before it has as high a value."""
        more = replace(self, last=state, curve=(*self.curve, point), evaluations=(*self.evaluations, found))
        is_best = all(found.value > other.value for other in self.evaluations)
        return replace(more, best=state, best_evaluation=len(self.evaluations)) if is_best else more


def train_heads(
    specs: Sequence[HeadSpec], data: HeadData, cfg: TrainConfig, selector: Selector, *, epochs: int, phase: int, first_epoch: int
) -> list[HeadFit]:
    """Train every head as `loop` would train it alone with its seed, on the processor and in float64.

    Args:
        specs: heads of one form; the answer to each is the same whatever the others are, but for rounding.
        data: features of train and val, labels of train.
        cfg: batch size, optimiser and learning-rate schedule. Its `lr` and `weight_decay` give way to the heads'.
        selector: evaluates every epoch on val.
        epochs: passes over train.
        phase: number of the phase, part of what seeds the order of images.
        first_epoch: number of the first point of the curves.

    Returns:
        One fit per spec, in the order of `specs`. A head that diverges carries an error and leaves the others as they are.
    """
    order = sorted(range(len(specs)), key=lambda place: _pace(specs[place]))
    size = _group_size(specs, data, cfg)
    fits: dict[int, HeadFit] = {}
    with _one_thread():
        for start in range(0, len(specs), size):
            places = order[start : start + size]
            group = _Group([specs[place] for place in places], data, cfg, selector, epochs=epochs, phase=phase)
            what = f"heads {start + 1}-{start + len(places)} of {len(specs)}, phase {phase}"
            for number in track(range(first_epoch, first_epoch + epochs), what):
                group.run_epoch(number)
            fits |= zip(places, group.fits, strict=True)
    return [fits[place] for place in range(len(specs))]


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _pace(spec: HeadSpec) -> tuple[float, float]:
    """What the heads of one parameter group of an optimiser share."""
    return spec.lr, spec.weight_decay


def _group_size(specs: Sequence[HeadSpec], data: HeadData, cfg: TrainConfig) -> int:
    """How many heads fit the budget; at least one."""
    num_parameters = sum(parameter.numel() for parameter in specs[0].start.parameters()) if specs else 0
    held: int = cfg.batch_size * data.train_VND.shape[2] + 4 * num_parameters  # weights, gradients, two moments
    return max(1, _GROUP_MIB * 2**20 // (8 * held))


class _Group:
    """Heads that take their steps together, and what is known of each."""

    def __init__(self, specs: Sequence[HeadSpec], data: HeadData, cfg: TrainConfig, selector: Selector, *, epochs: int, phase: int) -> None:
        self._specs, self._data, self._selector, self._phase, self._batch_size = specs, data, selector, phase, cfg.batch_size
        self._heads = _Heads(specs, data.loss, cfg, epochs=epochs, epoch_steps=-(-len(data.train_labels_N) // cfg.batch_size))
        self._orders = [torch.Generator().manual_seed(spec.seed * 1000 + phase) for spec in specs]
        self.fits = [HeadFit(self._heads.state(j)) for j in range(len(specs))]

    def run_epoch(self, number: int) -> None:
        """One pass over train and one over val; a point for every head whose losses are finite."""
        if any(fit.error is None for fit in self.fits):
            seen, log_probs_JMC = self._train(), self._val_log_probs()
            self.fits = [self._next(j, number, seen, log_probs_JMC[j]) for j in range(len(self.fits))]

    def _train(self) -> "_Seen":
        """Steps over one shuffle of train."""
        batches = _batches(self._data, self._orders, self._batch_size)
        steps = [(*self._heads.step(*batch), batch[1].shape[1]) for batch in batches]
        losses, hits, sizes = zip(*steps, strict=True)
        return _Seen(torch.stack(losses, dim=1).numpy(), torch.stack(hits, dim=1).numpy(), np.array(sizes))

    def _val_log_probs(self) -> FloatArray:
        """Float32, shape J x M x C."""
        starts = range(0, len(self._selector.labels_N), _CHUNK_IMAGES)
        chunks = (_double(self._data.val_MD[start : start + _CHUNK_IMAGES]) for start in starts)
        return np.concatenate([self._heads.log_probs(chunk_BD) for chunk_BD in chunks], axis=1)

    def _next(self, j: int, number: int, seen: "_Seen", val_log_probs_MC: FloatArray) -> HeadFit:
        """What is known of a head after one more epoch."""
        fit = self.fits[j]
        val_loss, val_accuracy = self._selector.log_loss_and_accuracy(val_log_probs_MC)
        error = fit.error or _divergence(seen.losses_JS[j], val_loss, number)
        if error is not None:
            return replace(fit, error=error)
        found = self._selector.evaluate(val_log_probs_MC)
        point = Epoch(
            epoch=number,
            phase=self._phase,
            lr=self._specs[j].lr,
            train_loss=float(np.average(seen.losses_JS[j], weights=seen.sizes_S)),
            train_accuracy=float(seen.hits_JS[j].sum() / seen.sizes_S.sum()),
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            val_score=found.value[0],
        )
        return fit.grown(point, found, self._heads.state(j))


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the steps of one epoch saw of their own batches, before they were taken."""

    losses_JS: FloatArray
    hits_JS: IntArray
    """Images correctly classified."""
    sizes_S: IntArray
    """Images of a batch."""


class _Heads:
    """The weights of all heads, stacked, and what moves them. Heads of one pace lie side by side."""

    def __init__(self, specs: Sequence[HeadSpec], loss: Loss, cfg: TrainConfig, *, epochs: int, epoch_steps: int) -> None:
        states = [spec.start.state_dict() for spec in specs]
        self._stacks = {
            name: torch.stack([state[name] for state in states]).to("cpu", torch.float64).requires_grad_() for name in states[0]
        }
        paces = [(pace, len(list(same))) for pace, same in groupby(map(_pace, specs))]
        self._sizes = [size for _, size in paces]
        # Every pace has its own part of the stacks: the same memory, which the optimiser changes.
        self._parts = [torch.split(stack.detach(), self._sizes) for stack in self._stacks.values()]
        groups = [
            {"params": [part], "lr": lr, "weight_decay": weight_decay if part.ndim > 2 else 0.0}
            for parts in self._parts
            for part, ((lr, weight_decay), _) in zip(parts, paces, strict=True)
        ]
        self._learner = learner_of(groups, cfg, epochs=epochs, epoch_steps=epoch_steps, loss=loss.double())
        self._clip_grad = cfg.clip_grad
        self._average = WeightAverage({name: stack.detach() for name, stack in self._stacks.items()}, cfg.ema) if cfg.ema else None

    def step(self, inputs_JBI: Tensor, labels_JB: Tensor, weights_JB: Tensor | None) -> tuple[Tensor, Tensor]:
        """One step of every head. Returns the loss of each before the step, and how many images it had right."""
        logits_JBC = _logits(self._stacks, inputs_JBI)
        loss_J = self._learner.loss.means(logits_JBC, labels_JB, weights_JB)
        gradients = self._clipped(torch.autograd.grad(loss_J.sum(), list(self._stacks.values())))
        for parts, gradient in zip(self._parts, gradients, strict=True):
            for part, own in zip(parts, torch.split(gradient, self._sizes), strict=True):
                part.grad = own
        self._learner.optimizer.step()
        self._learner.schedule.step()
        if self._average is not None:
            self._average.update()
        return loss_J.detach(), self._learner.loss.num_correct(logits_JBC, labels_JB)

    def _clipped(self, gradients: Sequence[Tensor]) -> Sequence[Tensor]:
        """Gradients whose norm is at most what the recipe allows, for each head by itself."""
        if self._clip_grad is None:
            return gradients
        norm_J = torch.stack([gradient.flatten(1).square().sum(dim=1) for gradient in gradients]).sum(dim=0).sqrt()
        factor_J = (self._clip_grad / (norm_J + _TINY)).clamp(max=1.0)
        return [gradient * factor_J.view(-1, *[1] * (gradient.ndim - 1)) for gradient in gradients]

    @property
    def _kept(self) -> Mapping[str, Tensor]:
        """The weights that are evaluated and kept."""
        return self._stacks if self._average is None else self._average.averages

    @torch.no_grad()
    def log_probs(self, inputs_BI: Tensor) -> FloatArray:
        """Of the same images under every head, float32, shape J x B x C."""
        logits_JBC = _logits(self._kept, inputs_BI.expand(sum(self._sizes), -1, -1))
        return self._learner.loss.log_probs(logits_JBC).float().numpy()

    def state(self, j: int) -> dict[str, Tensor]:
        """A state dict of one head: copies, float32."""
        return {name: stack[j].detach().float() for name, stack in self._kept.items()}


def _logits(named: Mapping[str, Tensor], inputs_JBI: Tensor) -> Tensor:
    """What comes out of the last layer, shape J x B x C; there is a ReLU before every layer but the first."""
    stacks = list(named.values())
    outputs_JBO = inputs_JBI
    for number, (weight_JOI, bias_JO) in enumerate(zip(stacks[::2], stacks[1::2], strict=True)):
        entering_JBI = outputs_JBO.relu() if number else outputs_JBO
        outputs_JBO = torch.baddbmm(bias_JO.unsqueeze(2), weight_JOI, entering_JBI.mT).mT  # gradients in the weights' own order
    return outputs_JBO


def _batches(data: HeadData, orders: Sequence[torch.Generator], batch_size: int) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Features (float64), labels and weights of each batch of an epoch, every head in an order of its own."""
    labels_N = torch.from_numpy(np.array(data.train_labels_N))
    weights_N = None if data.train_weights_N is None else _double(data.train_weights_N)
    drawn = [_draw(generator, *data.train_VND.shape[:2]) for generator in orders]
    views_JN, images_JN = (torch.stack(part) for part in zip(*drawn, strict=True))
    for views_JB, images_JB in zip(torch.split(views_JN, batch_size, dim=1), torch.split(images_JN, batch_size, dim=1), strict=True):
        weights_JB = None if weights_N is None else weights_N[images_JB]
        yield _double(data.train_VND[views_JB.numpy(), images_JB.numpy()]), labels_N[images_JB], weights_JB


def _draw(generator: torch.Generator, num_views: int, num_images: int) -> tuple[Tensor, Tensor]:
    """A view for each image of an epoch, and the order of the images."""
    images_N = torch.randperm(num_images, generator=generator)
    if num_views == 1:
        return torch.zeros_like(images_N), images_N
    return torch.randint(num_views, (num_images,), generator=generator), images_N


def _double(array: FloatArray) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float64))


def _divergence(losses_S: FloatArray, val_loss: float, epoch: int) -> str | None:
    """Why a head cannot go on, or None."""
    bad = losses_S[~np.isfinite(losses_S)]
    if bad.size:
        return f"train loss is {bad[0]}; try a lower train.lr."
    if not math.isfinite(val_loss):
        return f"val log loss is {val_loss} after epoch {epoch}; try a lower train.lr."
    return None
