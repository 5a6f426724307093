"""What a job has learnt, kept beside its row: the tensors that training may have changed, and what turns them into decisions."""

from collections.abc import Set as AbstractSet
from dataclasses import asdict
from importlib.metadata import version

from harness import __version__
from harness.backbones.backbone import WeightsSource
from harness.backbones.tensors import tensors_of
from harness.jobs.spec import JobSpec
from harness.study.model_file import ModelFile, ModelHeader, Tensors
from harness.transfer.network import Network
from harness.transfer.spec import Fitted, TrainingSpec


def model_file(job: JobSpec, spec: TrainingSpec, fitted: Fitted, model_blake2b: str) -> ModelFile:
    """The kept model of a job that ended well."""
    backbone, cfg = spec.backbone, spec.cfg
    weights = backbone.weights
    header = ModelHeader(
        job_id=job.job_id,
        dataset=job.dataset.name,
        model_blake2b=model_blake2b,
        backbone=job.config.backbone,
        model=backbone.spec.identity,
        weights=weights.tag,
        weights_source=weights.source.value,
        weights_sha256=weights.sha256,
        weights_path=str(weights.path.absolute()) if weights.path and weights.source is WeightsSource.file else None,
        licence=weights.licence,
        seed=spec.seed,
        features=cfg.features.value,
        head=cfg.head.value,
        head_hidden=cfg.head_hidden,
        freeze=str(job.depth),
        adapter=job.config.adapter.value,
        num_unchanged_blocks=fitted.unchanged,
        image_size=backbone.preprocess.image_size,
        preprocess=asdict(backbone.preprocess),
        max_values=dict(job.dataset.profile.max_values),
        class_names=list(job.dataset.class_names),
        metric=spec.metric.value,
        class_prior=fitted.objective.prior_C.tolist(),
        thresholds=fitted.objective.thresholds,
        temperature=fitted.temperature,
        trained_on="train" if job.refit is None else job.refit.on.value,
        num_trained_on=len(spec.dataset.train),
        harness_version=__version__,
        timm_version=version("timm"),
        torch_version=version("torch"),
    )
    return ModelFile(header, changed_tensors(fitted.network, fitted.as_loaded))


def changed_tensors(network: Network, as_loaded: AbstractSet[str]) -> Tensors:
    """Tensors of a network by name, less those of its trunk that are still as they were loaded."""
    base = {f"trunk.{name}" for name in as_loaded}
    return {name: tensor.detach().cpu().numpy() for name, tensor in tensors_of(network).items() if name not in base}
