"""What a benchmark found, as figures with the limits they must keep. The benchmark commands stand on this; it knows none of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One number, in words."""

    value: float
    unit: str
    text: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the limits are kept; None: there are none."""
        if self.at_most is None and self.at_least is None:
            return None
        return (self.at_most is None or self.value <= self.at_most) and (self.at_least is None or self.value >= self.at_least)

    @property
    def limit(self) -> str:
        """The limits in signs, with `missed` where the value breaks one."""
        signs = [f"{sign} {limit:,g}" for sign, limit in ((">=", self.at_least), ("<=", self.at_most)) if limit is not None]
        return " ".join(signs + ["missed"] * (self.is_met is False))


def figure_table(figures: Sequence[Figure]) -> str:
    """One line a figure: value, unit, what it is, its limit."""
    return "\n".join(
        f"{_shown(figure.value):>10} {figure.unit:8} {figure.text}" + (f"  [{figure.limit}]" if figure.limit else "") for figure in figures
    )


def _shown(value: float) -> str:
    """Three digits or more, whole numbers without a point."""
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.4f}"


def as_records(figures: Sequence[Figure]) -> list[dict[str, Any]]:
    """Plain JSON: every field, and whether the limits are kept."""
    return [asdict(figure) | {"is_met": figure.is_met} for figure in figures]
