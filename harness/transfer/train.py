"""Fit a network in one or two phases, keep the epoch that is best on val, and prove that the frozen part stayed fixed.

Shapes: N images of a split, C classes, D features.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harness.backbones.backbone import Backbone, Block, WeightsSource
from harness.config import Augment, BatchNorm, HeadInit, TrainConfig
from harness.data.dataset import Dataset
from harness.errors import DivergedError
from harness.measure.quality import quality
from harness.progress import track
from harness.runtime import Runtime
from harness.study.row import Epoch
from harness.transfer.depth import FreezeDepth, parse_freeze
from harness.transfer.freeze import FreezePlan, apply_freeze, check_frozen, frozen_digests, plan_freeze, set_train_mode
from harness.transfer.heads import Arm, HeadData, train_heads
from harness.transfer.keeper import Keeper
from harness.transfer.loop import new_learner, run_epoch
from harness.transfer.network import Network, Tail, new_head
from harness.transfer.predict import log_probabilities
from harness.transfer.samples import Samples
from harness.transfer.solve import solve
from harness.transfer.supply import Supply

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be fitted: the same for every phase."""

    backbone: Backbone
    dataset: Dataset
    depth: FreezeDepth
    cfg: TrainConfig
    runtime: Runtime
    seed: int


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of training with one freeze depth."""

    number: int
    plan: FreezePlan
    epochs: int
    lr: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained network and how it came to be."""

    network: Network
    blocks: Sequence[Block]
    plan: FreezePlan
    """Of the last phase."""
    curve: tuple[Epoch, ...]
    chosen_epoch: int
    unchanged: int
    """Blocks that are still as they were loaded, counted from the input: kept rows up to this boundary are those of this network."""
    val_log_probs_NC: FloatArray
    """Of the chosen epoch."""
    train_log_probs_NC: FloatArray
    """Of the chosen epoch, without augmentation."""
    train_s: float


def phases_of(backbone: Backbone, depth: FreezeDepth, cfg: TrainConfig) -> list[Phase]:
    """The phases of a recipe. Raises ConfigError when a depth asks for more blocks than the backbone has."""
    phases = [Phase(1, plan_freeze(backbone.blocks, depth), cfg.epochs, cfg.lr)]
    if cfg.release is not None:
        released = plan_freeze(backbone.blocks, parse_freeze(cfg.release, "train.release"))
        phases.append(Phase(2, released, cfg.release_epochs, cfg.release_lr))
    return phases


def fit(tasks: Sequence[Task], supply: Supply) -> list[Fitted | DivergedError]:
    """Train a new head, and what the freeze depth leaves free, on train; choose the epoch on val; never touch test.

    Args:
        tasks: one, or several that differ in seed, learning rate and weight decay only and train nothing but a head on kept
            features (`JobSpec.group`); what comes of each does not depend on the others.
        supply: rows and images of the data set under the backbone as it was loaded.

    Raises:
        FrozenChangedError: something frozen was different after training.
    """
    first, started = tasks[0], time.perf_counter()
    phases = phases_of(first.backbone, first.depth, first.cfg)
    runs = [_Run(task, supply, phases) for task in tasks]
    if first.cfg.head_init is HeadInit.solved:
        _start_solved(runs, supply)
    for phase in phases:
        before = frozen_digests(first.backbone.trunk, phase.plan)
        apply_freeze(first.backbone.trunk, phase.plan)
        if _unchanged(first.backbone, phases[: phase.number]) == len(first.backbone.blocks) and (
            first.cfg.augment is Augment.none or supply.views
        ):
            _run_heads(runs, supply, phase)
        else:
            (run,) = runs
            run.train(phase)
        check_frozen(first.backbone.trunk, phase.plan, before)
    shared_s = (time.perf_counter() - started) / len(runs)
    return [run.finish(shared_s) for run in runs]


def _unchanged(backbone: Backbone, phases: Sequence[Phase]) -> int:
    """Blocks that these phases leave as they were loaded, counted from the input: kept rows up to this boundary stay true."""
    return min((phase.plan.num_frozen_blocks for phase in phases), default=len(backbone.blocks))


class _Run:
    """One task under way."""

    def __init__(self, task: Task, supply: Supply, phases: Sequence[Phase]) -> None:
        self.task = task
        self.phases = phases
        self.supply = supply
        head = new_head(task.backbone.num_features, task.dataset.num_classes, task.cfg, task.seed)
        self.network = Network(task.backbone.trunk, head, task.runtime)
        task.runtime.place(self.network)
        fixed = frozenset.intersection(*(phase.plan.frozen for phase in phases))
        self.keeper = Keeper(self.network, {f"trunk.{name}" for name in fixed})
        self.error: DivergedError | None = None

    def train(self, phase: Phase) -> None:
        """Run one phase through the layers that are free."""
        try:
            self._train(phase)
        except DivergedError as error:
            self.error = error

    def _train(self, phase: Phase) -> None:
        task, cfg, boundary = self.task, self.task.cfg, _unchanged(self.task.backbone, self.phases[: phase.number])
        self.network.choose_train_precision()
        train, val = self.supply.train(boundary), self.supply.split("val", boundary)
        tail = Tail(self.network, self.supply.behind(train))
        num_images = len(train.labels_N)
        if num_images > 1 and num_images % cfg.batch_size == 1:
            num_images -= 1  # one image alone has no batch statistics
        num_batches = -(-num_images // cfg.batch_size)
        learner = new_learner(self.network, cfg, lr=phase.lr, num_steps=phase.epochs * num_batches, class_weights_C=class_weights(task))
        rng = np.random.default_rng([task.seed, phase.number])
        for number in range(1, phase.epochs + 1):
            set_train_mode(self.network.trunk, phase.plan, fix_batch_norm=fixes_batch_norm(task))
            self.network.head.train()
            order_N = rng.permutation(len(train.labels_N))[:num_images]
            batches = train.batches(order_N, cfg.batch_size, seed=int(rng.integers(2**31)))
            what = f"phase {phase.number}, epoch {number} of {phase.epochs}"
            train_loss, train_accuracy = run_epoch(tail, track(batches, what, num_batches), learner, self.supply.team)
            self.evaluate(val, phase=phase.number, lr=phase.lr, train_loss=train_loss, train_accuracy=train_accuracy)

    def evaluate(self, val: Samples, **seen: Any) -> None:
        """Add a point to the curve: val as it is now, beside what the epoch saw of its own training batches."""
        epoch = self.next_epoch
        log_probs_NC = _log_probabilities(self.network, self.supply, val, f"epoch {epoch}: val")
        values, _ = quality(log_probs_NC, val.labels_N)
        loss, accuracy = values["log_loss"], values["accuracy"]
        assert loss is not None
        assert accuracy is not None
        measured = {"epoch": epoch, "lr": None, "train_loss": None, "train_accuracy": None} | seen
        self.keeper.add(Epoch(**measured, val_loss=loss, val_accuracy=accuracy), log_probs_NC)

    @property
    def next_epoch(self) -> int:
        """Number of the next point of the curve: 0 is a solved head before any step."""
        if self.keeper.curve:
            return self.keeper.curve[-1].epoch + 1
        return 0 if self.task.cfg.head_init is HeadInit.solved else 1

    def finish(self, shared_s: float) -> Fitted | DivergedError:
        """Put the chosen epoch's weights back and look at train once more, without augmentation."""
        if self.error is not None:
            return self.error
        started = time.perf_counter()
        self.keeper.restore()
        assert self.keeper.val_log_probs_NC is not None
        chosen = next(point for point in self.keeper.curve if point.epoch == self.keeper.chosen_epoch)
        unchanged = _unchanged(self.task.backbone, self.phases[: chosen.phase] if chosen.epoch else [])
        train = self.supply.split("train", unchanged)
        return Fitted(
            network=self.network,
            blocks=self.task.backbone.blocks,
            plan=self.phases[-1].plan,
            curve=tuple(self.keeper.curve),
            chosen_epoch=self.keeper.chosen_epoch,
            unchanged=unchanged,
            val_log_probs_NC=self.keeper.val_log_probs_NC,
            train_log_probs_NC=_log_probabilities(self.network, self.supply, train, "predictions on train"),
            train_s=shared_s + time.perf_counter() - started,
        )


def predict(fitted: Fitted, supply: Supply, split: str) -> FloatArray:
    """Log-probabilities of a split under a fitted network, from the nearest kept rows that are still the network's own."""
    return _log_probabilities(fitted.network, supply, supply.split(split, fitted.unchanged), f"predictions on {split}")


def _log_probabilities(network: Network, supply: Supply, samples: Samples, what: str) -> FloatArray:
    return log_probabilities(Tail(network, supply.behind(samples)), samples, supply.team, what)


def _start_solved(runs: Sequence[_Run], supply: Supply) -> None:
    """The solution depends on no seed and no learning rate: one for all."""
    task, weights_C = runs[0].task, class_weights(runs[0].task)
    solution = solve(
        supply.features("train"),
        task.dataset.train.labels,
        supply.features("val"),
        task.dataset.val.labels,
        np.ones(task.dataset.num_classes) if weights_C is None else weights_C.cpu().numpy(),
    )
    state = {"weight": torch.from_numpy(solution.weight_CD), "bias": torch.from_numpy(solution.bias_C)}
    val = supply.split("val", supply.trunk.last)
    for run in runs:
        run.network.head.load_state_dict(state)
        run.evaluate(val, phase=1)


def _run_heads(runs: Sequence[_Run], supply: Supply, phase: Phase) -> None:
    """One phase in which nothing but heads learns: all of them at once, on kept features."""
    task = runs[0].task
    data = HeadData(
        train_VND=np.stack([bank.final() for bank in supply.views]) if supply.views else supply.features("train")[None],
        train_labels_N=task.dataset.train.labels,
        val_MD=supply.features("val"),
        val_labels_M=task.dataset.val.labels,
        num_classes=task.dataset.num_classes,
        class_weights_C=class_weights(task),
    )
    # In a later phase the learning rate is the phase's own; a first phase's is the task's.
    arms = [
        Arm(run.task.seed, run.task.cfg.lr if phase.number == 1 else phase.lr, run.task.cfg.weight_decay, run.network.head) for run in runs
    ]
    fits = train_heads(arms, data, task.cfg, epochs=phase.epochs, phase=phase.number, first_epoch=runs[0].next_epoch)
    for run, found in zip(runs, fits, strict=True):
        run.network.head.load_state_dict(found.last)
        try:
            run.keeper.adopt(found)
        except DivergedError as error:
            run.error = error


def fixes_batch_norm(task: Task) -> bool:
    """Whether free batch-norm layers keep their running statistics; random weights came with none worth keeping."""
    if task.cfg.batch_norm is BatchNorm.auto:
        return task.backbone.weights.source is not WeightsSource.random
    return task.cfg.batch_norm is BatchNorm.fixed


def class_weights(task: Task) -> Tensor | None:
    """Inverse class frequencies of train, scaled to average one over the images, shape C; None where the recipe has none."""
    if not task.cfg.class_weights:
        return None
    counts_C = torch.bincount(torch.from_numpy(task.dataset.train.labels), minlength=task.dataset.num_classes)
    return task.runtime.send(len(task.dataset.train) / (task.dataset.num_classes * counts_C.float()))
