"""Tables that are opened in spreadsheets: no cell runs there, every cell comes back."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import TableError
from harness.study.row import COLUMNS
from harness.study.store import Study
from harness.study.table import load_csv, to_csv, to_frame, write_table
from harness.text.spreadsheet import guarded, unguarded
from tests.unit.reporting.fake_study import make_row

ACTIVE = ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://a.example","b")', "-", "＝1+1", "'=1+1", "'"]


@pytest.mark.parametrize("text", ACTIVE)
def test_what_starts_like_a_formula_becomes_text(text: str) -> None:
    """An apostrophe goes before it, and off again when it is read."""
    frame = guarded(pd.DataFrame({"name": [text]}))
    assert frame["name"].tolist() == [f"'{text}"]
    assert unguarded(frame)["name"].tolist() == [text]


@pytest.mark.parametrize("text", ["-4", "-0.5", "+1e-5", "-.5", "resnet50", "0.0001 0.0003", "a=1", " =1"])
def test_numbers_and_plain_words_stay(text: str) -> None:
    """A freeze depth of -4 is a number, also in a column of text."""
    assert guarded(pd.DataFrame({"name": [text]}))["name"].tolist() == [text]


@given(st.lists(st.one_of(st.none(), st.text(st.characters(codec="utf-8"))), min_size=1))
def test_any_text_comes_back(cells: list[str | None]) -> None:
    """Guarding is undone exactly, empty cells included, and never leaves a formula."""
    frame = pd.DataFrame({"name": pd.array(cells, dtype="string"), "number": range(len(cells))})
    pd.testing.assert_frame_equal(unguarded(guarded(frame)), frame)
    shown = [cell for cell in guarded(frame)["name"].tolist() if isinstance(cell, str)]
    assert not [cell for cell in shown if cell.startswith(("=", "@", "\t", "\r")) or (cell.startswith(("+", "-")) and not _is_number(cell))]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    """A whole results.csv, with hostile words in every column of text: equal to the table it was made from, cell by cell."""
    study = Study(tmp_path / "s")
    plain = make_row("a")
    words: dict[str, Any] = {
        name: f"=cmd|' /C calc'!A0 {name}, \"x\"\n"
        for name in ("error", "weights", "licence", "dataset", "host", "activations_note", "family")
    }
    hostile = replace(make_row("b", freeze="-4", started_at="2025-03-02T00:00:00+00:00"), **words)
    for row in (plain, hostile):
        study.write_row(row)
    written = write_table(study)
    read = load_csv(study.root / "results.csv")
    assert tuple(read.columns) == COLUMNS
    for name in COLUMNS:
        assert [None if pd.isna(cell) else cell for cell in read[name]] == [None if pd.isna(cell) else cell for cell in written[name]], name
    assert read["weights"][1] == words["weights"]
    assert read["freeze"].tolist() == ["all", "-4"]
    raw = pd.read_csv(study.root / "results.csv", dtype=str, keep_default_na=False)
    assert not [cell for name in words for cell in raw[name] if cell.startswith("=")]
    assert raw["lr"].tolist() == ["0.0003", "0.0003"]


def test_names_that_are_not_utf_8_do_not_stop_the_table() -> None:
    """Bytes of a file name, as Python carries them, are escapes in the table."""
    assert "\\udcff.pth" in to_csv(to_frame([make_row("a", weights="\udcff.pth")]))


def test_what_is_no_table_is_one_line(tmp_path: Path) -> None:
    """A missing file, and one with words where numbers belong."""
    (tmp_path / "other.csv").write_text("job_id,seed\na,many\n", encoding="utf-8")
    for name in ("missing.csv", "other.csv"):
        with pytest.raises(TableError, match=name) as raised:
            load_csv(tmp_path / name)
        assert "\n" not in str(raised.value)
