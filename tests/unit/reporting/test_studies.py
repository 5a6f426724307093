"""The page that lists the studies of a results folder."""

import json
from pathlib import Path

import pytest

from harness.config import RankConfig
from harness.reporting.build import answer_question, close_sweep
from harness.reporting.question import ask
from harness.reporting.studies import list_studies
from harness.study.store import Study
from tests.unit.select.planted import add, planted


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without pictures and sections."""
    monkeypatch.setattr("harness.reporting.build.draw", lambda *_: {})
    monkeypatch.setattr("harness.reporting.build.describe", lambda *given, **_: given[0])
    for name in ("to_html", "to_markdown"):
        monkeypatch.setattr(f"harness.reporting.build.{name}", lambda ranking: str(ranking.recommended.label))


def cells(folder: Path) -> Study:
    """A study of two jobs."""
    study = Study(folder / "cells")
    add(study, "good", planted(range(10)), planted(range(14)), latency_ms_p50=20.0)
    add(study, "fair", planted(range(50)), planted(range(60)), latency_ms_p50=10.0)
    return study


def test_studies_are_listed_with_what_their_reports_say(tmp_path: Path) -> None:
    """A line with a link for each; one without a report, with the command that makes it. Nothing in a name or a text is markup, and no link leaves the folder."""
    study = cells(tmp_path)
    close_sweep(study, RankConfig())
    hostile = tmp_path / '"><script>alert(1)<'
    (hostile / "rows").mkdir(parents=True)
    (hostile / "report").mkdir()
    (hostile / "report" / "index.html").write_text("")
    told = {"dataset": "<b>x</b>", "num_jobs": "<i>", "last": 3, "recommendation": "a\n<img src=x>\u202e"}
    (hostile / "report" / "summary.json").write_text(json.dumps(told))
    (tmp_path / "bare" / "rows").mkdir(parents=True)
    (tmp_path / ".hydra" / "rows").mkdir(parents=True)
    before = sorted(path for path in tmp_path.rglob("*"))
    said = list[str]()
    list_studies(tmp_path, said.append)
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert said == []
    assert sorted(path for path in tmp_path.rglob("*")) == sorted([*before, tmp_path / "index.html"])
    assert '<a href="./cells/report/index.html">cells</a>' in page
    assert '<td class="number">2</td>' in page
    assert "Use good" in page
    assert "No report yet: " in page
    assert "-m harness.report study=bare" in page
    assert 'href="./%22%3E%3Cscript%3Ealert%281%29%3C/report/index.html"' in page
    assert not [markup for markup in ("<script", "<b>", "<i>", "<img", "\u202e", ".hydra") if markup in page]


def test_a_what_if_question_changes_no_line(tmp_path: Path) -> None:
    """The list is about what each sweep asked."""
    study = cells(tmp_path)
    close_sweep(study, RankConfig())
    told = (study.report_dir / "summary.json").read_bytes()
    answer_question(study, ask(study, RankConfig(max_latency_ms=15.0)))
    assert (study.report_dir / "summary.json").read_bytes() == told


def test_a_folder_that_takes_no_list_is_one_line(tmp_path: Path) -> None:
    """It ends nothing."""
    (tmp_path / "cells" / "rows").mkdir(parents=True)
    (tmp_path / "index.html").mkdir()
    said = list[str]()
    list_studies(tmp_path, said.append)
    assert len(said) == 1
    assert said[0].startswith("the list of studies was not written: ")
