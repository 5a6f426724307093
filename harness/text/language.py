"""Sentences in the reader's language. The English sentence is the key of a catalogue; a place in braces takes a value.

`say` puts a sentence into words, `noted` marks one that is said later. Catalogues are JSON files under `catalogues/<language>/`, one for each room
that speaks; a test holds that none lacks a sentence. Numbers, names and commands are values, and so the same in every language.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path

_CATALOGUES = Path(__file__).parent / "catalogues"
ENGLISH = "en"
_WITHOUT_SPACES = ("zh",)
"""Languages whose sentences follow each other without a space."""
_language: ContextVar[str] = ContextVar("language", default=ENGLISH)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Context in which `say` speaks that language."""
    token = _language.set(language)
    try:
        yield
    finally:
        _language.reset(token)


def language() -> str:
    """The one in use, as HTML names it."""
    return _language.get()


def say(sentence: str, **values: object) -> str:
    """The sentence in the language in use, its values in their places; English where the catalogue has none."""
    used = _language.get()
    found = sentence if used == ENGLISH else catalogue(used).get(sentence, sentence)
    return found.format(**values)


def noted(sentence: str) -> str:
    """The sentence itself, for the catalogue to know of: `say` is given it later."""
    return sentence


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """English sentence -> the same in another language; empty where there is no such catalogue."""
    files = sorted((_CATALOGUES / language).glob("*.json"))
    return {key: value for path in files for key, value in json.loads(path.read_text(encoding="utf-8")).items()}


def told(*sentences: str) -> str:
    """Sentences one after the other; those that are empty are left out."""
    return ("" if _language.get() in _WITHOUT_SPACES else " ").join(filter(None, sentences))


def listed(names: Sequence[str], most: int | None = None) -> str:
    """`a, b and c`; beyond `most` of them `a, b and 3 more`."""
    shown, hidden = (names, 0) if most is None else (names[:most], max(len(names) - most, 0))
    comma = say(", ")
    if hidden:
        return say("{names} and {number} more", names=comma.join(shown), number=f"{hidden:,}")
    if len(shown) < 2:
        return "".join(shown)
    return say("{names} and {last}", names=comma.join(shown[:-1]), last=shown[-1])
