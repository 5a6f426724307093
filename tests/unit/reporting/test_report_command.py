"""The report command: which study, what the terminal shows, and that torch stays out of it."""

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.config import RankConfig, ReportConfig
from harness.errors import TableError
from harness.report import run
from harness.reporting.sections.facts import leading
from harness.reporting.terminal import print_summary
from harness.select.ranking import rank
from harness.study.store import Study, note_swept
from tests.unit.reporting.fake_study import make_row, write_study
from tests.unit.select.planted import recommending

QUICK = RankConfig(num_resamples=200)


def small(path: Path) -> None:
    """A study that is quick to report."""
    write_study(path, backbones=("resnet50", "squeezenet"), depths=("all",), num_val=60, num_test=30)


def test_imports_no_torch() -> None:
    """Importing the report side loads no torch, torchvision or timm."""
    code = "import sys, harness.report; print([name for name in ('torch', 'torchvision', 'timm') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_study_swept_last_is_the_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a name, the study that a sweep was at last is reported, whatever clocks said, and its page is named."""
    for name, started_at in (("ahead", "2099-01-01T00:00:00+00:00"), ("last", "2025-06-01T00:00:00+00:00")):
        small(tmp_path / name)
        (tmp_path / name / "rows" / ".half-written.json").write_text("{", encoding="utf-8")
        Study(tmp_path / name).write_row(replace(make_row("x"), status="failed", error="no", started_at=started_at))
        note_swept(Study(tmp_path / name))
    assert run(ReportConfig(results_dir=str(tmp_path), rank=QUICK)) == 0
    assert (tmp_path / "last" / "report" / "index.html").exists()
    assert not (tmp_path / "ahead" / "report").exists()
    assert str(tmp_path / "last" / "report" / "index.html") in capsys.readouterr().out.replace("\n", "")


@pytest.mark.parametrize("name", ["nothing", "../s", "s/rows", ""])
def test_unknown_study_lists_those_there(tmp_path: Path, name: str) -> None:
    """A name that is no study here, or leads elsewhere, is an error that lists the studies."""
    small(tmp_path / "results" / "s")
    with pytest.raises(TableError, match=r"not in .*there are s\."):
        run(ReportConfig(study=name, results_dir=str(tmp_path / "results"), rank=QUICK))


def test_no_study_at_all(tmp_path: Path) -> None:
    """An empty or missing results folder: what to run first."""
    with pytest.raises(TableError, match=r"run `python -m harness\.sweep` first"):
        run(ReportConfig(results_dir=str(tmp_path / "missing")))


def is_copied(line: str) -> bool:
    """Whether a line is a path or a command, which nobody wants broken."""
    return line.startswith("Report: ") or "-m harness." in line


@pytest.mark.parametrize("width", [40, 80, 140])
def test_summary_fits_the_width(tmp_path: Path, width: int) -> None:
    """No line is wider than the terminal but for the report's path and long names, which can be copied whole; no colour codes in a file."""
    study = write_study(tmp_path / "s", num_val=60, num_test=30)
    output = io.StringIO()
    print_summary(rank(study, QUICK), Path("/somewhere/" + "deep/" * 30 + "index.html"), Console(file=output, width=width))
    lines = output.getvalue().rstrip("\n").splitlines()
    assert all(
        len(line) <= width or (width < 80 and "vit_small_patch16_224.augreg_in21k_ft_in1k · " in line)
        for line in lines
        if not is_copied(line)
    )
    assert any(line.endswith("index.html") for line in lines)
    assert "\x1b" not in output.getvalue()
    assert "probability the best of 15" in " ".join(output.getvalue().split())
    assert "2 failed" in output.getvalue()


def test_recommended_is_always_listed(tmp_path: Path) -> None:
    """A recommendation that stands below the first ten, as a fast one may, is in the short table all the same."""
    depths = ("all", "0.5", "none")
    study = write_study(
        tmp_path / "s", backbones=("resnet50", "densenet121", "mobilenetv3", "squeezenet"), depths=depths, num_val=60, num_test=0
    )
    for row in study.rows():
        if row.status == "ok":
            study.write_row(replace(row, latency_ms_p50=1.0 if row.backbone == "squeezenet" else 50.0))
    ranking = rank(study, QUICK)
    cheapest = [entry for entry in ranking.entries if entry.cost.latency_ms_p50 == 1.0][-1]
    shown = leading(recommending(ranking, cheapest), 5)
    assert (len(shown), shown[-1]) == (5, cheapest)
    assert leading(recommending(ranking, ranking.entries[2]), 5) == list(ranking.entries[:5])


def test_summary_reads_no_markup(tmp_path: Path) -> None:
    """Names in square brackets are printed, not taken for styles."""
    study = write_study(tmp_path / "s", backbones=("resnet50",), depths=("all",), num_val=60, num_test=0)
    (row,) = [row for row in study.rows() if row.status == "ok"]
    study.write_row(replace(row, backbone="[red]net[/red]"))
    output = io.StringIO()
    print_summary(rank(study, QUICK), Path("r.html"), Console(file=output, width=120))
    assert "[red]net[/red] · all" in output.getvalue()
