"""Rows become candidates: seeds together, protocols apart, labels that tell candidates apart."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.errors import TableError
from harness.select.candidates import load_pool
from harness.study.row import Row
from harness.study.store import Predictions, Study
from harness.study.timing import Timing
from tests.unit.select.planted import make_details, make_row, write_job

LABELS_N = np.repeat([0, 1], 10)


def predictions(seed: int = 0, prefix: str = "") -> Predictions:
    """Twenty images of two classes."""
    log_probs_NC = np.log(np.random.default_rng(seed).dirichlet(np.ones(2), 20)).astype(np.float32)
    return Predictions(log_probs_NC, LABELS_N, [f"{prefix}{i}" for i in range(20)])


def add(study: Study, job_id: str, second: int = 0, **changes: Any) -> Row:
    """Write one good job; later `second`s are newer. Every job says something else of the images."""
    details = changes.pop("details", make_details(protocol={"epochs": 3}))
    row = replace(
        make_row(job_id, freeze=changes.get("freeze", "all")), started_at=f"2025-03-01T10:00:{second:02d}+00:00", details=details, **changes
    )
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
    assert candidate.val.predicted_SN.shape == (2, 20)


def test_labels_add_only_what_tells_apart(tmp_path: Path) -> None:
    """Weights, size or a setting of the recipe appear where two candidates would share a label, and random weights always."""
    study = Study(tmp_path / "s")
    add(study, "a", 0)
    add(study, "b", 1, image_size=128)
    add(study, "c", 2, backbone="vgg16", weights="random")
    for second, lr in ((3, 0.1), (4, 0.01)):
        details = make_details(protocol={"epochs": 3}, recipe={"name": "short", "lr": lr, "epochs": 3})
        add(study, f"d{lr}", second, backbone="vit", recipe_hash=str(lr), details=details)
    assert labels(study) == [
        "resnet50 · all · 128 px",
        "resnet50 · all · 224 px",
        "vgg16 (random weights) · all",
        "vit · all · lr=0.01",
        "vit · all · lr=0.1",
    ]


def test_an_adapter_is_part_of_a_name(tmp_path: Path) -> None:
    """With the depth it says what is trained; a setting that one recipe has and the other leaves at its default tells the rest."""
    study = Study(tmp_path / "s")
    add(study, "a", 0)
    add(study, "b", 1, adapter="norm")
    for second, recipe in ((2, {"name": "short"}), (3, {"name": "short", "lora_rank": 4})):
        details = make_details(protocol={"epochs": 3}, recipe=recipe)
        add(study, f"c{second}", second, adapter="lora", recipe_hash=str(second), details=details)
    assert labels(study) == ["resnet50 · all", "resnet50 · all · lora", "resnet50 · all · lora · lora_rank=4", "resnet50 · all · norm"]
    lines = {candidate.label: candidate.line for candidate in load_pool(study).candidates}
    assert lines["resnet50 · all · norm"] == "resnet50 · norm"


def test_named_recipes_go_by_their_names(tmp_path: Path) -> None:
    """Two recipes with names of their own need no list of their settings."""
    study = Study(tmp_path / "s")
    for second, (name, lr) in enumerate((("short", 0.1), ("tutorial", 0.2))):
        details = make_details(protocol={"epochs": 3}, recipe={"name": name, "lr": lr})
        add(study, name, second, recipe=name, recipe_hash=name, details=details)
    assert labels(study) == ["resnet50 · all · short", "resnet50 · all · tutorial"]


def test_equal_names_of_other_weights_stay_apart(tmp_path: Path) -> None:
    """Two files of one name with other content are two candidates, told apart by their jobs."""
    study = Study(tmp_path / "s")
    add(study, "a", 0, weights="mine.pth", weights_sha256="1")
    add(study, "b", 1, weights="mine.pth", weights_sha256="2")
    assert labels(study) == ["resnet50 · all · a", "resnet50 · all · b"]


def test_protocols_are_not_mixed(tmp_path: Path) -> None:
    """The one with the most good jobs is ranked, whatever clocks said; good rows of another are listed with the difference by name."""
    study = Study(tmp_path / "s")
    add(study, "ahead", 9, protocol="p0", details=make_details(protocol={"epochs": 1, "split": "x"}))
    add(study, "one", 0, protocol="p1", details=make_details(protocol={"epochs": 3, "split": "x"}))
    add(study, "two", 1, protocol="p1", backbone="vgg16", details=make_details(protocol={"epochs": 3, "split": "x"}))
    pool = load_pool(study)
    assert sorted(candidate.row.job_id for candidate in pool.candidates) == ["one", "two"]
    assert [(left.row.job_id, left.reason) for left in pool.left_out] == [("ahead", "epochs is 1 instead of 3")]
    assert [candidate.row.job_id for candidate in load_pool(study, "p0").candidates] == ["ahead"]


def test_failures_are_those_of_the_protocol(tmp_path: Path) -> None:
    """A job that failed under other terms is no failure of these; a protocol all of whose jobs failed can be asked for."""
    study = Study(tmp_path / "s")
    add(study, "good", 0, protocol="p0")
    study.write_row(make_row("bad", protocol="p1", status="failed", error="no"))
    assert load_pool(study).failed == ()
    pool = load_pool(study, "p1")
    assert [row.job_id for row in pool.failed] == ["bad"]
    assert pool.candidates == ()
    assert [(each.name, each.num_good, each.num_jobs) for each in pool.protocols] == [("p0", 1, 1), ("p1", 0, 1)]


@pytest.mark.parametrize("first", ["a", "b"])
def test_same_seed_twice_counts_once(tmp_path: Path, first: str) -> None:
    """One outcome asked for in two ways is one row, the same whichever clock was ahead; the other is listed."""
    study = Study(tmp_path / "s")
    for name in ("a", "b"):
        add(study, name, int(name != first))
    pool = load_pool(study)
    assert [row.job_id for candidate in pool.candidates for row in candidate.rows] == ["a"]
    assert [left.row.job_id for left in pool.left_out] == ["b"]


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
    study = Study(tmp_path / "s")
    add(study, "one")
    with pytest.raises(TableError, match="there are p1"):
        load_pool(study, "p9")


def test_pruned_rows_are_a_group_of_their_own(tmp_path: Path) -> None:
    """What a staged search stopped is neither ranked nor failed; of another protocol it is left out with the difference."""
    study = Study(tmp_path / "s")
    add(study, "old", 0, protocol="p0", status="pruned", details=make_details(protocol={"epochs": 1}))
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
    """Candidates that are one model share its name, and every figure of its one timing, steady or not."""
    study = Study(tmp_path / "s")
    for when, freeze in enumerate(("all", "none")):
        add(study, freeze, when, freeze=freeze, latency_key="net")
    add(study, "other", 5, backbone="vgg16", model="vgg16", latency_ms_min=None)
    study.write_timing(
        Timing(latency_key="net", timed_on="here", timed_at="2025", latency_ms_p50=3.0, latency_ms_min=2.0, latency_steady=False)
    )
    first, second, other = load_pool(study).candidates
    assert first.timed_model == second.timed_model != other.timed_model
    for candidate in (first, second):
        assert (candidate.cost.latency_ms_p50, candidate.cost.latency_ms_min, candidate.cost.latency_steady) == (3.0, 2.0, False)
    assert other.cost.latency_ms_min is None


def test_untrained_fine_tunes_are_one_with_the_frozen_one(tmp_path: Path) -> None:
    """A fine-tune that kept the model it started from is no candidate of its own: the most frozen, which is cheapest to train, stands for it."""
    study = Study(tmp_path / "s")
    for second, (freeze, model) in enumerate((("none", "m0"), ("0.5", "m1"), ("all", "m0"))):
        add(study, freeze, second, freeze=freeze, model_blake2b=model)
    merged, alone = load_pool(study).candidates
    assert (merged.label, merged.row.freeze, [row.job_id for row in merged.twins]) == ("resnet50 · all (= none)", "all", ["none"])
    assert merged.cost.train_min == pytest.approx((60 + 6) / 60)
    assert (alone.label, alone.twins) == ("resnet50 · 0.5", ())


def test_all_seeds_must_end_in_the_same_models(tmp_path: Path) -> None:
    """One seed that training changed makes two candidates; so does a seed that only one of them has."""
    study = Study(tmp_path / "s")
    for seed, models in enumerate((("m0", "m0"), ("m1", "m2"))):
        for freeze, model in zip(("all", "none"), models, strict=True):
            add(study, f"{freeze}{seed}", seed, freeze=freeze, seed=seed, model_blake2b=model)
    assert [candidate.twins for candidate in load_pool(study).candidates] == [(), ()]
    add(study, "none1", 5, freeze="none", seed=1, model_blake2b="m1")
    (merged,) = load_pool(study).candidates
    assert ([row.seed for row in merged.rows], [row.freeze for row in merged.twins]) == ([0, 1], ["none", "none"])
    add(study, "all2", 6, freeze="all", seed=2, model_blake2b="m3")
    assert len(load_pool(study).candidates) == 2


def test_equal_seeds_of_one_candidate_are_no_twins(tmp_path: Path) -> None:
    """Seeds that end in other models are one candidate all the same, and seeds that end in one model count as often as they were run."""
    study = Study(tmp_path / "s")
    for seed, model in enumerate(("m0", "m1", "m1")):
        add(study, f"s{seed}", seed, seed=seed, model_blake2b=model)
    (candidate,) = load_pool(study).candidates
    assert (len(candidate.rows), candidate.twins) == (3, ())


def test_rows_without_a_hash_are_never_one(tmp_path: Path) -> None:
    """What a model ended in is not known without its hash, however equal the predictions are."""
    study = Study(tmp_path / "s")
    for freeze in ("all", "none"):
        write_job(study, make_row(freeze, freeze=freeze, model_blake2b=None), predictions())
    assert [candidate.twins for candidate in load_pool(study).candidates] == [(), ()]


def test_other_backbones_are_never_one(tmp_path: Path) -> None:
    """Only depths of one backbone can be the same candidate: another backbone has other costs, whatever its hash says."""
    study = Study(tmp_path / "s")
    add(study, "a", 0, backbone="resnet50", model_blake2b="m0")
    add(study, "b", 1, backbone="vgg16", weights_sha256="sha-vgg16", model_blake2b="m0")
    assert len(load_pool(study).candidates) == 2


def test_merged_recipes_are_told_by_their_settings(tmp_path: Path) -> None:
    """Two recipes that left the backbone as it was are named by what they differ in, not by the depth that they share."""
    study = Study(tmp_path / "s")
    for second, lr in enumerate((0.1, 0.01)):
        details = make_details(protocol={"epochs": 3}, recipe={"name": "short", "lr": lr})
        add(study, f"lr{lr}", second, freeze="none", recipe_hash=str(lr), details=details, model_blake2b="m0")
    assert labels(study) == ["resnet50 · none · lr=0.1 (= none · lr=0.01)"]


def test_out_of_fold_predictions_are_of_all_seeds_or_none(tmp_path: Path) -> None:
    """What heads say of images that they never saw is read beside val; a seed without it leaves the candidate to val."""
    study = Study(tmp_path / "s")
    everyone = Predictions(
        np.log(np.full((60, 2), 0.5, dtype=np.float32)), np.repeat([0, 1, 0, 1], [20, 20, 10, 10]), [f"x{i}" for i in range(60)]
    )
    write_job(study, make_row("a", "a"), predictions(), None, everyone)
    write_job(study, make_row("b0", "b"), predictions(), None, everyone)
    write_job(study, make_row("b1", "b", seed=1), predictions())
    pool = load_pool(study)
    first, second = pool.candidates
    assert first.out_of_fold is not None
    assert first.out_of_fold.predicted_SN.shape == (1, 60)
    assert second.out_of_fold is None
    assert (len(pool.labels_N), len(pool.everyone_M)) == (20, 60)


def test_a_study_of_fine_tunes_alone_has_no_out_of_fold_images(tmp_path: Path) -> None:
    """A study of fine-tunes alone rests on its val images."""
    study = Study(tmp_path / "s")
    add(study, "a", freeze="none")
    assert len(load_pool(study).everyone_M) == 0


def test_latencies_of_one_host_and_device(tmp_path: Path) -> None:
    """Those of the place where most models were timed count; 2 ms of an accelerator beside 90 ms of a processor decide nothing."""
    study = Study(tmp_path / "s")
    add(study, "a", 0, latency_ms_p50=90.0, latency_key="a")
    add(study, "b", 1, backbone="vgg16", latency_ms_p50=80.0, latency_key="b")
    add(study, "c", 2, backbone="vit", device="cuda", latency_ms_p50=2.0, latency_key="c")
    add(study, "d", 3, backbone="alexnet", host="other", latency_ms_p50=2.0, latency_key="d")
    found = {candidate.row.job_id: candidate for candidate in load_pool(study).candidates}
    assert {name: each.cost.latency_ms_p50 for name, each in found.items()} == {"a": 90.0, "b": 80.0, "c": None, "d": None}
    reason = found["c"].row.details.undefined["latency_ms_p50"]
    assert reason == "timed on another machine or device, bench (cuda), than most, bench (cpu); only times of one compare"
