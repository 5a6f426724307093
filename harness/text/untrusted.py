"""Untrusted text made safe to show: names of files and classes, error texts, cells of rows.

Used wherever text leaves the harness for a terminal, a page or a file. Imports nothing of the harness.
"""

import shlex
import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of control, direction, surrogate and line-separating characters."""


def one_line(text: str) -> str:
    r"""The text on one line: what moves the cursor, turns the direction or cannot be encoded is an escape (`\n`, `\x1b`, `\u202e`)."""
    return "".join(character if _is_plain(character) else _escaped(character) for character in text)


def visible(text: str) -> str:
    """As `one_line`, line ends kept: for messages of several lines."""
    return "\n".join(one_line(line) for line in text.split("\n"))


def encodable(text: str) -> str:
    r"""The text with halves of surrogate pairs, which no UTF-8 writer takes, as escapes (`\udcff`)."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shell_word(text: str) -> str:
    """One word of a POSIX shell that stands for exactly this text, bytes of names that are not UTF-8 included, and shows all of it.

    Plain words are quoted as usual; others in the `$'...'` form of bash, zsh and POSIX.1-2024.
    """
    if all(map(_is_plain, text)):
        return shlex.quote(text)
    return f"$'{''.join(map(_in_dollar_quotes, text))}'"


def _is_plain(character: str) -> bool:
    return unicodedata.category(character) not in _HIDDEN


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def _in_dollar_quotes(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if _is_plain(character):
        return character
    # Three octal digits, since a shell takes any number of hexadecimal ones.
    is_byte = "\udc80" <= character <= "\udcff"  # of a name that is not UTF-8, as Python carries it
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape" if is_byte else "backslashreplace"))
