"""The comparison of studies as files and on the terminal: the same numbers everywhere, names letter by letter, mistakes in one line."""

import io
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from harness.config import Metric, RankConfig, ReportConfig
from harness.errors import ConfigError, TableError
from harness.report import run
from harness.reporting import formats
from harness.reporting.across import compare_studies, folder_name, report_comparison
from harness.reporting.question import keep
from harness.study.store import Study
from tests.unit.reporting.fake_study import write_study

QUICK = RankConfig(num_resamples=200)


@pytest.fixture
def studies(tmp_path: Path) -> list[Study]:
    """Of two data sets, with four candidates in both and some in one only."""
    first = write_study(tmp_path / "cells", backbones=("resnet50", "densenet121", "mobilenetv3"), depths=("all", "none"), num_val=100)
    second = write_study(tmp_path / "weeds", backbones=("resnet50", "densenet121"), num_val=100, class_names=("x", "y"))
    for row in second.rows():
        second.write_row(replace(row, data_fingerprint="f2", dataset="weeds"))
    return [first, second]


def test_pages_table_and_terminal_say_the_same(studies: list[Study], tmp_path: Path) -> None:
    """Four files' worth of one comparison; every line fits; nothing is opened, and the studies' own reports are not touched."""
    output = io.StringIO()
    found = report_comparison(studies, QUICK, console=Console(file=output, width=100))
    folder = tmp_path / "compare-cells-weeds"
    frame = pd.read_csv(folder / "comparison.csv")
    page, html = (folder / "report.md").read_text(encoding="utf-8"), (folder / "index.html").read_text(encoding="utf-8")
    text, first = " ".join(output.getvalue().split()), found.ranked[0]
    assert (len(frame), set(frame["study"])) == (8, {"cells", "weeds"})
    assert first.mean_rank is not None
    mean = formats.ratio(first.mean_rank)
    for said in (page.replace("**", ""), html, text):
        assert f"{first.label} has the lowest mean rank over cells and weeds: {mean} of 4" in said
    line = frame[(frame["candidate"] == first.label) & (frame["study"] == "weeds")].iloc[0]
    cell = first.cells[1]
    assert cell is not None
    assert (line["mean_rank"], line["expected"], line["rank"]) == pytest.approx((first.mean_rank, cell.expected, cell.mean_rank))
    assert formats.score(Metric.balanced_accuracy, cell.expected).replace("\N{NO-BREAK SPACE}", " ") in page
    assert "Only in cells: mobilenetv3 · all, mobilenetv3 · none." in page
    assert "Only in weeds: resnet50 · 0.5, densenet121 · 0.5." in page
    assert "python -m harness.report study=cells,weeds results_dir=" in html
    assert text.endswith(str(folder / "index.html"))
    assert all(len(line) <= 100 for line in output.getvalue().splitlines()[:-1])
    assert not any((study.report_dir / "index.html").exists() or study.opened() for study in studies)


def test_each_study_has_the_settings_of_its_sweep(studies: list[Study]) -> None:
    """Its metric, unless another was typed; different metrics are said."""
    keep(studies[0], replace(QUICK, metric=Metric.log_loss))
    keep(studies[1], replace(QUICK, metric=Metric.accuracy))
    output = io.StringIO()
    assert report_comparison(studies, console=Console(file=output, width=200)).metrics == (Metric.log_loss, Metric.accuracy)
    assert "different metrics (log loss in cells, accuracy in weeds): ranks compare between them, scores do not" in output.getvalue()
    assert compare_studies(studies, RankConfig(metric=Metric.accuracy)).metrics == (Metric.accuracy,)


def test_studies_of_the_same_images_are_said_to_be(studies: list[Study], tmp_path: Path) -> None:
    """The intervals take studies for independent, so where they are not it is said."""
    for row in studies[1].rows():
        studies[1].write_row(replace(row, data_fingerprint="f1"))
    report_comparison(studies, QUICK, console=Console(file=io.StringIO()))
    assert "cells and weeds are about the same images" in (tmp_path / "compare-cells-weeds" / "report.md").read_text(encoding="utf-8")


def test_names_are_shown_letter_by_letter(studies: list[Study], tmp_path: Path) -> None:
    """No name becomes markup on a page."""
    for study in studies:
        for row in study.rows():
            study.write_row(replace(row, backbone=row.backbone.replace("resnet50", "<b>[x](y)")))
    report_comparison(studies, QUICK, console=Console(file=io.StringIO()))
    folder = tmp_path / "compare-cells-weeds"
    assert "<b>" not in (folder / "index.html").read_text(encoding="utf-8") + (folder / "report.md").read_text(encoding="utf-8")
    assert re.search(r"&lt;b&gt;\\\[x\\\]\(y\)", (folder / "report.md").read_text(encoding="utf-8"))


def test_command_takes_several_studies(studies: list[Study], tmp_path: Path) -> None:
    """`study=a,b`; a narrow terminal gets lines instead of a table."""
    assert run(ReportConfig(study="cells,weeds", results_dir=str(tmp_path), rank=QUICK)) == 0
    assert (tmp_path / "compare-cells-weeds" / "index.html").exists()
    output = io.StringIO()
    report_comparison(studies, QUICK, console=Console(file=output, width=40))
    assert "mean rank " in output.getvalue().splitlines()[1]


@pytest.mark.parametrize("width", [40, 80, 100])
def test_no_width_hides_a_number(studies: list[Study], width: int) -> None:
    """Long names of backbones take room; ranks in every study are there all the same."""
    for study in studies:
        for row in study.rows():
            study.write_row(replace(row, backbone=f"{row.backbone}_with_a_long_name"))
    output = io.StringIO()
    found = report_comparison(studies, QUICK, console=Console(file=output, width=width))
    for each in found.ranked:
        numbers = [formats.ratio(cell.mean_rank) for cell in each.cells if cell is not None and cell.mean_rank is not None]
        own = each.label.partition(" ")[0] + "".join(rf"[^_]*\b{re.escape(number)}\b" for number in numbers)  # every name has a _
        assert re.search(own, output.getvalue())


def test_mistakes_are_named(studies: list[Study], tmp_path: Path) -> None:
    """An unknown study, one that is given twice, a comma too many, a protocol of several."""
    for given, error, said in (
        ("cells,nothing", TableError, r"study=nothing: not in .*there are cells, weeds"),
        ("cells,cells", ConfigError, r"study=cells,cells: two of them are cells; give each study once"),
        ("cells,", TableError, r"study=: not in .*there are cells, weeds"),
    ):
        with pytest.raises(error, match=said):
            run(ReportConfig(study=given, results_dir=str(tmp_path), rank=QUICK))
    with pytest.raises(ConfigError, match="protocol=p1: not allowed; give protocol with one study"):
        ReportConfig(study="cells,weeds", protocol="p1")


def test_long_names_make_a_folder_all_the_same() -> None:
    """Together they may be longer than any file system takes."""
    names = ["a" * 150, "b" * 150]
    assert folder_name(["a", "b"]) == "compare-a-b"
    assert len(folder_name(names)) < 255
    assert folder_name(names) != folder_name(names[::-1])
