"""Heartbeats of a job while it works, by which the caller can tell slow from stuck.

Every long loop beats; who listens is decided by the process that runs the job (`isolate`). Nobody listens: nothing happens.
"""

import time
from collections.abc import Callable

_EVERY_S = 1.0

_tell: Callable[[], None] | None = None
_last = 0.0


def listen(tell: Callable[[], None]) -> None:
    """Call `tell` at beats from now on, at most once a second."""
    global _tell  # noqa: PLW0603  one process, one listener
    _tell = tell


def beat() -> None:
    """Work has gone on."""
    global _last  # noqa: PLW0603
    now = time.monotonic()
    if _tell is not None and now - _last >= _EVERY_S:
        _last = now
        _tell()
