"""Jobs written and read again are the same jobs."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from harness.backbones.backbone import Kind, Own
from harness.config import Adapter, DataConfig, ElpvConfig, Metric, RankConfig, RefitOn, Track
from harness.data.load import load_dataset
from harness.data.stored import write_dataset
from harness.errors import TableError
from harness.jobs.spec import Fold, JobSpec, Refit
from harness.search.plan import closed, mark_closed, newest_plan, read_plan, write_plan
from harness.study.store import Study
from harness.transfer.depth import FreezeDepth
from tests.unit.data.test_stored import same
from tests.unit.search.test_cross_fit import World


@pytest.fixture
def jobs(tmp_path: Path) -> list[JobSpec]:
    """One plain, one with everything in it that is not plain text or a number."""
    plain, rich = (World(tmp_path).job("resnet18", freeze) for freeze in ("all", "-4"))
    config = replace(
        rich.config,
        adapter=Adapter.lora,
        data=ElpvConfig(name="elpv", source="elpv", root="/x"),
        rank=RankConfig(metric=Metric.log_loss.value, limits=["recall:a>=0.9"], max_latency_ms=3),
        track=[Track.mlflow],
    )
    own = replace(rich.backbone, own=Own(Kind.python, "nets:f", "abc"), blocks="layers.*")
    weights = replace(rich.weights, path=Path("/w/ß.pth"), imagenet_top1_frac=0.7)
    dataset = load_dataset(DataConfig("digits", "digits", max_images=60), tmp_path)
    return [
        replace(plain, dataset=dataset),
        replace(
            rich,
            dataset=dataset,
            config=config,
            backbone=own,
            weights=weights,
            passing=(FreezeDepth(num_free=4), FreezeDepth(frozen_frac=0.5)),
        ),
    ]


def test_jobs_are_the_same_again(jobs: list[JobSpec]) -> None:
    """Every field, types included, and so the ids; one data set for all."""
    plan = write_plan(jobs)
    found = read_plan(plan.folder)
    assert found.cwd == Path.cwd()
    assert found.study == Study(jobs[0].config.study_dir)
    for job, other in zip(jobs, found.jobs, strict=True):
        for name in (field.name for field in fields(JobSpec) if field.name != "dataset"):
            assert getattr(other, name) == getattr(job, name), name
            assert type(getattr(other, name)) is type(getattr(job, name))
        assert type(other.config.data) is type(job.config.data)
        assert same(other.dataset, job.dataset)
        assert other.job_id == job.job_id
    assert found.jobs[0].dataset is found.jobs[1].dataset


def test_the_same_jobs_are_one_plan_and_open_it_again(jobs: list[JobSpec]) -> None:
    """Whatever their order; the plan that was written last is the study's."""
    plan = write_plan(jobs)
    mark_closed(plan, 3)
    assert closed(plan) == 3
    one = write_plan(jobs[:1])
    assert newest_plan(plan.study) == one.folder != plan.folder
    assert write_plan(jobs[::-1]).folder == plan.folder
    assert newest_plan(plan.study) == plan.folder
    assert closed(plan) is None


def test_folds_and_refits_travel(jobs: list[JobSpec]) -> None:
    """Whatever a job may be."""
    given = [replace(jobs[0], fold=Fold(2, 1e-3, 4, 1.5)), replace(jobs[1], refit=Refit(RefitOn.all, 1, 1.0, (0.5, 0.25)))]
    found = read_plan(write_plan(given).folder).jobs
    assert [(job.fold, job.refit) for job in found] == [(job.fold, job.refit) for job in given]


def test_a_damaged_plan_is_named(jobs: list[JobSpec]) -> None:
    """Jobs or data that are not as they were written, or gone; a study without any."""
    plan = write_plan(jobs)
    (data,) = plan.folder.glob("data-*.parquet")
    for path in (plan.folder / "jobs.json", data):
        content = path.read_bytes()
        for wrong in (content[:-9], content.replace(b"a", b"b", 1), b""):
            path.write_bytes(wrong)
            with pytest.raises(TableError, match=r"cannot be read .*; run the same sweep again, which writes it anew"):
                read_plan(plan.folder)
        path.write_bytes(content)
    read_plan(plan.folder)
    write_dataset(data, replace(jobs[0].dataset, name="another"))
    with pytest.raises(TableError, match="is not as it was written"):
        read_plan(plan.folder)
    data.unlink()
    with pytest.raises(TableError):
        read_plan(plan.folder)
    with pytest.raises(TableError, match=r"holds no plan of a sweep; `python -m harness.sweep` writes one with workers=2"):
        newest_plan(Study(plan.folder))
