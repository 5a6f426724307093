"""The columns of a job that has trained: how it ended, what was cached, quality, cost. What is known before it runs is in `identity`.

Shapes: N images of a split, C classes.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from harness.backbones.backbone import Backbone
from harness.backbones.tensors import network_digest
from harness.config import Metric, Precision
from harness.data.dataset import Dataset
from harness.data.transforms import describe, eval_transform, train_transform
from harness.features.run_pass import DECODED
from harness.jobs import cost, provenance
from harness.jobs.energy import Energy
from harness.jobs.sharing import latency_key
from harness.jobs.spec import JobSpec
from harness.status import Status
from harness.study.row import Details
from harness.study.store import FloatArray, IntArray
from harness.transfer.held_out import folds_of
from harness.transfer.inputs import Inputs
from harness.transfer.rungs import Rung
from harness.transfer.spec import Fitted, TrainingSpec, fixes_batch_norm, is_probe, phases_of

Columns = dict[str, Any]

OUT_OF_FOLD = tuple(metric.value for metric in Metric if metric is not Metric.auto)
"""Metrics that candidates may be ranked by."""


def own_columns(job: JobSpec, spec: TrainingSpec, fitted: Fitted, rung: Rung | None, unscored: dict[str, str]) -> Columns:
    """Return what is a job's own.

    Args:
        job: as it was asked for.
        spec: what was trained.
        fitted: what came of it.
        rung: of the staged search that asked; None: there is none.
        unscored: transferability score -> why it is undefined.
    """
    quality_columns, undefined = _quality(spec, fitted)
    return (
        _ending(spec, fitted, rung)
        | _training(job, spec, fitted)
        | quality_columns
        | (_in_fold(job, spec.dataset) if job.fold else {})
        | {"details": _details(job, spec, fitted, undefined | unscored)}
    )


def shared_columns(job: JobSpec, backbone: Backbone, inputs: Inputs, fitted: Fitted) -> Columns:
    """Return what the jobs of a group have in common; `job` and `fitted` are any of them."""
    return _provided(inputs, fitted) | _cost(job, fitted, backbone)


def spent_columns(jobs: Sequence[JobSpec], total_s: float, energy: Energy) -> Columns:
    """Return what each job of a group took, of what they took together in `energy`; `total_s` is of one (seconds)."""
    price = jobs[0].config.job.price_per_hour
    return {
        "total_s": total_s,
        "energy_wh": None if energy.wh is None else energy.wh / len(jobs),
        "energy_of": energy.of,
        "cost": None if price is None else total_s / 3600 * price,
    }


def trains_nothing_but_probe(spec: TrainingSpec) -> bool:
    """Return whether the model is the closed-form head, on the backbone as it was loaded."""
    return is_probe(spec, phases_of(spec.backbone, spec.depth, spec.cfg, spec.adapter))


def _in_fold(job: JobSpec, dataset: Dataset) -> Columns:
    """What is other than in the candidate's own row. The probe behind the head knows nothing of the fold, so it is not that of the backbone."""
    sizes = {"n_train": len(dataset.train), "n_val": len(dataset.val), "n_test": 0}
    return sizes | {"oof_folds": folds_of(job.dataset), "probe_accuracy": None, "probe_log_loss": None, "probe_strength": None}


def _ending(spec: TrainingSpec, fitted: Fitted, rung: Rung | None) -> Columns:
    """Return how far the job came."""
    epochs, trained = spec.cfg.num_epochs + spec.cfg.release_epochs, fitted.curve[-1].epoch
    return {
        "status": (Status.ok if fitted.is_complete else Status.pruned).value,
        "error": None
        if fitted.is_complete
        else f"stopped by the staged search after a short training of {trained} instead of {epochs} epochs.",
        "rung": None if rung is None else int(rung),
        "epochs_trained": trained,
    }


def _provided(inputs: Inputs, fitted: Fitted) -> Columns:
    """Return which activations were cached, and what a pass had to compute."""
    efforts = [cached.effort for cached in inputs.all_views]
    train = inputs.train(fitted.plan.first_changed_block)
    used = [cached.about(boundary) for cached in inputs.all_views for boundary in {train.boundary, fitted.trunk.last} if boundary in cached]
    waits = [effort.wait_frac for effort in efforts if effort.wait_frac is not None]
    blocks = fitted.blocks
    return {
        "precision": _lowest([inputs.pool.runtime.precision.value, *(about["mode"].split()[0] for about in used)]),
        "trained_from": "images" if train.boundary == 0 else blocks[train.boundary - 1].name,
        "activations_mode": next((about["mode"] for about in used if about["mode"] != DECODED), None),
        "activations_note": next((effort.note for effort in efforts if effort.note), None) or _uncut(fitted),
        "num_activations_computed": sum(effort.num_passed for effort in efforts),
        "input_wait_frac": max(waits, default=None),
        "cached_mib": sum(effort.predicted_mib for effort in efforts),
        "features_s": max((about["seconds"] for about in used), default=0.0),
    }


def _lowest(precisions: Sequence[str]) -> str:
    lowest_first = (Precision.bfloat16, Precision.float16, Precision.tf32, Precision.float32)
    return str(next(each.value for each in lowest_first if each.value in precisions))


def _uncut(fitted: Fitted) -> str | None:
    first = fitted.plan.first_changed_block
    if first in {0, fitted.trunk.last, fitted.trunk.nearest(first)}:
        return None
    return "no clean cut at this depth: the frozen part ran again for every epoch"


def _quality(spec: TrainingSpec, fitted: Fitted) -> tuple[Columns, dict[str, str]]:
    dataset, last = spec.dataset, fitted.curve[-1]

    def measured(log_probs_NC: FloatArray, labels_N: IntArray) -> tuple[dict[str, float | None], dict[str, str]]:
        return fitted.objective.quality(log_probs_NC, labels_N, spec.metric)

    values, undefined = measured(fitted.val_log_probs_NC, dataset.val.labels)
    raw, _ = measured(fitted.raw_val_log_probs_NC, dataset.val.labels)
    train, _ = measured(fitted.train_log_probs_NC, dataset.train.labels)
    columns: Columns = {f"val_{name}": value for name, value in values.items()} | {
        "raw_val_log_loss": raw["log_loss"],
        "raw_val_ece": raw["ece"],
        "train_accuracy": train["accuracy"],
        "train_log_loss": train["log_loss"],
        "last_val_accuracy": None if values["accuracy"] is None else last.val_accuracy,
        "last_val_log_loss": last.val_loss,
    }
    if (probe := fitted.probe) is not None:
        found, _ = measured(probe.log_probs_NC, probe.labels_N)
        columns |= {"probe_accuracy": found["accuracy"], "probe_log_loss": found["log_loss"], "probe_strength": probe.strength}
        if trains_nothing_but_probe(spec):
            columns |= {f"oof_{name}": found.get(name) for name in OUT_OF_FOLD} | {"oof_folds": len(np.unique(probe.folds_N))}
    return columns, {f"val_{name}": reason for name, reason in undefined.items()}


def _training(job: JobSpec, spec: TrainingSpec, fitted: Fitted) -> Columns:
    return {
        "batch_norm": "fixed" if fixes_batch_norm(spec) else "batch",
        "micro_batch": min(job.micro_batch or spec.cfg.batch_size, spec.cfg.batch_size),
        "train_precision": fitted.network.runtime.precision.value,
        "boundary": fitted.plan.boundary,
        "num_frozen_blocks": fitted.plan.num_frozen_blocks,
        "num_blocks": fitted.plan.num_blocks,
        "frozen_ok": True,  # `fit` raises when a frozen tensor has moved
        "chosen_epoch": fitted.chosen_epoch,
        "is_trained": fitted.unchanged < fitted.plan.num_blocks,
        "model_blake2b": network_digest(fitted.network),
        "temperature": fitted.temperature,
        "lr": fitted.lr,
        "lrs_tried": " ".join(f"{lr:g}" for lr in fitted.lr_losses) or None,
        "lr_on_edge": fitted.lr in {min(fitted.lr_losses), max(fitted.lr_losses)} if len(fitted.lr_losses) > 1 else None,
        "train_s": fitted.train_s,
    }


def _cost(first: JobSpec, fitted: Fitted, backbone: Backbone) -> Columns:
    network, image_size, runtime = fitted.network, backbone.preprocess.image_size, fitted.network.runtime
    peak_mem_mib = cost.peak_memory_mib(runtime)  # before what follows adds its own
    macs = cost.count_macs(network, _before_changes(fitted), image_size, runtime)
    return {
        "image_size": image_size,
        "params_m": cost.params_m(network),
        "trainable_params_m": fitted.num_trainable / 1e6,
        "latency_key": latency_key(first, image_size),
        "gmacs": macs.gmacs,
        "frozen_macs_frac": macs.frozen_frac,
        "peak_mem_mib": peak_mem_mib,
        "weights_mib": cost.weights_mib(network),
        "num_threads": torch.get_num_threads(),
    }


def _before_changes(fitted: Fitted) -> frozenset[str]:
    """Tensors of the blocks that no gradient goes back through: the frozen ones, up to the first that has an adapter."""
    return frozenset(name for block in fitted.blocks[: fitted.plan.first_changed_block] for name in block.tensors)


def _details(job: JobSpec, spec: TrainingSpec, fitted: Fitted, undefined: dict[str, str]) -> Details:
    preprocess, augment = spec.backbone.preprocess, job.config.train.augment
    return Details(
        class_names=list(job.dataset.class_names),
        curve=list(fitted.curve),
        profile=asdict(job.dataset.profile),
        machine=provenance.machine(),
        libraries=provenance.libraries(),
        protocol=job.protocol,
        recipe=job.recipe,
        transforms={"train": describe(train_transform(preprocess, augment)), "eval": describe(eval_transform(preprocess))},
        undefined=undefined,
        command=job.alone,
        lr_losses={f"{lr:g}": loss for lr, loss in fitted.lr_losses.items()},
        class_prior=fitted.objective.prior_C.tolist(),
        thresholds=fitted.objective.thresholds,
    )
