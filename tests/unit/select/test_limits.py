"""Limits are hard filters, and what was not measured does not pass them."""

from dataclasses import replace

import numpy as np
import pytest

from harness.config import RankConfig
from harness.select.candidates import Candidate
from harness.select.limits import breaches, excluded, set_limits
from harness.select.said import Said
from tests.unit.select.planted import make_row


def candidate(**changes: object) -> Candidate:
    """A candidate with one row and no images."""
    row = replace(make_row("j"), **changes)  # type: ignore[arg-type]
    nothing = np.zeros((1, 0), dtype=np.int64)
    return Candidate("resnet50 · all", "resnet50", (row,), Said(nothing, nothing, np.zeros((1, 0))), None)


@pytest.mark.parametrize(
    ("key", "column", "value"),
    [
        ("max_latency_ms", "latency_ms_p50", 41.0),
        ("max_params_m", "params_m", 41.0),
        ("max_gmacs", "gmacs", 41.0),
        ("max_peak_mem_mib", "peak_mem_mib", 41.0),
        ("max_weights_mib", "weights_mib", 41.0),
        ("max_train_min", "train_s", 41.0 * 60),
    ],
)
def test_each_limit_excludes(key: str, column: str, value: float) -> None:
    """A value above its limit excludes, at the limit it does not, and an empty cell does."""
    limits = [replace(RankConfig(), **{key: limit}) for limit in (41.0, 30.0)]  # type: ignore[arg-type]
    measured = candidate(features_s=0.0, **{column: value})
    assert excluded(measured, limits[0]) == []
    (reason,) = excluded(measured, limits[1])
    assert f"rank.{key}=30" in reason
    assert " 41 " in reason
    (reason,) = excluded(candidate(**{column: None}), limits[1])
    assert "unknown" in reason


def test_reason_reads_well() -> None:
    """The sentence holds the value, its unit and the limit as it was given."""
    assert excluded(candidate(latency_ms_p50=41.0), RankConfig(max_latency_ms=30)) == ["latency 41 ms is above rank.max_latency_ms=30"]


def test_no_limits_exclude_nothing() -> None:
    """Without limits even an unmeasured candidate stays."""
    assert excluded(candidate(latency_ms_p50=None), RankConfig()) == []
    assert set_limits(RankConfig()) == {}


def test_all_broken_limits_are_named() -> None:
    """Each limit that is not met gets its own reason and says by how much."""
    found = breaches(candidate(latency_ms_p50=41.5, params_m=25.0), RankConfig(max_latency_ms=30, max_params_m=20, max_gmacs=99))
    assert [breach.miss for breach in found] == ["latency by 11.5 ms", "parameters by 5 million"]
