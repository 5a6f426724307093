"""The report as plain data: built once, rendered to HTML and to Markdown, so that the two can never differ.

Every string is plain text; renderers escape all of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Tone(StrEnum):
    """How much a sentence should stand out."""

    plain = "plain"
    note = "note"
    warning = "warning"


@dataclass(frozen=True, slots=True)
class Paragraph:
    """One or more sentences."""

    text: str
    tone: Tone = Tone.plain


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Bar:
    """A score with its interval on a shared scale; all three in [0, 1]. HTML draws it, Markdown has the numbers beside it."""

    low: float
    middle: float
    high: float


@dataclass(frozen=True, slots=True)
class Value:
    """A number in words, and what to sort it by; None: not known."""

    text: str
    size: float | None


@dataclass(frozen=True, slots=True)
class Column:
    """Numbers are aligned to the right. A bar column is drawn in HTML only; an optional one is hidden there until the reader chooses to see it."""

    name: str
    is_number: bool = False
    is_bar: bool = False
    is_optional: bool = False
    is_name: bool = False
    """Names of candidates and backbones, which may be broken anywhere."""
    key: str = ""
    """What scripts know it by, in any language."""


@dataclass(frozen=True, slots=True)
class Link:
    """A cell that leads to another place of the page. Markdown has its text alone."""

    text: str
    anchor: str
    label: str
    """What it leads to, for who hears the page."""


Cell = str | Bar | Value | Link


@dataclass(frozen=True, slots=True)
class Table:
    """Cells in the order of the columns."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    marked: frozenset[int] = frozenset()
    """Positions of rows that stand out."""
    anchor: str = ""
    """Where links lead; empty: none does."""
    has_row_names: bool = False
    """Whether the first cell of a row names it."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot; `name` is its file name under `plots/`, without suffix."""

    name: str
    caption: str
    svg: str
    """The picture itself; the only string that is markup already."""
    charts: Sequence[Mapping[str, object]] = ()
    """What a page that runs scripts draws in its place."""
    png_note: str = ""
    """What its PNG file, which Markdown shows, cannot show."""


@dataclass(frozen=True, slots=True)
class Code:
    """Commands, shown letter by letter."""

    text: str


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """A table to sort and filter in HTML; Markdown has its first rows."""

    table: Table
    num_first: int
    """Rows that are shown before the reader asks for more."""
    groups: Sequence[str]
    """Of each row: rows of a group are folded into its first."""
    files: Sequence[tuple[str, str]] = ()
    """Files beside the page: what they are, and their path from it."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture of an image."""

    alt: str
    """What it shows, for who does not see it."""
    webp: str
    """The file in base 64."""


@dataclass(frozen=True, slots=True)
class Figure:
    """An image, or some that belong together, side by side."""

    name: str
    caption: str
    thumbnails: Sequence[Thumbnail]


@dataclass(frozen=True, slots=True)
class Gallery:
    """Images with something in common. Markdown lists some captions."""

    anchor: str
    title: str
    figures: Sequence[Figure]
    back: str = ""
    """Anchor of the table that led here; empty: none did."""


Block = Paragraph | Bullets | Table | Leaderboard | Picture | Code | Gallery


@dataclass(frozen=True, slots=True)
class Command:
    """A command to type, and what it is good for."""

    purpose: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    """One of the six steps, or a part of another page."""

    anchor: str
    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Fact:
    """A question of the reader's and its answer, on the first screen."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Card:
    """One side of the answer on the first screen: a figure, what it is, and a few short lines."""

    title: str
    figure: str
    label: str
    lines: Sequence[str] = ()
    alarms: Sequence[str] = ()
    """What speaks against the answer."""


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report. The first screen is everything before the leaderboard."""

    title: str
    verdict: str
    """Two or three words on how sure the answer is."""
    tone: Tone
    headline: str
    next_steps: Sequence[Command]
    leaderboard: Sequence[Block]
    sections: Sequence[Section]
    reason: str = ""
    """One line on why."""
    cards: Sequence[Card] = ()
    picks: Sequence[Block] = ()
    left_out: str = ""
    """In one line what the answer does not rest on; the facts have the rest of it, and are folded."""
    facts: Sequence[Fact] = ()
    what_if: Mapping[str, object] | None = None
    """What the page decides anew with; no part of Markdown."""
    images: Section | None = None
    """Pictures of single images, after the sections."""
