"""Calls from Python, composed by Hydra from the lines that a command line would have: one meaning for every key, one message for every mistake."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_origin

from hydra import compose, initialize_config_dir
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from harness.cli.command import conf_dir, explain, make_known, typed
from harness.cli.compose import leaves
from harness.cli.own_images import with_source
from harness.cli.typed_text import literal
from harness.config import SweepConfig
from harness.errors import ConfigError, HarnessError, OwnError

if TYPE_CHECKING:
    from hydra_plugins.harness_sweeper.sweeper import GridSweeper

T = TypeVar("T")

Options = Mapping[str, Any]
"""Keys with dots, or two underscores for each; and their values."""


def composed(config_name: str, schema: type[T], options: Options) -> T:
    """The configuration of a command that is called with these options. Raises ConfigError."""
    with _hydra(schema):
        return typed(compose(config_name, [f"{_key(key)}={_value(value)}" for key, value in options.items()]), schema)


@contextmanager
def sweeper_of(options: Options) -> Iterator[tuple["GridSweeper", list[str]]]:
    """The sweeper of `python -m harness.sweep`, and the line of options that it is called with. A list is swept where its key takes none.

    Raises:
        ConfigError: an option is unknown or not allowed.
    """
    line = with_source([f"{key}={_swept(key, value)}" for key, value in _named(options)])
    with _hydra(SweepConfig):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        master = hydra.compose_config("sweep", line, RunMode.MULTIRUN, from_shell=False)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(master))
        sweeper: Any = Plugins.instance().instantiate_sweeper(config=master, hydra_context=context, task_function=_never)
        yield sweeper, line


def _named(options: Options) -> Iterator[tuple[str, Any]]:
    for key, value in options.items():
        if key.startswith("hydra"):
            raise ConfigError(f"{key}: launchers and other parts of Hydra are chosen on the command line; from Python jobs run here.")
        yield _key(key), value


def _never(_: DictConfig) -> None:
    raise AssertionError("no launcher is asked for")


@contextmanager
def _hydra(schema: type) -> Iterator[None]:
    """Hydra at work on `conf/`; what it says of an option becomes a ConfigError in the words of the command line."""
    make_known(schema)
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            yield
    except HarnessError:
        raise
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(*explain(error, schema)) from None


@contextmanager
def own_errors() -> Iterator[None]:
    """Around what a call does once its options are read: a mistake of the harness is raised as it is."""
    try:
        yield
    except OwnError as error:
        raise (error.__cause__ or error) from None


def _key(key: str) -> str:
    return key.replace("__", ".")


def _swept(key: str, value: Any) -> str:
    if not _is_list(value) or key in _list_keys():
        return _value(value)
    if not (values := list(value)):
        raise ConfigError(f"{key}: an empty list; give at least one value.")
    return ",".join(map(_value, values))


def _value(value: Any) -> str:
    """As it has to be typed, so that Hydra reads this very value."""
    if hasattr(value, "item"):  # a number of NumPy's
        value = value.item()
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str | os.PathLike):
        return literal(os.fspath(value))
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{_value(each)}' for key, each in value.items())}}}"
    return f"[{','.join(map(_value, value))}]" if _is_list(value) else str(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, str | os.PathLike | Mapping)


@cache
def _list_keys() -> frozenset[str]:
    """Keys whose value is a list."""
    return frozenset(key for key, kind in leaves(SweepConfig) if get_origin(kind) is list)
