"""Helpers that several sections share: rows, tables and positions in a ranking."""

from collections.abc import Iterable, Sequence
from typing import Any

from harness.reporting.document import Column, Picture, Table
from harness.reporting.formats import plain
from harness.select.ranking import Entry, Ranking
from harness.study.row import Row
from harness.text.language import listed, noted, say

Pictures = dict[str, Picture]

MAX_LISTED = 50
"""Lines of a long table; `ranking.csv` and `results.csv` have them all."""
MAX_NAMED = 6
"""Candidates that a sentence names."""
_SPLITS = {"train": noted("train"), "val": noted("val"), "test": noted("test")}


def ranked_rows(ranking: Ranking) -> list[Row]:
    """Rows of all ranked candidates, best first; those of other depths that ended in the same model included."""
    return [row for entry in ranking.entries for row in (*entry.candidate.rows, *entry.candidate.twins)]


def known_rows(ranking: Ranking) -> list[Row]:
    """The ranked rows, or the failed or the pruned ones when there are no others."""
    return ranked_rows(ranking) or list(ranking.pool.failed) or list(ranking.pool.pruned)


def profile(ranking: Ranking) -> dict[str, Any]:
    """The data profile; empty when no job got as far as the data."""
    return next((row.details.profile for row in known_rows(ranking) if row.details.profile), {})


def distinct(rows: Iterable[Sequence[str]]) -> list[Sequence[str]]:
    """Rows of a table without repetitions, in order."""
    return list({tuple(row): row for row in rows}.values())


def pairs(title: str, names: tuple[str, str], values: Iterable[tuple[str, object]]) -> Table:
    """A table of names and values."""
    return Table(title, [Column(names[0]), Column(names[1])], [(name, plain(value)) for name, value in values])


def picture(pictures: Pictures, *names: str) -> list[Picture]:
    """Return those of the named pictures that could be drawn."""
    return [pictures[name] for name in names if name in pictures]


def outcome_of(ranking: Ranking, entry: Entry) -> str:
    """Return what the ranking makes of a candidate: recommended, excluded, budget pick, fastest pick, tied, behind or not compared."""
    if entry is ranking.recommended:
        return say("recommended")
    if entry.breaches:
        return say("excluded")
    if ranking.decision and entry is ranking.decision.budget:
        return say("budget pick")
    if ranking.decision and entry is ranking.decision.fastest:
        return say("fastest pick")
    if entry.is_outranked:
        return say("not compared")
    return say("tied" if entry.tied else "behind")


def split_name(split: str) -> str:
    """Return what a reader calls a split."""
    return say(_SPLITS[split]) if split in _SPLITS else plain(split)


def some(labels: Sequence[str]) -> str:
    """Return the names of candidates, the first ones of many."""
    return listed(labels, MAX_NAMED) if len(labels) > MAX_NAMED else say(", ").join(labels)


def recommended_first(ranking: Ranking) -> list[Entry]:
    """Return the recommended, then all others, best score first."""
    first = [ranking.recommended] if ranking.recommended is not None else []
    return first + [entry for entry in ranking.entries if entry is not ranking.recommended]


def leading(ranking: Ranking, number: int) -> list[Entry]:
    """Return the first lines of the ranking; the recommended takes the last one when it is further down."""
    shown = list(ranking.entries[:number])
    if ranking.recommended is not None and ranking.recommended not in shown:
        shown[-1] = ranking.recommended
    return shown


def marked(ranking: Ranking, shown: Sequence[Entry]) -> frozenset[int]:
    """Return the positions of the recommended among the entries shown."""
    return frozenset(place for place, entry in enumerate(shown) if entry is ranking.recommended)
