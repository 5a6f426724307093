"""Hints that can help, and only those."""

from dataclasses import replace
from pathlib import Path

import pytest

from harness.reporting.document import Paragraph
from harness.reporting.first_screen import reason
from harness.reporting.formats import sentence
from harness.reporting.sections.training import overfitting
from harness.select.ranking import rank
from harness.study.store import Study
from tests.unit.select.planted import QUICK, add, make_row, planted


@pytest.mark.parametrize(("freeze", "is_deeper"), [("all", False), ("none", True)])
def test_nothing_freezes_deeper_than_whole(tmp_path: Path, freeze: str, is_deeper: bool) -> None:
    """A deeper freeze is advised where something was free."""
    study = Study(tmp_path / "s")
    add(study, "good", planted(range(60)), freeze=freeze, train_accuracy=1.0)
    text = next(block.text for block in overfitting(rank(study, QUICK)) if isinstance(block, Paragraph))
    assert text.endswith(f"More images{', a deeper freeze' if is_deeper else ''} or stronger augmentation would help.")


def test_failed_jobs_are_tried_again_when_asked_only(tmp_path: Path) -> None:
    """So the next step names the key."""
    study = Study(tmp_path / "s")
    study.write_row(replace(make_row("a"), status="failed", error="no"))
    assert "retry=failed" in reason(rank(study, QUICK))


def test_a_sentence_starts_with_a_capital_and_keeps_the_others() -> None:
    """Macro F1 is not Macro f1."""
    assert [sentence(text) for text in ("macro F1", "")] == ["Macro F1", ""]
