"""What the answer is about and leaves out: one true sentence for each, and none where there is nothing to say."""

from pathlib import Path

from harness.reporting.answer import headline
from harness.reporting.scope import latencies, measured, protocols, versions
from harness.select.ranking import rank
from harness.study.store import Study
from tests.unit.select.planted import QUICK, add, make_details, planted


def test_other_protocols_are_named_with_the_command_that_shows_them(tmp_path: Path) -> None:
    """Which there are, how they differ, how many jobs; and nothing else was measured under the same terms only."""
    study = Study(tmp_path / "病理")
    add(study, "good", planted(range(10)), details=make_details(protocol={"epochs": 1}))
    assert protocols(rank(study, QUICK)) == ""
    assert "nothing else was measured;" in headline(rank(study, QUICK))
    add(study, "other", planted(range(5)), protocol="p2", details=make_details(protocol={"epochs": 2}))
    ranking = rank(study, QUICK, protocol="p1")
    assert measured(ranking) == "measured under the same terms"
    assert "nothing else was measured under the same terms;" in headline(ranking)
    assert protocols(ranking) == (
        "This study holds 2 protocols, and jobs of several cannot be ranked together. This is about protocol p1 (1 job). "
        f"Not shown: epochs is 2 instead of 1 (1 job: `{study.report_command} protocol=p2`)."
    )


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
    assert ranking.fastest is not None
    assert ranking.fastest.candidate.row.backbone != "c"
