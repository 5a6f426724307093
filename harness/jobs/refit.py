"""A candidate trained again on more images than its job had, with the epoch, learning rate and temperature that its job chose.

Its job is made exact again from its row; what comes of it is a model and no row, as nothing says how good it is.
"""

from dataclasses import replace

from harness.backbones.tensors import network_digest
from harness.compute.accelerator import see_only
from harness.config import RefitOn, Schedule, TrainConfig
from harness.errors import DivergedError, TableError
from harness.jobs.keep import model_file
from harness.jobs.run import get_ready
from harness.jobs.spec import JobSpec, Refit
from harness.study.model_file import ModelFile
from harness.study.models import Models
from harness.study.row import Row
from harness.study.store import Study
from harness.transfer.train import fit


def _refit_job(job: JobSpec, row: Row, on: RefitOn) -> JobSpec:
    if job.job_id != row.job_id:
        other = "images" if job.dataset.fingerprint != row.data_fingerprint else "weights, device or settings"
        raise TableError(f"job {row.job_id}: its {other} are others than when it ran; bring them back, or run the sweep again.")
    assert row.chosen_epoch is not None
    assert row.temperature is not None
    cfg = replace(job.config, train=_settled(job.config.train, row.chosen_epoch, row.lr))
    return replace(job, config=cfg, refit=Refit(on, row.chosen_epoch, row.temperature, tuple(row.details.thresholds)))


def _settled(cfg: TrainConfig, chosen_epoch: int, lr: float | None) -> TrainConfig:
    """The recipe up to the epoch that was chosen: the first or the last one, or any where the rate is constant."""
    cfg = replace(cfg, lr_search=[1.0], lr=cfg.lr if lr is None else lr)
    if chosen_epoch == 0:
        return replace(cfg, epochs=0, release=None, release_epochs=0)
    if cfg.schedule is not Schedule.constant:
        return cfg
    if chosen_epoch <= cfg.num_epochs:
        return replace(cfg, epochs=chosen_epoch, release=None, release_epochs=0)
    return replace(cfg, release_epochs=chosen_epoch - cfg.num_epochs)


def refit(job: JobSpec, row: Row, on: RefitOn) -> int:
    """Train a candidate again and keep the model. Runs in a process of its own.

    Args:
        job: of the candidate, made exact anew.
        row: what came of it.
        on: the images.

    Returns:
        How many images it was trained on.

    Raises:
        TableError: it is another job by now.
        DivergedError: the loss was not finite on these images.
        StoreError: the disk does not take the model.
    """
    job = _refit_job(job, row, on)
    see_only(job.config.device)
    ready = get_ready([job])
    (fitted,) = fit(ready.specs, ready.inputs)
    if isinstance(fitted, DivergedError):
        raise fitted
    file = model_file(job, ready.specs[0], fitted, network_digest(fitted.network))
    header = replace(file.header, job_id=row.job_id)  # of the job whose choices it follows; settled, it would be another
    Models(Study(job.config.study_dir)).refitted.write(ModelFile(header, file.tensors))
    return header.num_trained_on
