"""Rows in segments: what a study says does not change by it, and nothing is lost, whoever compacts, writes or damages meanwhile."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from harness.config import VerifyConfig
from harness.files import write_durably
from harness.status import BAD_JOBS, Status
from harness.study import segments
from harness.study.row import Row
from harness.study.store import Study
from harness.study.table import load_table, write_table
from harness.verify import run
from tests.unit.reporting.fake_study import make_row, write_study
from tests.unit.study.test_store import flip

FEW = 4


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four rows are many here."""
    monkeypatch.setattr(segments, "COMPACT_FROM", FEW)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Six good jobs with predictions and two failed ones."""
    return write_study(tmp_path / "results" / "s", backbones=("resnet50", "squeezenet"), num_val=40, num_test=20)


def segment_files(study: Study) -> list[Path]:
    """Those there are."""
    return sorted(segments.folder_of(study.rows_dir).glob("*"))


def test_a_compacted_study_says_the_same(study: Study) -> None:
    """Every row, byte by byte, done jobs, predictions and the table are as before; only failed jobs keep files of their own."""
    before = {row.job_id: study.row_bytes(row.job_id) for row in study.rows()}
    rows, done = study.rows(), {name: study.is_done(name) for name in before}
    assert study.compact() == 6
    assert sorted(path.stem for path in study.rows_dir.glob("*.json")) == ["failalexnet", "failvgg16"]
    assert len(segment_files(study)) == 2  # four rows, and two
    assert study.rows() == rows
    assert study.job_ids() == set(before)
    assert {name: study.row_bytes(name) for name in before} == before
    assert {name: study.is_done(name) for name in before} == done
    assert study.damaged() == []
    write_table(study)
    assert sorted(load_table(study.root / "results.parquet", ["job_id"])["job_id"]) == sorted(before)
    assert study.compact() == 0


def test_few_rows_stay_files(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the threshold nothing is compacted, and neither where most jobs failed."""
    monkeypatch.setattr(segments, "COMPACT_FROM", 7)
    assert study.compact() == 0
    assert segment_files(study) == []


def test_a_row_that_is_written_again_counts(study: Study) -> None:
    """A file of its own wins over a segment, a damaged one as well; and once it is compacted, the job that started last."""
    study.compact()
    first = next(row for row in study.rows() if row.status == Status.ok)
    again = replace(first, started_at="2031-01-01T00:00:00+00:00", epochs=7)
    study.write_row(again)
    assert _epochs(study, first) == 7
    assert len(study.rows()) == 8
    for number in range(FEW):
        study.write_row(make_row(f"more{number}", status=Status.pruned.value))
    assert study.compact() == 5
    assert not study.row_path(first.job_id).exists()
    assert _epochs(study, first) == 7
    study.row_path(first.job_id).write_bytes(b"")
    assert study.read_row(first.job_id) is None
    assert [found.reason for found in study.damaged()] == ["is empty"]


def _epochs(study: Study, row: Row) -> int | None:
    found = study.read_row(row.job_id)
    assert found is not None
    assert [each.epochs for each in study.rows() if each.job_id == row.job_id] == [found.epochs]
    return found.epochs


def test_a_damaged_segment_is_named_and_its_rows_are_not_there(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    """One bit is enough, for a process that has not read it before; the check of the study names it as well."""
    study.compact()
    first, second = segment_files(study)
    held = len(segments.read_all(study.rows_dir)[0])
    flip(first)
    lost = held - len(segments.read_all(study.rows_dir)[0])
    assert lost in {2, 4}
    assert [(found.path, found.reason) for found in study.damaged()] == [(first, "is not as it was written")]
    assert len(study.rows()) == 8 - lost
    assert run(VerifyConfig(study="s", results_dir=str(study.root.parent))) == BAD_JOBS
    assert f"segments/{first.name}: is not as it was written; run the same sweep again" in capsys.readouterr().out
    second.unlink()
    assert len(study.rows()) == 2


def test_a_segment_that_the_disk_garbled_takes_no_row_away(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files go only when the segment was read back as it was written."""
    before = sorted(study.rows_dir.glob("*.json"))
    monkeypatch.setattr("harness.study.segments.write_durably", lambda path, content: write_durably(path, content[:-1]))
    study.compact()
    assert sorted(study.rows_dir.glob("*.json")) == before
    assert len(study.rows()) == 8


def test_a_row_that_is_written_while_it_is_compacted_stays(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its file is not the one that the segment holds any more, so it is not taken away."""
    target = next(row for row in study.rows() if row.status == Status.ok)

    def meanwhile(path: Path, content: bytes) -> None:
        write_durably(path, content)
        study.write_row(replace(target, epochs=9))

    monkeypatch.setattr("harness.study.segments.write_durably", meanwhile)
    study.compact()
    assert study.row_path(target.job_id).exists()
    assert _epochs(study, target) == 9


def test_hosts_that_compact_at_once_lose_nothing(study: Study) -> None:
    """Several at the same time, while another one goes on writing rows, and reading them."""
    before = {row.job_id for row in study.rows()}
    more = [make_row(f"later{number}", status=Status.pruned.value) for number in range(20)]
    hosts = [threading.Thread(target=Study(study.root).compact) for _ in range(3)]
    for host in hosts:
        host.start()
    for row in more:
        study.write_row(row)
        assert {found.row.job_id for found in study.row_files()[0]} >= before
        assert study.damaged() == []
    for host in hosts:
        host.join()
    study.compact()
    assert {row.job_id for row in study.rows()} == before | {row.job_id for row in more}
    assert segment_files(study)
