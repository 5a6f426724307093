"""One worker, wherever it is: `python -m harness.clusters.start WORK PLAN`, where WORK is a `module:function` that is called with the plan's path."""

import os
import signal
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

from harness.cli.command import quit_on_error
from harness.process.alive import is_alive
from harness.text.streams import make_usable

_POLL_S = 0.5


def main(arguments: list[str] | None = None) -> None:
    """Call the function. What the user can act on is one line on standard error."""
    work, plan = arguments or sys.argv[1:]
    make_usable()
    _end_with(os.getppid())
    module, _, function = work.partition(":")
    with quit_on_error():
        getattr(import_module(module), function)(Path(plan))


def command(work: str, plan: Path) -> list[str]:
    """What starts a worker, on every machine that has this Python and this folder."""
    return [sys.executable, "-m", "harness.clusters.start", work, str(plan)]


def _end_with(parent: int) -> None:
    """Stop when whoever started it is gone: nobody counts this worker any more, and its place may be given to another."""

    def watch() -> None:
        while is_alive(parent):
            time.sleep(_POLL_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main()
