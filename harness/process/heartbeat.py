"""Heartbeats of a job while it works, by which the caller can tell slow from stuck.

Every long loop beats; who listens is decided by the process that runs the job (`isolate`). Nobody listens: nothing happens.
"""

import time
from collections.abc import Callable

_EVERY_S = 1.0

_tell: Callable[[str], None] | None = None
_is_shown = False
_last = 0.0


def listen(tell: Callable[[str], None], *, is_shown: bool = False) -> None:
    """Call `tell` at beats from now on, at most once a second, with what is being done.

    Args:
        tell: the listener.
        is_shown: it shows that to a person, so that this process draws nothing itself.
    """
    global _tell, _is_shown
    _tell, _is_shown = tell, is_shown


def is_shown() -> bool:
    """Whether the listener shows to a person what is being done."""
    return _is_shown


def beat(doing: Callable[[], str] = str) -> None:
    """Work has gone on. `doing` says in words which; it is called when somebody listens."""
    global _last  # noqa: PLW0603
    now = time.monotonic()
    if _tell is not None and now - _last >= _EVERY_S:
        _last = now
        _tell(doing())
