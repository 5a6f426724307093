"""Figures and their limits: what the benchmarks print and keep."""

import pytest

from benchmarks.figures import Figure, as_records, figure_table


@pytest.mark.parametrize(
    ("figure", "is_met"),
    [
        (Figure(1.25, "x", "at its upper limit", at_most=1.25), True),
        (Figure(1.26, "x", "above it", at_most=1.25), False),
        (Figure(4.0, "x", "at its lower limit", at_least=4.0), True),
        (Figure(3.9, "x", "below it", at_least=4.0), False),
        (Figure(0.0, "images", "a limit of zero is a limit", at_most=0), True),
        (Figure(7.0, "s", "no limit"), None),
    ],
)
def test_a_limit_is_kept_up_to_and_with_its_value(figure: Figure, is_met: bool | None) -> None:
    """A figure without limits is neither kept nor missed."""
    assert figure.is_met is is_met


def test_the_table_says_which_limits_are_missed() -> None:
    """A missed limit cannot be overlooked, and a kept one is shown beside its figure."""
    figures = [Figure(1.5, "x", "floor", at_most=1.25), Figure(5.0, "x", "plain", at_least=4), Figure(1234.56, "MiB", "peak")]
    assert [" ".join(line.split()) for line in figure_table(figures).splitlines()] == [
        "1.50 x floor [<= 1.25 missed]",
        "5 x plain [>= 4]",
        "1,234.6 MiB peak",
    ]


def test_a_figure_that_is_not_a_number_misses_its_limit() -> None:
    """A ratio that could not be computed must not pass for a kept limit."""
    figure = Figure(float("nan"), "x", "ratio", at_most=1.0)
    assert figure.is_met is False
    assert "missed" in figure_table([figure])


def test_records_keep_values_and_limits() -> None:
    """A reader of the file can judge every figure without the program."""
    assert as_records([Figure(0.1, "", "off", at_most=0.05)]) == [
        {"value": 0.1, "unit": "", "text": "off", "at_most": 0.05, "at_least": None, "is_met": False}
    ]
