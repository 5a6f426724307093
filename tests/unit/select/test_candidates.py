"""Rows become candidates: seeds together, protocols apart, labels that tell candidates apart."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import TableError
from harness.select.candidates import load_pool
from harness.study.row import Details, Row
from harness.study.store import Predictions, Study
from harness.study.timing import Timing
from tests.unit.reporting.fake_study import make_row, write_job, write_study

LABELS_N = np.repeat([0, 1], 10)


def predictions(seed: int = 0, prefix: str = "") -> Predictions:
    """Twenty images of two classes."""
    log_probs_NC = np.log(np.random.default_rng(seed).dirichlet(np.ones(2), 20)).astype(np.float32)
    return Predictions(log_probs_NC, LABELS_N, [f"{prefix}{i}" for i in range(20)])


def add(study: Study, job_id: str, second: int = 0, **changes: Any) -> Row:
    """Write one good job; later `second`s are newer."""
    details = changes.pop("details", Details(class_names=["a", "b"], protocol={"epochs": 3}))
    row = replace(make_row(job_id), started_at=f"2025-03-01T10:00:{second:02d}+00:00", details=details, **changes)
    write_job(study, row, predictions(second))
    return row


def labels(study: Study) -> list[str]:
    """Labels in order."""
    return sorted(candidate.label for candidate in load_pool(study).candidates)


def test_seeds_are_one_candidate(tmp_path: Path) -> None:
    """Rows that differ in their seed only are averaged, in the order of seeds."""
    study = Study(tmp_path / "s")
    add(study, "b", 1, seed=1, latency_ms_p50=20.0, peak_mem_mib=10.0, total_s=1.0)
    add(study, "a", 2, seed=0, latency_ms_p50=20.0, peak_mem_mib=30.0, total_s=2.0)
    (candidate,) = load_pool(study).candidates
    assert candidate.label == "resnet50 · all"
    assert [row.seed for row in candidate.rows] == [0, 1]
    assert (candidate.cost.latency_ms_p50, candidate.cost.peak_mem_mib, candidate.cost.total_s) == (20.0, 30.0, 3.0)
    assert candidate.predicted_SN.shape == (2, 20)


def test_labels_add_only_what_tells_apart(tmp_path: Path) -> None:
    """Weights, size or a setting of the recipe appear where two candidates would share a label, and random weights always."""
    study = Study(tmp_path / "s")
    add(study, "a", 0)
    add(study, "b", 1, image_size=128)
    add(study, "c", 2, backbone="vgg16", weights="random")
    for second, lr in ((3, 0.1), (4, 0.01)):
        details = Details(class_names=["a", "b"], protocol={"epochs": 3}, recipe={"name": "short", "lr": lr, "epochs": 3})
        add(study, f"d{lr}", second, backbone="vit", recipe_hash=str(lr), details=details)
    assert labels(study) == [
        "resnet50 · all · 128 px",
        "resnet50 · all · 224 px",
        "vgg16 (random weights) · all",
        "vit · all · lr=0.01",
        "vit · all · lr=0.1",
    ]


def test_named_recipes_go_by_their_names(tmp_path: Path) -> None:
    """Two recipes with names of their own need no list of their settings."""
    study = Study(tmp_path / "s")
    for second, (name, lr) in enumerate((("short", 0.1), ("tutorial", 0.2))):
        details = Details(class_names=["a", "b"], protocol={"epochs": 3}, recipe={"name": name, "lr": lr})
        add(study, name, second, recipe=name, recipe_hash=name, details=details)
    assert labels(study) == ["resnet50 · all · short", "resnet50 · all · tutorial"]


def test_equal_names_of_other_weights_stay_apart(tmp_path: Path) -> None:
    """Two files of one name with other content are two candidates, told apart by their jobs."""
    study = Study(tmp_path / "s")
    add(study, "a", 0, weights="mine.pth", weights_sha256="1")
    add(study, "b", 1, weights="mine.pth", weights_sha256="2")
    assert labels(study) == ["resnet50 · all · a", "resnet50 · all · b"]


def test_protocols_are_not_mixed(tmp_path: Path) -> None:
    """The newest protocol is ranked; good rows of another are listed with the difference by name."""
    study = Study(tmp_path / "s")
    add(study, "old", 0, protocol="p0", details=Details(class_names=["a", "b"], protocol={"epochs": 1, "split": "x"}))
    add(study, "new", 1, protocol="p1", details=Details(class_names=["a", "b"], protocol={"epochs": 3, "split": "x"}))
    pool = load_pool(study)
    assert [candidate.row.job_id for candidate in pool.candidates] == ["new"]
    assert [(left.row.job_id, left.reason) for left in pool.left_out] == [("old", "epochs is 1 instead of 3")]
    assert [candidate.row.job_id for candidate in load_pool(study, "p0").candidates] == ["old"]


def test_same_seed_twice_keeps_the_newer(tmp_path: Path) -> None:
    """A candidate measured twice with one seed counts once, and the older row is listed."""
    study = Study(tmp_path / "s")
    add(study, "old", 0)
    add(study, "new", 1)
    pool = load_pool(study)
    assert [row.job_id for candidate in pool.candidates for row in candidate.rows] == ["new"]
    assert [left.row.job_id for left in pool.left_out] == ["old"]


def test_other_val_images_are_an_error(tmp_path: Path) -> None:
    """Scores on different images cannot be paired; the message names both jobs."""
    study = Study(tmp_path / "s")
    add(study, "one", 0)
    row = add(study, "two", 1, backbone="vgg16")
    write_job(study, row, predictions(1, prefix="x"))
    with pytest.raises(TableError, match=r"one.*two"):
        load_pool(study)


def test_empty_study_says_what_to_do(tmp_path: Path) -> None:
    """No rows: the folder and the next step, on one line."""
    with pytest.raises(TableError, match=r"holds no rows; run `python -m harness.sweep study=s`"):
        load_pool(Study(tmp_path / "s"))


def test_unknown_protocol_lists_those_there(tmp_path: Path) -> None:
    """A protocol that no good row has is an error that names the others."""
    study = write_study(tmp_path / "s", backbones=("resnet50",), depths=("all",), num_val=40, num_test=0)
    with pytest.raises(TableError, match="there are p1"):
        load_pool(study, "p9")


def test_pruned_rows_are_a_group_of_their_own(tmp_path: Path) -> None:
    """What a staged search stopped is neither ranked nor failed; of another protocol it is left out with the difference."""
    study = Study(tmp_path / "s")
    add(study, "old", 0, protocol="p0", status="pruned", details=Details(class_names=["a", "b"], protocol={"epochs": 1}))
    add(study, "good", 1)
    add(study, "stopped", 2, backbone="vgg16", status="pruned", rung=1)
    study.write_row(replace(make_row("broken", "alexnet"), status="oom", error="out of memory"))
    pool = load_pool(study)
    assert [candidate.row.job_id for candidate in pool.candidates] == ["good"]
    assert [row.job_id for row in pool.pruned] == ["stopped"]
    assert [row.job_id for row in pool.failed] == ["broken"]
    assert [(left.row.job_id, left.reason) for left in pool.left_out] == [("old", "epochs is 1 instead of 3")]


def test_only_pruned_rows_rank_nothing(tmp_path: Path) -> None:
    """A search that finished nothing has pruned rows and no candidates."""
    study = Study(tmp_path / "s")
    add(study, "stopped", 0, status="pruned")
    pool = load_pool(study)
    assert (pool.candidates, pool.failed, [row.job_id for row in pool.pruned]) == ((), (), ["stopped"])


def test_inference_times_are_those_of_the_network(tmp_path: Path) -> None:
    """Candidates that are one network share its name, and every figure of its one timing, steady or not."""
    study = Study(tmp_path / "s")
    for when, freeze in enumerate(("all", "none")):
        add(study, freeze, when, freeze=freeze, latency_key="net")
    add(study, "other", 5, backbone="vgg16", model="vgg16", latency_ms_min=None)
    study.write_timing(
        Timing(latency_key="net", timed_on="here", timed_at="2025", latency_ms_p50=3.0, latency_ms_min=2.0, latency_steady=False)
    )
    first, second, other = load_pool(study).candidates
    assert first.network == second.network != other.network
    for candidate in (first, second):
        assert (candidate.cost.latency_ms_p50, candidate.cost.latency_ms_min, candidate.cost.latency_steady) == (3.0, 2.0, False)
    assert other.cost.latency_ms_min is None
