"""What a benchmark found, as figures with the limits they must keep. The benchmark commands stand on this; it knows none of them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path
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


def write_figures(module_file: str, figures: Sequence[Figure], record: Mapping[str, Any]) -> Path:
    """Write `<module>.json` beside the module: `record`, then the figures; enums by their value."""
    path = Path(module_file).with_suffix(".json")
    path.write_text(json.dumps({**record, "figures": as_records(figures)}, indent=1, default=attrgetter("value")) + "\n", encoding="utf-8")
    return path
