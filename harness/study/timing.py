"""Inference times of a model on a machine, in files of their own beside the immutable rows, whose columns they fill.

A file carries its checksum as a row does (`sealed`). One per model and machine: timing it again replaces it.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_args, get_type_hints

from harness.status import Status
from harness.study.finite import finite_values
from harness.study.row import TIMING_COLUMNS, Row
from harness.study.sealed import dumped, unsealed

TIMING_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One model timed on one machine, together with others. Numbers are None where it failed; `error` says why."""

    latency_key: str
    """`sharing.latency_key`."""
    timed_on: str
    """Name of the machine."""
    timed_at: str
    """UTC, ISO 8601; equal for models that took turns in one process."""
    num_threads: int | None = None
    torch_version: str | None = None
    error: str | None = None
    """One line: why it could not be timed."""
    latency_ms_p50: float | None = None
    latency_ms_min: float | None = None
    latency_ms_low: float | None = None
    latency_ms_high: float | None = None
    latency_ms_p95: float | None = None
    latency_steady: bool | None = None
    waited_frac: float | None = None
    """How long its threads waited for a core that another program had, by the time its calls took; None where the system does not tell."""
    throughput_ips: float | None = None
    """None also where memory did not hold a batch."""
    latency_ms_bfloat16: float | None = None
    latency_ms_compile: float | None = None

    @property
    def file_name(self) -> str:
        """Plain characters only: a machine may be named anything."""
        return f"{self.latency_key}-{re.sub(r'[^A-Za-z0-9._-]', '_', self.timed_on)[:100]}.json"


def encode(timing: Timing) -> bytes:
    """The bytes to write; a time that is not finite is none."""
    return dumped({"schema": TIMING_SCHEMA, **finite_values(asdict(timing))})


def decode(content: bytes) -> Timing:
    """The inverse of `encode`, for any bytes.

    Raises:
        ValueError: these are not the bytes that were written; the message says why, as a clause that follows a file name.
    """
    record, is_sealed = unsealed(content)
    if not is_sealed:
        raise ValueError("is not as it was written")
    if record.get("schema") != TIMING_SCHEMA:
        raise ValueError(f"holds a timing of another schema than {TIMING_SCHEMA}")
    values: dict[str, Any] = {field.name: record.get(field.name) for field in fields(Timing)}
    if wrong := [name for name, value in values.items() if type(value) not in _TYPES[name]]:
        raise ValueError(f"holds what no timing has ({wrong[0]})")
    return Timing(**values)


def _types(hint: Any) -> frozenset[type]:
    kinds = set(get_args(hint) or (hint,))
    return frozenset(kinds | ({int} if float in kinds else set()))


_TYPES = {name: _types(hint) for name, hint in get_type_hints(Timing).items()}


def filled(rows: Sequence[Row], timings: Iterable[Timing]) -> list[Row]:
    """Rows with their timing columns filled, in their order; a row whose model nobody has timed stays as it is.

    Only times of one machine compare. So rows of one protocol and device are filled from the machine that has timed most of their models, of several
    that have timed as many the one that did so last, whichever machines ran the jobs.
    """
    known = {(timing.latency_key, timing.timed_on): timing for timing in timings}
    groups: dict[tuple[str, str | None], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.protocol, row.device].append(row)
    hosts = {key: _host({row.latency_key for row in group}, known.values()) for key, group in groups.items()}
    return [_filled(row, host, known) if (host := hosts[row.protocol, row.device]) else row for row in rows]


def _host(keys: set[str | None], timings: Iterable[Timing]) -> str | None:
    by_host: dict[str, list[Timing]] = defaultdict(list)
    for timing in timings:
        if timing.latency_key in keys:
            by_host[timing.timed_on].append(timing)

    def worth(host: str) -> tuple[int, str]:
        good = [timing for timing in by_host[host] if timing.error is None]
        return len(good), max(timing.timed_at for timing in good or by_host[host])

    return max(by_host, key=worth, default=None)


def _filled(row: Row, host: str, known: dict[tuple[str, str], Timing]) -> Row:
    if row.latency_key is None or row.status not in (Status.ok, Status.pruned):
        return row
    timing = known.get((row.latency_key, host))
    reason = timing.error if timing else f"not timed on {host}, where others of this study were; run `python -m harness.retime` there"
    undefined = row.details.undefined | ({"latency_ms_p50": reason} if reason else {})
    columns: dict[str, Any] = {name: getattr(timing, name) if timing else None for name in TIMING_COLUMNS}
    return replace(row, **columns, details=replace(row.details, undefined=undefined))
