"""Make one job exact before it runs: its data, its backbone, its weights and the hash that names it.

The sweep prepares every job first, so that a wrong name or a missing file is known before anything has run.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.backbones.backbone import BackboneSpec, Weights
from harness.backbones.catalog import resolve
from harness.backbones.weights import find_weights
from harness.config import SweepConfig
from harness.data.dataset import Dataset
from harness.data.load import load_dataset
from harness.measure.quality import primary_metric
from harness.study.row import ROW_SCHEMA
from harness.transfer.depth import FreezeDepth, parse_freeze
from harness.transfer.runtime import Runtime, resolve_runtime


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job, nothing left open. Picklable: it travels into the job's own process."""

    config: SweepConfig
    dataset: Dataset
    backbone: BackboneSpec
    weights: Weights
    depth: FreezeDepth
    runtime: Runtime
    protocol: dict[str, Any]
    command: tuple[str, ...]
    """Overrides that run this job again."""

    @property
    def protocol_hash(self) -> str:
        return _hash(self.protocol)

    @property
    def recipe(self) -> dict[str, Any]:
        """Every training setting as plain values."""
        return {name: plain(value) for name, value in asdict(self.config.train).items()}

    @property
    def recipe_hash(self) -> str:
        return _hash({key: value for key, value in self.recipe.items() if key != "name"})

    @property
    def primary_metric(self) -> str:
        return str(self.protocol["metric"])

    @property
    def job_id(self) -> str:
        """Hash of everything that decides the outcome; the same job has the same id on every machine."""
        return _hash(
            {
                "schema": ROW_SCHEMA,
                "model": self.backbone.model,
                "library": self.backbone.library,
                "weights": self.weights.sha256 or self.weights.tag,
                "freeze": str(self.depth),
                "recipe": self.recipe_hash,
                "protocol": self.protocol_hash,
                "image_size": self.config.data.image_size,
                "seed": self.config.seed,
                "device": self.runtime.device.value,
                "precision": self.runtime.precision.value,
            }
        )


def prepare(cfg: SweepConfig, command: Sequence[str]) -> JobSpec:
    """Resolve one job's configuration.

    Raises:
        HarnessError: a name, a file, a download or a depth is wrong; the message says what to type instead.
    """
    dataset = prepare_data(cfg)
    backbone, weights = prepare_backbone(cfg)
    return JobSpec(
        config=cfg,
        dataset=dataset,
        backbone=backbone,
        weights=weights,
        depth=parse_freeze(cfg.freeze),
        runtime=resolve_runtime(cfg.device, cfg.precision),
        protocol=_protocol(cfg, dataset),
        command=tuple(command),
    )


def prepare_data(cfg: SweepConfig) -> Dataset:
    """The data set of a job; jobs of one process share it."""
    key = repr((cfg.data, cfg.cache_dir))
    if key not in _datasets:
        _datasets[key] = load_dataset(cfg.data, Path(cfg.cache_dir).expanduser())
    return _datasets[key]


def prepare_backbone(cfg: SweepConfig) -> tuple[BackboneSpec, Weights]:
    """The exact architecture and where its weights are; looked for, and if need be downloaded, once per process."""
    return _backbone(cfg.backbone, cfg.weights)


@cache
def _backbone(name: str, requested_weights: str) -> tuple[BackboneSpec, Weights]:
    spec = resolve(name)
    return spec, find_weights(spec, requested_weights)


_datasets: dict[str, Dataset] = {}


def _protocol(cfg: SweepConfig, dataset: Dataset) -> dict[str, Any]:
    """What two rows must share to be compared."""
    counts_C = np.bincount(dataset.train.labels, minlength=dataset.num_classes).tolist()
    return {
        "data": dataset.name,
        "fingerprint": dataset.fingerprint,
        "n_train": len(dataset.train),
        "n_val": len(dataset.val),
        "n_test": len(dataset.test),
        "metric": primary_metric(counts_C).value,
        "epochs": cfg.train.epochs + cfg.train.release_epochs,
    }


def plain(value: Any) -> Any:
    """Enums by value, paths as text, all the way down: what JSON and hashes take."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def _hash(record: dict[str, Any]) -> str:
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
