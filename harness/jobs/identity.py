"""What a row says of a job before it has run; a job that fails has a row with just that. Torch-free."""

from datetime import UTC, datetime
from platform import node
from typing import Any

from harness.config import Adapter
from harness.jobs import provenance
from harness.jobs.spec import JobSpec
from harness.status import Status
from harness.study.row import Details, Row


def failed_row(job: JobSpec, status: Status, error: str, *, rung: int | None = None) -> Row:
    """The row of a job that did not end well, or was not begun: what it was and why; its metric cells are empty."""
    details = Details(command=job.alone, protocol=job.protocol)
    return Row(**identity(job, now()), status=status.value, error=error, rung=rung, details=details)


def now() -> str:
    """UTC, ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def identity(job: JobSpec, started_at: str) -> dict[str, Any]:
    """The columns that are known before a job runs."""
    cfg, dataset, recipe = job.config, job.dataset, job.config.train
    return {
        "job_id": job.job_id,
        "study": cfg.study,
        "protocol": job.protocol_hash,
        "backbone": cfg.backbone,
        "model": job.backbone.identity,
        "family": job.backbone.family,
        "weights": job.weights.tag,
        "weights_source": job.weights.source.value,
        "weights_sha256": job.weights.sha256,
        "licence": job.weights.licence,
        "imagenet_top1_frac": job.weights.imagenet_top1_frac,
        "freeze": str(job.depth),
        "release": recipe.release,
        "adapter": None if cfg.adapter is Adapter.none else cfg.adapter.value,
        "recipe": recipe.name,
        "recipe_hash": job.recipe_hash,
        "seed": cfg.seed,
        "fold": None if job.fold is None else job.fold.number,
        "dataset": dataset.name,
        "data_fingerprint": dataset.fingerprint,
        "n_train": len(dataset.train),
        "n_val": len(dataset.val),
        "n_test": len(dataset.test),
        "num_classes": dataset.num_classes,
        "epochs": recipe.num_epochs + recipe.release_epochs,
        "lr": recipe.lr,
        "weight_decay": recipe.weight_decay,
        "batch_size": recipe.batch_size,
        "augment": recipe.augment.value,
        "views": recipe.views,
        "precision": job.precision.value,
        "device": job.device.value,
        "primary_metric": job.primary_metric,
        "started_at": started_at,
        "host": node(),
        "git": provenance.git_commit(),
        **provenance.versions(),
    }
