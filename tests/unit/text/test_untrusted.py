"""Words of others, shown letter by letter: on one line, encodable, and as one word of a shell that means exactly them."""

import shutil
import subprocess
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.text.untrusted import encodable, one_line, shell_word, visible

ANY = st.text(alphabet=st.characters(), max_size=30)
"""Half surrogate pairs included."""


@given(ANY)
def test_one_line_holds_nothing_that_acts(text: str) -> None:
    """No control, direction or separating character is left, whatever comes in, and a UTF-8 writer takes all of it."""
    shown = one_line(text)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    shown.encode("utf-8")
    assert visible(text).replace("\n", "\\n") == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [("größe 数", "größe 数"), ("a\x1b[31mb", "a\\x1b[31mb"), ("a\nb", "a\\nb"), ("\u202egnp", "\\u202egnp"), ("\udcff", "\\udcff")],
)
def test_plain_words_stay_and_others_become_escapes(text: str, shown: str) -> None:
    """Letters of any script are left alone."""
    assert one_line(text) == shown


def test_encodable_changes_nothing_else() -> None:
    """Control characters may be in a table; halves of surrogate pairs may not."""
    assert encodable("a\tb\udcffé") == "a\tb\\udcffé"


def _bash(word: str) -> bytes:
    bash = shutil.which("bash")
    assert bash is not None
    return subprocess.run([bash, "-c", f"printf %s {word}"], capture_output=True, check=True).stdout


@pytest.mark.parametrize(
    "text",
    [
        "data.root=/data/my images",
        "a'b\"c",
        "$(touch x) `y` \\z",
        "line\nend",
        "a\x1b[2Jb",
        "'\n\\",
        "\x011",
        "\u202e3",
        "ü\udcff\udcfe",
        "",
    ],
)
def test_a_shell_reads_exactly_the_text(text: str) -> None:
    """What the report tells to run is what ran, bytes of names that are not UTF-8 included, and it shows no control character."""
    word = shell_word(text)
    assert _bash(word) == text.encode("utf-8", "surrogateescape")
    assert one_line(word) == word
