"""What a training run is to fit, in which phases, and what comes of it: the words that fitting and its callers share.

Shapes: N images of a split, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from harness.backbones.backbone import Backbone, Block, WeightsSource
from harness.compute.runtime import Runtime
from harness.config import Adapter, Augment, BatchNorm, HeadInit, Metric, TrainConfig
from harness.data.dataset import Dataset, Split
from harness.features.cut import CutTrunk
from harness.measure.epoch import Epoch
from harness.measure.objective import Objective, SeveralLabels, SingleLabel
from harness.measure.several import PLAIN_THRESHOLD
from harness.transfer.adapter import plan_adapter
from harness.transfer.depth import FreezeDepth, parse_freeze
from harness.transfer.freeze import FreezePlan, plan_freeze
from harness.transfer.network import Network
from harness.transfer.objective import Loss, SeveralLabelsLoss, SingleLabelLoss
from harness.transfer.probe import Probe

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TrainingSpec:
    """What one training run is to fit: the same for every phase."""

    backbone: Backbone
    trunk: CutTrunk
    """Of the backbone."""
    dataset: Dataset
    depth: FreezeDepth
    cfg: TrainConfig
    runtime: Runtime
    seed: int
    metric: Metric
    """That epochs and learning rates are chosen by."""
    is_short: bool = False
    """Whether a search asks for one short training alone; a recipe that is searched has no second phase."""
    tried: Mapping[float, float | None] = field(default_factory=dict)
    """Learning rates whose short training was done before -> what it came to, as in `Fitted.lr_losses`."""
    settled: "Settled | None" = None
    """In a fold: nothing is chosen by the images that it is judged on. None: val chooses."""
    adapter: Adapter = Adapter.none
    """What is trained inside the frozen blocks."""
    snapshots: "SnapshotPlace | None" = None
    """Where it is kept how far training came; None: nowhere."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What another job has chosen, as this one's val images have no say."""

    epoch: int
    """That is kept."""
    temperature: float
    thresholds: Sequence[float] | None = None
    """Of labels; None: those that suit the images that it is judged on, whose labels play no part in them."""


@dataclass(frozen=True, slots=True)
class SnapshotPlace:
    """Where snapshots of one job's training are."""

    path: Path
    """In a folder of a study."""
    key: str
    """What must be the same for a snapshot to be gone on from, beside the job."""
    every_s: float
    """At most so often."""


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
    trunk: CutTrunk
    """Where the trunk that was loaded is cut; the network's own may be that one or a copy."""
    blocks: Sequence[Block]
    plan: FreezePlan
    """Of the last phase."""
    curve: tuple[Epoch, ...]
    chosen_epoch: int
    lr: float | None
    """The learning rate that was kept; None: nothing was trained step by step."""
    lr_losses: dict[float, float | None]
    """Learning rates that were tried -> calibrated log loss on val at the end of a training of their own (nats); None: it diverged."""
    is_complete: bool
    """Whether the recipe was followed to its end; false for a short training."""
    unchanged: int
    """Blocks that are still as they were loaded, counted from the input: cached activations up to this boundary are those of this network."""
    as_loaded: frozenset[str]
    """Names of the trunk's tensors that are still as they were loaded: all of those blocks, and what an adapter leaves alone behind them."""
    num_trainable: int
    """Parameters that training could change in the last phase."""
    objective: Objective
    loss: Loss
    temperature: float
    """That the logits of the chosen epoch are divided by."""
    raw_val_log_probs_NC: FloatArray
    """Cross-chosen, at temperature 1 (`measure.choice`)."""
    val_log_probs_NC: FloatArray
    """Cross-chosen and calibrated."""
    train_log_probs_NC: FloatArray
    """Of the chosen epoch, calibrated, without augmentation."""
    probe: Probe | None
    """The linear probe that the head started from; None: it started at random."""
    train_s: float
    """Also of earlier processes whose snapshot this one went on from."""
    earlier_s: float
    """Their part."""


def phases_of(backbone: Backbone, depth: FreezeDepth, cfg: TrainConfig, adapter: Adapter = Adapter.none) -> list[Phase]:
    """The phases of a recipe. Raises ConfigError when a depth asks for more blocks than the backbone has, or an adapter for what it has not."""
    first = plan_adapter(plan_freeze(backbone.blocks, depth), backbone.trunk, backbone.blocks, adapter)
    phases = [Phase(1, first, cfg.num_epochs, cfg.lr)]
    if cfg.release is not None:
        released = plan_freeze(backbone.blocks, parse_freeze(cfg.release, "train.release"))
        phases.append(Phase(2, released, cfg.release_epochs, cfg.release_lr))
    return phases


def learning_rates(cfg: TrainConfig) -> list[float]:
    """The peak learning rates that every candidate tries in its first phase, ascending."""
    return sorted(float(f"{cfg.lr * factor:.6g}") for factor in cfg.lr_search)


def is_probe(spec: TrainingSpec, phases: Sequence[Phase]) -> bool:
    """Whether nothing is left to train once the closed-form head is there: no layer is free, and neither augmentation nor mixing shows anything new."""
    shows_the_same = spec.cfg.augment is Augment.none and not spec.cfg.mixes
    return spec.cfg.head_init is HeadInit.closed_form and shows_the_same and trains_head_only(phases)


def trains_head_only(phases: Sequence[Phase]) -> bool:
    """Whether nothing of this backbone is free in any of the phases."""
    return all(phase.plan.trains_head_only for phase in phases)


def objective_of(spec: TrainingSpec) -> Objective:
    """Return what the labels ask for; class shares are those of train, or equal ones where the loss is weighted by class."""
    labels, weights_N, num_classes = spec.dataset.train.labels, spec.dataset.train.weights, spec.dataset.num_classes
    if spec.dataset.is_several:
        given = None if spec.settled is None else spec.settled.thresholds
        weights_C = _label_weights(spec.dataset.train) if spec.cfg.class_weights else None
        shares_C = np.average(labels, axis=0, weights=weights_N)
        return SeveralLabels(shares_C, np.full(num_classes, PLAIN_THRESHOLD) if given is None else np.array(given), weights_C)
    if spec.cfg.class_weights:
        return SingleLabel(np.full(num_classes, 1.0 / num_classes))
    counts_C = np.bincount(labels, weights_N, num_classes)
    counts_C = np.where(counts_C > 0, counts_C, 1)
    return SingleLabel(np.asarray(counts_C / counts_C.sum()))


def loss_of(spec: TrainingSpec) -> Loss:
    """Return the loss on the device."""
    return (SeveralLabelsLoss if spec.dataset.is_several else SingleLabelLoss)(_class_weights(spec), spec.cfg.label_smoothing)


def num_unchanged(backbone: Backbone, phases: Sequence[Phase]) -> int:
    """Blocks that these phases leave as they were loaded, counted from the input: cached activations up to this boundary stay true."""
    return min((phase.plan.first_changed_block for phase in phases), default=len(backbone.blocks))


def as_loaded(backbone: Backbone, phases: Sequence[Phase]) -> frozenset[str]:
    """Return the names of the trunk's tensors that these phases leave as they were loaded."""
    every = frozenset(name for block in backbone.blocks for name in block.tensors)
    return every.intersection(*(phase.plan.as_loaded for phase in phases))


def fixes_batch_norm(spec: TrainingSpec) -> bool:
    """Whether free batch-norm layers keep their running statistics; random weights came with none worth keeping."""
    if spec.cfg.batch_norm is BatchNorm.auto:
        return spec.backbone.weights.source is not WeightsSource.random
    return spec.cfg.batch_norm is BatchNorm.fixed


def _class_weights(spec: TrainingSpec) -> Tensor | None:
    """Return inverse class frequencies of train, scaled to average one over the images, as they weigh; shape C, None where the recipe has none.

    A label weighs as much where it is there as, over all images, where it is not.
    """
    if not spec.cfg.class_weights:
        return None
    if spec.dataset.is_several:
        return spec.runtime.send(torch.from_numpy(_label_weights(spec.dataset.train)).float())
    train, num_classes = spec.dataset.train, spec.dataset.num_classes
    counts_C = torch.from_numpy(np.bincount(train.labels, train.weights, num_classes)).float()
    return spec.runtime.send(len(train.counted_N) / (num_classes * counts_C))


def _label_weights(train: Split) -> npt.NDArray[np.float64]:
    weights_N = np.ones(len(train)) if train.weights is None else train.weights
    with_C = np.maximum(weights_N @ train.labels, 1)
    return np.asarray(np.maximum(weights_N.sum() - with_C, 1) / with_C)
