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
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from harness.backbones.backbone import Backbone, WeightsSource
from harness.config import Augment, BatchNorm, HeadInit, TrainConfig
from harness.data.dataset import Dataset, Split
from harness.data.transforms import ImageDataset, eval_transform, train_transform
from harness.measure.quality import quality
from harness.progress import track
from harness.study.row import Epoch
from harness.transfer.depth import FreezeDepth, parse_freeze
from harness.transfer.freeze import FreezePlan, apply_freeze, check_frozen, frozen_digests, plan_freeze, set_train_mode
from harness.transfer.keeper import Keeper
from harness.transfer.loop import new_learner, run_epoch
from harness.transfer.network import Network, new_head, solve_head
from harness.transfer.predict import Samples, batches, extract_features, log_probabilities
from harness.transfer.runtime import Runtime

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


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
class Fitted:
    """A trained network and how it came to be."""

    network: Network
    plan: FreezePlan
    """Of the last phase."""
    curve: tuple[Epoch, ...]
    chosen_epoch: int
    val_log_probs_NC: FloatArray
    """Of the chosen epoch."""
    train_log_probs_NC: FloatArray
    """Of the chosen epoch, without augmentation."""
    features_s: float
    """Time of the passes that kept features; 0 when none were needed."""
    train_s: float


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of training with one freeze depth."""

    number: int
    plan: FreezePlan
    epochs: int
    lr: float


@dataclass(frozen=True, slots=True)
class Part:
    """A module and the samples it reads: the network on images, or its head alone on features that were kept."""

    module: nn.Module
    samples: Samples


@dataclass(frozen=True, slots=True)
class Kept:
    """Features of the fixed trunk, computed once without augmentation."""

    train_ND: FloatArray
    val_ND: FloatArray


def fit(task: Task) -> Fitted:
    """Train a new head, and what the freeze depth leaves free, on train; choose the epoch on val; never touch test.

    Raises:
        DivergedError: a loss stopped being finite.
        FrozenChangedError: something frozen was different after training.
    """
    head = new_head(task.backbone.num_features, task.dataset.num_classes, task.cfg, task.seed)
    network = Network(task.backbone.trunk, head, task.runtime)
    task.runtime.place(network)
    phases = _phases(task)
    started = time.perf_counter()
    kept = _keep_features(task, network, phases)
    features_s = time.perf_counter() - started if kept else 0.0
    started = time.perf_counter()
    fixed = frozenset.intersection(*(phase.plan.frozen for phase in phases))
    keeper = Keeper(network, {f"trunk.{name}" for name in fixed})
    if kept is not None and isinstance(head, nn.Linear) and task.cfg.head_init is HeadInit.solved:
        _start_solved(task, network, head, kept, keeper)
    for phase in phases:
        before = frozen_digests(network.trunk, phase.plan)
        _run_phase(task, network, phase, kept if _is_trunk_as_loaded(phases[: phase.number]) else None, keeper)
        check_frozen(network.trunk, phase.plan, before)
    keeper.restore()
    assert keeper.val_log_probs_NC is not None
    chosen_phases = [] if keeper.chosen_epoch == 0 else phases[: _chosen(keeper).phase]
    train = _eval_part(
        task, network, task.dataset.train, kept.train_ND if kept is not None and _is_trunk_as_loaded(chosen_phases) else None
    )
    return Fitted(
        network=network,
        plan=phases[-1].plan,
        curve=tuple(keeper.curve),
        chosen_epoch=keeper.chosen_epoch,
        val_log_probs_NC=keeper.val_log_probs_NC,
        train_log_probs_NC=log_probabilities(train.module, train.samples, task.runtime, "predictions on train"),
        features_s=features_s,
        train_s=time.perf_counter() - started,
    )


def _is_trunk_as_loaded(phases: Sequence[Phase]) -> bool:
    """Whether features that were kept before these phases are still those of the trunk after them."""
    return all(phase.plan.is_whole_trunk for phase in phases)


def _chosen(keeper: Keeper) -> Epoch:
    return next(point for point in keeper.curve if point.epoch == keeper.chosen_epoch)


def _phases(task: Task) -> list[Phase]:
    cfg, blocks = task.cfg, task.backbone.blocks
    phases = [Phase(1, plan_freeze(blocks, task.depth), cfg.epochs, cfg.lr)]
    if cfg.release is not None:
        released = plan_freeze(blocks, parse_freeze(cfg.release, "train.release"))
        phases.append(Phase(2, released, cfg.release_epochs, cfg.release_lr))
    return phases


def _keep_features(task: Task, network: Network, phases: Sequence[Phase]) -> Kept | None:
    """One pass over train and val where a solved head or a fixed trunk can use it."""
    if task.cfg.head_init is not HeadInit.solved and not phases[0].plan.is_whole_trunk:
        return None
    transform = eval_transform(task.backbone.preprocess)
    return Kept(
        train_ND=extract_features(network, ImageDataset(task.dataset.train, transform), "features of train"),
        val_ND=extract_features(network, ImageDataset(task.dataset.val, transform), "features of val"),
    )


def _start_solved(task: Task, network: Network, head: nn.Linear, kept: Kept, keeper: Keeper) -> None:
    labels_N, val_labels_N = task.dataset.train.labels, task.dataset.val.labels
    solve_head(head, kept.train_ND, labels_N, kept.val_ND, val_labels_N, class_weights=task.cfg.class_weights)
    _evaluate(task, _eval_part(task, network, task.dataset.val, kept.val_ND), keeper, epoch=0, phase=1)


def _run_phase(task: Task, network: Network, phase: Phase, kept: Kept | None, keeper: Keeper) -> None:
    cfg, num_images = task.cfg, len(task.dataset.train)
    apply_freeze(network.trunk, phase.plan)
    network.choose_train_precision()
    train, val = _train_part(task, network, kept), _eval_part(task, network, task.dataset.val, None if kept is None else kept.val_ND)
    drop_last = num_images > 1 and num_images % cfg.batch_size == 1  # one image alone has no batch statistics
    order = torch.Generator().manual_seed(task.seed * 1000 + phase.number)
    loader = batches(train.samples, task.runtime, cfg.batch_size, shuffle=True, generator=order, drop_last=drop_last)
    weights_C = _class_weights(task) if cfg.class_weights else None
    learner = new_learner(network, cfg, lr=phase.lr, num_steps=phase.epochs * len(loader), class_weights_C=weights_C)
    for number in range(1, phase.epochs + 1):
        set_train_mode(network.trunk, phase.plan, fix_batch_norm=fixes_batch_norm(task))
        network.head.train()
        what = f"phase {phase.number}, epoch {number} of {phase.epochs}"
        train_loss, train_accuracy = run_epoch(train.module, track(loader, what, len(loader)), learner, task.runtime)
        epoch = keeper.curve[-1].epoch + 1 if keeper.curve else 1
        _evaluate(task, val, keeper, epoch=epoch, phase=phase.number, lr=phase.lr, train_loss=train_loss, train_accuracy=train_accuracy)


def fixes_batch_norm(task: Task) -> bool:
    """Whether free batch-norm layers keep their running statistics; random weights came with none worth keeping."""
    if task.cfg.batch_norm is BatchNorm.auto:
        return task.backbone.weights.source is not WeightsSource.random
    return task.cfg.batch_norm is BatchNorm.fixed


def _evaluate(task: Task, val: Part, keeper: Keeper, **seen: Any) -> None:
    """Add a point to the curve: val as it is now, beside what the epoch saw of its own training batches."""
    log_probs_NC = log_probabilities(val.module, val.samples, task.runtime, f"epoch {seen['epoch']}: val")
    values, _ = quality(log_probs_NC, task.dataset.val.labels)
    loss, accuracy = values["log_loss"], values["accuracy"]
    assert loss is not None
    assert accuracy is not None
    measured = {"lr": None, "train_loss": None, "train_accuracy": None} | seen
    keeper.add(Epoch(**measured, val_loss=loss, val_accuracy=accuracy), log_probs_NC)


def _train_part(task: Task, network: Network, kept: Kept | None) -> Part:
    if kept is not None and task.cfg.augment is Augment.none:
        return Part(network.head, _tensors(kept.train_ND, task.dataset.train.labels))
    return Part(network, ImageDataset(task.dataset.train, train_transform(task.backbone.preprocess, task.cfg.augment)))


def _eval_part(task: Task, network: Network, split: Split, features_ND: FloatArray | None) -> Part:
    if features_ND is not None:
        return Part(network.head, _tensors(features_ND, split.labels))
    return Part(network, ImageDataset(split, eval_transform(task.backbone.preprocess)))


def _tensors(features_ND: FloatArray, labels_N: IntArray) -> Samples:
    return TensorDataset(torch.from_numpy(features_ND), torch.from_numpy(labels_N))


def _class_weights(task: Task) -> Tensor:
    """Inverse class frequencies of train, scaled to average one over the images; shape C."""
    counts_C = torch.bincount(torch.from_numpy(task.dataset.train.labels), minlength=task.dataset.num_classes)
    return task.runtime.send(len(task.dataset.train) / (task.dataset.num_classes * counts_C.float()))
