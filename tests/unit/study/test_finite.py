"""No number costs a row: what is not finite is an empty cell with a reason, whatever column it is in."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.measure.epoch import Epoch
from harness.study.row import COLUMNS, Details
from harness.study.store import Study
from harness.study.timing import Timing
from tests.unit.reporting.fake_study import make_row

NUMBERS = [name for name in COLUMNS if name.endswith(("_s", "accuracy", "loss", "_ms_p50", "_frac", "lr", "temperature", "strength"))]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan"), np.float64("inf")])
def test_no_number_costs_a_row(tmp_path: Path, value: float) -> None:
    """Every column of numbers at once, and every place of the details: the row is written, and says what the cells held."""
    point: Any = {"epoch": 1, "phase": 1, "lr": value, "train_loss": value, "train_accuracy": 0.5, "val_accuracy": 0.5, "val_score": 0.5}
    details = Details(
        curve=[Epoch(**point, val_loss=0.25), Epoch(**(point | {"epoch": 2}), val_loss=value)],
        lr_losses={"0.1": value},
        train_s_per_image={"all": value, "none": 2.0},
        undefined={"val_accuracy": "told before"},
        profile={"sizes": [{"mean": value}]},
        class_prior=[value, 0.5],
    )
    assert len(NUMBERS) > 20
    study = Study(tmp_path)
    cells: dict[str, Any] = dict.fromkeys(NUMBERS, value)
    study.write_row(replace(make_row("a"), **cells, details=details))
    row = study.read_row("a")
    assert row is not None
    assert {getattr(row, name) for name in NUMBERS} == {None}
    assert row.details.undefined == {name: f"it came out as {float(value)}" for name in NUMBERS} | {"val_accuracy": "told before"}
    assert [(each.epoch, each.lr, each.val_loss) for each in row.details.curve] == [(1, None, 0.25)]
    assert (row.details.lr_losses, row.details.train_s_per_image) == ({"0.1": None}, {"none": 2.0})
    assert (row.details.profile, row.details.class_prior) == ({"sizes": [{"mean": None}]}, [None, 0.5])


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    """What a library returned is written as the number that it is."""
    study = Study(tmp_path)
    study.write_row(replace(make_row("a"), val_accuracy=np.float32(0.5), seed=np.int64(3), frozen_ok=np.bool_(True)))  # type: ignore[arg-type]
    row = study.read_row("a")
    assert row is not None
    assert (row.val_accuracy, row.seed, row.frozen_ok) == (0.5, 3, True)


def test_a_time_that_is_no_number_is_none(tmp_path: Path) -> None:
    """Nor does it cost the other times of its model."""
    study = Study(tmp_path)
    study.write_timing(Timing(latency_key="k", timed_on="here", timed_at="now", latency_ms_p50=2.0, latency_ms_high=math.inf))
    ((found,), damaged) = study.timings()
    assert (found.latency_ms_p50, found.latency_ms_high, damaged) == (2.0, None, [])
