"""Messages for options that Hydra or OmegaConf refuses: what was typed, and what its key takes. Behind `cli.explain`.

Their own errors lose one or the other: the key is in one error of a chain, the typed text in another, and what is allowed only in the
types of the configuration.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from hydra.errors import OverrideParseException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from harness.cli.typed_text import quoted
from harness.text.untrusted import shell_word

_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
_PLURALS = {int: "whole numbers, such as [1,2,3]", float: "numbers, such as [0.3,1,3]", str: "texts, such as [a,b]"}


def refusal(chain: Sequence[BaseException]) -> str | None:
    """One sentence about the option that an error and its causes are about; None when they are about something else.

    Args:
        chain: the error, then what it came from.
    """
    unread = next((error for error in chain if isinstance(error, OverrideParseException)), None)
    if unread is not None:
        return _unreadable(str(unread.override))
    for error in chain:
        if isinstance(error, OmegaConfBaseException) and error.full_key:
            return _not_taken(_typed(chain), error)
    return None


def _unreadable(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals:
        return f"{override}: is no option; give key=value."
    typed = shell_word(f"{key}={quoted(value)}")
    return f"{override}: cannot be read; for this very text type {typed}, else see that brackets, commas and quotes match."


def _not_taken(typed: str | None, error: OmegaConfBaseException) -> str:
    key = re.sub(r"\[\d+\]$", "", str(error.full_key))
    given = typed or (key if error.value is None else f"{key}={error.value}")
    reason, takes = str(error).partition("\n")[0], _allowed(error)
    if isinstance(error, InterpolationResolutionError):
        return f"{given}: not allowed ({reason}); give ${{...}} the name of another key whose value fits."
    if takes is None:
        return f"{given}: not allowed ({reason})."
    return f"{given}: not allowed; {key} takes {takes}."


def _typed(chain: Iterable[BaseException]) -> str | None:
    """The option as it stood on the command line."""
    found = (re.match(r"Error merging override (.*)", str(error), re.DOTALL) for error in chain)
    return next((match.group(1) for match in found if match), None)


def _allowed(error: OmegaConfBaseException) -> str | None:
    owner = error.object_type
    if isinstance(owner, type) and is_dataclass(owner):
        return words(get_type_hints(owner).get(str(error.key)))
    return words(error.ref_type)


def words(kind: Any) -> str | None:
    """What values of a type look like; None for types that no option of the harness has."""
    if NoneType in get_args(kind):
        (real,) = [part for part in get_args(kind) if part is not NoneType][:1]
        inner = words(real)
        return inner and f"{inner}, or null"
    if get_origin(kind) is list:
        (of,) = get_args(kind)
        return f"a list of {_PLURALS[of]}" if of in _PLURALS else f"a list, each {words(of)}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return f"one of {', '.join(kind.__members__)}"
    if isinstance(kind, type) and is_dataclass(kind):
        return f"keys of its own: {', '.join(field.name for field in fields(kind))}"
    return _WORDS.get(kind)
