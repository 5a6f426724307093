"""Freeze depths as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ConfigError
from harness.transfer.depth import parse_freeze


@given(st.integers(1, 200))
def test_all_freezes_every_block_and_none_freezes_nothing(num_blocks: int) -> None:
    """The two words are the ends of the scale, whatever the backbone."""
    assert parse_freeze("all").num_frozen(num_blocks) == num_blocks
    assert parse_freeze("none").num_frozen(num_blocks) == 0


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 200))
def test_a_larger_fraction_never_freezes_less(first: float, second: float, num_blocks: int) -> None:
    """Fractions count blocks from the input, rounded."""
    low, high = sorted((first, second))
    assert parse_freeze(repr(low)).num_frozen(num_blocks) <= parse_freeze(repr(high)).num_frozen(num_blocks)
    assert abs(parse_freeze(repr(low)).num_frozen(num_blocks) - low * num_blocks) <= 0.5


@given(st.integers(1, 200), st.integers(1, 200))
def test_a_negative_count_leaves_that_many_blocks_free(num_free: int, num_blocks: int) -> None:
    """-k is read like a Python slice; more than there are is an error that says how many there are."""
    depth = parse_freeze(f"-{num_free}")
    if num_free <= num_blocks:
        assert depth.num_frozen(num_blocks) == num_blocks - num_free
    else:
        with pytest.raises(ConfigError, match=f"has {num_blocks} blocks"):
            depth.num_frozen(num_blocks)


@pytest.mark.parametrize(
    ("text", "canonical"), [("0.50", "0.5"), ("1.0", "all"), ("0", "none"), ("-04", "-4"), ("all", "all"), ("0.25", "0.25")]
)
def test_equal_depths_have_one_spelling(text: str, canonical: str) -> None:
    """The job id is built from the canonical text, so 0.50 and 0.5 are the same job."""
    assert str(parse_freeze(text)) == canonical


@pytest.mark.parametrize(
    ("text", "is_whole"), [("all", True), ("1.0", True), ("1", True), ("1e0", True), ("0.999", False), ("-1", False), ("0", False)]
)
def test_whole_is_everything_frozen_whatever_the_backbone(text: str, is_whole: bool) -> None:
    """However it is written; a share that some backbone rounds up to all of its blocks is another depth."""
    assert parse_freeze(text).is_whole == is_whole


@pytest.mark.parametrize("text", ["", "half", "2", "1.5", "-0.5", "-2.0", "nan", "inf", "-inf", "null"])
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    """The error repeats what was given and lists the allowed forms."""
    with pytest.raises(ConfigError, match="give all, none, a fraction"):
        parse_freeze(text)
