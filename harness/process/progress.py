"""Long loops: a heartbeat at every step, and a progress bar on standard error for a person who waits, none in a file or a pipe."""

import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

from harness.process.heartbeat import beat

T = TypeVar("T")


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    """`items` with a heartbeat each, and a bar that vanishes when done. `total` is taken from the items where they have a length."""
    if not sys.stderr.isatty():
        return _beating(items)
    if total is None and isinstance(items, Sized):
        total = len(items)
    return rich_track(_beating(items), description=f"  {what}", total=total, console=Console(stderr=True), transient=True)


def _beating(items: Iterable[T]) -> Iterator[T]:
    for item in items:
        beat()
        yield item
