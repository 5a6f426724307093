"""Starts a download in a process of its own (`download`), watches what arrives, and ends it when too little does.

The rule of `online.pace` bounds everything that a network can do, connecting included. Bytes that come a second time do not count.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

from harness.backbones.download import Order
from harness.online.pace import MIN_KIB_PER_S, stall_s, too_slow
from harness.process.heartbeat import beat

_POLL_S = 0.1
_LEAVE_S = 5.0
"""How long a download that was told to end may take to remove its partial file."""

_PROGRAM = "import sys; sys.path[:] = {path!r}; from harness.backbones.download import main; main()"


class NotFetchedError(Exception):
    """Nothing came, and nothing was kept; the text says why in a few words."""


def fetch(order: Order) -> Path:
    """Get one of the ordered files into the cache.

    Returns:
        The file there, whole.

    Raises:
        NotFetchedError: the server has no such file, refused, broke off, or sent too little for too long.
        ConfigError: HARNESS_DOWNLOAD_STALL_S is not a number of seconds.
    """
    limit_s = stall_s()
    with _started(order) as process:
        is_stalled = not _keeps_growing(process, order, limit_s)
    assert process.stdout is not None
    messages = _messages(process.stdout.read())
    process.stdout.close()
    told = {key: text for message in messages for key, text in message.items()}
    if "path" in told:
        return Path(told["path"])
    raise NotFetchedError(_why(told, is_stalled=is_stalled, limit_s=limit_s, status=process.returncode))


@contextmanager
def _started(order: Order) -> Iterator[subprocess.Popen[str]]:
    """The process, which has ended when the block is left."""
    process = subprocess.Popen(  # noqa: S603  this program
        [sys.executable, "-c", _PROGRAM.format(path=sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={"HF_HUB_DISABLE_XET": "1", **os.environ},  # the other way to fetch allots the whole file at once, and cannot be watched
    )
    assert process.stdin is not None
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(asdict(order)) + "\n")
            process.stdin.flush()
        yield process
    finally:
        _end(process)
        with suppress(BrokenPipeError):
            process.stdin.close()


def _end(process: subprocess.Popen[str]) -> None:
    for stop in (process.terminate, process.kill):
        if process.poll() is None:
            stop()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LEAVE_S)


def _keeps_growing(process: subprocess.Popen[str], order: Order, limit_s: float) -> bool:
    """Wait for the end; False as soon as too little came in a stretch of `limit_s` seconds."""
    started, at_start, largest = time.monotonic(), 0, 0
    while True:
        with suppress(subprocess.TimeoutExpired):
            process.wait(_POLL_S)
            return True
        if (num_bytes := _num_bytes(order)) > largest:
            largest = num_bytes
            beat(partial(_doing, order, largest))
        if time.monotonic() - started >= limit_s:
            if largest - at_start < MIN_KIB_PER_S * 1024 * limit_s:
                return False
            started, at_start = time.monotonic(), largest


def _doing(order: Order, num_bytes: int) -> str:
    return f"fetching {order.repo or order.filenames[0]}, {num_bytes / 2**20:,.0f} MiB so far"


def _num_bytes(order: Order) -> int:
    """Size of what has come so far."""
    folder, pattern = order.growing
    total = 0
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):  # just finished
            total += path.stat().st_size
    return total


def _messages(text: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = []
    for line in text.splitlines():
        with suppress(ValueError):  # cut off in the middle
            message = json.loads(line)
            if isinstance(message, dict):
                found.append(message)
    return found


def _why(told: dict[str, str], *, is_stalled: bool, limit_s: float, status: int) -> str:
    if "why" in told:
        return told["why"]
    if not is_stalled:
        return f"the process that fetched it ended with status {status}"
    note = f", last: {told['note']}" if "note" in told else ""
    return too_slow(limit_s, note)
