"""CSV files safe to open in spreadsheets: text that would run as a formula is escaped, and comes back whole.

Between the frames of `table` and `reporting` and their files. Names of checkpoints, hosts and data sets are other people's words.
"""

import re
from collections.abc import Callable

import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

_GUARD = "'"
"""Spreadsheets show what follows as text."""
_ACTS = re.compile(r"[=+\-@＝＋－＠\t\r\n']")
"""First characters that start a formula, that some programs skip before they look for one, or that are the guard itself."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def guarded(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame for a CSV: an apostrophe before text that starts like a formula. Numbers stay, also those in columns of text (`-4`)."""
    return _mapped(frame, lambda text: _GUARD + text if _ACTS.match(text) and not _NUMBER.fullmatch(text) else text)


def unguarded(frame: pd.DataFrame) -> pd.DataFrame:
    """The inverse of `guarded`."""
    return _mapped(frame, unguarded_text)


def unguarded_text(text: str) -> str:
    """One cell of such a CSV as it was."""
    return text.removeprefix(_GUARD)


def _mapped(frame: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    words = [name for name in frame.columns if not is_numeric_dtype(frame[name]) and not is_bool_dtype(frame[name])]
    changed = {
        name: frame[name].map(lambda cell: change(cell) if isinstance(cell, str) else cell).astype(frame[name].dtype) for name in words
    }
    return frame.assign(**changed)
