"""One job made exact: its data, its backbone, its weights, its freeze depth, and the hash that names it.

Torch-free and picklable: the sweep holds these, and they travel into the jobs' own processes.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from harness.backbones.backbone import BackboneSpec, Weights
from harness.config import Device, Precision, SweepConfig
from harness.data.dataset import Dataset
from harness.study.row import ROW_SCHEMA
from harness.transfer.depth import FreezeDepth


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One job, nothing left open. Picklable: it travels into the job's own process."""

    config: SweepConfig
    dataset: Dataset
    backbone: BackboneSpec
    weights: Weights
    depth: FreezeDepth
    device: Device
    """Never auto."""
    precision: Precision
    """Never auto."""
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
                "device": self.device.value,
                "precision": self.precision.value,
            }
        )


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
