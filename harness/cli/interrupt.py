"""Message and exit status of an interrupted command. Imports next to nothing: the interrupt may come while everything else is imported."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness.text.commands import runnable
from harness.text.untrusted import visible

INTERRUPTED = 130
"""Exit status."""


@contextmanager
def told() -> Iterator[None]:
    """Turn an interrupt of the block into its own words, or general ones, and an exit status."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second one would only spoil the exit status
        print(visible(runnable(str(interrupt) or "interrupted; re-run the same command to resume")), file=sys.stderr)
        sys.exit(INTERRUPTED)
