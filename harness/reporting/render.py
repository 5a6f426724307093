"""One document, two renderings: a self-contained HTML page, and Markdown in which no untrusted character is markup."""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import singledispatch
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.reporting.document import (
    Bar,
    Block,
    Bullets,
    Card,
    Cell,
    Code,
    Column,
    Document,
    Gallery,
    Leaderboard,
    Link,
    Paragraph,
    Picture,
    Section,
    Table,
    Tone,
    Value,
)
from harness.reporting.formats import one_line
from harness.text.commands import runnable
from harness.text.language import language, say
from harness.text.untrusted import visible

LONGEST = 6
"""Rows of a table that is shown at once; the page folds longer ones."""
_TEMPLATES = Path(__file__).parent / "templates"
LISTED = 5
"""Captions of a group of pictures in Markdown, which has none of the pictures."""
_MARKED = re.compile(r"([`*\[\]~$|]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\\(?![A-Za-z0-9]))")
"""Characters that Markdown may read as markup; an underscore inside a word and a backslash before a letter are none."""
_OPENING = re.compile(r"^(\d*)([#.)+=-])(?=#*(\s|$)|[=-]+$)")
"""A start that Markdown may read as a heading, a list or a rule."""
_LINKED = re.compile(r"://|\bwww\.", re.IGNORECASE)
"""What some renderers make a link of without being asked."""


def to_html(document: Document, *, refresh_s: int | None = None) -> str:
    """The page: styles, pictures and one script inside, nothing loaded from anywhere. All text is escaped by the template.

    The page's policy runs that script by its hash and no other; without it the page says the same.

    Args:
        document: what it shows.
        refresh_s: after so many seconds a browser loads it again; None: never.
    """
    environment = _environment()
    script = environment.get_template("scripts/page.js").render()
    page = environment.get_template("report.html.j2")
    return page.render(document=document, refresh_s=refresh_s, script=script, script_hash=_hash(script), longest=LONGEST)


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
    environment.filters["markup"] = Markup  # what is made here: matplotlib's pictures, the page's script, data as JSON
    environment.filters["words"] = _words
    environment.filters["json"] = _json
    environment.tests["bar"] = lambda cell: isinstance(cell, Bar)
    environment.tests["sized"] = lambda cell: isinstance(cell, Value) and cell.size is not None
    environment.tests["link"] = lambda cell: isinstance(cell, Link)
    environment.globals.update(say=say, language=language)
    return environment


def _hash(script: str) -> str:
    """As a Content-Security-Policy names an inline script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def _json(data: object) -> str:
    """Data within a page: no character in it can end the element that holds it."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))  # ASCII, so that no line separator or control character is left either
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def to_markdown(document: Document) -> str:
    """The same in Markdown; pictures are files under `plots/`."""
    parts = [f"# {inert(document.title)}", f"**{inert(document.headline)}** ({inert(document.verdict)})"]
    parts += [inert(document.reason)] if document.reason else []
    parts += [_card(card) for card in document.cards]
    parts += [_block(block) for block in document.picks]
    for step in document.next_steps:
        parts += [f"{inert(step.purpose)}:", _block(Code(step.text))]
    parts += [inert(document.left_out)] if document.left_out else []
    parts += [f"- **{fact.question}:** {inert(fact.answer)}" for fact in document.facts]
    parts += [_block(block) for block in document.leaderboard]
    for number, section in enumerate(document.sections, start=1):
        parts += _section(f"{number}. ", section)
    parts += _section("", document.images) if document.images else []
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


def _card(card: Card) -> str:
    lines = [f"**{inert(card.title)}: {inert(card.figure)}** {inert(card.label)}", *(f"- {inert(line)}" for line in card.lines)]
    return "\n".join([lines[0], "", *lines[1:], *(f"- **{inert(alarm)}**" for alarm in card.alarms)])


def _section(number: str, section: Section) -> list[str]:
    return [f"## {number}{inert(section.title)}", *(_block(block) for block in section.blocks)]


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
    picture = f"![{inert(block.caption)}](plots/{block.name}.png)"
    return f"{picture}\n\n{inert(block.png_note)}" if block.png_note else picture


@_block.register
def _(block: Leaderboard) -> str:
    first = replace(block.table, rows=block.table.rows[: block.num_first])
    hidden = len(block.table.rows) - len(first.rows)
    return "\n\n".join([_block(first), *([say("{number} more candidates are in step 5.", number=hidden)] if hidden else [])])


@_block.register
def _(block: Gallery) -> str:
    listed = [f"{figure.name}: {figure.caption}" for figure in block.figures[:LISTED]]
    hidden = len(block.figures) - len(listed)
    lines = [*listed, *([say("{number} more", number=hidden)] if hidden > 0 else [])]
    title = say("{title} (pictures: index.html)", title=f"**{inert(block.title)}**")
    return "\n".join([title, "", *(f"- {inert(line)}" for line in lines)])


@_block.register
def _(block: Table) -> str:
    kept = [place for place, column in enumerate(block.columns) if not column.is_bar]
    head = [inert(block.columns[place].name) for place in kept]
    rule = ["---:" if block.columns[place].is_number else "---" for place in kept]
    body = [_cells(block.columns, row, is_marked=place in block.marked) for place, row in enumerate(block.rows)]
    return "\n".join([f"**{inert(block.title)}**", "", *(_line(cells) for cells in (head, rule, *body))])


def _cells(columns: Sequence[Column], row: Sequence[Cell], *, is_marked: bool) -> list[str]:
    texts = [inert(_words(cell)) for cell, column in zip(row, columns, strict=True) if not isinstance(cell, Bar) and not column.is_bar]
    return [f"**{text}**" if text and is_marked else text for text in texts]


def _words(cell: str | Value | Link) -> str:
    return cell if isinstance(cell, str) else cell.text


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
