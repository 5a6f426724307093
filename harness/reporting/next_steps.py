"""What to type next: the model at work, the model handed on, and, of candidates that are tied, more seeds to settle it.

Every command runs as it is printed, but for the word FOLDER.
"""

from collections.abc import Sequence

from harness.reporting.document import Command
from harness.select.ranking import Ranking
from harness.study.row import Row
from harness.text.language import say
from harness.text.untrusted import shell_word

_MORE_SEEDS = 2
"""That a tie is settled with."""
_OWN = ("backbone=", "freeze=", "adapter=", "seed=")
"""Overrides that tell candidates of one sweep apart."""


def next_steps(ranking: Ranking) -> list[Command]:
    """The commands that follow a recommendation; none where nothing is recommended."""
    if ranking.recommended is None:
        return []
    by_costs = "" if ranking.metric.value != "expected_cost" else f" metric=expected_cost {shell_word(f'costs={ranking.rank.costs}')}"
    steps = [
        Command(say("Use it on new images"), f"{ranking.command('predict')} images=FOLDER{by_costs}"),
        Command(say("Hand the model on"), ranking.command("export")),
    ]
    tie = _settle(ranking, ranking.recommended.candidate.row)
    return [*steps, Command(say("Settle the tie: more seeds of those that may be the best"), tie)] if tie else steps


def _settle(ranking: Ranking, chosen: Row) -> str | None:
    """The sweep that runs the tied candidates of the recommended's recipe with more seeds."""
    rows = [entry.candidate.row for entry in ranking.tied if _shared(entry.candidate.row) == _shared(chosen)]
    if any(row.num_frozen_blocks == 0 for row in rows):  # no adapter goes with that depth, and a sweep is over all pairs
        rows = [row for row in rows if row.adapter == chosen.adapter]
    if len(rows) < 2:
        return None
    first = 1 + max(row.seed for entry in ranking.tied for row in entry.candidate.rows)
    seeds = ",".join(map(str, range(first, first + _MORE_SEEDS)))
    swept = [f"{key}{','.join(_values(rows, key))}" for key in ("backbone=", "freeze=")]
    if any(row.adapter for row in rows):
        swept.append(f"adapter={','.join(dict.fromkeys(row.adapter or 'none' for row in rows))}")
    return " ".join(["python -m harness.sweep", *map(shell_word, (*swept, f"seed={seeds}", *_shared(chosen)))])


def _shared(row: Row) -> list[str]:
    return [part for part in row.details.command if not part.startswith(_OWN)]


def _values(rows: Sequence[Row], key: str) -> list[str]:
    """As they were typed, each once."""
    typed = [part.removeprefix(key) for row in rows for part in row.details.command if part.startswith(key)]
    return list(dict.fromkeys(typed))
