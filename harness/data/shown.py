"""Names of files and classes in messages and rows: one line, no control characters, different names different."""

import os
from collections.abc import Iterable
from pathlib import Path

from harness.text.untrusted import one_line

_MAX_SHOWN = 400
"""Characters of a path in a message."""
_MAX_NAMES = 6


def text(path: Path | str) -> str:
    """A name for messages: on one line, without control characters, its bytes that are not UTF-8 as escapes."""
    shown = one_line(os.fsencode(path).decode("utf-8", "backslashreplace"))
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[: _MAX_SHOWN // 2]}…{shown[-_MAX_SHOWN // 2 :]}"


def quoted(path: Path | str) -> str:
    """As `text`, in quotes."""
    return f"'{text(path)}'"


def names(paths: Iterable[Path | str], most: int = _MAX_NAMES) -> str:
    """The first few in quotes, and how many more there are; of an absolute path its last part."""
    shown = [quoted(path.name if isinstance(path, Path) and path.is_absolute() else path) for path in paths]
    more = [f"{len(shown) - most:,} more"] if len(shown) > most else []
    return ", ".join([*shown[:most], *more])


def row_name(name: str) -> str:
    r"""A name for rows: `\xff` for a byte that is not UTF-8 and `\\` for a backslash, so that different names stay different."""
    return os.fsencode(name.replace("\\", "\\\\")).decode("utf-8", "backslashreplace")
