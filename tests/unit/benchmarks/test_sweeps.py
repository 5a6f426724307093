"""Adding up what the jobs of a sweep spent."""

from pathlib import Path

import pytest

from benchmarks.side_by_side import BenchmarkError
from benchmarks.sweeps import add_up, good_rows
from harness.status import Status
from harness.study.store import Study
from tests.unit.reporting.fake_study import make_row

FIRST = make_row("a", features_s=5.0, num_activations_computed=600, train_s=2.0, total_s=9.0)
SECOND = make_row("b", features_s=5.0, num_activations_computed=0, train_s=3.0, total_s=4.0)


def test_a_pass_counts_for_the_job_that_made_it() -> None:
    """Rows of later jobs repeat what the pass took, which must not be counted again."""
    assert add_up([FIRST, SECOND]) == {"features_s": 5.0, "train_s": 5.0, "jobs_s": 13.0, "num_activations_computed": 600.0}


def test_rows_of_a_study_are_all_good_or_none_is_used(tmp_path: Path) -> None:
    """A job that failed early must not make a side look fast."""
    study = Study(tmp_path / "s")
    study.write_row(FIRST)
    assert [row.job_id for row in good_rows(study)] == ["a"]
    study.write_row(make_row("c", "vgg", status=Status.failed.value, error="no memory"))
    with pytest.raises(BenchmarkError, match="vgg freeze=all: no memory"):
        good_rows(study)


def test_a_study_without_rows_is_an_error(tmp_path: Path) -> None:
    """Nothing was run."""
    with pytest.raises(BenchmarkError, match="it has no rows"):
        good_rows(Study(tmp_path / "s"))
