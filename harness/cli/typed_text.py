"""Values of text keys are taken literally: what stands behind `=` is the value, letter by letter.

Before Hydra reads the command line. Its grammar takes `1_1` for eleven, `2024_11_28` for a number, `true` for a boolean, and refuses letters beyond
ASCII; here such a value is put into quotes, in which Hydra leaves it alone. Commas still sweep, and what is in quotes already stays as it is.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from enum import Enum
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from harness.text.untrusted import shell_word

_PATHS = ("data.root", "results_dir", "cache_dir", "table", "weights")
"""Text keys whose every value may be the name of a file or folder, `null` included."""
_FUNCTION = re.compile(r"(choice|range|interval|glob|sort|shuffle|tag)\(")
"""How Hydra's own ways to say what is swept begin."""
_QUOTED = r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\""
_PART = re.compile(rf"(?:{_QUOTED})(?=,|$)|[^,]*", re.DOTALL)


def as_text(arguments: Sequence[str], schema: type, *, sweeps: bool) -> list[str]:
    """The same command line, in which Hydra reads every value of a text key as that text.

    Args:
        arguments: without the name of the program.
        schema: dataclass of the configuration.
        sweeps: whether commas separate values; else a comma is part of the text.
    """
    known, lists, texts = text_keys(schema), choice_lists(schema), text_lists(schema)
    return [_as_text(_listed(_bracketed(each, lists), texts), known, sweeps=sweeps) for each in arguments]


def comma_hint(arguments: Sequence[str], said: str) -> str:
    """What to add to an error about one of several paths that may be one path with a comma in it; else nothing.

    Args:
        arguments: as they were typed.
        said: the error.
    """
    for key, _, value in (each.partition("=") for each in arguments):
        parts = _parts(value) if key in _PATHS else []
        if len(parts) > 1 and any(part and part in said for part in parts):
            typed = shell_word(f"{key}={quoted(value)}")
            return f" A comma separates values that are swept, here {len(parts)}; for one path with a comma type {typed}."
    return ""


def text_keys(schema: type, prefix: str = "") -> set[str]:
    """Dotted names of the keys of a configuration whose type is text."""
    return {name for name, kind in _kinds(schema, prefix) if kind is str or set(get_args(kind)) == {str, NoneType}}


def choice_lists(schema: type) -> dict[str, set[str]]:
    """Dotted names of the keys whose value is a list of choices, such as `track` -> its choices."""
    kinds = ((name, kind, get_args(kind)) for name, kind in _kinds(schema))
    of_enum = ((name, of[0]) for name, kind, of in kinds if get_origin(kind) is list)
    return {name: set(of.__members__) for name, of in of_enum if isinstance(of, type) and issubclass(of, Enum)}


def text_lists(schema: type) -> set[str]:
    """Dotted names of the keys whose value is a list of texts, such as `rank.limits`."""
    return {name for name, kind in _kinds(schema) if kind == list[str]}


def _kinds(schema: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key that has no keys of its own, with its type."""
    hints = get_type_hints(schema)
    for name in (field.name for field in fields(schema)):
        kind: Any = hints[name]
        if is_dataclass(kind) and isinstance(kind, type):
            yield from _kinds(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", kind


def _bracketed(argument: str, lists: Mapping[str, set[str]]) -> str:
    """Lists of choices need no brackets: `track=mlflow,wandb` is one list, which a sweep over its values could not mean; `none` is the empty one."""
    key, _, value = argument.partition("=")
    if key in lists and value == "none":
        return f"{key}=[]"
    is_bare = key in lists and (value in lists[key] or re.fullmatch(r"\w+(,\w+)+", value))
    return f"{key}=[{value}]" if is_bare else argument  # a word that is no choice is told as it was typed


def _listed(argument: str, texts: set[str]) -> str:
    """Lists of texts need neither brackets nor quotes; a comma separates them."""
    key, _, value = argument.partition("=")
    if key not in texts or not value or value[0] in "[$" or value == "null":
        return argument
    return f"{key}=[{','.join(each if re.fullmatch(_QUOTED, each, re.DOTALL) else quoted(each) for each in _parts(value))}]"


def literal(text: str) -> str:
    """A text as it has to be typed for Hydra to read it letter by letter, and to say it again so that it can: a bare colon it says with a backslash."""
    return text if _is_read_as_is(text) else quoted(text)


def quoted(text: str) -> str:
    """In Hydra's quotes, within which backslashes count before a quote only."""
    escaped = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + (found[2] and '\\"'), text)
    return f'"{escaped}"'


def _as_text(argument: str, known: set[str], *, sweeps: bool) -> str:
    key, equals, value = argument.partition("=")
    if key not in known or not equals or not value or _FUNCTION.match(value):
        return argument
    parts = _parts(value) if sweeps else [value]
    if len(parts) > 1 and not all(parts):
        return argument  # a comma too many, of which Hydra says so
    return f"{key}={','.join(_part(key, part) for part in parts)}"


def _parts(value: str) -> list[str]:
    return list(_split(value))


def _split(value: str) -> Iterator[str]:
    place = 0
    while (found := _PART.match(value, place)) is not None:
        yield found[0]
        place = found.end() + 1
        if place > len(value):
            return


def _part(key: str, text: str) -> str:
    is_typed_so = re.fullmatch(_QUOTED, text, re.DOTALL) or (text == "null" and key not in _PATHS)
    return text if is_typed_so else literal(text)


def _is_read_as_is(text: str) -> bool:
    try:
        override = OverridesParser.create().parse_override(f"key={text}")
        return not override.is_sweep_override() and str(override.value()) == text == override.get_value_element_as_str()
    except (HydraException, ValueError):  # more digits than Python takes for a number
        return False
