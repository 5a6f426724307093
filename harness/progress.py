"""Progress bars on standard error: there for a person who waits, silent in a file or a pipe."""

import sys
from collections.abc import Iterable, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

T = TypeVar("T")


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    """`items` with a bar that vanishes when done. `total` is taken from the items where they have a length."""
    if not sys.stderr.isatty():
        return items
    if total is None and isinstance(items, Sized):
        total = len(items)
    return rich_track(items, description=f"  {what}", total=total, console=Console(stderr=True), transient=True)
