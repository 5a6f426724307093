"""One document, two renderings: a self-contained HTML page, and Markdown in which no untrusted character is markup."""

import re
from collections.abc import Iterable, Sequence
from functools import singledispatch
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.reporting.document import Bar, Block, Bullets, Cell, Code, Column, Document, Paragraph, Picture, Section, Table, Tone
from harness.reporting.formats import one_line
from harness.text.commands import runnable
from harness.text.untrusted import visible

_TEMPLATES = Path(__file__).parent / "templates"
_MARKED = re.compile(r"([`*\[\]~$|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\\(?![A-Za-z0-9]))")
"""Characters that Markdown may read as markup; an underscore inside a word and a backslash before a letter are none."""
_OPENING = re.compile(r"^(\d*)([#.)+=-])(?=#*(\s|$)|[=-]+$)")
"""A start that Markdown may read as a heading, a list or a rule."""
_LINKED = re.compile(r"://|\bwww\.", re.IGNORECASE)
"""What some renderers make a link of without being asked."""


def to_html(document: Document, *, refresh_s: int | None = None) -> str:
    """The page: styles and pictures inside, no script, nothing loaded from anywhere. All text is escaped by the template.

    Args:
        document: what it shows.
        refresh_s: after so many seconds a browser loads it again; None: never.
    """
    return _environment().get_template("report.html.j2").render(document=document, refresh_s=refresh_s)


def to_index(title: str, studies: Sequence[object]) -> str:
    """The page that lists studies, in the same look.

    Args:
        title: above the list.
        studies: `studies.Listed` of each.
    """
    return _environment().get_template("studies.html.j2").render(title=title, studies=studies)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["kind"] = lambda block: type(block).__name__.lower()
    environment.filters["markup"] = Markup  # pictures only: matplotlib's own output, text as outlines
    environment.tests["bar"] = lambda cell: isinstance(cell, Bar)
    return environment


def to_markdown(document: Document) -> str:
    """The same in Markdown; pictures are files under `plots/`."""
    parts = [f"# {inert(document.title)}", f"**{inert(document.headline)}** ({inert(document.verdict)})"]
    parts += [f"- **{fact.question}:** {inert(fact.answer)}" for fact in document.facts]
    for step in document.next_steps:
        parts += [f"{inert(step.purpose)}:", _block(Code(step.text))]
    parts += [_block(block) for block in document.leaderboard]
    for number, section in enumerate(document.sections, start=1):
        parts += _section(number, section)
    return "\n\n".join(parts) + "\n"


def inert(text: str) -> str:
    """Text that Markdown shows letter by letter, commands as they run here."""
    return literal(runnable(text))


def literal(text: str) -> str:
    """Text that Markdown shows letter by letter: no markup, no HTML, no links, one line, no heading or list at its start."""
    text = one_line(text).strip().replace("\N{NO-BREAK SPACE}", " ")
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = _LINKED.sub(_unlinked, _MARKED.sub(r"\\\1", text))
    return _OPENING.sub(r"\1\\\2", text)


def _unlinked(start: re.Match[str]) -> str:
    return start[0].replace("://", "&colon;//").replace(".", "&#46;")


def _shown(value: object) -> object:
    """What the template puts into the page, before it is escaped: text without characters that act instead of being seen."""
    return visible(runnable(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def _section(number: int, section: Section) -> list[str]:
    return [f"## {number}. {inert(section.title)}", *(_block(block) for block in section.blocks)]


@singledispatch
def _block(block: Block) -> str:
    raise TypeError(f"{type(block).__name__} has no Markdown form")


@_block.register
def _(block: Paragraph) -> str:
    return f"> {inert(block.text)}" if block.tone is not Tone.plain else inert(block.text)


@_block.register
def _(block: Bullets) -> str:
    return "\n".join(f"- {inert(item)}" for item in block.items)


@_block.register
def _(block: Code) -> str:
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", block.text)), default=0))
    return f"{fence}sh\n{runnable(block.text)}\n{fence}"


@_block.register
def _(block: Picture) -> str:
    return f"![{inert(block.caption)}](plots/{block.name}.png)"


@_block.register
def _(block: Table) -> str:
    kept = [place for place, column in enumerate(block.columns) if not column.is_bar]
    head = [inert(block.columns[place].name) for place in kept]
    rule = ["---:" if block.columns[place].is_number else "---" for place in kept]
    body = [_cells(block.columns, row, is_marked=place in block.marked) for place, row in enumerate(block.rows)]
    return "\n".join([f"**{inert(block.title)}**", "", *(_line(cells) for cells in (head, rule, *body))])


def _cells(columns: Sequence[Column], row: Sequence[Cell], *, is_marked: bool) -> list[str]:
    texts = [inert(cell) for cell, column in zip(row, columns, strict=True) if isinstance(cell, str) and not column.is_bar]
    return [f"**{text}**" if text and is_marked else text for text in texts]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
