"""The straight line for one job: load, freeze, fit, predict, measure, row."""

import time
from dataclasses import asdict
from typing import Any

import torch

from harness import provenance
from harness.backbones.backbone import Backbone, BackboneLoader
from harness.backbones.load import load_backbone
from harness.config import MeasureConfig
from harness.data.dataset import Dataset, Split
from harness.data.transforms import ImageDataset, describe, eval_transform, train_transform
from harness.identity import identity, now
from harness.jobspec import JobSpec
from harness.measure import cost
from harness.measure.quality import quality
from harness.seeding import seed_everything
from harness.study.row import Details, Row, Status
from harness.study.store import FloatArray, Predictions, Study
from harness.transfer.predict import log_probabilities
from harness.transfer.runtime import Runtime
from harness.transfer.train import Fitted, Task, fit, fixes_batch_norm


def run_one(job: JobSpec, *, load: BackboneLoader = load_backbone) -> Row:
    """Do one job and keep its predictions; the caller writes the row. Raises whatever goes wrong."""
    started, started_at = time.perf_counter(), now()
    cfg, dataset = job.config, job.dataset
    seed_everything(cfg.seed)
    backbone = load(job.backbone, job.weights, image_size=cfg.data.image_size, features=cfg.train.features, seed=cfg.seed)
    task = Task(backbone, dataset, job.depth, cfg.train, Runtime(job.device, job.precision), cfg.seed)
    fitted = fit(task)
    val = _predictions(fitted.val_log_probs_NC, dataset.val)
    sealed = _predict_test(fitted, backbone, dataset.test) if len(dataset.test) else None
    quality_columns, undefined = _quality(fitted, dataset)
    cost_columns = _cost(fitted, backbone, cfg.measure)
    Study(cfg.study_dir).write_predictions(job.job_id, val, sealed)
    return Row(
        **identity(job, started_at),
        status=Status.ok.value,
        **_training(task, fitted),
        **quality_columns,
        **cost_columns,
        total_s=time.perf_counter() - started,
        details=_details(job, backbone, fitted, undefined),
    )


def _predict_test(fitted: Fitted, backbone: Backbone, test: Split) -> Predictions:
    """The only look at the test images; nobody sees the outcome before the ranking recommends this job."""
    samples = ImageDataset(test, eval_transform(backbone.preprocess))
    return _predictions(log_probabilities(fitted.network, samples, fitted.network.runtime, "predictions on test"), test)


def _predictions(log_probs_NC: FloatArray, split: Split) -> Predictions:
    return Predictions(log_probs_NC, split.labels, [image.id for image in split.images])


def _quality(fitted: Fitted, dataset: Dataset) -> tuple[dict[str, Any], dict[str, str]]:
    values, undefined = quality(fitted.val_log_probs_NC, dataset.val.labels)
    train_values, _ = quality(fitted.train_log_probs_NC, dataset.train.labels)
    last = fitted.curve[-1]
    columns: dict[str, Any] = {f"val_{name}": value for name, value in values.items()} | {
        "train_accuracy": train_values["accuracy"],
        "train_log_loss": train_values["log_loss"],
        "last_val_accuracy": last.val_accuracy,
        "last_val_log_loss": last.val_loss,
    }
    return columns, {f"val_{name}": reason for name, reason in undefined.items()}


def _training(task: Task, fitted: Fitted) -> dict[str, Any]:
    return {
        "batch_norm": "fixed" if fixes_batch_norm(task) else "batch",
        "train_precision": fitted.network.train_precision.value,
        "boundary": fitted.plan.boundary,
        "num_frozen_blocks": fitted.plan.num_frozen_blocks,
        "num_blocks": fitted.plan.num_blocks,
        "frozen_ok": True,  # `fit` raises when a frozen tensor has moved
        "chosen_epoch": fitted.chosen_epoch,
        "features_s": fitted.features_s,
        "train_s": fitted.train_s,
    }


def _cost(fitted: Fitted, backbone: Backbone, cfg: MeasureConfig) -> dict[str, Any]:
    network, image_size, runtime = fitted.network, backbone.preprocess.image_size, fitted.network.runtime
    peak_mem_mib = cost.peak_memory_mib(runtime)  # before the timing below adds its own
    macs = cost.count_macs(network, fitted.plan, image_size, runtime)
    timing = cost.measure_timing(network, image_size, runtime, cfg)
    return {
        "image_size": image_size,
        "params_m": cost.params_m(network),
        "trainable_params_m": cost.params_m(network, trainable_only=True),
        "gmacs": macs.gmacs,
        "frozen_macs_frac": macs.frozen_frac,
        "latency_ms_p50": timing.latency_ms_p50,
        "latency_ms_p95": timing.latency_ms_p95,
        "latency_steady": timing.is_steady,
        "throughput_ips": timing.throughput_ips,
        "peak_mem_mib": peak_mem_mib,
        "weights_mib": cost.weights_mib(network),
        "num_threads": torch.get_num_threads(),
    }


def _details(job: JobSpec, backbone: Backbone, fitted: Fitted, undefined: dict[str, str]) -> Details:
    preprocess, augment = backbone.preprocess, job.config.train.augment
    return Details(
        class_names=list(job.dataset.class_names),
        curve=list(fitted.curve),
        profile=asdict(job.dataset.profile),
        machine=provenance.machine(),
        protocol=job.protocol,
        recipe=job.recipe,
        transforms={"train": describe(train_transform(preprocess, augment)), "eval": describe(eval_transform(preprocess))},
        undefined=undefined,
        command=list(job.command),
    )
