"""Which jobs share what: keys of values, whatever was typed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.config import Adapter, Augment, Features, SweepConfig
from harness.jobs.sharing import activations_key, backbone_key, candidate_key, head_group_key, head_groups, latency_key
from harness.jobs.spec import Fold, JobSpec
from harness.transfer.depth import parse_freeze
from tests.unit.search.test_cross_fit import World


@pytest.fixture
def job(tmp_path: Path) -> JobSpec:
    """A head on a pretrained backbone."""
    return World(tmp_path).job("resnet18", "all")


def _with(job: JobSpec, train: dict[str, Any] | None = None, **changes: Any) -> JobSpec:
    depth = parse_freeze(changes.get("freeze", "all"))
    config: SweepConfig = replace(job.config, train=replace(job.config.train, **(train or {})), **changes)
    return replace(job, config=config, depth=depth, command=("whatever=was", "typed=1"))


def test_candidates_are_told_by_values(job: JobSpec) -> None:
    """Seeds and folds are one candidate, however its depth was written; depths, recipes and weights make others of one backbone or of several."""
    fold = replace(job, fold=Fold(1, 0.1, 2, 1.0))
    assert {candidate_key(each) for each in (job, _with(job, seed=7), _with(job, freeze="1.0"), fold)} == {candidate_key(job)}
    deeper, other = _with(job, freeze="none"), _with(job, {"lr": 0.5})
    assert len({candidate_key(each) for each in (job, deeper, other)}) == 3
    adapted = _with(job, adapter=Adapter.norm)
    assert candidate_key(adapted) != candidate_key(job)
    assert backbone_key(deeper) == backbone_key(adapted) == backbone_key(job) != backbone_key(other)


@pytest.mark.parametrize("train", [{"lr": 0.5}, {"weight_decay": 0.5}, {"name": "mine"}])
def test_heads_that_differ_in_little_run_together(job: JobSpec, train: dict[str, Any]) -> None:
    """Seed, learning rate and decay: one group."""
    assert head_group_key(_with(job, train, seed=3)) == head_group_key(job)


@pytest.mark.parametrize(
    "changed",
    [
        {"freeze": "none"},
        {"train": {"augment": Augment.flip}},
        {"train": {"mixup": 0.2}},
        {"adapter": Adapter.norm},
        {"train": {"release": "-1", "release_epochs": 1}},
        {"study": "other"},
    ],
)
def test_what_trains_more_or_sees_other_images_runs_alone(job: JobSpec, changed: dict[str, Any]) -> None:
    """Free layers, images that change in every epoch, a second phase; rows of another study are another group."""
    assert head_group_key(_with(job, **changed)) != head_group_key(job)


def test_a_group_has_the_same_name_on_every_host(job: JobSpec) -> None:
    """It names a claim: two hosts that see one study under two paths mean the same."""
    assert head_group_key(_with(job, results_dir="/elsewhere")) == head_group_key(job)


def test_groups_keep_the_order_of_their_first(job: JobSpec) -> None:
    """So that jobs run in the order in which they were asked for."""
    tuned, later = _with(job, freeze="none"), _with(job, seed=1)
    assert list(head_groups([job, tuned, later]).values()) == [[job, later], [tuned]]


def test_trunks_and_latencies(job: JobSpec) -> None:
    """A trunk is what features come from; latency does not depend on what was trained, but on size and classes."""
    deeper, features = _with(job, freeze="none", seed=4), _with(job, {"features": Features.map})
    assert activations_key(deeper) == activations_key(job) != activations_key(features)
    assert latency_key(deeper, 32) == latency_key(job, 32) != latency_key(job, 64)
