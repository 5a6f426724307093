"""What jobs have in common, each as a hash: those with equal keys can share work, or differ only in what the key leaves out. Torch-free."""

from collections.abc import Sequence

from harness.jobs.spec import JobSpec, hash_of


def activations_key(job: JobSpec) -> str:
    """Return the hash of a backbone as it was loaded and the images it sees: jobs that share it can share cached activations."""
    is_random = job.weights.sha256 is None
    return hash_of(
        {
            "model": job.backbone.identity,
            "library": job.backbone.library,
            "weights": [job.weights.tag, job.weights.sha256, job.config.seed if is_random else None],
            "features": job.config.train.features.value,
            "data": job.dataset.fingerprint,
            "image_size": job.config.data.image_size,
            "precision": job.asked_precision.value,
            "device": job.device.value,
        }
        | ({} if job.config.blocks is None else {"blocks": job.config.blocks})
    )


def head_group_key(job: JobSpec) -> str:
    """Of a group that runs together: its jobs train heads on the same cached features, and differ in seed, learning rate or weight decay only.

    A job that trains anything else is a group of its own.
    """
    train = job.config.train
    if job.fold is not None or train.shows_new_images or not job.trains_head_only:
        return job.job_id
    recipe = {key: value for key, value in job.recipe.items() if key not in {"name", "lr", "weight_decay"}}
    return hash_of({"activations": activations_key(job), "recipe": recipe, "protocol": job.protocol_hash, "study": job.config.study})


def latency_key(job: JobSpec, image_size: int) -> str:
    """Of what inference times depend on, whatever the depth, weights, seed or recipe. `image_size`: side that the network sees (pixels)."""
    train = job.config.train
    head = [train.head.value, train.head_hidden, train.features.value, job.dataset.num_classes]
    return hash_of(
        {"model": job.backbone.identity, "library": job.backbone.library, "size": image_size, "head": head, "device": job.device.value}
    )


def candidate_key(job: JobSpec) -> str:
    """Of a candidate: its jobs differ in their seed or fold only."""
    return _without(job, "seed", "fold")


def backbone_key(job: JobSpec) -> str:
    """Of candidates that differ in their freeze depth and adapter only."""
    return _without(job, "seed", "fold", "freeze", "adapter")


def head_groups(jobs: Sequence[JobSpec]) -> dict[str, list[JobSpec]]:
    """Jobs that run together, by `head_group_key`, in the order of the first of each."""
    groups: dict[str, list[JobSpec]] = {}
    for job in jobs:
        groups.setdefault(head_group_key(job), []).append(job)
    return groups


def one_per_study(jobs: Sequence[JobSpec]) -> list[JobSpec]:
    """A sweep over data sets fills several studies; any job of one knows its folder and its limits."""
    return list({job.config.study: job for job in jobs}.values())


def _without(job: JobSpec, *left_out: str) -> str:
    return hash_of({name: value for name, value in job.outcome.items() if name not in left_out})
