"""Make jobs exact before the first one runs, so that a wrong name or a missing file is known while nothing is lost."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from harness.backbones.backbone import Backbone, BackboneSpec, Weights, WeightsSource
from harness.backbones.catalog import resolve
from harness.backbones.load import load_backbone
from harness.backbones.weights import find_weights
from harness.compute.runtime import Runtime, resolve_runtime
from harness.config import Adapter, Keep, SweepConfig
from harness.data.dataset import Dataset
from harness.data.early import Loaded, key_of
from harness.data.load import load_dataset
from harness.errors import ConfigError, HarnessError
from harness.jobs.identity import now
from harness.jobs.model_size import model_mib, outline
from harness.jobs.sharing import activations_key
from harness.jobs.spec import JobSpec
from harness.measure.quality import primary_metric
from harness.transfer.adapter import plan_adapter
from harness.transfer.depth import FreezeDepth, parse_freeze
from harness.transfer.freeze import plan_freeze

T = TypeVar("T")


def prepare_all(wanted: Sequence[tuple[SweepConfig, Sequence[str]]], loaded: Loaded) -> tuple[list[JobSpec], list[str]]:
    """Resolve every job of a sweep.

    Args:
        wanted: each with the overrides that run it again.
        loaded: data sets that are known already.

    Returns:
        The jobs that can run, those that are the same only once, and all that is wrong with the others, each problem once.
    """
    _seen.update(loaded)
    jobs: dict[tuple[Path, str], JobSpec] = {}
    problems: dict[str, None] = {}
    for cfg, command in wanted:
        wrong = [str(error) for part in _PARTS if (error := _error_of(part, cfg))]
        problems |= dict.fromkeys(wrong)
        if not wrong:
            job = _prepare(cfg, command)
            jobs.setdefault((cfg.study_dir, job.job_id), job)
    return _know_each_other(list(jobs.values())), list(problems)


def _know_each_other(jobs: Sequence[JobSpec]) -> list[JobSpec]:
    """Tell every job at which depths others need activations that it can cache for them; an adapter starts in the first blocks."""
    keys = [activations_key(job) for job in jobs]
    depths: dict[str, dict[FreezeDepth, None]] = defaultdict(dict)
    for key, job in zip(keys, jobs, strict=True):
        depths[key][job.depth if job.config.adapter is Adapter.none else FreezeDepth(frozen_frac=0.0)] = None
    passing = {key: tuple(found) for key, found in depths.items()}
    return [replace(job, passing=passing[key]) for key, job in zip(keys, jobs, strict=True)]


def _prepare(cfg: SweepConfig, command: Sequence[str]) -> JobSpec:
    dataset, runtime = _data(cfg), _runtime(cfg)
    cfg = replace(cfg, train=cfg.train.with_epochs(len(dataset.train)))
    backbone, weights = _backbone(cfg)
    return JobSpec(
        config=cfg,
        dataset=dataset,
        backbone=backbone,
        weights=weights,
        depth=_depth(cfg),
        device=runtime.device,
        precision=runtime.precision,
        protocol=_protocol(cfg, dataset),
        command=tuple(command),
        asked_at=now(),
        model_mib=_model_mib(cfg, backbone, dataset),
    )


def _model_mib(cfg: SweepConfig, spec: BackboneSpec, dataset: Dataset) -> float | None:
    if cfg.model.keep is Keep.none:
        return 0.0
    return model_mib(cfg, _outline(cfg, spec), _depth(cfg), dataset.num_classes)


def _outline(cfg: SweepConfig, spec: BackboneSpec) -> Backbone | None:
    return _once(repr((spec, cfg.data.image_size, cfg.train.features)), lambda: outline(cfg, spec))


def _data(cfg: SweepConfig) -> Dataset:
    key = key_of(cfg.data, cfg.cache_dir, cfg.results_dir)
    return _once(key, lambda: load_dataset(cfg.data, Path(cfg.cache_dir), Path(cfg.results_dir)))


def _backbone(cfg: SweepConfig) -> tuple[BackboneSpec, Weights]:
    """The exact architecture and where its weights are; downloaded, if need be, before any job starts."""
    found = _once(repr((cfg.backbone, cfg.weights)), lambda: _with_weights(resolve(cfg.backbone), cfg.weights))
    if found[1].source is WeightsSource.file:
        _once(repr((*found, cfg.data.image_size, cfg.train.features)), lambda: _fill(*found, cfg))
    return found


def _fill(spec: BackboneSpec, weights: Weights, cfg: SweepConfig) -> bool:
    """See that a user's file fills the network."""
    load_backbone(spec, weights, image_size=cfg.data.image_size, features=cfg.train.features, seed=cfg.seed)
    return True


def _with_weights(spec: BackboneSpec, requested: str) -> tuple[BackboneSpec, Weights]:
    return spec, find_weights(spec, requested)


def _runtime(cfg: SweepConfig) -> Runtime:
    return resolve_runtime(cfg.device, cfg.precision)


def _depth(cfg: SweepConfig) -> FreezeDepth:
    if cfg.train.release is not None:
        parse_freeze(cfg.train.release, "train.release")
    return parse_freeze(cfg.freeze)


def _adapter(cfg: SweepConfig) -> None:
    """See that an adapter has something to adapt."""
    if cfg.adapter is Adapter.none:
        return
    given, depth = f"adapter={cfg.adapter.value}", _depth(cfg)
    if depth.frozen_frac == 0:
        raise ConfigError(f"{given} freeze={depth}: nothing is frozen that it could adapt; sweep adapters with freeze=all, 0.5 or -4.")
    if cfg.train.release is not None:
        raise ConfigError(
            f"{given} train.release={cfg.train.release}: a second phase lets layers go, an adapter leaves them; give one of the two."
        )
    if (backbone := _outline(cfg, _backbone(cfg)[0])) is not None and (depth.num_free or 0) <= len(backbone.blocks):
        plan_adapter(plan_freeze(backbone.blocks, depth), backbone.trunk, backbone.blocks, cfg.adapter)


_PARTS: Sequence[Callable[[SweepConfig], object]] = (_depth, _runtime, _data, _backbone, _adapter)
"""What can be wrong with a job, the quick ones first."""


def _error_of(part: Callable[[SweepConfig], object], cfg: SweepConfig) -> HarnessError | None:
    try:
        part(cfg)
    except HarnessError as error:
        return error
    return None


_seen: dict[str, Any] = {}


def _once(key: str, make: Callable[[], T]) -> T:
    """`make()` once per process. A failure is remembered too: a server that is away is asked once, not once per job."""
    if key not in _seen:
        try:
            _seen[key] = make()
        except HarnessError as error:
            _seen[key] = error
    found = _seen[key]
    if isinstance(found, HarnessError):
        raise found
    return found  # type: ignore[no-any-return]


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
        "epochs": cfg.train.num_epochs + cfg.train.release_epochs,
    }
