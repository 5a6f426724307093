"""The ranking on the terminal: a short leaderboard, the recommendation, and where the report is."""

from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.reporting import formats
from harness.reporting.sections.results import leading, standing
from harness.reporting.wording import METRIC_NAMES, cost, headline, how_sure, test_score, why
from harness.select.ranking import Entry, Ranking

_TOP = 10
_WIDE = 100
"""From this many columns on, costs are shown beside the scores."""


def print_summary(ranking: Ranking, report_path: Path, console: Console | None = None) -> None:
    """Print the leaderboard and the recommendation; without colour where the output is not a terminal."""
    console = console or Console()
    if ranking.entries:
        console.print(_leaderboard(ranking, is_wide=console.width >= _WIDE, is_plain=not console.is_terminal))
    console.print(Text(headline(ranking), style="bold"))
    sentences = [why(ranking)]
    if ranking.recommended is not None:
        sentences += [how_sure(ranking), f"Cost: {cost(ranking.recommended)}", f"On new images: {test_score(ranking)}"]
    for sentence in sentences:
        console.print(Text(sentence))
    if ranking.failed:
        console.print(Text(f"{len(ranking.failed)} failed: {_failures(ranking)}", style="red"))
    console.print(Text("Report: "), Text(str(report_path)), sep="", soft_wrap=True)


def _leaderboard(ranking: Ranking, *, is_wide: bool, is_plain: bool) -> Table:
    table = Table(box=None if is_plain else SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("candidate", overflow="fold")
    table.add_column(f"val {METRIC_NAMES[ranking.metric]}", justify="right", max_width=9)  # the header wraps, names need not
    table.add_column("interval", justify="right", no_wrap=True)
    for name in ("latency", "parameters", "training") if is_wide else ("latency",):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("standing")
    for entry in leading(ranking, _TOP):
        cells = [Text(cell) for cell in _cells(ranking, entry, is_wide=is_wide)]
        table.add_row(*cells, style="bold green" if entry is ranking.recommended else "")
    return table


def _cells(ranking: Ranking, entry: Entry, *, is_wide: bool) -> list[str]:
    found = entry.cost
    scored = [formats.score(ranking.metric, entry.score), formats.score_range(ranking.metric, entry.interval)]
    sizes = [formats.millions(found.params_m), formats.duration(None if found.train_min is None else 60 * found.train_min)]
    costs = [formats.ms(found.latency_ms_p50), *(sizes if is_wide else [])]
    return [formats.count(entry.rank), entry.label, *scored, *costs, standing(ranking, entry)]


def _failures(ranking: Ranking) -> str:
    named = [f"{row.backbone} · {row.freeze} ({row.status})" for row in ranking.failed[:5]]
    hidden = len(ranking.failed) - len(named)
    return formats.one_line(", ".join(named) + (f" and {hidden} more" if hidden > 0 else ""))
