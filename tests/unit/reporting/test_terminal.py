"""The terminal at any width: no name is broken in the middle, and every candidate shown has its numbers."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.config import RankConfig
from harness.reporting.terminal import print_summary
from harness.select.ranking import rank
from harness.study.store import Study
from tests.unit.reporting.fake_study import write_study

LONG = ("vit_base_patch16_clip_quickgelu_224", "mobilenetv4_conv_aa_large")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two backbones with the names that there are."""
    root = tmp_path_factory.mktemp("results") / "s"
    made = write_study(root, backbones=("resnet50", "squeezenet"), depths=("all", "none"), num_val=60, num_test=30)
    names = dict(zip(("resnet50", "squeezenet"), LONG, strict=True))
    for row in made.rows():
        made.write_row(replace(row, backbone=names.get(row.backbone, row.backbone)))
    return made


@pytest.mark.parametrize("width", [30, 40, 60, 79, 80, 100, 200])
@pytest.mark.parametrize("is_terminal", [False, True])
def test_names_are_whole_at_every_width(study: Study, width: int, is_terminal: bool) -> None:
    """As many lines name a backbone as candidates have it, in the table or instead of it."""
    output = io.StringIO()
    console = Console(file=output, width=width, force_terminal=is_terminal, color_system=None)
    print_summary(rank(study, RankConfig(num_resamples=200)), Path("index.html"), console)
    board = output.getvalue().partition("\nUse ")[0].partition("No recommendation")[0]
    for name in LONG:
        assert board.count(name) >= 2, board
    if width < 80:
        assert max(map(len, board.splitlines())) <= max(width, max(map(len, LONG)) + 20)
        assert "best with" in " ".join(board.split())
