"""The ranking on the terminal: a short leaderboard, the recommendation, and where the report is."""

from collections.abc import Iterable
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.invocation import runnable
from harness.reporting import formats
from harness.reporting.answer import damage, headline, how_sure, test_score, why
from harness.reporting.grounds import fine_tuning, rests_on
from harness.reporting.picks import picks
from harness.reporting.scope import latencies, protocols, versions
from harness.reporting.sections.facts import leading, standing
from harness.reporting.wording import METRIC_NAMES, cost, latency, rough_latencies
from harness.select.ranking import Entry, Ranking
from harness.untrusted import one_line

_TOP = 10
_MORE = {"interval": 90, "expected": 80, "best": 60, "latency": 60, "parameters": 120, "training": 120}
"""Columns that are shown beside the score, and how wide the terminal must be for them."""


def print_summary(ranking: Ranking, report_path: Path, console: Console | None = None) -> None:
    """Print the leaderboard and the recommendation; without colour where the output is not a terminal."""
    console = console or Console()
    if ranking.entries:
        console.print(_leaderboard(ranking, console.width, is_plain=not console.is_terminal))
    console.print(shown(headline(ranking), style="bold"))
    sentences = [why(ranking)]
    if ranking.recommended is not None:
        sentences += [how_sure(ranking), picks(ranking), fine_tuning(ranking), rests_on(ranking)]
        sentences += [f"Cost: {cost(ranking.recommended)}", f"On new images: {test_score(ranking)}"]
    for sentence in filter(None, sentences):
        console.print(shown(sentence))
    if text := rough_latencies((entry.cost for entry in ranking.entries), ranking.command("retime")):
        console.print(shown(text))
    if ranking.failed:
        console.print(shown(f"{len(ranking.failed)} failed: {_failures(ranking)}", style="red"))
    for text in filter(None, (protocols(ranking), latencies(ranking), versions(ranking))):
        console.print(shown(text), soft_wrap=True)
    if ranking.damaged:
        console.print(shown(damage(ranking), style="red"), soft_wrap=True)
    console.print(shown("Report: "), shown(str(report_path)), sep="", soft_wrap=True)


def _leaderboard(ranking: Ranking, width: int, *, is_plain: bool) -> Table:
    table = Table(box=None if is_plain else SIMPLE_HEAD, pad_edge=False)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("candidate", overflow="fold")
    table.add_column(METRIC_NAMES[ranking.metric], justify="right", max_width=9)  # the header wraps, names need not
    more = [name for name, least in _MORE.items() if width >= least]
    for name in more:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("standing")
    for entry in leading(ranking, _TOP):
        cells = [shown(cell) for cell in _cells(ranking, entry, more)]
        table.add_row(*cells, style="bold green" if entry is ranking.recommended else "")
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
    return [*first, *(known[name] for name in more), standing(ranking, entry)]


def _failures(ranking: Ranking) -> str:
    named = [f"{row.backbone} · {row.freeze} ({row.status})" for row in ranking.failed[:5]]
    hidden = len(ranking.failed) - len(named)
    return formats.one_line(", ".join(named) + (f" and {hidden} more" if hidden > 0 else ""))


def shown(text: str, style: str = "") -> Text:
    """Text for a terminal, letter by letter: no markup is read, and nothing in a name moves the cursor."""
    return Text(one_line(runnable(text)), style=style)
