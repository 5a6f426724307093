"""Which models of a study are timed, when, and what becomes of those that cannot be. Nothing is timed here."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from platform import node
from typing import Any

import pytest

from harness.config import MeasureConfig
from harness.errors import ConfigError
from harness.jobs import timing
from harness.process.isolate import Limits, Outcome
from harness.status import Status
from harness.study.row import Row
from harness.study.store import Study
from harness.study.timing import Timing
from tests.unit.reporting.fake_study import make_row

Child = Callable[[Sequence[Row]], Outcome[Any]]
CFG, LIMITS = MeasureConfig(), Limits()


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Three models, the first at two depths; one of another protocol, one that failed."""
    study = Study(tmp_path / "s")
    jobs: list[tuple[str, str, dict[str, Any]]] = [
        ("a1", "a", {}),
        ("a2", "a", {"freeze": "none"}),
        ("b1", "b", {}),
        ("old", "c", {"protocol": "p0"}),
        ("bad", "d", {"status": "failed"}),
    ]
    for job_id, key, changes in jobs:
        study.write_row(make_row(job_id, latency_key=key, latency_ms_p50=None, weights_mib=100.0, **changes))
    return study


def timed(rows: Sequence[Row]) -> list[Timing]:
    """What a child that succeeds returns."""
    return [Timing(latency_key=str(row.latency_key), timed_on=node(), timed_at="2026", latency_ms_p50=1.0) for row in rows]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Models that each child process was asked to time; all succeed."""
    return answering(monkeypatch, lambda rows: Outcome(Status.ok, timed(rows)))


def answering(monkeypatch: pytest.MonkeyPatch, child: Child) -> list[list[str]]:
    """What `child` is asked for from now on."""
    calls: list[list[str]] = []

    def run(_target: str, rows: Sequence[Row], _cfg: MeasureConfig, _device: str, *, limits: Limits) -> Outcome[Any]:
        calls.append([str(row.latency_key) for row in rows])
        return child(rows)

    monkeypatch.setattr(timing, "run_isolated", run)
    return calls


def go(study: Study, protocols: set[str] | None, said: list[str] | None = None) -> list[str]:
    """Time the models; what is told goes to `said`."""
    return timing.time_models(study, CFG, LIMITS, protocols=protocols, say=(said if said is not None else []).append)


def test_each_network_of_the_protocol_is_timed_once_and_together(study: Study, asked: list[list[str]]) -> None:
    """Whatever its depths; models of failed jobs and of other protocols are not."""
    assert go(study, {"p1"}) == []
    assert asked == [["a", "b"]]
    assert {row.job_id: row.latency_ms_p50 for row in study.rows() if row.latency_ms_p50} == {"a1": 1.0, "a2": 1.0, "b1": 1.0}


def test_what_is_known_is_not_timed_again_unless_asked(study: Study, asked: list[list[str]]) -> None:
    """A sweep that adds no network times nothing, `retime` all protocols."""
    go(study, {"p1"})
    go(study, {"p1"})
    assert asked == [["a", "b"]]
    go(study, None)
    assert [sorted(call) for call in asked[1:]] == [["a", "b", "c"]]


def test_a_new_network_has_all_timed_again(study: Study, asked: list[list[str]]) -> None:
    """Times compare where models took turns."""
    go(study, {"p1"})
    study.write_row(make_row("new", "densenet121", latency_key="e", weights_mib=1.0))
    go(study, {"p1"})
    assert sorted(asked[1]) == ["a", "b", "e"]


def test_times_of_another_machine_do_not_count(study: Study, asked: list[list[str]]) -> None:
    """What is known from elsewhere is timed here."""
    for key in ("a", "b"):
        study.write_timing(Timing(latency_key=key, timed_on="elsewhere", timed_at="2025", latency_ms_p50=9.0))
    go(study, {"p1"})
    assert asked == [["a", "b"]]
    assert {row.timed_on for row in study.rows() if row.latency_key in {"a", "b"}} == {node()}


def test_networks_that_do_not_fit_together_take_turns_in_batches(
    study: Study, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of 100 MiB each where the machine has 400; models of two devices are never in one process."""
    monkeypatch.setattr(timing, "machine_memory_mib", lambda: 400.0)
    go(study, {"p1"})
    assert asked == [["a"], ["b"]]
    study.write_row(make_row("gpu", device="cuda", latency_key="g", weights_mib=1.0))
    go(study, {"p1"})
    assert ["g"] in asked


def test_a_death_of_all_is_tried_one_by_one(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot be timed alone either has a reason in its rows; the others have times."""

    def child(rows: Sequence[Row]) -> Outcome[Any]:
        is_dead = any(row.latency_key == "a" for row in rows)
        return Outcome(Status.oom, error="no memory.") if is_dead else Outcome(Status.ok, timed(rows))

    calls = answering(monkeypatch, child)
    assert go(study, {"p1"}) == ["resnet50 was not timed: no memory."]
    assert calls == [["a", "b"], ["a"], ["b"]]
    rows = {row.job_id: row for row in study.rows()}
    assert (rows["b1"].latency_ms_p50, rows["a1"].latency_ms_p50) == (1.0, None)
    assert rows["a1"].details.undefined == {"latency_ms_p50": "no memory."}
    go(study, {"p1"})
    assert len(calls) == 3, "it has been tried"


def test_a_device_that_is_not_here_is_an_error_and_writes_nothing(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Times from where it is stay as they are."""
    answering(monkeypatch, lambda _: Outcome(Status.failed, error="device=cuda: not on this machine."))
    with pytest.raises(ConfigError, match="not on this machine"):
        go(study, {"p1"})
    assert study.timings() == ([], [])


def test_what_takes_long_is_announced(study: Study, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """By the number of models and the time that each has."""
    said: list[str] = []
    go(study, None, said)
    assert said == ["timing 3 models in turn, about 10 s"]
    monkeypatch.setattr(timing, "_TELL_S", 60)
    go(study, None, said)
    assert len(said) == 1


@pytest.mark.usefixtures("asked")
def test_nothing_to_time_is_nothing_to_say(tmp_path: Path) -> None:
    """A study of failed jobs."""
    said: list[str] = []
    assert go(Study(tmp_path / "empty"), {"p1"}, said) == []
    assert said == []


def _all_alike(found: dict[str, Any], rows: Sequence[Row]) -> Outcome[Any]:
    return Outcome(Status.ok, [replace(each, **found) for each in timed(rows)])


def test_times_of_a_busy_machine_do_not_replace_better_ones(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer and unsteady: those from before are kept, and it is said; steady ones, and shorter ones, replace them."""
    said: list[str] = []
    for low, is_steady, expected in ((1.0, True, 1.0), (3.0, False, 1.0), (0.9, False, 0.9), (3.0, True, 3.0)):
        found: dict[str, Any] = {"latency_ms_p50": low, "latency_ms_min": low, "latency_steady": is_steady}
        answering(monkeypatch, partial(_all_alike, found))
        timing.time_models(study, CFG, LIMITS, say=said.append)
        assert {each.latency_ms_min for each in study.timings()[0]} == {expected}
    assert [line for line in said if "kept" in line] == [
        "the machine is busy: these times are 3.0 times those from before, which are kept; run it again when it is quiet"
    ]
