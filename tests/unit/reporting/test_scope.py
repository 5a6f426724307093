"""What the answer is about and leaves out: one true sentence for each, and none where there is nothing to say."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.reporting.answer import in_full
from harness.reporting.scope import images, latencies, measured, protocols, versions
from harness.select.protocols import Protocol
from harness.select.ranking import rank
from harness.study.store import Study
from tests.unit.select.planted import QUICK, add, decision, make_details, planted


def test_other_protocols_are_named_with_the_command_that_shows_them(tmp_path: Path) -> None:
    """Which there are, how they differ, how many jobs; and nothing else was measured under the same terms only."""
    study = Study(tmp_path / "病理")
    add(study, "good", planted(range(10)), details=make_details(protocol={"epochs": 1}))
    assert protocols(rank(study, QUICK)) == ""
    assert "nothing else was measured;" in in_full(rank(study, QUICK))
    add(study, "other", planted(range(5)), protocol="p2", details=make_details(protocol={"epochs": 2}))
    ranking = rank(study, QUICK, protocol="p1")
    assert measured(ranking) == "measured under the same terms"
    assert "nothing else was measured under the same terms;" in in_full(ranking)
    assert protocols(ranking) == (
        "This study holds 2 protocols, and jobs of several cannot be ranked together. This is about protocol p1 (1 job). "
        f"Not shown: epochs is 2 instead of 1 (1 job: `{study.report_command} protocol=p2`)."
    )


def test_depths_that_ended_in_one_network_were_measured(tmp_path: Path) -> None:
    """That they were is said where nothing else was."""
    study = Study(tmp_path / "s")
    for freeze in ("all", "none"):
        add(study, "resnet50", planted(range(10)), freeze=freeze, model_blake2b="m")
    said = in_full(rank(study, QUICK))
    assert "nothing else was measured beside depths that ended in the same model" in said


def test_versions_that_differ_are_said(tmp_path: Path) -> None:
    """Within a candidate by name, else among candidates; nothing where all are of one."""
    study = Study(tmp_path / "s")
    for seed, torch in enumerate(("2.8.0", "2.9.0")):
        add(study, "good", planted(range(10 + seed)), seed=seed, torch_version=torch)
        assert bool(versions(rank(study, QUICK))) == bool(seed)
    assert versions(rank(study, QUICK)) == (
        "Jobs of one candidate were made by different versions, and are taken together all the same (good · all: torch 2.8.0 and 2.9.0)."
    )
    other = Study(tmp_path / "o")
    for name, harness in (("good", "0.1"), ("fair", "0.2")):
        add(other, name, planted(range(10)), harness_version=harness)
    assert "compared all the same (harness 0.1 and 0.2)" in versions(rank(other, QUICK))


def test_latencies_of_another_device_are_said(tmp_path: Path) -> None:
    """Whose do not count, and how to compare them."""
    study = Study(tmp_path / "s")
    add(study, "a", planted(range(10)), latency_key="a", latency_ms_p50=90.0)
    add(study, "b", planted(range(12)), latency_key="b", latency_ms_p50=90.0)
    assert latencies(rank(study, QUICK)) == ""
    add(study, "c", planted(range(11)), latency_key="c", device="cuda", latency_ms_p50=2.0)
    ranking = rank(study, QUICK)
    assert latencies(ranking).startswith(
        "Latencies that do not count: c · all (timed on another machine or device, bench (cuda), than most"
    )
    assert decision(ranking).fastest.candidate.row.backbone != "c"


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        ({"num_found": 1906, "num_used": 1906}, ""),
        (
            {"num_found": 1906, "num_used": 1200},
            "1,200 of 1,906 images are used (706 not drawn, as data.max_images says; data.max_images=null takes all).",
        ),
        (
            {"num_found": 100, "num_used": 90, "num_unreadable": 3, "num_duplicates_across": 7, "num_duplicates_within": 1},
            "90 of 100 images are used (3 cannot be read, 7 equal one in val or test); 1 image equal to another one of its split, kept.",
        ),
        (
            {"num_available": 50, "num_found": 40, "num_used": 40, "dropped_classes": ["a|b"], "num_label_conflicts": 2},
            "40 of 50 images are used; 1 class left out (a|b); 2 groups of equal images with different labels.",
        ),
    ],
)
def test_images_left_out_are_said(tmp_path: Path, profile: dict[str, Any], said: str) -> None:
    """How many of how many, why, and what counts twice; nothing where all are used."""
    study = Study(tmp_path / "s")
    details = make_details()
    add(study, "good", planted(range(10)), details=replace(details, profile=details.profile | profile))
    assert images(rank(study, QUICK)) == said


def test_other_images_are_said_without_their_hash(tmp_path: Path) -> None:
    """What differs is named; of a fingerprint only that it does."""
    one, other = (Protocol(name, {"fingerprint": name * 32, "n_train": number}, 1, 1) for name, number in (("a", 36), ("b", 72)))
    assert other.difference(one) == "other images; n_train is 72 instead of 36"
