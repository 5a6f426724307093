"""Long loops: a heartbeat at every step, and a progress bar for a person who waits, in a terminal or a notebook; none in a file or a pipe."""

import sys
from collections.abc import Iterable, Iterator, Sized
from html import escape
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import track as rich_track

from harness.process.heartbeat import beat
from harness.text.console import in_notebook

T = TypeVar("T")


def track(items: Iterable[T], what: str, total: int | None = None) -> Iterable[T]:
    """`items` with a heartbeat each, and a bar that vanishes when done. `total` is taken from the items where they have a length."""
    if total is None and isinstance(items, Sized):
        total = len(items)
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


def _beating(items: Iterable[T]) -> Iterator[T]:
    for item in items:
        beat()
        yield item
