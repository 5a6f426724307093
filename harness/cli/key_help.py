"""What `--help` says of every key: its default, one line on what it is, and what it takes. Read off the configuration classes.

The line is the first sentence of the text below a field in `config`, and the range is what `config` says when a value is out of it, so that nothing is
explained in two places.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from omegaconf import DictConfig, OmegaConf

from harness import config
from harness.cli.wrong_option import words


def keys(schema: type, composed: DictConfig) -> str:
    """A line with its default and one with its meaning for every key.

    Args:
        schema: dataclass of the configuration.
        composed: the configuration of this very command line, whose values are shown.
    """
    text = "\n".join(line for key in _keys(schema, composed) for line in key)
    return text.replace("$", "$$")  # Hydra fills a template with it


def _keys(schema: type, composed: DictConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    hints = get_type_hints(schema)
    for name in (field.name for field in fields(schema)):
        kind: Any = hints[name]
        if is_dataclass(kind) and isinstance(kind, type):
            found = OmegaConf.select(composed, f"{prefix}{name}", throw_on_missing=False)
            own = OmegaConf.get_type(found) if isinstance(found, DictConfig) else kind
            yield from _keys(own if isinstance(own, type) and issubclass(own, kind) else kind, composed, f"{prefix}{name}.")
        else:
            yield (
                f"  {prefix}{name}={_shown(composed, f'{prefix}{name}')}",
                f"      {meaning(schema, name)} Takes {_takes(kind, _of(schema, name, _ranges()))}.",
            )


def _shown(composed: DictConfig, key: str) -> str:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(composed, parent) if parent else composed
    if node is None or OmegaConf.is_missing(node, name):
        return "(no default)"
    value = OmegaConf.to_container(node, resolve=False, enum_to_str=True)[name]  # type: ignore[call-overload, index]
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value).replace(" ", "")


def meaning(schema: type, name: str) -> str:
    """The first sentence of what stands below a field; of the class that declares it."""
    return _of(schema, name, _texts())


def _of(schema: type, name: str, known: Mapping[tuple[str, str], str]) -> str:
    return next((found for owner in schema.__mro__ if (found := known.get((owner.__name__, name)))), "")


def _takes(kind: Any, allowed: str) -> str:
    """Allowed values; those of an enumeration with what stands beside them, those of numbers with their range."""
    known = [part for part in get_args(kind) if part is not NoneType]
    first = known[0] if NoneType in get_args(kind) and known else kind
    if not (isinstance(first, type) and issubclass(first, Enum)):
        if not allowed:
            return words(kind) or "a value"
        return allowed if allowed.startswith(("a ", "one ")) else f"{words(first)}: {allowed}"
    notes = {name: _texts().get((first.__name__, name), "") for name in first.__members__}
    return ", ".join(f"{name}{f' ({note})' if note else ''}" for name, note in notes.items())


@cache
def _texts() -> dict[tuple[str, str], str]:
    """(class, field) -> its first sentence; (enumeration, member) -> the comment beside it."""
    source = Path(config.__file__).read_text(encoding="utf-8")
    lines, found = source.splitlines(), {}
    for owner in (node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)):
        for node, below in zip(owner.body, [*owner.body[1:], None], strict=True):
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and (text := _string(below)):
                found[owner.name, node.target.id] = _first_sentence(text)
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found[owner.name, node.targets[0].id] = lines[node.lineno - 1].partition("  # ")[2]
    return found


@cache
def _ranges() -> dict[tuple[str, str], str]:
    """(class, field) -> what a value that is refused should have been, where that depends on no other field."""
    tree = ast.parse(Path(config.__file__).read_text(encoding="utf-8"))
    found: dict[tuple[str, str], str] = {}
    for owner in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        for call in (node for node in ast.walk(owner) if isinstance(node, ast.Call) and ast.unparse(node.func) == "_require"):
            condition, _, value, allowed = call.args
            names = {node.attr for node in ast.walk(condition) if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self"}
            if isinstance(value, ast.Attribute) and isinstance(allowed, ast.Constant) and names == {value.attr}:
                found.setdefault((owner.name, value.attr), str(allowed.value))
    return found


def _string(node: ast.stmt | None) -> str:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return str(node.value.value) if is_text else ""  # type: ignore[union-attr]


def _first_sentence(text: str) -> str:
    plain = re.sub(r"\bNone\b", "null", " ".join(text.split()).replace("`", ""))
    plain = re.sub(r"\b(True|False)\b", lambda found: found[0].lower(), plain)
    return re.split(r"(?<=\.)\s+(?=[A-Z])", plain)[0]
