"""The ranking on the terminal: a short leaderboard, the recommendation, and where the report is."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.reporting import formats
from harness.reporting.answer import damage, how_sure, in_full, test_score, why
from harness.reporting.first_screen import headline
from harness.reporting.grounds import fine_tuning, rests_on
from harness.reporting.next_steps import next_steps
from harness.reporting.picks import picks
from harness.reporting.scope import latencies, protocols, versions
from harness.reporting.sections.facts import leading, outcome_of
from harness.reporting.wording import cost, latency, metric_name, rough_latencies
from harness.select.ranking import Entry, Ranking
from harness.text.commands import runnable
from harness.text.console import new_console
from harness.text.language import noted, say
from harness.text.untrusted import one_line

_TOP = 10
_MORE = {
    noted("interval"): 90,
    noted("expected"): 80,
    noted("best"): 60,
    noted("latency"): 60,
    noted("parameters"): 120,
    noted("training"): 120,
}
"""Columns that are shown beside the score, and how wide the terminal must be for them."""
_MAX_FAILED = 5
"""Failed jobs that are named."""
_NARROW, _UNBOUNDED = 80, 10_000
"""Columns of a terminal; with fewer than the first there is no table."""


def print_summary(ranking: Ranking, report_path: Path, console: Console | None = None) -> None:
    """Print the leaderboard and the recommendation; without colour where the output is not a terminal."""
    console = console or new_console()
    if ranking.entries:
        print_board(console, _leaderboard(ranking, console.width, is_plain=not console.is_terminal), _lines(ranking))
    console.print(shown(headline(ranking), style="bold"))
    sentences = [in_full(ranking), why(ranking)]
    if ranking.recommended is not None:
        sentences += [how_sure(ranking), picks(ranking), fine_tuning(ranking), rests_on(ranking)]
        sentences += [say("Cost: {cost}", cost=cost(ranking.recommended)), say("On new images: {score}", score=test_score(ranking))]
    for sentence in filter(None, sentences):
        console.print(shown(sentence))
    if text := rough_latencies((entry.cost for entry in ranking.entries), ranking.command("retime")):
        console.print(shown(text))
    if ranking.pool.failed:
        console.print(shown(_failures(ranking), style="red"))
    for text in filter(None, (protocols(ranking), latencies(ranking), versions(ranking))):
        console.print(shown(text), soft_wrap=True)
    if ranking.pool.damaged:
        console.print(shown(damage(ranking), style="red"), soft_wrap=True)
    console.print(shown(say("Report: {path}", path=report_path)), soft_wrap=True)
    for step in next_steps(ranking):
        console.print(shown(say("{purpose}:", purpose=step.purpose)))
        console.print(shown(f"  {step.text}"), soft_wrap=True)


def print_board(console: Console, table: Table, lines: Iterable[tuple[str, str, str]]) -> None:
    """A table; where that would break a name in the middle, two lines for each candidate.

    Args:
        console: where to.
        table: with everything in it.
        lines: of each candidate: its rank and name, its numbers in words, and a style.
    """
    needed = Measurement.get(console, console.options.update(max_width=_UNBOUNDED), table).minimum
    if console.width >= _NARROW and needed < console.width:  # a column of spare, as rich gives a wrapped header more than its least
        console.print(table)
        return
    for name, numbers, style in lines:
        console.print(shown(name, style=style), soft_wrap=True)
        console.print(Padding(shown(numbers, style=style), (0, 0, 0, 3)))


def longest_word(names: Iterable[str]) -> int:
    """What a column needs so that none of its words is broken."""
    return max((cell_len(word) for name in names for word in name.split()), default=1)


def _lines(ranking: Ranking) -> Iterator[tuple[str, str, str]]:
    for entry in leading(ranking, _TOP):
        rank, name, score, best, latency_ms, said = _cells(ranking, entry, ("best", "latency"))
        numbers = say(
            "{metric} {score}, best with {odds}, {latency}: {outcome}" if said else "{metric} {score}, best with {odds}, {latency}",
            metric=metric_name(ranking.metric),
            score=score,
            odds=best,
            latency=latency_ms,
            outcome=said,
        )
        yield f"{rank}  {name}", numbers, _style(ranking, entry)


def _style(ranking: Ranking, entry: Entry) -> str:
    return "bold green" if entry is ranking.recommended else ""


def _leaderboard(ranking: Ranking, width: int, *, is_plain: bool) -> Table:
    table = Table(box=None if is_plain else SIMPLE_HEAD, pad_edge=False)
    more = [name for name, least in _MORE.items() if width >= least]
    cells = [_cells(ranking, entry, more) for entry in leading(ranking, _TOP)]

    def widest(place: int) -> int:  # rich takes the longest word for the least width, also where nothing wraps
        return max((cell_len(each[place]) for each in cells), default=1)

    table.add_column(say("rank"), justify="right", no_wrap=True, min_width=widest(0))
    table.add_column(say("candidate"), min_width=longest_word(entry.label for entry in leading(ranking, _TOP)))
    table.add_column(
        metric_name(ranking.metric), justify="right", max_width=max(9, longest_word([metric_name(ranking.metric)]))
    )  # the header wraps, names need not
    for place, name in enumerate(more, start=3):
        table.add_column(say(name), justify="right", no_wrap=True, min_width=widest(place))
    table.add_column(say("outcome"), min_width=longest_word(outcome_of(ranking, entry) for entry in leading(ranking, _TOP)))
    for entry, each in zip(leading(ranking, _TOP), cells, strict=True):
        table.add_row(*map(shown, each), style=_style(ranking, entry))
    return table


def _cells(ranking: Ranking, entry: Entry, more: Iterable[str]) -> list[str]:
    found = entry.cost
    known = {
        "interval": formats.score_range(ranking.metric, entry.interval),
        "expected": formats.score(ranking.metric, entry.expected),
        "best": formats.odds(entry.prob_best),
        "latency": latency(found),
        "parameters": formats.millions(found.params_m),
        "training": formats.duration(None if found.train_min is None else 60 * found.train_min),
    }
    first = [formats.places(entry.rank_interval), entry.label, formats.score(ranking.metric, entry.score)]
    return [*first, *(known[name] for name in more), outcome_of(ranking, entry)]


def _failures(ranking: Ranking) -> str:
    named = [f"{row.backbone} · {row.strategy} ({row.status})" for row in ranking.pool.failed]
    return formats.one_line(say("{number} failed: {jobs}", number=len(named), jobs=formats.some(named, _MAX_FAILED)))


def shown(text: str, style: str = "") -> Text:
    """Text for a terminal, letter by letter: no markup is read, and nothing in a name moves the cursor."""
    return Text(one_line(runnable(text)), style=style)
