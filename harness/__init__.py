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

from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from harness.api.backbones import list_backbones as list_backbones
    from harness.api.classifier import Classifier as Classifier
    from harness.api.model import Model as Model
    from harness.api.model import load_model as load_model
    from harness.api.ranking import Ranking as Ranking
    from harness.api.ranking import rank as rank
    from harness.api.study import Study as Study
    from harness.api.study import load_study as load_study
    from harness.api.sweeping import sweep as sweep
    from harness.errors import BackboneError as BackboneError
    from harness.errors import ConfigError as ConfigError
    from harness.errors import DataError as DataError
    from harness.errors import HarnessError as HarnessError
    from harness.errors import StoreError as StoreError
    from harness.errors import TableError as TableError
    from harness.errors import TrainingError as TrainingError
    from harness.errors import UndefinedMetricError as UndefinedMetricError

    __version__: str

_MODULES = {
    "harness.api.backbones": ("list_backbones",),
    "harness.api.classifier": ("Classifier",),
    "harness.api.model": ("Model", "load_model"),
    "harness.api.ranking": ("Ranking", "rank"),
    "harness.api.study": ("Study", "load_study"),
    "harness.errors": (
        *("BackboneError", "ConfigError", "DataError", "HarnessError", "StoreError", "TableError", "TrainingError"),
        "UndefinedMetricError",
    ),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = ["__version__", "sweep", *_MODULE_OF]  # noqa: PLE0604  names, all of them


def __getattr__(name: str) -> Any:
    """What the harness offers, imported when it is asked for."""
    if name == "__version__":
        return _version()
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    # `harness.sweep` is a command's module that can be called, whichever is asked for first.
    return import_module("harness.sweep") if name == "sweep" else getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("model-selection-harness")
    except PackageNotFoundError:  # a checkout that was never installed
        return "0+checkout"
