"""Make jobs exact before the first one runs, so that a wrong name or a missing file is known while nothing is lost.

What jobs have in common is made once, and is one object for all of them.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from harness.backbones.backbone import Backbone, BackboneSpec, Weights, WeightsSource
from harness.backbones.catalog import resolve
from harness.backbones.load import load_backbone
from harness.backbones.quiet import quiet
from harness.backbones.spellings import own_place
from harness.backbones.weights import find_weights
from harness.clusters.devices import devices_of
from harness.compute.accelerator import require_there
from harness.compute.runtime import Runtime, resolve_runtime
from harness.config import Adapter, Keep, Labels, Metric, SweepConfig, TrainConfig, device_of, rank_metric, score_limit
from harness.data.dataset import Dataset
from harness.data.early import Loaded, key_of
from harness.data.labels import count_classes
from harness.data.load import load_dataset
from harness.errors import ConfigError, HarnessError
from harness.jobs.identity import now
from harness.jobs.model_size import model_mib, outline
from harness.jobs.own_network import described, require_usable
from harness.jobs.sharing import activations_key
from harness.jobs.spec import JobSpec
from harness.measure.binding import bound, require_kind
from harness.measure.quality import primary_metric
from harness.transfer.adapter import plan_adapter
from harness.transfer.depth import FreezeDepth, parse_freeze
from harness.transfer.freeze import plan_freeze

T = TypeVar("T")

_AT_ONCE = 16
"""Networks whose weights are asked for together."""
_MAX_OUTLINES = 20
"""Of more networks than this nobody waits to be told how large their models will be: an outline takes a third of a second."""


def prepare_all(wanted: Sequence[tuple[SweepConfig, Sequence[str]]], loaded: Loaded) -> tuple[list[JobSpec], list[str]]:
    """Resolve every job of a sweep.

    Args:
        wanted: each with the overrides that run it again.
        loaded: data sets that are known already.

    Returns:
        The jobs that can run, those that are the same only once, and all that is wrong with the others, each problem once.
    """
    _seen.update(loaded)
    _find_all([cfg for cfg, _ in wanted])
    is_outlined = len({cfg.backbone for cfg, _ in wanted}) <= _MAX_OUTLINES
    jobs: dict[tuple[Path, str], JobSpec] = {}
    problems: dict[str, None] = {}
    for cfg, command in wanted:
        wrong = [problem for part in _PARTS for problem in _problems(part, cfg)]
        problems |= dict.fromkeys(wrong)
        if not wrong:
            job = _prepare(cfg, command, is_outlined=is_outlined)
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


def _prepare(cfg: SweepConfig, command: Sequence[str], *, is_outlined: bool) -> JobSpec:
    dataset, runtime = _data(cfg), _runtime(cfg)
    train, protocol = _shared(cfg, dataset)
    cfg = replace(cfg, train=train)
    backbone, weights = _backbone(cfg)
    return JobSpec(
        config=cfg,
        dataset=dataset,
        backbone=backbone,
        weights=weights,
        depth=_depth(cfg),
        device=runtime.device,
        precision=runtime.precision,
        protocol=protocol,
        command=tuple(command),
        asked_at=now(),
        about=_looked_at(cfg, backbone, weights).about if _is_unknown(backbone) else "",
        model_mib=_model_mib(cfg, backbone, weights, dataset) if is_outlined or cfg.model.keep is Keep.none else None,
    )


def _shared(cfg: SweepConfig, dataset: Dataset) -> tuple[TrainConfig, dict[str, Any]]:
    """The recipe with its number of epochs, and the protocol."""

    def make() -> tuple[TrainConfig, dict[str, Any]]:
        train = cfg.train.with_epochs(len(dataset.train.counted_N))
        return train, _protocol(train, dataset)

    return _once(repr(cfg.train) + _data_key(cfg), make)


def _model_mib(cfg: SweepConfig, spec: BackboneSpec, weights: Weights, dataset: Dataset) -> float | None:
    if cfg.model.keep is Keep.none:
        return 0.0
    depth = _depth(cfg)
    key = repr((spec, weights, cfg.data.image_size, cfg.train, cfg.adapter, depth, dataset.num_classes))
    return _once(key, lambda: model_mib(cfg, _outline(cfg, spec, weights), depth, dataset.num_classes))


def _outline(cfg: SweepConfig, spec: BackboneSpec, weights: Weights) -> Backbone | None:
    if _is_unknown(spec):
        return _looked_at(cfg, spec, weights).outline
    return _once(repr((spec, cfg.data.image_size, cfg.train.features)), lambda: outline(cfg, spec))


def _data_key(cfg: SweepConfig) -> str:
    return key_of(cfg.data, cfg.cache_dir, cfg.results_dir)


def _data(cfg: SweepConfig) -> Dataset:
    return _once(_data_key(cfg), lambda: load_dataset(cfg.data, Path(cfg.cache_dir), Path(cfg.results_dir)))


def _find_all(wanted: Sequence[SweepConfig]) -> None:
    """Find the weights of networks that libraries have, several at a time: files are read, the hub is asked. What goes wrong is told by the jobs."""
    distinct = {_weights_key(cfg): cfg for cfg in wanted if cfg.weights != "random" and own_place(cfg.backbone) is None}
    with quiet(), ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(_try_weights, distinct.values()))


def _try_weights(cfg: SweepConfig) -> None:
    with suppress(HarnessError):
        _weights(cfg)


def _weights(cfg: SweepConfig) -> tuple[BackboneSpec, Weights]:
    return _once(_weights_key(cfg), lambda: _with_weights(cfg))


def _weights_key(cfg: SweepConfig) -> str:
    return repr((cfg.backbone, cfg.blocks, cfg.weights))


def _backbone(cfg: SweepConfig) -> tuple[BackboneSpec, Weights]:
    """The exact architecture and where its weights are."""
    found = _weights(cfg)
    if _is_unknown(found[0]) or found[1].source is WeightsSource.file:
        _looked_at(cfg, *found)
    return found


def _with_weights(cfg: SweepConfig) -> tuple[BackboneSpec, Weights]:
    spec = replace(resolve(cfg.backbone), blocks=cfg.blocks)
    return spec, find_weights(spec, cfg.weights, memory=Path(cfg.cache_dir).expanduser() / "weights-hashes")


@dataclass(frozen=True, slots=True)
class _LookedAt:
    """What is known of a network once it was built."""

    outline: Backbone | None = None
    """Its shapes."""
    about: str = ""


def _is_unknown(spec: BackboneSpec) -> bool:
    """Whether nobody has tried such a network, or such blocks of it, before."""
    return spec.own is not None or spec.blocks is not None


def _looked_at(cfg: SweepConfig, spec: BackboneSpec, weights: Weights) -> _LookedAt:
    """See that a user's file fills the network, and that a network of the user's does what jobs rely on."""
    return _once(repr((spec, weights, cfg.data.image_size, cfg.train.features)), lambda: _look_at(cfg, spec, weights))


def _look_at(cfg: SweepConfig, spec: BackboneSpec, weights: Weights) -> _LookedAt:
    backbone = load_backbone(spec, weights, image_size=cfg.data.image_size, features=cfg.train.features, seed=cfg.seed)
    if not _is_unknown(spec):
        return _LookedAt()
    require_usable(backbone)
    about = described(backbone)
    return _LookedAt(replace(backbone, trunk=backbone.trunk.to("meta"), source_head=None), about)


def _runtime(cfg: SweepConfig) -> Runtime:
    there, (device, index) = devices_of(cfg), device_of(cfg.device)
    if there is None:
        require_there(cfg.device)
    elif index is not None:
        raise ConfigError(f"device={cfg.device}: a worker of a cluster is given its accelerator; give device={device.value}.")
    return resolve_runtime(device, cfg.precision, there)


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
    if (backbone := _outline(cfg, *_backbone(cfg))) is not None and (depth.num_free or 0) <= len(backbone.blocks):
        plan_adapter(plan_freeze(backbone.blocks, depth), backbone.trunk, backbone.blocks, cfg.adapter)


def _ranked(cfg: SweepConfig) -> None:
    """See that the classes and costs that the jobs are to be ranked by are there."""
    for metric in (rank_metric(cfg.rank.metric), *(score_limit(text).metric for text in cfg.rank.limits)):
        require_kind(metric, is_several=_data(cfg).is_several)
        bound(metric, _data(cfg).class_names, Metric.accuracy, cfg.rank.costs)


_PARTS: Sequence[Callable[[SweepConfig], object]] = (_depth, _runtime, _data, _ranked, _backbone, _adapter)
"""What can be wrong with a job, the quick ones first."""


def _problems(part: Callable[[SweepConfig], object], cfg: SweepConfig) -> Sequence[str]:
    try:
        part(cfg)
    except ConfigError as error:
        return error.problems
    except HarnessError as error:
        return [str(error)]
    return []


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


def _protocol(train: TrainConfig, dataset: Dataset) -> dict[str, Any]:
    """What two rows must share to be compared."""
    counts_C = count_classes(dataset.train.labels, dataset.num_classes).tolist()
    several = {"labels": Labels.several.value} if dataset.is_several else {}
    weights = {} if dataset.train.weights is None else {"image_weights": True}
    return {
        **several,
        **weights,
        "data": dataset.name,
        "fingerprint": dataset.fingerprint,
        "n_train": len(dataset.train),
        "n_val": len(dataset.val),
        "n_test": len(dataset.test),
        "metric": (Metric.mean_average_precision if several else primary_metric(counts_C)).value,
        "epochs": train.num_epochs + train.release_epochs,
    }
