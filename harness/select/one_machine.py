"""Latencies of one host and device only: 2 ms of an accelerator and 90 ms of a processor say nothing about two models.

Between rows and candidates. `study.timing` sees to it that models of one device are timed on one host; jobs of several devices, and rows that
brought their times along, are left to here.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.study.row import TIMING_COLUMNS, Row
from harness.text.language import noted, say

ELSEWHERE = noted("timed on another machine or device")
"""How the reason of a latency that was taken off begins."""

Place = tuple[str, str]
"""Host and device."""


def with_times_of_one(rows: Sequence[Row]) -> list[Row]:
    """Rows of which only those keep their times that were timed where most models were; the others say why they have none."""
    models: dict[Place, set[str | None]] = defaultdict(set)
    for row in rows:
        if row.latency_ms_p50 is not None:
            models[_place(row)].add(row.latency_key or row.model)
    if len(models) < 2:
        return list(rows)
    in_turn = {_place(row) for row in rows if row.timed_on is not None}
    chosen = min(models, key=lambda place: (-len(models[place]), place not in in_turn, place))
    return [row if row.latency_ms_p50 is None or _place(row) == chosen else _without(row, chosen) for row in rows]


def _place(row: Row) -> Place:
    return row.timed_on or row.host, row.device or ""


def _without(row: Row, chosen: Place) -> Row:
    where, there = (f"{host} ({device})" for host, device in (_place(row), chosen))
    reason = say("{elsewhere}, {where}, than most, {most}; only times of one compare", elsewhere=say(ELSEWHERE), where=where, most=there)
    taken: dict[str, Any] = dict.fromkeys(TIMING_COLUMNS)
    return replace(row, **taken, details=replace(row.details, undefined=row.details.undefined | {"latency_ms_p50": reason}))
