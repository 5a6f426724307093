"""Whatever is written as a freeze depth: a depth that is written back as itself, or one line that says what is allowed."""

import math
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.errors import ConfigError
from harness.transfer.depth import FreezeDepth, parse_freeze
from tests.unit.fuzzing import examples

NUMBERS = st.one_of(st.floats().map(repr), st.integers().map(str), st.floats(0, 1).map(repr), st.integers(-300, 2).map(str))
TEXTS = st.one_of(st.text(), st.text("0123456789.-+eE_ ani∞½٣"), NUMBERS, st.sampled_from(["all", "none", "-1", "0.5"]))


def _refused(call: Callable[[], object]) -> ConfigError | None:
    try:
        call()
    except ConfigError as error:
        return error
    return None


@examples(500)
@given(TEXTS)
@example("0.1234567")
@example("0.9999999")
@example("1e-320")
@example("a\nb")
@example("-1e300")
def test_a_depth_or_one_line(text: str) -> None:
    """Job ids are made of the text of a depth: it must stand for that depth and no other."""
    if (error := _refused(lambda: parse_freeze(text))) is not None:
        assert "\n" not in str(error)
        assert "give all, none" in str(error)
        return
    depth = parse_freeze(text)
    assert parse_freeze(str(depth)) == depth
    assert (depth.frozen_frac is None) != (depth.num_free is None)
    for num_blocks in (1, 7, 300):
        _check_blocks(depth, num_blocks)


def _check_blocks(depth: FreezeDepth, num_blocks: int) -> None:
    if (error := _refused(lambda: depth.num_frozen(num_blocks))) is None:
        assert 0 <= depth.num_frozen(num_blocks) <= num_blocks
        return
    assert "\n" not in str(error)
    assert depth.num_free is not None
    assert depth.num_free > num_blocks


@pytest.mark.parametrize("frac", [0.1234567, 0.9999999, 1e-7, 1 / 3, math.nextafter(1, 0)])
def test_fractions_that_differ_late_are_different_depths(frac: float) -> None:
    """Found by fuzzing: six digits made one job of two."""
    depth = parse_freeze(repr(frac))
    assert str(depth) == repr(frac)
    assert parse_freeze(str(depth)) == depth


def test_a_line_break_stays_out_of_the_message() -> None:
    """Found by fuzzing: the message repeated it."""
    with pytest.raises(ConfigError, match=r"freeze=half\\nway: not a freeze depth"):
        parse_freeze("half\nway")
