"""How numbers and untrusted words become text. Percent and points exist only from here on; everything before holds fractions."""

import math
from collections.abc import Iterable, Sequence

from harness.config import Metric, RankMetric
from harness.select.comparison import Interval
from harness.select.ranks import RankInterval
from harness.select.scores import unit
from harness.text import untrusted
from harness.text.language import listed, noted, say

EMPTY = "–"
"""A cell without a value."""

ROUGH = "≈"
"""In front of a value that a busy machine has made."""

one_line = untrusted.one_line
"""Untrusted text on one line."""


def is_fraction(metric: RankMetric) -> bool:
    """Whether a score is shown in percent and a difference in points."""
    return metric is not Metric.log_loss if isinstance(metric, Metric) else metric.is_fraction


def unit_name(metric: RankMetric) -> str:
    """What differences of scores are in; empty where the score has no unit."""
    return say("points") if is_fraction(metric) else "nats" if metric is Metric.log_loss else ""


def _unit(metric: RankMetric) -> str:
    """Behind a number that is no percentage."""
    return "\N{NO-BREAK SPACE}nats" if metric is Metric.log_loss else ""


def _scaled(metric: RankMetric, value: float) -> float:
    """A difference, in the metric's own numbers."""
    return value * unit(metric)


def _digits(metric: RankMetric) -> int:
    """Decimals of a score that is no percentage: three where it is about one."""
    return max(3 - round(math.log10(unit(metric))), 0)


def percent(frac: float | None) -> str:
    """0.8123 -> `81.2 %`."""
    return EMPTY if frac is None else f"{100 * frac:.1f}\N{NO-BREAK SPACE}%"


def confidence(frac: float) -> str:
    """0.95 -> `95 %`."""
    return f"{100 * frac:g}\N{NO-BREAK SPACE}%"


def points(frac: float) -> str:
    """Size of a difference of two fractions: -0.0123 -> `1.2 points`."""
    return say("{number}\N{NO-BREAK SPACE}points", number=f"{abs(100 * frac):.1f}")


def signed_points(frac: float | None) -> str:
    """0.0123 -> `+1.2`, in points; what rounds to zero has no sign."""
    if frac is None:
        return EMPTY
    rounded = round(100 * frac, 1)
    return f"{rounded:+.1f}" if rounded else "0.0"


def nats(value: float | None) -> str:
    """Log loss with three decimals."""
    return EMPTY if value is None else f"{value:.3f}"


def score(metric: RankMetric, value: float | None) -> str:
    """A score in its unit: percent, nats for log loss, or a plain number."""
    if is_fraction(metric) or value is None:
        return percent(value)
    return f"{value:.{_digits(metric)}f}{_unit(metric)}"


def score_range(metric: RankMetric, interval: Interval) -> str:
    """Both ends of a score's interval: `78.1 to 83.0 %`."""
    if not is_fraction(metric):
        digits = _digits(metric)
        return f"{span(f'{interval.low:.{digits}f}', f'{interval.high:.{digits}f}')}{_unit(metric)}"
    return f"{span(f'{100 * interval.low:.1f}', f'{100 * interval.high:.1f}')}\N{NO-BREAK SPACE}%"


def difference(metric: RankMetric, value: float) -> str:
    """Size of a difference of two scores."""
    return points(value) if is_fraction(metric) else f"{abs(_scaled(metric, value)):.{_digits(metric)}f}{_unit(metric)}"


def difference_range(metric: RankMetric, interval: Interval) -> str:
    """Both ends of a difference, signed: `-0.4 to +2.1 points`."""
    if not is_fraction(metric):
        return f"{span(signed(metric, interval.low), signed(metric, interval.high))}{_unit(metric)}"
    return say("{number}\N{NO-BREAK SPACE}points", number=span(signed_points(interval.low), signed_points(interval.high)))


def difference_with_range(metric: RankMetric, value: float, interval: Interval) -> str:
    """A signed difference and both its ends, for table cells: `+1.6 (-0.8 to +4.0)`."""
    if not is_fraction(metric):
        return f"{signed(metric, value)} ({span(signed(metric, interval.low), signed(metric, interval.high))})"
    return f"{signed_points(value)} ({span(signed_points(interval.low), signed_points(interval.high))})"


def signed(metric: RankMetric, value: float) -> str:
    """A difference of scores that are no fractions."""
    return f"{_scaled(metric, value):+.{_digits(metric)}f}"


def price(metric: RankMetric, value: float) -> str:
    """What a doubling of latency is worth in a score that is no fraction: one decimal more."""
    return f"{_scaled(metric, value):.{_digits(metric) + 1}f}{_unit(metric)}"


def loss(metric: RankMetric, value: float | None) -> str:
    """An expected loss without its unit, for table cells."""
    if value is None:
        return EMPTY
    return f"{100 * value:.1f}" if is_fraction(metric) else f"{_scaled(metric, value):.{_digits(metric)}f}"


def loss_format(metric: RankMetric) -> dict[str, float]:
    """What `loss` multiplies with, and its decimals, for what writes the same elsewhere."""
    return {"scale": 100.0, "digits": 1} if is_fraction(metric) else {"scale": unit(metric), "digits": _digits(metric)}


def ms(value: float | None, *, is_rough: bool = False) -> str:
    """Milliseconds; two decimals below ten: `9.61 ms`, `≈ 41.2 ms`."""
    if value is None:
        return EMPTY
    text = f"{value:.2f}\N{NO-BREAK SPACE}ms" if value < 10 else f"{value:.1f}\N{NO-BREAK SPACE}ms"
    return f"{ROUGH}\N{NO-BREAK SPACE}{text}" if is_rough else text


def ms_range(low: float | None, high: float | None) -> str:
    """Both ends of a latency's interval: `9.61 to 9.82 ms`."""
    if low is None or high is None:
        return EMPTY
    digits = 2 if high < 10 else 1
    return f"{span(f'{low:.{digits}f}', f'{high:.{digits}f}')}\N{NO-BREAK SPACE}ms"


def mib(value: float | None) -> str:
    """Mebibytes; whole ones from a hundred on."""
    if value is None:
        return EMPTY
    return f"{value:.1f}\N{NO-BREAK SPACE}MiB" if value < 100 else f"{value:,.0f}\N{NO-BREAK SPACE}MiB"


def gib(value: float | None) -> str:
    """Gibibytes."""
    return EMPTY if value is None else f"{value:.1f}\N{NO-BREAK SPACE}GiB"


def millions(value: float | None) -> str:
    """Parameters, given in millions; small heads in thousands (`10.2 k`)."""
    if value is None:
        return EMPTY
    return f"{value:.2f}\N{NO-BREAK SPACE}M" if value >= 0.1 else f"{1000 * value:.1f}\N{NO-BREAK SPACE}k"


def gmacs(value: float | None) -> str:
    """Multiply-adds in 10^9."""
    return EMPTY if value is None else f"{value:.2f}"


def rate(value: float | None) -> str:
    """Images per second."""
    return EMPTY if value is None else say("{number}\N{NO-BREAK SPACE}images/s", number=f"{value:,.1f}")


def duration(seconds: float | None) -> str:
    """Seconds below two minutes, minutes below two hours, hours from there on."""
    if seconds is None:
        return EMPTY
    if seconds < 120:
        return f"{seconds:.1f}\N{NO-BREAK SPACE}s"
    return f"{seconds / 60:.1f}\N{NO-BREAK SPACE}min" if seconds < 7200 else f"{seconds / 3600:.1f}\N{NO-BREAK SPACE}h"


def count(value: int | None) -> str:
    """A whole number with separated thousands."""
    return EMPTY if value is None else f"{value:,}"


def ratio(value: float) -> str:
    """One decimal."""
    return f"{value:.1f}"


def about(value: int) -> str:
    """A whole number that is only roughly known, rounded up to two digits: 10,846 -> `11,000`."""
    unit = 10 ** max(len(str(value)) - 2, 0)
    return count(-(-value // unit) * unit)


def places(found: RankInterval | None) -> str:
    """A rank interval: `1 to 4`, or one number; never a bare rank that is not sure."""
    if found is None:
        return EMPTY
    return str(found.low) if found.low == found.high else span(str(found.low), str(found.high))


def chance(frac: float | None) -> str:
    """A probability in whole percent; what is neither never nor always is not rounded to that."""
    if frac is None:
        return EMPTY
    shown = f"{100 * frac:.0f}"
    bounds = {"0": noted("below 1\N{NO-BREAK SPACE}%"), "100": noted("above 99\N{NO-BREAK SPACE}%")}
    return say(bounds[shown]) if shown in bounds and 0 < frac < 1 else f"{shown}\N{NO-BREAK SPACE}%"


def factor(value: float | None) -> str:
    """Two decimals."""
    return EMPTY if value is None else f"{value:.2f}"


def odds(frac: float | None) -> str:
    """A probability that is known from draws, which never make sure."""
    return chance(None if frac is None else min(max(frac, 1e-9), 1 - 1e-9))


def p_value(value: float) -> str:
    """Three decimals."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def decimals(value: float | None) -> str:
    """Any other score, three decimals."""
    return EMPTY if value is None else f"{value:.3f}"


def correlation(value: float | None) -> str:
    """Signed, two decimals; what rounds to zero has no sign."""
    if value is None:
        return EMPTY
    rounded = round(value, 2)
    return f"{rounded:+.2f}" if rounded else "0.00"


def rates(values: Iterable[float]) -> str:
    """Learning rates, each once."""
    return ", ".join(dict.fromkeys(f"{value:.3g}" for value in values)) or EMPTY


def span(low: str, high: str) -> str:
    """Both ends of a range: `1 to 4`."""
    return say("{low} to {high}", low=low, high=high)


def some(names: Sequence[str], most: int) -> str:
    """`a, b`; beyond `most` of them `a, b and 3 more`."""
    return listed(names, most) if len(names) > most else say(", ").join(names)


def clauses(texts: Sequence[str], most: int) -> str:
    """`a; b`; beyond `most` of them `a; b; and 3 more`."""
    hidden = [say("and {number} more", number=len(texts) - most)] if len(texts) > most else []
    return say("; ").join([*texts[:most], *hidden])


def sentence(text: str) -> str:
    """The same with a capital in front, and all else as it is: `macro F1` -> `Macro F1`."""
    return text[:1].upper() + text[1:]


def plain(value: object) -> str:
    """Any other value as one line of text; None is an empty cell."""
    return EMPTY if value is None else one_line(str(value))


def shorten(text: str, length: int) -> str:
    """At most `length` characters, the middle left out: both ends of a name tell it apart."""
    if len(text) <= length:
        return text
    head = (length - 1) * 2 // 3
    return f"{text[:head]}…{text[len(text) - (length - 1 - head) :]}"
