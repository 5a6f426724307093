"""Make standard output and error writable, however a command was started. Imports next to nothing: it is called first."""

import codecs
import os
import sys
from typing import TextIO

_PLAIN = {
    "·": "-",
    "≈": "~",
    "≥": ">=",
    "≤": "<=",
    "±": "+-",
    "×": "x",
    "–": "-",
    "—": "-",
    "…": "...",
    "→": "->",
    "\N{NO-BREAK SPACE}": " ",
}
"""What the harness itself writes, in ASCII."""


def make_usable() -> None:
    """Open what is closed, so that no file gets its number, and have nothing that is written be an error in the encoding of the terminal."""
    codecs.register_error("plain", _plainly)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = _usable(sys.stdout, 1)
    sys.stderr = _usable(sys.stderr, 2)


def _usable(stream: TextIO | None, number: int) -> TextIO:
    if stream is None:
        return open(number, "w", encoding="utf-8", closefd=False)
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="plain")
    return stream


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """What an encoding does not have: a plain character that stands for it, else an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = (_PLAIN.get(each, each.encode("ascii", "backslashreplace").decode()) for each in error.object[error.start : error.end])
    return "".join(found), error.end
