"""A function that runs beside the caller in a light process of its own, at low priority. It is told things and never waited for.

What it is for is worth less than what the caller does: nothing that goes wrong with it is an error here.
"""

import importlib
import os
import select
import signal
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from harness.process.isolate import born_quiet, light_context, without_main

_PATIENCE_S = 10.0
"""What an answer or its end is waited for at most."""


class Beside:
    """One such process, from its start to `close`."""

    def __init__(self, target: str, *arguments: Any, niceness: int) -> None:
        """Start it.

        Args:
            target: `module:function`, called with its end of a connection and the arguments. It should return when the connection is closed.
            arguments: picklable.
            niceness: how far it stands back behind others, from 0 to 19.

        Raises:
            OSError, EOFError: no process can be started.
        """
        context = light_context()
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, target, arguments, niceness))
        try:
            with without_main(), born_quiet():
                self._process.start()
        finally:
            theirs.close()

    def tell(self, message: Any) -> None:
        """Send a message, unless it has ended or does not listen."""
        poller = select.poll()
        poller.register(self._connection.fileno(), select.POLLOUT)
        if poller.poll(0):
            with suppress(OSError):
                self._connection.send(message)

    def heard(self, timeout_s: float = 0.0) -> Any | None:
        """The next thing that it says within a time, if any."""
        with suppress(EOFError, OSError):
            if self._connection.poll(timeout_s):
                return self._connection.recv()
        return None

    def ask(self, message: Any) -> Any | None:
        """Send a message and return the answer. What does not answer for some seconds is ended."""
        self.tell(message)
        if (answer := self.heard(_PATIENCE_S)) is None:
            self._process.kill()
        return answer

    def close(self, *, at_once: bool = False) -> None:
        """Close the connection, by which it ends; a few seconds later, or at once, it is ended."""
        self._connection.close()
        self._process.join(0 if at_once else _PATIENCE_S)
        self._process.kill()
        self._process.join()
        self._process.close()


def _serve(connection: Connection, target: str, arguments: tuple[Any, ...], niceness: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # sent to a whole group; it ends when its caller is gone
        signal.signal(number, signal.SIG_IGN)
    os.nice(niceness)
    with suppress(OSError):  # when memory runs out, this is what may go
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    module, _, function = target.partition(":")
    with suppress(BrokenPipeError):
        getattr(importlib.import_module(module), function)(connection, *arguments)
