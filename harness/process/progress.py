"""Long loops: a heartbeat at every step, and a progress bar for a person who waits, in a terminal or a notebook; none in a file or a pipe."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from html import escape
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track as rich_track

from harness.process.heartbeat import beat, is_shown
from harness.text.console import in_notebook

T = TypeVar("T")


def track(items: Iterable[T], what: str, total: int | None = None, num_images: int | None = None) -> Iterable[T]:
    """`items` with a heartbeat each, and a bar that vanishes when done; in a job whose sweep shows what it does, no bar.

    Args:
        items: the steps of a loop.
        what: they do.
        total: their number; None: it is taken from the items where they have a length.
        num_images: that all of them go through together.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if is_shown():
        return _told(items, what, total, num_images)
    if in_notebook() and total:
        return _drawn(_beating(items), NotebookBar(what, total))
    if not sys.stderr.isatty():
        return _beating(items)
    return rich_track(_beating(items), description=f"  {what}", total=total, console=Console(stderr=True), transient=True)


class NotebookBar:
    """A bar in the output of a notebook's cell, which needs no widgets; it vanishes when all is done."""

    def __init__(self, what: str, total: int) -> None:
        from IPython.display import display

        self.what, self.total = what, total
        self.shown = display(self._html(0), display_id=True)  # type: ignore[no-untyped-call]

    def show(self, done: int) -> None:
        """Draw how many are done."""
        self.shown.update(self._html(done))

    def _html(self, done: int) -> Any:
        from IPython.display import HTML

        said = f'<progress value="{done}" max="{self.total}"></progress> {done} of {self.total} {escape(self.what)}'
        return HTML(said if done < self.total else "")  # type: ignore[no-untyped-call]


def _drawn(items: Iterable[T], bar: NotebookBar) -> Iterator[T]:
    for done, item in enumerate(items, 1):
        yield item
        bar.show(done)


def _told(items: Iterable[T], what: str, total: int | None, num_images: int | None) -> Iterator[T]:
    """Heartbeats that say how far it is: `features: 3 of 12 · 210 images/s`."""
    started, done = time.perf_counter(), 0

    def doing() -> str:
        so_far = f"{what}: {done} of {total}" if total else what
        if not (total and num_images and done):
            return so_far
        return f"{so_far} · {num_images * done / total / (time.perf_counter() - started):,.0f} images/s"

    for item in items:
        beat(doing)
        yield item
        done += 1


def _beating(items: Iterable[T]) -> Iterator[T]:
    for item in items:
        beat()
        yield item
