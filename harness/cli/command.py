"""The border to Hydra: where `conf/` is, and how an error becomes one line and an exit status.

Exit status: 0 all good, 2 a configuration error (nothing has run) or trouble with a folder (what is finished stays), 3 some job is not
ok, 130 interrupted, 141 output closed.
"""

import atexit
import difflib
import gc
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness import config
from harness.cli.interrupt import told
from harness.cli.key_help import keys as key_help
from harness.cli.typed_text import as_text, comma_hint
from harness.cli.wrong_option import refusal
from harness.errors import ConfigError, HarnessError, OwnError, is_debugging
from harness.status import BAD_CONFIG, UNREAD
from harness.text.commands import runnable
from harness.text.streams import make_usable
from harness.text.untrusted import one_line, visible

T = TypeVar("T")

_TOLD = (HarnessError, HydraException, OmegaConfBaseException, OSError)
"""Errors that a user can act on."""
_NO_HOME = "Could not determine home directory"
"""What Python says."""


def conf_dir() -> Path:
    """`conf/` inside an installed package, else beside the package in a checkout."""
    here = Path(__file__).resolve().parents[1]
    packaged = here / "conf"
    return packaged if packaged.is_dir() else here.parent / "conf"


def choices(group: str) -> list[str]:
    """Names of the files in a group of `conf/`; the schemas they extend are no choices."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def launch(task: Callable[[DictConfig], Any], config_name: str, schema: type) -> None:
    """Run a Hydra program whose user errors are one line on standard error and an exit status, never a traceback.

    Args:
        task: does its work within `running`.
        config_name: a file of `conf/`.
        schema: dataclass of the configuration.
    """
    make_usable()
    make_known(schema)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors then reach this function instead of being printed by Hydra
    atexit.register(_leave_it_lying)
    typed_arguments = sys.argv[1:]
    with quit_on_error(schema, typed_arguments):
        sys.argv[1:] = as_text(typed_arguments, schema, sweeps=schema is config.SweepConfig)
        with _reading():
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=config_name)(task)()


def make_known(schema: type) -> None:
    """Tell Hydra of the dataclasses and of what `conf/` uses. `schema`: of the configuration, for the help."""
    config.register()
    OmegaConf.register_new_resolver("pid", os.getpid, replace=True)
    OmegaConf.register_new_resolver("choices", lambda group: ", ".join(choices(group)), replace=True)
    OmegaConf.register_new_resolver("runnable", runnable, replace=True)
    OmegaConf.register_new_resolver("keys", lambda *, _root_: key_help(schema, _root_), replace=True)


@contextmanager
def running() -> Iterator[None]:
    """Around what a command does once its line is read: errors that are not about anything typed are the harness's own.

    Raises:
        OwnError: from such an error.
    """
    try:
        yield
    except _TOLD:
        raise
    except Exception as error:
        raise OwnError(f"{type(error).__name__}: {error}") from error


@contextmanager
def _reading() -> Iterator[None]:
    """Around all that Hydra does: for some values that were typed it raises errors without a type of its own."""
    try:
        yield
    except _TOLD:
        raise
    except OwnError as error:
        raise (error.__cause__ or error) from None
    except Exception as error:
        if is_debugging() or _NO_HOME in str(error):
            raise
        said = " ".join(str(error).split())
        raise ConfigError(
            _no_choice() or f"the command line cannot be read ({type(error).__name__}: {said}); check its keys and values."
        ) from error


def stay() -> None:
    """Go back to where the command was started, which `hydra.job.chdir` leaves: paths are meant from there."""
    os.chdir(HydraConfig.get().runtime.cwd)


def _leave_it_lying() -> None:
    """What is left goes with the process; looking through it for garbage first takes half a second. Libraries below torch insist on it."""
    if "torch" not in sys.modules:
        gc.freeze()


@contextmanager
def quit_on_error(schema: type | None = None, arguments: Sequence[str] = ()) -> Iterator[None]:
    """Turn errors that a user can act on into one line and exit status 2; with HARNESS_DEBUG=1 let them through.

    Args:
        schema: of the configuration, to tell what its keys take.
        arguments: of the command line as they were typed.
    """
    try:
        with told():
            yield
    except BrokenPipeError:  # nobody reads the output any more; what is written stays
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(UNREAD)
    except _TOLD as error:
        if is_debugging():
            raise
        problems = explain(error, schema)
        _refuse(*problems[:-1], f"{problems[-1]}{comma_hint(arguments, ' '.join(problems))}")
    except Exception as error:
        if is_debugging() or _NO_HOME not in str(error):
            raise
        _refuse("~ stands for no folder, as HOME is not set or there is no such user; give whole paths.")


def _refuse(*problems: str) -> NoReturn:
    for problem in problems:
        print(visible(runnable(f"error: {problem}")), file=sys.stderr)
    sys.exit(BAD_CONFIG)


def _no_choice() -> str | None:
    """What to say of `group=null`, of which Hydra says neither group nor value."""
    for typed in sys.argv[1:]:
        group, _, value = typed.partition("=")
        if value == "null" and (known := choices(group)):
            return f"{typed}: not allowed; there is {', '.join(known)}."
    return None


def typed(cfg: DictConfig, schema: type[T]) -> T:
    """A configuration as its dataclass. Raises ConfigError for a key that a `+` added where there is none: nobody would ever read it."""
    if added := next(_added_keys(cfg, schema), None):
        raise ConfigError(unknown_key(added, known_keys(schema), _program(schema)))
    config = OmegaConf.to_object(cfg)
    assert isinstance(config, schema)
    return config


def _added_keys(cfg: DictConfig, schema: Any, prefix: str = "") -> Iterator[str]:
    known = {field.name for field in fields(schema)}
    for key, value in ((str(key), value) for key, value in cfg.items_ex(resolve=False)):
        if key not in known:
            yield f"{prefix}{key}"
        elif isinstance(value, DictConfig) and is_dataclass(inner := OmegaConf.get_type(value)):
            yield from _added_keys(value, inner, f"{prefix}{key}.")


def _program(schema: type) -> str:
    return schema.__name__.removesuffix("Config").lower()


def explain(error: BaseException, schema: type | None = None) -> list[str]:
    """What to tell the user about an error: a line for each problem; unknown keys and choices come with the nearest known ones."""
    problems = error.problems if isinstance(error, ConfigError) else [_problem(error, schema)]
    return [one_line(problem) for problem in problems]


def _problem(error: BaseException, schema: type | None) -> str:
    if isinstance(error, HarnessError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        known = choices(group) or sorted(error.options)
        return f"{group}={choice}: unknown{suggestion(choice, known)}; there is {', '.join(known)}."
    chain = list(_chain(error))
    if said := _unknown_key(" ".join(map(str, chain)), schema) or refusal(chain):
        return said
    return " ".join(str(error).split())


def _unknown_key(messages: str, schema: type | None) -> str | None:
    unknown = re.search(r"Key '([^']*)' (?:is not in struct|not in '\w+')", messages)
    override = re.search(r"Could not (?:override|append)[^']*'([^']*)'", messages)
    if schema is None or not (unknown or override):
        return None
    known = list(known_keys(schema))
    parts = [found.group(1) for found in (override, unknown) if found]
    key = ".".join(parts) if parts[0] in known else parts[0]
    if key in known:
        return f"+{key}: the key is there already; give {key}=... without the +."
    return unknown_key(key, known, _program(schema))


def unknown_key(key: str, known: Iterable[str], program: str) -> str:
    """What to tell about a key that a program's configuration does not have; one of another source of data names that."""
    place, _, name = key.rpartition(".")
    if place == "data" and (owners := [source for source, schema in config.DATA_SCHEMAS.items() if name in known_keys(schema)]):
        return f"{key}: not taken by this source of images, only by {' and '.join(f'data={source}' for source in owners)}."
    return f"{key or repr(key)}: unknown key{suggestion(key, known)}; all keys: python -m harness.{program} --help"


def suggestion(given: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(given, list(known), n=1)
    return f"; did you mean '{near[0]}'?" if near else ""


def known_keys(schema: type, prefix: str = "") -> Iterable[str]:
    """Dotted names of every key of a configuration dataclass."""
    for field in fields(schema):
        yield prefix + field.name
        if isinstance(field.type, type) and is_dataclass(field.type):
            yield from known_keys(field.type, f"{prefix}{field.name}.")


def _chain(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
