"""Which pretrained backbone to start from, how deep to freeze it, and whether to trust the answer."""

import os
import sys

_called = sys.argv[0] if sys.argv else ""
_name = os.path.basename(_called)  # noqa: PTH119
if _called == "-m" or _name == "harness" or _name.startswith("harness-"):  # a command of the harness; nothing else is imported yet
    # `python -m` looks for every module in the current folder first, and so do the processes that are started later. That may be a folder
    # of images from anywhere, and a file in it called like a module would run. Only a checkout of the harness needs to be found there.
    _home = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    try:
        _here = os.getcwd()  # noqa: PTH109
    except OSError:
        sys.stderr.write("error: the current folder does not exist any more; change to one that does (cd ~) and run the command again\n")
        sys.exit(2)
    if _here != _home:
        os.environ["PYTHONSAFEPATH"] = "1"
        if sys.path and sys.path[0] in ("", _here):
            del sys.path[0]
    from importlib.util import find_spec

    if find_spec("omegaconf") is None:  # a checkout, started by a Python that it was not installed for
        _own = os.path.join(_home, ".venv", "bin", "python")  # noqa: PTH118
        _way = f"type {_own} instead of python" if os.path.exists(_own) else "install the harness first: make setup"  # noqa: PTH110
        sys.stderr.write(f"error: {sys.executable} has not what the harness needs; source .venv/bin/activate, or {_way}\n")
        sys.exit(2)

from typing import TYPE_CHECKING  # noqa: E402

if TYPE_CHECKING:
    __version__: str


def __getattr__(name: str) -> str:
    """The version, looked up when asked for: most commands start without it."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("model-selection-harness")
    except PackageNotFoundError:  # a checkout that was never installed
        return "0+checkout"
