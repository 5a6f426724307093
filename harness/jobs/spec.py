"""One job made exact: its data, its backbone, its weights, its freeze depth, and the hash that names it.

Torch-free and picklable: the sweep holds these, and they travel into the jobs' own processes.
"""

import hashlib
import json
import re
from dataclasses import asdict, dataclass, replace
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.backbones.backbone import BackboneSpec, Weights
from harness.config import Adapter, Device, Precision, RefitOn, SweepConfig
from harness.data.dataset import Dataset
from harness.study.row import ROW_SCHEMA
from harness.transfer.depth import FreezeDepth

_NOT_OF_ONE = ("search=", "budget.", "evidence.", "retry=", "track=", "workers=", "on=", "slurm.", "ray.")
"""Overrides that are about all jobs of a sweep."""
MIN_MICRO_BATCH = 4
"""Below, memory is not what keeps a job from running."""


@dataclass(frozen=True, slots=True)
class Fold:
    """Images of train and val that a fine-tune is judged on and not trained on, and what the candidate's own job chose."""

    number: int
    """From 0."""
    lr: float
    epoch: int
    """That is kept."""
    temperature: float


@dataclass(frozen=True, slots=True)
class Refit:
    """A candidate trained again on more images, with what its own job chose. It is no evidence, and has no row."""

    on: RefitOn
    epoch: int
    """That is kept."""
    temperature: float
    thresholds: tuple[float, ...] = ()
    """Of labels, where images may have several."""


@dataclass(frozen=True)  # no slots: hashes are computed once and kept beside the fields
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
    """Never auto or mixed."""
    protocol: dict[str, Any]
    command: tuple[str, ...]
    """Overrides that composed this job."""
    asked_at: str
    """When the sweep began: UTC, ISO 8601."""
    passing: tuple[FreezeDepth, ...] = ()
    """Freeze depths at which other jobs of the sweep use the same backbone and images; a pass caches activations for them on its way."""
    micro_batch: int | None = None
    """Images that are computed at once at most, as memory did not allow for more; None: as many as is quickest."""
    about: str = ""
    """What was made of a network of the user's own, to be said before jobs run; empty: a library knows it."""
    model_mib: float | None = None
    """What its kept model will take, as predicted; None: not known."""
    fold: Fold | None = None
    """That the candidate is cross-fitted on; None: its own job, which trains on train and is judged on val."""
    refit: Refit | None = None
    """What it is trained on again; None: it is not."""

    def with_less_memory(self) -> "JobSpec | None":
        """The same job with half as many images at once; None when that would be fewer than `MIN_MICRO_BATCH`."""
        smaller = (self.micro_batch or self.config.train.batch_size) // 2
        return replace(self, micro_batch=smaller) if smaller >= MIN_MICRO_BATCH else None

    @cached_property
    def protocol_hash(self) -> str:
        return hash_of(self.protocol)

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """Every training setting as plain values, less those that were added later and are at their default; blocks where they were given."""
        given = {} if self.config.blocks is None else {"blocks": self.config.blocks}
        return {name: plain(value) for name, value in self.config.train.recorded.items()} | given

    @cached_property
    def recipe_hash(self) -> str:
        return hash_of({key: value for key, value in self.recipe.items() if key != "name"})

    @property
    def primary_metric(self) -> str:
        return str(self.protocol["metric"])

    @property
    def asked_precision(self) -> Precision:
        """What decides the arithmetic of cached activations: `auto` where that was asked for, else what the job computes in."""
        return Precision.auto if self.config.precision is Precision.auto else self.precision

    @property
    def trains_head_only(self) -> bool:
        """Whether nothing of the backbone is trained."""
        return self.depth.is_whole and self.config.train.release is None and self.config.adapter is Adapter.none

    @property
    def outcome(self) -> dict[str, Any]:
        """Everything that decides the outcome, as plain values."""
        fold = {} if self.fold is None else {"fold": asdict(self.fold)}
        adapter = {} if self.config.adapter is Adapter.none else {"adapter": self.config.adapter.value}
        return {
            **fold,
            **adapter,
            "schema": ROW_SCHEMA,
            "model": self.backbone.identity,
            "library": self.backbone.library,
            "weights": self.weights.sha256 or self.weights.tag,
            "freeze": str(self.depth),
            "recipe": self.recipe_hash,
            "protocol": self.protocol_hash,
            "image_size": self.config.data.image_size,
            "seed": self.config.seed,
            "device": self.device.value,
            "precision": [self.config.precision.value, self.precision.value],
        }

    @cached_property
    def job_id(self) -> str:
        """Hash of what decides the outcome; the same job has the same id on every machine."""
        return hash_of(self.outcome)

    @property
    def alone(self) -> list[str]:
        """Overrides that run this job again, and no other: without those of a search that it was found by, of who runs it, of trackers, and which accelerator."""
        return [re.sub(r"^(\+*device=cuda):\d+$", r"\1", part) for part in self.command if not part.startswith(_NOT_OF_ONE)]


def plain(value: Any) -> Any:
    """Enums by value, paths as text, all the way down: what JSON and hashes take."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def hash_of(record: dict[str, Any]) -> str:
    """16 hexadecimal digits that name these plain values."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
