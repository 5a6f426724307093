"""Python functions by name: imported, which is trusting them, and distinguished by their source code.

Used by `own`, which makes a name exact, and `from_python`, which calls the function.
"""

import hashlib
import importlib
import operator
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.errors import BackboneError, is_debugging
from harness.online.reasons import brief

_NAME = re.compile(r"([\w.]+):([\w.]+)")


def find_function(requested: str, place: str) -> tuple[ModuleType, Callable[..., Any]]:
    """The module and the function in it, imported from where the command was started if nothing installed is called so.

    Raises:
        BackboneError: there is no such module, or no such function in it.
    """
    named = _NAME.fullmatch(place)
    if named is None:
        raise BackboneError(f"backbone={requested}: not allowed; give python:package.module:function.")
    here = os.getcwd()  # noqa: PTH109
    if here not in sys.path:
        sys.path.append(here)  # last, so that no file in it stands for anything that is installed
    try:
        module = importlib.import_module(named[1])
    except Exception as error:
        if is_debugging():
            raise
        raise BackboneError(
            f"backbone={requested}: {named[1]} cannot be imported ({type(error).__name__}: {brief(str(error))}); it must be installed, or lie in "
            f"{here}, where the command was started."
        ) from error
    try:
        function: Any = operator.attrgetter(named[2])(module)
    except AttributeError as error:
        raise BackboneError(f"backbone={requested}: {named[2]} is not in {getattr(module, '__file__', named[1])}.") from error
    if not callable(function):
        raise BackboneError(f"backbone={requested}: {named[2]} is a {type(function).__name__}; name a function or a class.")
    return module, function


def source_hash(requested: str, place: str) -> str:
    """Of the files of the function's module and of those modules beside it that it takes something from, here or further down.

    Raises:
        BackboneError: it cannot be imported, or there is no such function in it.
    """
    module, function = find_function(requested, place)
    todo, files = [module, sys.modules.get(getattr(function, "__module__", ""), module)], dict[str, str]()
    for each in todo:
        if (path := _file(each)) is None or str(path) in files:
            continue
        files[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        owners = (value if isinstance(value, ModuleType) else sys.modules.get(_text(value, "__module__")) for value in vars(each).values())
        todo += [owner for owner in owners if owner is not None and _is_beside(owner, module)]
    return hashlib.blake2b(" ".join([place, *sorted(files.values())]).encode(), digest_size=4).hexdigest()


def _text(value: object, name: str) -> str:
    found = getattr(value, name, "")
    return found if isinstance(found, str) else ""


def _file(module: ModuleType) -> Path | None:
    path = Path(_text(module, "__file__"))
    return path if path.is_file() else None


def _is_beside(module: ModuleType, first: ModuleType) -> bool:
    """Whether it is of the same package, or of the same folder where that is no place for installed packages."""
    package = first.__name__.partition(".")[0]
    path, home = _file(module), _file(first)
    if path is None or home is None or module.__name__.partition(".")[0] == package:
        return path is not None
    installed = "site-packages" in path.parts or module.__name__.partition(".")[0] == "harness"
    return not installed and path.is_relative_to(home.parents[first.__name__.count(".")])
