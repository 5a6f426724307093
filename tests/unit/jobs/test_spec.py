"""What a job is called by: everything that decides its outcome, and nothing that was not thought of when it ran."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.config import Adapter, Device, TrainConfig
from harness.jobs.spec import JobSpec
from tests.unit.search.test_cross_fit import World

FIRST_SETTINGS = (
    *(
        "name",
        "epochs",
        "min_steps",
        "batch_size",
        "optimizer",
        "lr",
        "lr_search",
        "layer_decay",
        "weight_decay",
        "schedule",
        "warmup_frac",
    ),
    *("head", "head_hidden", "head_init", "features", "augment", "views", "batch_norm", "class_weights", "label_smoothing"),
    *("release", "release_epochs", "release_lr"),
)
"""Of the recipes of the first rows, whose ids must not change."""


@pytest.fixture
def job(tmp_path: Path) -> JobSpec:
    """A head on a pretrained backbone."""
    return World(tmp_path).job("resnet18", "all")


def _with(job: JobSpec, **train: Any) -> JobSpec:
    return replace(job, config=replace(job.config, train=replace(job.config.train, **train)))


def test_a_setting_that_came_later_is_no_part_of_older_recipes(job: JobSpec) -> None:
    """At their defaults, later settings are in no recipe, so hashes of recipes and ids are those of before they were there."""
    assert tuple(job.recipe) == FIRST_SETTINGS
    assert _with(job, ema=0.0, clip_grad=None).job_id == job.job_id
    defaults = replace(job, config=replace(job.config, train=TrainConfig(epochs=3)))
    assert defaults.recipe_hash == "9f650243b0d17112"


@pytest.mark.parametrize(
    "changed", [{"lora_rank": 4}, {"mixup": 0.2}, {"cutmix": 1.0}, {"clip_grad": 1.0}, {"ema": 0.9}, {"layer_decay": 0.7}], ids=str
)
def test_a_setting_that_is_used_makes_another_job(job: JobSpec, changed: dict[str, Any]) -> None:
    """Away from its default each is in the recipe and makes another id; the name of a recipe does not."""
    other = _with(job, **changed)
    assert other.recipe.items() >= changed.items()
    assert other.job_id != job.job_id == _with(job, name="mine").job_id


def test_an_adapter_makes_another_job_that_trains_more_than_a_head(job: JobSpec) -> None:
    """Only where there is one."""
    adapted = replace(job, config=replace(job.config, adapter=Adapter.norm))
    assert (adapted.job_id != job.job_id, adapted.trains_head_only, job.trains_head_only) == (True, False, True)


def test_an_index_of_an_accelerator_is_not_part_of_a_job(job: JobSpec) -> None:
    """Which of several equal ones computes decides nothing: the id says `cuda`, and so does the command that repeats the job."""
    one, other = (
        replace(job, device=Device.cuda, config=replace(job.config, device=name), command=("backbone=resnet18", f"device={name}"))
        for name in ("cuda", "cuda:3")
    )
    assert one.job_id == other.job_id != job.job_id
    assert one.alone == other.alone == ["backbone=resnet18", "device=cuda"]
    assert replace(job, command=("device=mps", "study=device=cuda:3")).alone == ["device=mps", "study=device=cuda:3"]
