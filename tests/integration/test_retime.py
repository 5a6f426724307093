"""Times after the jobs, and `python -m harness.retime`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness import retime
from harness.study.row import TIMING_COLUMNS, Row
from tests.integration.commands import TINY, Command, Ended
from tests.integration.conftest import _run

SWEEP = (*TINY, "backbone=test_resnet,test_vit", "freeze=all,none")
Retime = Callable[..., Ended]


@pytest.fixture
def run_retime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Retime:
    """`python -m harness.retime ...` on the results of `run_sweep`."""

    def run(*arguments: str) -> Ended:
        options = [f"results_dir={tmp_path / 'results'}", "measure.warm_up_s=0", "measure.timing_s=0", *arguments]
        status = _run(retime.main, options, monkeypatch)
        return Ended(status, *capfd.readouterr(), tmp_path / "results")

    return run


def _times(row: Row) -> list[object]:
    return [getattr(row, name) for name in TIMING_COLUMNS]


def test_a_sweep_times_its_networks_and_retime_does_so_again(run_sweep: Command, run_retime: Retime) -> None:
    """Depths of a model share its times, models of a sweep their moment; again, all times are new and everything else is as it was."""
    swept = run_sweep(*SWEEP)
    assert swept.status == 0, swept.err
    rows = swept.rows()
    assert len(rows) == 4
    assert len({row.timed_at for row in rows}) == 1
    assert all(row.latency_ms_p50 and row.latency_ms_min and row.throughput_ips for row in rows)
    assert len({tuple(_times(row)) for row in rows}) == len({row.latency_key for row in rows}) == 2
    table = (swept.study().root / "results.csv").read_text(encoding="utf-8")
    files = {path.name: path.read_bytes() for path in (swept.study().root / "rows").iterdir()}
    again = run_retime("study=digits", "measure.variants=[bfloat16]")
    assert again.status == 0, again.err
    for before, after in zip(rows, again.rows(), strict=True):
        assert (after.timed_at or "") > (before.timed_at or "")
        assert after.latency_ms_bfloat16 is not None
        assert (before.job_id, before.val_log_loss) == (after.job_id, after.val_log_loss)
    assert files == {path.name: path.read_bytes() for path in (swept.study().root / "rows").iterdir()}
    assert (swept.study().root / "results.csv").read_text(encoding="utf-8") != table
    assert "Use test_" in again.out or "use the cheapest" in again.out


def test_only_a_new_network_has_the_study_timed_again(run_sweep: Command) -> None:
    """Another seed of the same models times nothing; another model, all of them."""
    first = run_sweep(*SWEEP).rows()[0].timed_at
    assert {row.timed_at for row in run_sweep(*SWEEP, "seed=1").rows()} == {first}
    later = run_sweep(*TINY, "backbone=test_convnext", "freeze=all").rows()
    assert len(later) == 9
    assert len({row.timed_at for row in later}) == 1
    assert first not in {row.timed_at for row in later}


def test_errors_of_retime_are_one_line(run_sweep: Command, run_retime: Retime) -> None:
    """No study, a study without a model, an unknown key."""
    assert run_sweep(*TINY, "backbone=test_resnet", "train.lr=1e30", "freeze=none", "train.head_init=random").status == 3
    for arguments, said in (
        (["study=none"], "study=none: not in"),
        (["study=digits"], "no model to time"),
        (["+stdy=x"], "did you mean 'study'"),
    ):
        ended = run_retime(*arguments)
        assert ended.status == 2
        assert said in ended.err
        assert ended.err.count("\n") == 1


def test_a_network_that_cannot_be_built_any_more_keeps_its_row(run_sweep: Command, run_retime: Retime) -> None:
    """Status 3, a line that says why, empty cells with a reason, and a report all the same."""
    ended = run_sweep(*TINY, "backbone=test_resnet", "freeze=all")
    (row,) = ended.rows()
    ended.study().write_row(replace(row, backbone="gone"))
    again = run_retime("study=digits")
    assert again.status == 3
    assert "gone was not timed: backbone=gone: unknown" in again.out
    (found,) = again.rows()
    assert found.latency_ms_p50 is None
    assert "unknown" in found.details.undefined["latency_ms_p50"]
    assert "Not timed: gone" in (ended.study().report_dir / "report.md").read_text(encoding="utf-8")
