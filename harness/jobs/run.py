"""The straight line for one job: load, freeze, provide features, fit, predict, measure, row.

Jobs that share everything but the head's seed, learning rate or weight decay go down the line together.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from harness.backbones.backbone import Backbone, BackboneLoader
from harness.backbones.load import load_backbone
from harness.backbones.tensors import network_digest
from harness.compute.runtime import Runtime
from harness.compute.seeding import seed_everything
from harness.compute.thread_pool import Team
from harness.config import Keep, Metric, Precision
from harness.data.dataset import Dataset, Split
from harness.data.transforms import describe, eval_transform, train_transform
from harness.errors import DivergedError, StoreError
from harness.features.provide import DECODED
from harness.features.store import FeatureStore
from harness.jobs import cost, provenance
from harness.jobs.identity import failed_row, identity, now
from harness.jobs.keep import model_file
from harness.jobs.sharing import latency_key
from harness.jobs.spec import JobSpec
from harness.measure.quality import decide, quality
from harness.measure.transferability import Evidence, evidence
from harness.process.isolate import one_line
from harness.status import Status
from harness.study.models import Models
from harness.study.row import EVIDENCE_COLUMNS, Details, Row
from harness.study.store import FloatArray, IntArray, Predictions, Study
from harness.transfer.depth import FreezeDepth
from harness.transfer.held_out import HeldOut, folds_of, hold_out
from harness.transfer.rungs import Rung
from harness.transfer.supply import Supply, supply
from harness.transfer.task import Fitted, Settled, Task, fixes_batch_norm, is_probe, learnt_prior, phases_of
from harness.transfer.train import fit, predict, seconds_per_image

Columns = dict[str, Any]

OUT_OF_FOLD = ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted", "log_loss")
"""Metrics that candidates may be ranked by."""


def run_jobs(
    jobs: Sequence[JobSpec], known: Columns | None = None, rung: Rung | None = None, *, load: BackboneLoader = load_backbone
) -> list[Row]:
    """Do one job, or several of one group, and keep their predictions; the caller writes the rows.

    Args:
        jobs: of one group (`head_group_key`).
        known: what this sweep has measured before, `EVIDENCE_COLUMNS` of the same trunk; what is missing is measured here.
        rung: of the staged search that asks; None: there is none. What a short training came to is in the job's row, and is not done again
            when the whole is asked for.
        load: the seam to model libraries.

    Returns:
        A row per job, in their order. What goes wrong with the head of one of several is in its row; whatever else goes
        wrong is raised.
    """
    started, started_at = time.perf_counter(), now()
    ready = _prepare(jobs, rung, load)
    fitted = fit(ready.tasks, ready.supply)
    measured = _measure(ready, fitted, rung, known or {})
    total_s = (time.perf_counter() - started) / len(jobs)
    return _rows(ready, fitted, measured, started_at, total_s)


@dataclass(frozen=True, slots=True)
class _Ready:
    """What fitting takes."""

    jobs: Sequence[JobSpec]
    backbone: Backbone
    supply: Supply
    tasks: Sequence[Task]
    """One per job."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """What came of it."""

    own: dict[str, Columns]
    """By job that ended well."""
    shared: Columns
    """What these have in common."""
    train_s_per_image: dict[str, float]


def _prepare(jobs: Sequence[JobSpec], rung: Rung | None, load: BackboneLoader) -> _Ready:
    first = jobs[0]
    cfg, runtime = first.config, Runtime(first.device, first.precision)
    seed_everything(cfg.seed)
    backbone = load(first.backbone, first.weights, image_size=cfg.data.image_size, features=cfg.train.features, seed=cfg.seed)
    runtime.place(backbone.trunk)
    supplied = _supply(jobs, backbone, runtime)
    tasks = [_task(job, backbone, supplied.dataset, runtime, is_short=rung is Rung.short) for job in jobs]
    return _Ready(jobs, backbone, supplied, tasks)


def _measure(ready: _Ready, fitted: Sequence[Fitted | DivergedError], rung: Rung | None, known: Columns) -> _Measured:
    """Everything that the rows say of networks as they were kept, which stay as they are; predictions are written."""
    first, supplied = ready.jobs[0], ready.supply
    scores = Evidence({}, {}) if first.fold else _evidence(ready.backbone, supplied, known)
    done = [(job, task, found) for job, task, found in zip(ready.jobs, ready.tasks, fitted, strict=True) if isinstance(found, Fitted)]
    own = {job.job_id: _columns(job, task, found, supplied, rung=rung, unscored=scores.undefined) for job, task, found in done}
    shared: Columns = {}
    for _, _, found in done[:1]:
        shared = _provided(supplied, found) | _cost(first, found, ready.backbone) | scores.columns
    others = _other_depths(first, ready.backbone) if rung is Rung.probe else []
    return _Measured(own, shared, seconds_per_image(ready.tasks[0], others, supplied))


def _rows(ready: _Ready, fitted: Sequence[Fitted | DivergedError], measured: _Measured, started_at: str, total_s: float) -> list[Row]:
    shared = measured.shared | {"total_s": total_s}
    later = shared | {"num_prefix_images": 0, "kept_mib": 0.0, "input_wait_frac": None}  # so that sums over rows count a pass once
    rows = []
    for job, found in zip(ready.jobs, fitted, strict=True):
        if isinstance(found, DivergedError):
            row = failed_row(job, Status.diverged, one_line(found))
        else:
            row = Row(**(identity(job, started_at) | measured.own[job.job_id] | (shared if job is ready.jobs[0] else later)))
        rows.append(replace(row, details=replace(row.details, train_s_per_image=measured.train_s_per_image)))
    return rows


def _task(job: JobSpec, backbone: Backbone, dataset: Dataset, runtime: Runtime, *, is_short: bool) -> Task:
    cfg, metric, fold = job.config, Metric(job.primary_metric), job.fold
    if fold is None:
        return Task(backbone, dataset, job.depth, cfg.train, runtime, cfg.seed, metric, is_short, _tried(job))
    recipe = replace(cfg.train, lr=fold.lr, lr_search=[1.0])
    return Task(backbone, dataset, job.depth, recipe, runtime, cfg.seed, metric, settled=Settled(fold.epoch, fold.temperature))


def _supply(jobs: Sequence[JobSpec], backbone: Backbone, runtime: Runtime) -> Supply:
    cfg = jobs[0].config
    return supply(
        backbone,
        jobs[0].dataset,
        cfg.train,
        team=Team(runtime, jobs[0].micro_batch),
        precision=cfg.precision,
        store=FeatureStore(Path(cfg.cache_dir).expanduser() / "features", cfg.store.max_gib),
        frozen={phase.plan.num_frozen_blocks for phase in phases_of(backbone, jobs[0].depth, cfg.train)},
        passing={depth.num_frozen(len(backbone.blocks)) for depth in _other_depths(jobs[0], backbone)},
        fold=_held_out(jobs[0]),
    )


def _held_out(job: JobSpec) -> HeldOut | None:
    return None if job.fold is None else hold_out(job.dataset, job.fold.number, job.config.seed)


def _other_depths(job: JobSpec, backbone: Backbone) -> list[FreezeDepth]:
    """Those of other jobs in the sweep that this backbone has blocks enough for."""
    return [depth for depth in job.passing if (depth.num_free or 0) <= len(backbone.blocks) and depth != job.depth]


def _tried(job: JobSpec) -> dict[float, float | None]:
    """What a short training that a search stopped at came to."""
    row = Study(job.config.study_dir).read_row(job.job_id)
    return {float(lr): loss for lr, loss in row.details.lr_losses.items()} if row and row.status == Status.pruned else {}


def _evidence(backbone: Backbone, supplied: Supply, known: Columns) -> Evidence:
    """What the features of the trunk say without any fine-tuning; empty where the job has no such features."""
    if known.get("evidence_s") is not None:
        return Evidence({name: known[name] for name in EVIDENCE_COLUMNS}, known["undefined"])
    if not supplied.has_features:
        return Evidence({}, {})
    train_ND, dataset = supplied.features("train"), supplied.dataset
    with threadpool_limits(1, user_api="blas"):  # products too small to share; on a busy machine threads wait for each other for seconds
        source_probs_NS = backbone.source_head.probabilities(train_ND) if backbone.source_head else None
        return evidence(train_ND, dataset.train.labels, source_probs_NS)


def _columns(job: JobSpec, task: Task, fitted: Fitted, supplied: Supply, *, rung: Rung | None, unscored: dict[str, str]) -> Columns:
    """What is a job's own, its predictions kept."""
    dataset = task.dataset
    val = _predictions(fitted.val_log_probs_NC, dataset.val)
    # The only look at the test images; nobody sees the outcome before the ranking recommends this job.
    is_sealed = fitted.is_complete and len(dataset.test) > 0
    sealed = _predictions(predict(fitted, supplied, "test"), dataset.test) if is_sealed else None
    Study(job.config.study_dir).write_predictions(job.job_id, val, sealed, _out_of_fold(task, fitted))
    training = _training(job, task, fitted)
    note = _keep(job, task, fitted, training["model_blake2b"])
    quality_columns, undefined = _quality(task, fitted)
    return (
        _ending(task, fitted, rung)
        | training
        | quality_columns
        | (_in_fold(job, dataset) if job.fold else {})
        | {"details": replace(_details(job, task, fitted, undefined | unscored), model_note=note)}
    )


def _keep(job: JobSpec, task: Task, fitted: Fitted, model_blake2b: str) -> str:
    """Keep the model, if it is wanted; a disk that does not take it costs the model and not the row. Return why there is none."""
    if job.config.model.keep is Keep.none or job.fold or not fitted.is_complete:
        return ""
    try:
        Models(Study(job.config.study_dir)).write(model_file(job, task, fitted, model_blake2b))
    except StoreError as error:
        return one_line(error)
    return ""


def _in_fold(job: JobSpec, dataset: Dataset) -> Columns:
    """What is other than in the candidate's own row. The probe behind the head knows nothing of the fold, so it is not that of the backbone."""
    sizes = {"n_train": len(dataset.train), "n_val": len(dataset.val), "n_test": 0}
    return sizes | {"oof_folds": folds_of(job.dataset), "probe_accuracy": None, "probe_log_loss": None, "probe_strength": None}


def _ending(task: Task, fitted: Fitted, rung: Rung | None) -> Columns:
    """How far the job came."""
    epochs, trained = task.cfg.num_epochs + task.cfg.release_epochs, fitted.curve[-1].epoch
    return {
        "status": (Status.ok if fitted.is_complete else Status.pruned).value,
        "error": None
        if fitted.is_complete
        else f"stopped by the staged search after a short training of {trained} instead of {epochs} epochs.",
        "rung": None if rung is None else int(rung),
        "epochs_trained": trained,
    }


def _predictions(log_probs_NC: FloatArray, split: Split) -> Predictions:
    return Predictions(log_probs_NC, split.labels, [image.id for image in split.images])


def _provided(supplied: Supply, fitted: Fitted) -> Columns:
    """What came out of the store, and what a pass had to compute."""
    efforts = [bank.effort for bank in supplied.banks]
    train = supplied.train(fitted.plan.num_frozen_blocks)
    used = [bank.about(boundary) for bank in supplied.banks for boundary in {train.boundary, supplied.trunk.last} if boundary in bank]
    waits = [effort.wait_frac for effort in efforts if effort.wait_frac is not None]
    blocks = fitted.blocks
    return {
        "precision": _lowest([supplied.team.runtime.precision.value, *(about["mode"].split()[0] for about in used)]),
        "trained_from": "images" if train.boundary == 0 else blocks[train.boundary - 1].name,
        "prefix_mode": next((about["mode"] for about in used if about["mode"] != DECODED), None),
        "prefix_note": next((effort.note for effort in efforts if effort.note), None) or _uncut(supplied, fitted),
        "num_prefix_images": sum(effort.num_passed for effort in efforts),
        "input_wait_frac": max(waits, default=None),
        "kept_mib": sum(effort.predicted_mib for effort in efforts),
        "features_s": max((about["seconds"] for about in used), default=0.0),
    }


def _lowest(precisions: Sequence[str]) -> str:
    lowest_first = (Precision.bfloat16, Precision.tf32, Precision.float32)
    return str(next(each.value for each in lowest_first if each.value in precisions))


def _uncut(supplied: Supply, fitted: Fitted) -> str | None:
    if fitted.plan.num_frozen_blocks in {0, supplied.trunk.last, supplied.trunk.nearest(fitted.plan.num_frozen_blocks)}:
        return None
    return "no clean cut at this depth: the frozen part ran again for every epoch"


def _out_of_fold(task: Task, fitted: Fitted) -> Predictions | None:
    """Where the model is a head on the backbone as it was loaded: what heads that never saw an image say about train and val."""
    probe, dataset = fitted.probe, task.dataset
    if probe is None or not _is_probe(task):
        return None
    ids = [image.id for split in (dataset.train, dataset.val) for image in split.images]
    return Predictions(probe.log_probs_NC, probe.labels_N, ids)


def _is_probe(task: Task) -> bool:
    return is_probe(task, phases_of(task.backbone, task.depth, task.cfg))


def _quality(task: Task, fitted: Fitted) -> tuple[Columns, dict[str, str]]:
    dataset, prior_C, last = task.dataset, learnt_prior(task), fitted.curve[-1]

    def measured(log_probs_NC: FloatArray, labels_N: IntArray) -> tuple[dict[str, float | None], dict[str, str]]:
        return quality(log_probs_NC, labels_N, decide(log_probs_NC, task.metric, prior_C))

    values, undefined = measured(fitted.val_log_probs_NC, dataset.val.labels)
    raw, _ = measured(fitted.raw_val_log_probs_NC, dataset.val.labels)
    train, _ = measured(fitted.train_log_probs_NC, dataset.train.labels)
    columns: Columns = {f"val_{name}": value for name, value in values.items()} | {
        "raw_val_log_loss": raw["log_loss"],
        "raw_val_ece": raw["ece"],
        "train_accuracy": train["accuracy"],
        "train_log_loss": train["log_loss"],
        "last_val_accuracy": last.val_accuracy,
        "last_val_log_loss": last.val_loss,
    }
    if (probe := fitted.probe) is not None:
        found, _ = measured(probe.log_probs_NC, probe.labels_N)
        columns |= {"probe_accuracy": found["accuracy"], "probe_log_loss": found["log_loss"], "probe_strength": probe.strength}
        if _is_probe(task):
            columns |= {f"oof_{name}": found[name] for name in OUT_OF_FOLD} | {"oof_folds": len(np.unique(probe.folds_N))}
    return columns, {f"val_{name}": reason for name, reason in undefined.items()}


def _training(job: JobSpec, task: Task, fitted: Fitted) -> Columns:
    return {
        "batch_norm": "fixed" if fixes_batch_norm(task) else "batch",
        "micro_batch": min(job.micro_batch or task.cfg.batch_size, task.cfg.batch_size),
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
    macs = cost.count_macs(network, fitted.plan, image_size, runtime)
    return {
        "image_size": image_size,
        "params_m": cost.params_m(network),
        "trainable_params_m": cost.params_m(network, trainable_only=True),
        "latency_key": latency_key(first, image_size),
        "gmacs": macs.gmacs,
        "frozen_macs_frac": macs.frozen_frac,
        "peak_mem_mib": peak_mem_mib,
        "weights_mib": cost.weights_mib(network),
        "num_threads": torch.get_num_threads(),
    }


def _details(job: JobSpec, task: Task, fitted: Fitted, undefined: dict[str, str]) -> Details:
    preprocess, augment = task.backbone.preprocess, job.config.train.augment
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
        class_prior=learnt_prior(task).tolist(),
    )
