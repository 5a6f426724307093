"""Which value is white in pictures of more than 8 bits: one for the whole data set, so that equal numbers are equally bright in all of them.

A file does not say it: scripts write values of 8 bits into files of 16, and cameras and scanners use 10, 12 or 14 of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.errors import DataError

_LADDER = (255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""8, 10, 12, 14 and 16 bits."""
_FEWEST_LEVELS = 64
INTEGER, FLOAT, COLOUR = "integer", "float", "colour"


@dataclass(frozen=True, slots=True)
class Depth:
    """What one picture of more than 8 bits a channel holds."""

    mode: str
    high: float
    """Its largest value."""

    @property
    def kind(self) -> str:
        return kind_of(self.mode)


def kind_of(mode: str) -> str:
    """Pictures of one kind share their white."""
    return FLOAT if mode.startswith("F") else INTEGER if mode.startswith("I") else COLOUR


def lowest_white(kind: str, high: float) -> float | None:
    """The first usual white that no value exceeds; None: above 16 bits."""
    return next((white for white in ((1.0, *_LADDER) if kind == FLOAT else _LADDER) if high <= white), None)


def decide(depths: Iterable[Depth], max_value: float | None) -> Mapping[str, float]:
    """The white of every kind of picture that a data set has, of 8 bits none.

    Args:
        depths: of all its pictures of more than 8 bits.
        max_value: `data.max_value`, which stands above what is seen.

    Raises:
        DataError: colour whose upper bits are empty; they are all that Pillow keeps of it.
    """
    highest: dict[str, float] = {}
    for depth in depths:
        if max_value is not None or lowest_white(depth.kind, depth.high) is not None:
            highest[depth.kind] = max(depth.high, highest.get(depth.kind, 0.0))
    if (seen := highest.pop(COLOUR, 65535.0)) < 256 * _FEWEST_LEVELS:
        raise DataError(
            f"data: all pictures in colour of 16 bits a channel hold values up to {seen:,.0f} at most, and of these the upper 8 bits alone "
            f"would be read, nearly black; store them with 8 bits a channel."
        )
    return {kind: max_value or lowest_white(kind, high) or _LADDER[-1] for kind, high in highest.items()}


def why_outside(depth: Depth, whites: Mapping[str, float]) -> str | None:
    """Why a picture has no place in the range of its data set; None: it has."""
    white = whites.get(depth.kind, _LADDER[-1])
    return None if depth.high <= white else f"values up to {depth.high:,.10g}, above {white:,.10g}; data.max_value=... gives another white"


def in_words(depths: Iterable[Depth], whites: Mapping[str, float]) -> list[str]:
    """A sentence for every kind."""
    seen = list(depths)
    sentences = []
    for kind, white in whites.items():
        modes = ", ".join(sorted({depth.mode for depth in seen if depth.kind == kind}))
        high = max(depth.high for depth in seen if depth.kind == kind)
        sentences.append(f"Pictures of mode {modes} hold values up to {high:,.10g} and are read as 0 to {white:,.10g} (data.max_value).")
    return sentences
