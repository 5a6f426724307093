"""The report of more candidates than are compared: all are there, and who was compared, and drawn, is said."""

from pathlib import Path

import pandas as pd
import pytest

from harness.reporting.build import build_report
from harness.reporting.plots import quality
from harness.study.store import Study
from tests.unit.select.test_screen import NUM, QUICK, ROOM, small_room, study

__all__ = ["small_room", "study"]  # fixtures


def test_what_is_not_compared_and_not_drawn_is_said(
    study: Study, small_room: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the answer, in the leaderboard and under the pictures; the table has everybody."""
    monkeypatch.setattr(quality, "MOST_DRAWN", 10)
    monkeypatch.setattr("harness.reporting.compose.MOST_DRAWN", 10)
    found = build_report(study, QUICK, into=tmp_path)
    page = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert f"Of {NUM} candidates {ROOM} are compared with each other" in page
    assert f"The other {NUM - ROOM} are ranked by their scores alone" in page
    assert ("None of them can be the best" in page) == (found.num_possible == 0)
    assert page.count(f"Of {NUM} candidates the 10 of the best scores are drawn") == 2
    assert f"of {ROOM} candidates" in page
    assert "not compared" in (tmp_path / "index.html").read_text(encoding="utf-8")
    table = pd.read_csv(tmp_path / "ranking.csv")
    assert len(table) == NUM
    assert int(table["prob_best"].isna().sum()) == NUM - ROOM
    assert table["expected"].notna().all()
    drawn = quality.drawn(found)
    assert 10 <= len(drawn) < NUM
    assert found.recommended in drawn
