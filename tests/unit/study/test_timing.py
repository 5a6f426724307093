"""Inference times beside rows: files that prove themselves, and which of them fill a row."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.status import Status
from harness.study.row import TIMING_COLUMNS, Row
from harness.study.store import Study
from harness.study.table import load_table, write_table
from harness.study.timing import Timing, decode, encode, filled
from tests.unit.fuzzing import examples
from tests.unit.study.test_store import flip, make_row

TIMING = Timing(
    latency_key="k", timed_on="ünï/\ud800 host", timed_at="2026-01-02", latency_ms_p50=0.1 + 0.2, latency_steady=False, num_threads=2
)
CONTENT = encode(TIMING)


def timing(key: str, host: str, when: str, latency_ms: float | None = 5.0, **changes: Any) -> Timing:
    """One of a model on a machine."""
    return Timing(latency_key=key, timed_on=host, timed_at=when, latency_ms_p50=latency_ms, **changes)


def row(key: str | None, **columns: Any) -> Row:
    """A good one of a model."""
    return make_row(f"{key}{len(columns)}", latency_key=key, device="cpu", **columns)


def test_what_is_read_is_what_was_written() -> None:
    """To the last digit, whatever the machine is called; the file's name is plain."""
    assert decode(CONTENT) == TIMING
    assert TIMING.file_name == "k-_n____host.json"


def test_every_changed_bit_is_found() -> None:
    """One of every byte."""
    for place in range(len(CONTENT)):
        changed = bytearray(CONTENT)
        changed[place] ^= 1 << place % 8
        with pytest.raises(ValueError, match=r"is (not|no|empty)|holds"):
            decode(bytes(changed))


@examples(200)
@given(st.binary(max_size=300))
def test_any_bytes_are_no_timing_for_a_reason(content: bytes) -> None:
    """No exception but the one that says why."""
    with pytest.raises(ValueError, match=r".+"):
        decode(content)


def test_a_timing_fills_all_its_columns() -> None:
    """Every timing column of a row is a field of `Timing`; a row of a model that nobody has timed keeps what it has."""
    assert set(TIMING_COLUMNS) < set(Timing.__dataclass_fields__)
    (one, other) = filled([row("a"), row("b", protocol="q", latency_ms_p50=9.0)], [timing("a", "h", "1", throughput_ips=3.0)])
    assert (one.latency_ms_p50, one.throughput_ips, one.timed_on, one.timed_at) == (5.0, 3.0, "h", "1")
    assert (other.latency_ms_p50, other.timed_on) == (9.0, None)


def test_rows_of_a_protocol_are_filled_from_one_machine() -> None:
    """The one that has timed most of their models, whatever another's clock says; of equals the last. What that machine lacks says so."""
    first = [timing("a", "old", "1", 1.0), timing("b", "old", "1", 2.0)]
    one, other = filled([row("a", host="old"), row("b", host="old")], [*first, timing("a", "new", "9", 3.0)])
    assert [(each.latency_ms_p50, each.timed_on) for each in (one, other)] == [(1.0, "old"), (2.0, "old")]
    again = [timing("a", "new", "2", 3.0), timing("b", "new", "2", 4.0)]
    one, other = filled([row("a", host="old"), row("b", host="old")], [*first, *again])
    assert [(each.latency_ms_p50, each.timed_on) for each in (one, other)] == [(3.0, "new"), (4.0, "new")]
    lacking = filled([row("a"), row("b"), row("c")], [*first, timing("c", "new", "9", 3.0)])[2]
    assert lacking.latency_ms_p50 is None
    assert lacking.details.undefined["latency_ms_p50"].startswith("not timed on old")


def test_devices_and_protocols_have_machines_of_their_own() -> None:
    """A study whose one half ran on an accelerator that is elsewhere keeps its times."""
    known = [timing("a", "old", "1", 1.0), timing("b", "new", "2", 2.0), timing("c", "third", "3", 3.0)]
    rows = [row("a"), make_row("x", latency_key="b", device="cuda"), make_row("y", latency_key="c", device="cpu", protocol="q")]
    assert [each.latency_ms_p50 for each in filled(rows, known)] == [1.0, 2.0, 3.0]


def test_a_network_that_could_not_be_timed_has_a_reason() -> None:
    """Its columns are empty, and a machine that timed nothing does not take the place of one that did."""
    known = [
        timing("a", "good", "1"),
        timing("b", "good", "1", None, error="no room"),
        timing("a", "bad", "2", None, error="no such device"),
    ]
    one, other = filled([row("a"), row("b")], known)
    assert (one.latency_ms_p50, one.details.undefined) == (5.0, {})
    assert (other.latency_ms_p50, other.details.undefined) == (None, {"latency_ms_p50": "no room"})
    assert other.timed_on == "good"


def test_failed_rows_stay_as_they_are() -> None:
    """They have no network."""
    bad = make_row("f", latency_key=None, error="no", device="cpu")
    assert filled([replace(bad, status="failed"), row("a")], [timing("a", "h", "1")])[0] == replace(bad, status="failed")


def test_a_study_reads_rows_with_their_times(tmp_path: Path) -> None:
    """Rows and table have them, the row's own file does not change; timing again replaces them and makes the table stale."""
    study = Study(tmp_path / "s")
    study.write_row(row("a"))
    before = study.row_path("a0").read_bytes()
    study.write_timing(timing("a", "h", "1", 4.0))
    assert [each.latency_ms_p50 for each in study.rows()] == [4.0]
    assert write_table(study)["latency_ms_p50"].tolist() == [4.0]
    assert load_table(study.root / "results.parquet", ("latency_ms_p50",))["latency_ms_p50"].tolist() == [4.0]
    study.write_timing(timing("a", "h", "2", 6.0))
    assert len(list((study.root / "timings").glob("*.json"))) == 1
    assert [each.latency_ms_p50 for each in study.rows()] == [6.0]
    assert study.row_path("a0").read_bytes() == before
    with pytest.raises(Exception, match="is older than the rows"):
        load_table(study.root / "results.parquet", ("latency_ms_p50",))


def test_a_damaged_timing_is_named_and_left_out(tmp_path: Path) -> None:
    """Its row is as if it had never been timed; the remedy says what to do."""
    study = Study(tmp_path / "s")
    study.write_row(make_row("f", Status.failed, latency_key="a"))
    study.write_timing(timing("a", "h", "1"))
    flip(study.root / "timings" / "a-h.json")
    assert study.timings()[0] == []
    (damage,) = study.damaged()
    assert damage.path.name == "a-h.json"
    assert "harness.retime" in str(damage)
