"""A study with damaged files still has its report, which says what is left out and never shows a number of theirs."""

import io
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.config import RankConfig
from harness.errors import StoreError, TableError
from harness.reporting.build import build_report
from harness.reporting.from_table import report_table, seeds_frame
from harness.reporting.terminal import print_summary
from harness.select.ranking import Ranking, rank
from harness.status import Status
from harness.study.row import ROW_SCHEMA
from harness.study.store import Study
from harness.study.table import to_csv, write_table
from tests.unit.reporting.fake_study import write_study
from tests.unit.study.test_store import cut, flip, of_schema

pytestmark = pytest.mark.slow

QUICK = RankConfig(num_resamples=200)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Three good jobs and two failed ones."""
    return write_study(tmp_path / "s", backbones=("resnet50", "densenet121", "squeezenet"), depths=("all",), num_val=60, num_test=30)


def job(study: Study, backbone: str) -> str:
    """Id of a backbone's job."""
    return next(row.job_id for row in study.rows() if row.backbone == backbone)


def summary(ranking: Ranking) -> str:
    """What the terminal shows, on one line."""
    output = io.StringIO()
    print_summary(ranking, Path("r.html"), Console(file=output, width=200))
    return " ".join(output.getvalue().split())


@pytest.mark.parametrize(
    ("kind", "damage", "said"),
    [
        ("rows", cut, "is not JSON any more, so cut short or changed; run the same sweep again"),
        ("rows", flip, "; run the same sweep again"),
        (
            "rows",
            of_schema(ROW_SCHEMA - 1),
            f"holds a row of schema {ROW_SCHEMA - 1}, older than schema {ROW_SCHEMA} of this version; report it with",
        ),
        ("predictions", flip, "is not the file that its row was made from; run the same sweep again"),
        ("predictions", Path.unlink, "is missing; run the same sweep again"),
    ],
)
def test_damaged_files_are_reported_everywhere(study: Study, kind: str, damage: Callable[[Path], object], said: str) -> None:
    """On the page's first screen, in a list of its own and on the terminal; the others are ranked as if it had never been."""
    hit = job(study, "densenet121")
    path = study.row_path(hit) if kind == "rows" else study.predictions_path(hit)
    damage(path)
    ranking = build_report(study, QUICK)
    assert {entry.candidate.row.backbone for entry in ranking.entries} == {"resnet50", "squeezenet"}
    for page in ("index.html", "report.md"):
        text = (study.report_dir / page).read_text(encoding="utf-8")
        assert "1 file of this study cannot be used and is left out" in text
        assert "Files that cannot be used" in text
        assert text.count(path.name) >= 2
        assert said in text
    assert f"1 file of this study cannot be used and is left out: {kind}/{path.name} " in summary(ranking)
    assert said in summary(ranking)


def test_an_undamaged_study_says_nothing_of_damage(study: Study) -> None:
    """No line, no table."""
    ranking = build_report(study, QUICK)
    assert "cannot be used" not in (study.report_dir / "report.md").read_text(encoding="utf-8")
    assert "cannot be used" not in summary(ranking)


def test_many_damages_are_counted_in_one_line(study: Study) -> None:
    """The first is named there, all of them are listed."""
    for backbone in ("densenet121", "squeezenet"):
        cut(study.row_path(job(study, backbone)))
    (study.root / "opened.jsonl").write_bytes(b"{\n")
    assert "3 files of this study cannot be used and are left out: rows/" in summary(build_report(study, QUICK))
    text = (study.report_dir / "report.md").read_text(encoding="utf-8")
    assert "All 3 are listed in step 5." in text
    assert "opened.jsonl has 1 line that cannot be read" not in text.split("Files that cannot be used")[0]
    assert "has 1 line that cannot be read" in text


def test_only_damaged_predictions_leave_a_report_of_the_failures(study: Study) -> None:
    """There is nothing to recommend, which is said, and so is why."""
    for row in study.rows():
        if row.status == Status.ok:
            cut(study.predictions_path(row.job_id))
    ranking = build_report(study, QUICK)
    assert ranking.recommended is None
    assert "3 files of this study cannot be used" in summary(ranking)
    assert "out of memory at batch 32" in (study.report_dir / "report.md").read_text(encoding="utf-8")


def test_nothing_usable_at_all_is_a_one_line_error(tmp_path: Path) -> None:
    """The error names a file, what is wrong with it and the next step."""
    study = write_study(tmp_path / "s", backbones=("resnet50", "squeezenet"), depths=("all",), num_val=40, num_test=0, failed=False)
    for row in study.rows():
        cut(study.row_path(row.job_id))
    with pytest.raises(
        TableError, match=r"holds no row that can be used\. .*json: is not JSON any more.*run the same sweep again.* 1 more file cannot"
    ) as caught:
        build_report(study, QUICK)
    assert "\n" not in str(caught.value)


def test_a_table_beside_a_damaged_row_is_still_read(study: Study) -> None:
    """It holds all rows that there are; a good row that it lacks makes it stale as ever."""
    path = study.row_path(job(study, "densenet121"))
    kept = path.read_bytes()
    cut(path)
    write_table(study)
    assert len(report_table(study.root / "results.parquet", QUICK, Console(file=io.StringIO()))) == 1
    path.write_bytes(kept)
    with pytest.raises(TableError, match="older than the rows beside it"):
        report_table(study.root / "results.parquet", QUICK)


def test_a_table_with_one_changed_bit_is_refused(study: Study) -> None:
    """The pages of its columns have checksums: a number that changed on the disk is never ranked by."""
    write_table(study)
    path = study.root / "results.parquet"
    whole = path.read_bytes()
    wanted = to_csv(seeds_frame(report_table(path, QUICK, Console(file=io.StringIO()))))
    pages = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")  # what follows describes them
    refused = 0
    for place in range(4, pages, max(1, pages // 40)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert to_csv(seeds_frame(report_table(path, QUICK, Console(file=io.StringIO())))) == wanted
        except TableError:
            refused += 1
    assert refused > 0


def test_what_a_killed_writer_left_is_no_row_and_goes_after_a_day(study: Study) -> None:
    """A report takes no notice of temporary files, and sweeps away old ones."""
    fresh, old = (study.root / "rows" / f".x.json.{digit * 32}" for digit in "01")
    for path in (fresh, old):
        path.write_text("{")
    os.utime(old, (time.time() - 2e5,) * 2)
    assert build_report(study, QUICK).pool.damaged == ()
    assert fresh.exists()
    assert not old.exists()


def test_a_report_that_cannot_be_written_is_one_line(study: Study) -> None:
    """A file where the folder should be."""
    study.report_dir.write_text("")
    with pytest.raises(StoreError, match=r"report/.*: cannot be written .*; move away what lies in its place"):
        build_report(study, QUICK)


def test_names_of_files_that_are_not_utf8_are_in_the_table(tmp_path: Path) -> None:
    """Half characters, as the system gives them, become escapes: neither the table nor the report stumbles over them."""
    study = write_study(tmp_path / "s", backbones=("resnet50",), depths=("all",), num_val=40, num_test=0)
    row = next(row for row in study.rows() if row.status == Status.failed)
    study.write_row(replace(row, error="no such file: caf\udce9.jpg"))
    ranking = build_report(study, QUICK)
    assert "caf\\udce9.jpg" in (study.root / "results.csv").read_text(encoding="utf-8")
    assert ranking.recommended is not None
    assert rank(study, QUICK).pool.damaged == ()
