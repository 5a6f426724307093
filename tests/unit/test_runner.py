"""What jobs of one sweep hand on to the next."""

from typing import Any, cast

import pytest

from harness import runner
from harness.jobspec import JobSpec
from harness.study.row import Row
from tests.unit.reporting.fake_study import make_row


class _Job:
    """All of a job that decides what is handed on to it."""

    network = "a network"
    trunk = "its trunk"


JOB = cast("JobSpec", _Job())


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in which no job has run."""
    monkeypatch.setattr(runner, "_timings", {})
    monkeypatch.setattr(runner, "_evidence", {})


def _timed(job_id: str, *, steady: bool) -> Row:
    return make_row(job_id, timed_by=job_id, latency_steady=steady)


def _handed_on(stop_epochs: int | None = None) -> Any:
    return runner._known(JOB, stop_epochs).get("timed_by")


def test_steady_times_are_measured_once() -> None:
    """Jobs that train the same network share its times."""
    assert _handed_on() is None
    runner._remember(JOB, _timed("first", steady=True))
    assert _handed_on() == "first"


def test_uneven_times_are_measured_once_more() -> None:
    """A machine that is busy for long does not make every job of a sweep time its network anew; the second times stand."""
    runner._remember(JOB, _timed("first", steady=False))
    assert _handed_on() is None
    runner._remember(JOB, _timed("second", steady=False))
    assert _handed_on() == "second"
    runner._remember(JOB, _timed("second", steady=False))
    assert _handed_on() == "second"


def test_a_job_that_may_be_stopped_takes_uneven_times() -> None:
    """A search spends its budget on training."""
    runner._remember(JOB, _timed("first", steady=False))
    assert _handed_on(stop_epochs=1) == "first"
