"""The table read back: types, order, columns of other versions, and never a stale one."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.errors import TableError
from harness.study.store import Study
from harness.study.table import load_table, to_frame, write_table
from tests.unit.reporting.fake_study import make_row


def written(root: Path) -> Study:
    """Two rows, the newer one written first."""
    study = Study(root)
    study.write_row(make_row("a", seed=3, started_at="2025-02-02T00:00:00+00:00"))
    study.write_row(make_row("b", started_at="2025-02-01T00:00:00+00:00", status="failed", latency_ms_p50=None, error="no"))
    write_table(study)
    return study


def test_columns_come_back_oldest_first(tmp_path: Path) -> None:
    """Numbers are floats, empty cells NaN, text is itself, and only what was asked for is there."""
    frame = load_table(written(tmp_path / "s").root / "results.parquet", ("job_id", "seed", "latency_ms_p50", "freeze", "release"))
    assert list(frame.columns) == ["job_id", "seed", "latency_ms_p50", "freeze", "release"]
    assert frame["job_id"].tolist() == ["b", "a"]
    np.testing.assert_array_equal(frame["latency_ms_p50"], [np.nan, 41.2])
    assert frame["seed"].tolist() == [0.0, 3.0]
    assert frame["freeze"].tolist() == ["all", "all"]
    assert frame["release"].isna().all()


def test_column_of_a_later_version_is_empty(tmp_path: Path) -> None:
    """A table that was written before a column existed reads as if the column were empty."""
    frame = to_frame([make_row("a")]).drop(columns=["throughput_ips", "host"])
    frame.to_parquet(tmp_path / "old.parquet")
    found = load_table(tmp_path / "old.parquet", ("throughput_ips", "host", "params_m"))
    assert found[["throughput_ips", "host"]].isna().all(axis=None)
    assert found["params_m"].tolist() == [23.5]


@pytest.mark.parametrize("change", ["added", "removed", "rewritten"])
def test_stale_table_is_refused(tmp_path: Path, change: str) -> None:
    """Rows beside the table are the truth: one more, one less or one written anew, and the table must be rebuilt first."""
    study = written(tmp_path / "s")
    table = study.root / "results.parquet"
    assert len(load_table(table, ("seed",))) == 2
    if change == "removed":
        study.row_path("b").unlink()
    else:
        study.write_row(make_row("c" if change == "added" else "b"))
    os.utime(study.root / "rows", ns=(0, table.stat().st_mtime_ns + (change == "rewritten")))
    with pytest.raises(TableError, match=r"older than the rows beside it; run `python -m harness\.report study=s results_dir=/.*`"):
        load_table(table, ("seed",))
    write_table(study)
    os.utime(study.root / "rows", ns=(0, 0))
    assert len(load_table(table, ("seed",))) == {"added": 3, "removed": 1, "rewritten": 2}[change]


def test_a_table_away_from_its_rows_is_read(tmp_path: Path) -> None:
    """Tables of several studies put together lie beside no rows."""
    frames = [pd.read_parquet(written(tmp_path / name).root / "results.parquet") for name in ("s", "t")]
    pd.concat(frames).to_parquet(tmp_path / "all.parquet")
    assert load_table(tmp_path / "all.parquet", ("job_id",))["job_id"].tolist() == ["b", "b", "a", "a"]


def test_what_is_no_table_is_one_line(tmp_path: Path) -> None:
    """A missing file, another format, another table, text in a column of numbers."""
    (tmp_path / "text.parquet").write_text("job_id,status\n", encoding="utf-8")
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "other.parquet")
    to_frame([replace(make_row("a"), latency_ms_p50="fast")]).to_parquet(tmp_path / "foreign.parquet")  # type: ignore[arg-type]
    reasons = {"missing": "cannot be read", "text": "cannot be read", "other": "lacks job_id", "foreign": "cannot be read"}
    for name, reason in reasons.items():
        with pytest.raises(TableError, match=reason) as raised:
            load_table(tmp_path / f"{name}.parquet", ("latency_ms_p50",))
        assert "\n" not in str(raised.value)
