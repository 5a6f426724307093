"""Make a row valid JSON: numbers that are not finite become empty cells with a reason, so that none costs a finished job its row.

Between whoever made the row and its file. Types of numpy become Python's.
"""

import math
from dataclasses import asdict, fields, replace
from typing import Any

import numpy as np

from harness.measure.epoch import Epoch
from harness.study.row import COLUMNS, Details, Row


def finite(row: Row) -> Row:
    """The row without NaN and infinities; `details.undefined` says what the cells held, beside the reasons that it has already."""
    cells: dict[str, Any] = {name: _plain(getattr(row, name)) for name in COLUMNS}
    lost = {name: f"it came out as {value}" for name, value in cells.items() if not _is_finite(value)}
    details = _details(row.details)
    cells |= dict.fromkeys(lost)
    return replace(row, **cells, details=replace(details, undefined=lost | details.undefined))


def finite_values(values: dict[str, Any]) -> dict[str, Any]:
    """Plain values of one level, None in place of what is not finite."""
    return {name: _within(value) for name, value in values.items()}


def _details(details: Details) -> Details:
    """Points of the curve that lack what every point has are left out; a time that is no number says nothing."""
    values: dict[str, Any] = {field.name: _within(getattr(details, field.name)) for field in fields(Details) if field.name != "curve"}
    values["train_s_per_image"] = {name: value for name, value in values["train_s_per_image"].items() if value is not None}
    points = [finite_values(asdict(point)) for point in details.curve]
    values["curve"] = [Epoch(**point) for point in points if None not in (point["val_loss"], point["val_accuracy"], point["val_score"])]
    return Details(**values)


def _within(value: Any) -> Any:
    """Lists and dictionaries all the way down."""
    if isinstance(value, dict):
        return {key: _within(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_within(item) for item in value]
    found = _plain(value)
    return found if _is_finite(found) else None


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _is_finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
