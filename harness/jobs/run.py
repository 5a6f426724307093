"""The straight line for one job: load, cut, provide inputs, fit, measure, row.

Jobs that share everything but the head's seed, learning rate or weight decay go down the line together.
"""

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from threadpoolctl import threadpool_limits

from harness.backbones.backbone import Backbone, BackboneLoader
from harness.backbones.load import load_backbone
from harness.backbones.weights import fetched
from harness.compute.accelerator import identifier, see_only
from harness.compute.runtime import Runtime
from harness.compute.seeding import seed_everything
from harness.compute.thread_pool import ThreadPool
from harness.config import Keep, Metric
from harness.data.dataset import Dataset, Split, joined
from harness.errors import DivergedError, StoreError, is_debugging, is_out_of_memory
from harness.features.cut import CutTrunk, cut
from harness.features.store import FeatureStore
from harness.jobs.audit_data import audit_data
from harness.jobs.columns import Columns, own_columns, shared_columns, spent_columns, trains_nothing_but_probe
from harness.jobs.energy import metered
from harness.jobs.identity import failed_row, identity, now
from harness.jobs.keep import model_file
from harness.jobs.provenance import libraries, machine, versions
from harness.jobs.spec import JobSpec
from harness.measure.transferability import Scores, transferability_scores
from harness.process.isolate import one_line
from harness.status import Status
from harness.study.models import Models
from harness.study.row import TRANSFERABILITY_COLUMNS, Row
from harness.study.store import FloatArray, Predictions, Study
from harness.transfer.depth import FreezeDepth
from harness.transfer.freeze import plan_freeze
from harness.transfer.held_out import HeldOut, hold_nothing_out, hold_out
from harness.transfer.inputs import Inputs, provide_inputs
from harness.transfer.rungs import Rung
from harness.transfer.spec import Fitted, Settled, SnapshotPlace, TrainingSpec, phases_of
from harness.transfer.train import fit, predict, seconds_per_image

_log = logging.getLogger(__name__)


def run_jobs(
    jobs: Sequence[JobSpec], known: Columns | None = None, rung: Rung | None = None, *, load: BackboneLoader = load_backbone
) -> list[Row]:
    """Do one job, or several of one group, and keep their predictions; the caller writes the rows.

    Args:
        jobs: of one group (`head_group_key`).
        known: what this sweep has measured before, `TRANSFERABILITY_COLUMNS` of the same backbone and images; what is missing is measured here.
        rung: of the staged search that asks; None: there is none. What a short training came to is in the job's row, and is not done again
            when the whole is asked for.
        load: the seam to model libraries.

    Returns:
        A row per job, in their order. What goes wrong with the head of one of several is in its row; whatever else goes
        wrong is raised.
    """
    fetched(jobs[0].backbone, jobs[0].weights)  # before the clock starts: a hub's pace says nothing of a job
    started, started_at = time.perf_counter(), now()
    see_only(jobs[0].config.device)
    with metered(identifier(jobs[0].device)) as energy:
        ready = get_ready(jobs, rung, load)
        fitted = fit(ready.specs, ready.inputs)
        measured = _measure(ready, fitted, rung, known or {})
    earlier_s = sum(found.earlier_s for found in fitted if isinstance(found, Fitted))
    total_s = (earlier_s + time.perf_counter() - started) / len(jobs)
    if earlier_s:
        energy.give_up("part of the training was done by a process that was ended before")
    unmetered = {} if energy.wh is not None else {"energy_wh": energy.note}
    rows = _rows(ready, fitted, measured, started_at, spent_columns(jobs, total_s, energy))
    return [replace(row, details=replace(row.details, undefined=row.details.undefined | unmetered)) for row in rows]


@dataclass(frozen=True, slots=True)
class Ready:
    """What fitting takes."""

    jobs: Sequence[JobSpec]
    backbone: Backbone
    inputs: Inputs
    specs: Sequence[TrainingSpec]
    """One per job."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """What came of it."""

    own: dict[str, Columns]
    """By job that ended well."""
    shared: Columns
    """What these have in common."""
    train_s_per_image: dict[str, float]


def get_ready(jobs: Sequence[JobSpec], rung: Rung | None = None, load: BackboneLoader = load_backbone) -> Ready:
    """Load, cut, and provide inputs: all that fitting jobs of one group takes."""
    first = jobs[0]
    cfg, runtime = first.config, Runtime(first.device, first.precision)
    seed_everything(cfg.seed)
    backbone = load(first.backbone, first.weights, image_size=cfg.data.image_size, features=cfg.train.features, seed=cfg.seed)
    runtime.place(backbone.trunk)
    trunk = cut(backbone)
    inputs = _inputs(jobs, backbone, trunk, runtime)
    specs = [_training_spec(job, backbone, trunk, inputs.dataset, is_short=rung is Rung.short) for job in jobs]
    return Ready(jobs, backbone, inputs, specs)


def _measure(ready: Ready, fitted: Sequence[Fitted | DivergedError], rung: Rung | None, known: Columns) -> _Measured:
    """Everything that the rows say of networks as they were kept, which stay as they are; predictions are written."""
    first, inputs = ready.jobs[0], ready.inputs
    if inputs.has_features and first.fold is None:
        _audit(first, inputs)
    scores = Scores({}, {}) if first.fold else _transferability(ready.backbone, inputs, known)
    done = [(job, spec, found) for job, spec, found in zip(ready.jobs, ready.specs, fitted, strict=True) if isinstance(found, Fitted)]
    own = {job.job_id: _columns(job, spec, found, inputs, rung=rung, unscored=scores.undefined) for job, spec, found in done}
    shared: Columns = {}
    for _, _, found in done[:1]:
        shared = shared_columns(first, ready.backbone, inputs, found) | scores.columns
    others = _other_depths(first, ready.backbone) if rung is Rung.probe else []
    return _Measured(own, shared, seconds_per_image(ready.specs[0], others, inputs))


def _audit(job: JobSpec, inputs: Inputs) -> None:
    """Look at the images themselves, once in a study. What goes wrong there costs the audit and no row."""
    try:
        audit_data(job, inputs.plain.final)
    except Exception as error:
        if is_debugging() or is_out_of_memory(error):
            raise
        _log.warning("The images were not audited: %s", one_line(error))


def _rows(ready: Ready, fitted: Sequence[Fitted | DivergedError], measured: _Measured, started_at: str, spent: Columns) -> list[Row]:
    shared = measured.shared | spent
    later = shared | {"num_activations_computed": 0, "cached_mib": 0.0, "input_wait_frac": None}  # so that sums over rows count a pass once
    rows = []
    for job, found in zip(ready.jobs, fitted, strict=True):
        if isinstance(found, DivergedError):
            row = failed_row(job, Status.diverged, one_line(found))
        else:
            row = Row(**(identity(job, started_at) | measured.own[job.job_id] | (shared if job is ready.jobs[0] else later)))
        rows.append(replace(row, details=replace(row.details, train_s_per_image=measured.train_s_per_image)))
    return rows


def _training_spec(job: JobSpec, backbone: Backbone, trunk: CutTrunk, dataset: Dataset, *, is_short: bool) -> TrainingSpec:
    cfg, fold = job.config, job.fold
    spec = TrainingSpec(
        backbone=backbone,
        trunk=trunk,
        dataset=dataset,
        depth=job.depth,
        cfg=cfg.train,
        runtime=Runtime(job.device, job.precision),
        seed=cfg.seed,
        metric=Metric(job.primary_metric),
        adapter=cfg.adapter,
        snapshots=_snapshots(job, is_short=is_short),
    )
    if job.refit is not None:
        return replace(spec, settled=Settled(job.refit.epoch, job.refit.temperature, job.refit.thresholds))
    if fold is None:
        return replace(spec, is_short=is_short, tried=_tried(job))
    return replace(spec, cfg=replace(cfg.train, lr=fold.lr, lr_search=[1.0]), settled=Settled(fold.epoch, fold.temperature))


def _snapshots(job: JobSpec, *, is_short: bool) -> SnapshotPlace | None:
    """None: the training is over too soon for any, is no evidence, or none are wanted."""
    cfg = job.config
    is_quick = job.trains_head_only and not cfg.train.shows_new_images
    if cfg.job.snapshot_minutes is None or is_quick or job.refit is not None:
        return None
    where = machine()
    kind = [where["device_name"], where["num_threads"], job.device.value, job.precision.value, job.micro_batch, is_short]
    key = json.dumps([versions(), libraries(), kind])
    return SnapshotPlace(Study(cfg.study_dir).snapshot_path(job.job_id), key, 60 * cfg.job.snapshot_minutes)


def _inputs(jobs: Sequence[JobSpec], backbone: Backbone, trunk: CutTrunk, runtime: Runtime) -> Inputs:
    cfg = jobs[0].config
    return provide_inputs(
        backbone,
        trunk,
        jobs[0].dataset,
        cfg.train,
        pool=ThreadPool(runtime, jobs[0].micro_batch),
        precision=jobs[0].asked_precision,
        store=FeatureStore(Path(cfg.cache_dir).expanduser() / "features", cfg.store.max_gib, cfg.store.shared),
        starts={phase.plan.first_changed_block for phase in phases_of(backbone, jobs[0].depth, cfg.train, cfg.adapter)},
        passing={plan_freeze(backbone.blocks, depth).first_changed_block for depth in _other_depths(jobs[0], backbone)},
        fold=_held_out(jobs[0]),
    )


def _held_out(job: JobSpec) -> HeldOut | None:
    if job.refit is not None:
        return hold_nothing_out(job.dataset, job.refit.on)
    return None if job.fold is None else hold_out(job.dataset, job.fold.number, job.config.seed)


def _other_depths(job: JobSpec, backbone: Backbone) -> list[FreezeDepth]:
    """Those of other jobs in the sweep that this backbone has blocks enough for."""
    return [depth for depth in job.passing if (depth.num_free or 0) <= len(backbone.blocks) and depth != job.depth]


def _tried(job: JobSpec) -> dict[float, float | None]:
    """What a short training that a search stopped at came to."""
    row = Study(job.config.study_dir).read_row(job.job_id)
    return {float(lr): loss for lr, loss in row.details.lr_losses.items()} if row and row.status == Status.pruned else {}


def _transferability(backbone: Backbone, inputs: Inputs, known: Columns) -> Scores:
    """Return what the features of the backbone say without any fine-tuning; empty where the job has no such features."""
    if known.get("transferability_s") is not None:
        return Scores({name: known[name] for name in TRANSFERABILITY_COLUMNS}, known["undefined"])
    if not inputs.has_features:
        return Scores({}, {})
    if inputs.dataset.is_several:
        reason = "it is defined for images of exactly one class each"
        return Scores(dict.fromkeys(TRANSFERABILITY_COLUMNS), dict.fromkeys(TRANSFERABILITY_COLUMNS, reason))
    train_ND, dataset = inputs.features("train"), inputs.dataset
    with threadpool_limits(1, user_api="blas"):  # products too small to share; on a busy machine threads wait for each other for seconds
        source_probs_NS = backbone.source_head.probabilities(train_ND) if backbone.source_head else None
        return transferability_scores(train_ND, dataset.train.labels, source_probs_NS)


def _columns(job: JobSpec, spec: TrainingSpec, fitted: Fitted, inputs: Inputs, *, rung: Rung | None, unscored: dict[str, str]) -> Columns:
    """What is a job's own, its predictions kept."""
    dataset = spec.dataset
    val = _predictions(fitted.val_log_probs_NC, dataset.val)
    # Test images are predicted only here; nobody sees the outcome before the ranking recommends this job.
    is_sealed = fitted.is_complete and len(dataset.test) > 0
    sealed = _predictions(predict(fitted, inputs, "test"), dataset.test) if is_sealed else None
    Study(job.config.study_dir).write_predictions(job.job_id, val, sealed, _out_of_fold(spec, fitted))
    found = own_columns(job, spec, fitted, rung, unscored)
    return found | {"details": replace(found["details"], model_note=_keep(job, spec, fitted, found["model_blake2b"]))}


def _keep(job: JobSpec, spec: TrainingSpec, fitted: Fitted, model_blake2b: str) -> str:
    """Keep the model, if it is wanted; a disk that does not take it costs the model and not the row. Return why there is none."""
    if job.config.model.keep is Keep.none or job.fold or not fitted.is_complete:
        return ""
    try:
        Models(Study(job.config.study_dir)).write(model_file(job, spec, fitted, model_blake2b))
    except StoreError as error:
        return one_line(error)
    return ""


def _predictions(log_probs_NC: FloatArray, split: Split) -> Predictions:
    return Predictions(log_probs_NC, split.labels, [image.id for image in split.images], split.groups)


def _out_of_fold(spec: TrainingSpec, fitted: Fitted) -> Predictions | None:
    """Where the model is a head on the backbone as it was loaded: what heads that never saw an image say about train and val."""
    probe, dataset = fitted.probe, spec.dataset
    if probe is None or not trains_nothing_but_probe(spec):
        return None
    ids = [image.id for split in (dataset.train, dataset.val) for image in split.images]
    return Predictions(probe.log_probs_NC, probe.labels_N, ids, joined(dataset.train, dataset.val).groups)
