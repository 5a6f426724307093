"""Commands that are printed run as printed, whether or not the environment is active that the harness is installed in.

Used where text leaves for a terminal or a page; everything before says `python`. Imports next to nothing.
"""

import re
import shutil
import sys
from functools import cache
from pathlib import Path

from harness.text.untrusted import shell_word

_COMMAND = re.compile(r"(?<![\w./-])python (?=-m (?:harness|pip)\b)")


def runnable(text: str) -> str:
    """The text with this very Python in front of the harness's commands and pip's, unless `python` is it."""
    return _COMMAND.sub(lambda _: f"{_interpreter()} ", text) if "python -m " in text else text


@cache
def _interpreter() -> str:
    """How a shell in this folder calls the Python that runs this."""
    own, found = Path(sys.executable), shutil.which("python")
    if not sys.executable or (found and Path(found).absolute() == own):
        return "python"
    here = Path.cwd()
    return shell_word(str(own.relative_to(here) if own.is_relative_to(here) else own))
