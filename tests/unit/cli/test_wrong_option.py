"""What is said about options that Hydra cannot read: the way out that is shown really leads out."""

import shlex

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import OverrideParseException
from hypothesis import example, given
from hypothesis import strategies as st

from harness.cli.command import explain
from harness.text.counts import counted
from harness.text.untrusted import one_line
from tests.unit.fuzzing import examples

PARSER = OverridesParser.create()


def _said(typed: str) -> str:
    (said,) = explain(OverrideParseException(override=typed, message="no viable alternative"))
    return said


@examples(200)
@given(st.text(alphabet="""<>'"\\{}[](),=$ a~;""", max_size=8).filter(lambda text: text == text.strip()))
@example("a\\")
@example('a\\\\"<\\')
def test_the_quoted_form_stands_for_the_very_text(value: str) -> None:
    """Through a shell and Hydra's own quotes; what is interpolated by Hydra is not text."""
    said = _said(f"k={value}")
    assert said.startswith(f"k={value}: cannot be read; for this very text type ")
    (word,) = shlex.split(said.partition("this very text type ")[2].rpartition(", else see")[0])
    if "${" not in value:
        assert PARSER.parse_override(word).value() == value


def test_an_argument_without_equals_sign_shows_the_form() -> None:
    """Without a sign of equality there is nothing to quote; line ends stay in their line."""
    assert _said("foo\nbar") == one_line("foo\nbar: is no option; give key=value.")


def test_counts_agree_with_their_nouns() -> None:
    """One is singular; thousands are separated; a plural of its own is used as given."""
    assert [counted(number, "job") for number in (0, 1, 2, 2000)] == ["0 jobs", "1 job", "2 jobs", "2,000 jobs"]
    assert [counted(number, "entry", "entries") for number in (1, 2)] == ["1 entry", "2 entries"]
