"""Where lines for a person go: a terminal, a file, or the output of a notebook's cell, which gets plain lines too."""

import sys

from rich.console import Console

_NOTEBOOK_WIDTH = 115
"""Columns of a notebook's output."""


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this; IPython in a terminal is none."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def new_console(*, soft_wrap: bool = False) -> Console:
    """A console on standard output. rich's own form for notebooks would be a block of its own for every line."""
    return Console(highlight=False, soft_wrap=soft_wrap, force_jupyter=False, width=_NOTEBOOK_WIDTH if in_notebook() else None)
