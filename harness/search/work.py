"""What a job is going to take, as the cost model's `Work`: from what the linear probe of its backbone has measured, or a guess."""

from collections.abc import Iterable, Sequence

import numpy as np

from harness.config import Adapter
from harness.jobs.spec import JobSpec
from harness.search.predicted_cost import FACTOR, Work
from harness.study.row import Row
from harness.transfer.depth import WHOLE
from harness.transfer.rungs import Rung, short_epochs

JOB_S = 1.5
"""Of a job, whatever its number of images: process, model, head, predictions."""
_FIRST_GUESS_S = 0.02
"""One image through a backbone of which nothing is known yet."""


def work_of(jobs: Sequence[JobSpec], rung: Rung, probe: Row | None, typical_s: float, *, is_tried: bool) -> Work:
    """Return what it takes to bring a candidate to a rung.

    Args:
        jobs: of the candidate, all its seeds.
        rung: how far.
        probe: row of the linear probe of its backbone.
        typical_s: of one image through a backbone that was not probed.
        is_tried: it had a short training before.
    """
    job = jobs[0]
    num_train, num_val, num_test = (len(split) for split in (job.dataset.train, job.dataset.val, job.dataset.test))
    forward_s = (forward_s_of(probe) if probe else None) or typical_s
    if job.trains_head_only:
        return _work("probe", forward_s, num_train + num_val + num_test, epochs=1, passed=1, trained=0, constant_s=JOB_S)
    epochs = _epochs(job, rung, is_tried=is_tried)
    num_images, constant_s = (num_train + num_val // 3) * len(jobs), JOB_S * len(jobs)
    measured_s = probe.details.train_s_per_image.get(str(job.depth)) if probe else None
    if measured_s is not None:
        return _work("train", measured_s / FACTOR, num_images, epochs=epochs, passed=1, trained=1, constant_s=constant_s)
    free = 1 - (job.depth.frozen_frac or 0.0) if job.config.adapter is Adapter.none else 1.0  # gradients go through frozen blocks to it
    return _work("train", forward_s, num_images, epochs=epochs, passed=free, trained=free, constant_s=constant_s)


def typical_forward_s(rows: Iterable[Row]) -> float:
    """Return the mean over the linear probes among rows, or a guess where there is none (seconds)."""
    known = [seconds for row in rows if row.freeze == str(WHOLE) and (seconds := forward_s_of(row))]
    return float(np.mean(known)) if known else _FIRST_GUESS_S


def forward_s_of(probe: Row) -> float | None:
    """One image through the backbone, as its probe's pass over all images took it, decoding included; None where there was no such pass."""
    num_images = (probe.n_train or 0) + (probe.n_val or 0) + (probe.n_test or 0)
    return probe.features_s / num_images if probe.features_s and num_images else None


def _epochs(job: JobSpec, rung: Rung, *, is_tried: bool) -> int:
    """Of a rung: those of the rates that are tried, less what a short training has tried, and of the whole."""
    train = job.config.train
    short, num_rates = short_epochs(train.num_epochs), len(train.lr_search)
    if rung is Rung.short:
        return short
    return train.num_epochs + (short * (num_rates - is_tried) if num_rates > 1 else 0)


def _work(kind: str, forward_s: float, num_images: int, *, epochs: float, passed: float, trained: float, constant_s: float) -> Work:
    return Work(
        kind=kind,
        forward_s=forward_s,
        num_images=num_images,
        epochs=epochs,
        passed_frac=passed,
        trained_frac=trained,
        constant_s=constant_s,
    )
