"""What the report command is asked: the sweep's own question again, or a what-if beside it that opens nothing."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from harness.config import Metric, RankConfig, ReportConfig
from harness.report import run, typed_settings
from harness.reporting.build import close_sweep
from harness.reporting.question import ask, keep, kept
from harness.select.finalists import Outcome
from harness.select.ranking import Ranking
from harness.study.store import Study
from tests.unit.select.planted import QUICK, add, planted

PAGES = ("index.html", "report.md", "ranking.csv")


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Ranking, Path]]:
    """Pages without content, as this is about where they go; what the terminal was given."""
    given: list[tuple[Ranking, Path]] = []
    monkeypatch.setattr("harness.reporting.build.draw", lambda *_: {})
    monkeypatch.setattr("harness.reporting.build.describe", lambda *given, **_: given[0])
    for name in ("to_html", "to_markdown"):
        monkeypatch.setattr(f"harness.reporting.build.{name}", lambda ranking: str(ranking.recommended.label))
    monkeypatch.setattr("harness.reporting.terminal.print_summary", lambda ranking, page: given.append((ranking, page)))
    return given


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A good one, and a fair one that is faster."""
    made = Study(tmp_path / "s")
    add(made, "good", planted(range(10)), planted(range(14)), latency_ms_p50=20.0)
    add(made, "fair", planted(range(50)), planted(range(60)), latency_ms_p50=10.0)
    return made


def report(study: Study, *typed: str, **settings: Any) -> None:
    """The command with these settings of the ranking; those named as `typed` are as by default."""
    cfg = RankConfig(**({"num_resamples": 300} | settings))
    assert run(ReportConfig(study=study.name, results_dir=str(study.root.parent), rank=cfg), {*typed, *settings}) == 0


def log(study: Study) -> list[tuple[str, str]]:
    """Whose test predictions were opened, and by which command."""
    records = map(json.loads, (study.root / "opened.jsonl").read_text(encoding="utf-8").splitlines())
    return [(record["job_id"], record["by"]) for record in records]


def test_the_sweep_opens_and_keeps_its_question(study: Study) -> None:
    """Its closing report opens what it recommends in its own name, and its settings are what later reports start from."""
    cfg = RankConfig(metric=Metric.accuracy, max_latency_ms=15.0, num_resamples=300)
    close_sweep(study, cfg)
    assert log(study) == [("fair0", "sweep")]
    assert kept(study) == cfg
    assert all((study.report_dir / name).exists() for name in PAGES)


def test_the_same_question_replaces_the_report(study: Study, shown: list[tuple[Ranking, Path]]) -> None:
    """Without a setting, or with those that the sweep had, the report is the sweep's, limits included; nothing more is opened."""
    close_sweep(study, RankConfig(metric=Metric.accuracy, max_latency_ms=15.0, num_resamples=300))
    for settings in ({}, {"max_latency_ms": 15.0}, {"metric": Metric.accuracy}):
        (study.report_dir / "index.html").unlink()
        report(study, **settings)
        ranking, page = shown.pop()
        assert page == study.report_dir / "index.html"
        assert page.read_text(encoding="utf-8") == "fair · all"
        assert ranking.rank.max_latency_ms == 15.0
        assert ranking.outcome is Outcome.confirmed
    assert log(study) == [("fair0", "sweep")]
    assert [path.name for path in study.root.glob("report*")] == ["report"]


@pytest.mark.parametrize(
    ("settings", "folder"),
    [
        ({"max_latency_ms": 15.0}, "report-metric=accuracy-max_latency_ms=15.0"),
        ({"max_latency_ms": 15.0, "points_per_doubling": 2}, "report-metric=accuracy-max_latency_ms=15.0-points_per_doubling=2.0"),
        ({"metric": Metric.log_loss, "max_latency_ms": 15.0}, "report-metric=log_loss-max_latency_ms=15.0"),
    ],
)
def test_a_what_if_is_answered_elsewhere(study: Study, shown: list[tuple[Ranking, Path]], settings: dict[str, Any], folder: str) -> None:
    """Another limit, price or metric: a folder by its name, the sweep's pages as they were, and every seal as it was."""
    close_sweep(study, QUICK)
    before = {path: path.read_bytes() for path in study.report_dir.iterdir() if path.is_file()}
    report(study, **settings)
    ranking, page = shown.pop()
    assert page == study.root / folder / "index.html"
    assert page.read_text(encoding="utf-8") == "fair · all"
    assert all((study.root / folder / name).exists() for name in PAGES)
    assert (ranking.outcome, ranking.test) == (Outcome.sealed, None)
    assert {path: path.read_bytes() for path in study.report_dir.iterdir() if path.is_file()} == before
    assert log(study) == [("good0", "sweep")]
    assert kept(study) == QUICK


def test_a_limit_of_the_sweep_can_be_lifted(study: Study, shown: list[tuple[Ranking, Path]]) -> None:
    """`rank.max_latency_ms=null` is a setting that was given, though it is the default: a what-if question like any other."""
    close_sweep(study, RankConfig(max_latency_ms=15.0, num_resamples=300))
    report(study, "max_latency_ms")
    ranking, page = shown.pop()
    assert page.parent.name == "report-defaults"
    assert ranking.outcome is Outcome.sealed
    assert ranking.recommended is not None
    assert ranking.recommended.label == "good · all"
    assert log(study) == [("fair0", "sweep")]


def test_what_the_sweep_opened_a_what_if_may_show(study: Study, shown: list[tuple[Ranking, Path]]) -> None:
    """A limit that changes nothing of the recommendation: its test score is known already."""
    close_sweep(study, QUICK)
    report(study, max_latency_ms=100.0)
    ranking, page = shown.pop()
    assert page.parent.name == "report-metric=accuracy-max_latency_ms=100.0"
    assert ranking.outcome is Outcome.confirmed
    assert ranking.test is not None


def test_intervals_are_no_what_if(study: Study, shown: list[tuple[Ranking, Path]]) -> None:
    """How sure intervals are, and from how many resamples, never changes what is recommended: the report is the sweep's, drawn anew."""
    close_sweep(study, QUICK)
    report(study, confidence=0.9, equivalence_frac=0.02)
    ranking, page = shown.pop()
    assert page.parent == study.report_dir
    assert (ranking.rank.confidence, ranking.rank.metric) == (0.9, Metric.accuracy)
    assert kept(study) == QUICK


def test_without_a_sweeps_report_the_defaults_are_its_question(study: Study, shown: list[tuple[Ranking, Path]]) -> None:
    """An interrupted sweep has closed nothing: the plain report opens what it recommends, a limit opens nothing even then."""
    report(study, max_latency_ms=15.0)
    assert shown.pop()[0].outcome is Outcome.sealed
    assert not (study.root / "opened.jsonl").exists()
    report(study)
    ranking, page = shown.pop()
    assert (ranking.outcome, page.parent) == (Outcome.confirmed, study.report_dir)
    assert log(study) == [("good0", "report")]


def test_a_later_sweep_asks_anew(study: Study) -> None:
    """The last sweep's question counts."""
    close_sweep(study, QUICK)
    close_sweep(study, RankConfig(max_latency_ms=15.0, num_resamples=300))
    assert kept(study).max_latency_ms == 15.0
    assert not ask(study, RankConfig()).is_what_if
    assert log(study) == [("good0", "sweep"), ("fair0", "sweep")]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"metric": "charm"}', '{"max_latency_ms": -1}', '{"max_latency_ms": "x"}', "\x00"]
)
def test_a_damaged_record_is_no_record(study: Study, text: str) -> None:
    """What the sweep asked is then unknown, and the defaults take its place."""
    keep(study, RankConfig(max_latency_ms=15.0))
    (study.report_dir / "rank.json").write_text(text, encoding="utf-8")
    assert kept(study) == RankConfig()


def test_a_record_of_another_version_is_read(study: Study) -> None:
    """Settings that are no longer there are ignored, new ones are as by default."""
    study.report_dir.mkdir()
    (study.report_dir / "rank.json").write_text('{"metric": "f1_macro", "charm": 3}', encoding="utf-8")
    assert kept(study) == RankConfig(metric=Metric.f1_macro)


def test_given_none_are_those_unlike_their_defaults(study: Study) -> None:
    """A caller without a command line: what differs from the defaults was meant."""
    close_sweep(study, RankConfig(max_latency_ms=15.0, num_resamples=300))
    asked = ask(study, RankConfig(max_params_m=5.0))
    assert (asked.cfg.max_latency_ms, asked.cfg.max_params_m, asked.is_what_if) == (15.0, 5.0, True)


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (["study=s"], set()),
        (["rank.metric=accuracy", "rank.max_latency_ms=null"], {"metric", "max_latency_ms"}),
        (["++rank.max_params_m=3", "results_dir=rank.x"], {"max_params_m"}),
        (["rank={metric: accuracy, confidence: 0.9}"], {"metric", "confidence"}),
    ],
)
def test_settings_that_were_typed(overrides: list[str], wanted: Collection[str]) -> None:
    """By their names, whatever their values; other keys are none of the ranking's."""
    assert typed_settings(overrides) == wanted
