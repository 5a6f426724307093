"""The ranking of a table on the terminal and as a file: the report's short form for tables that outgrow per-image predictions."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from harness.config import RankConfig
from harness.reporting import formats
from harness.reporting.picks import at_stake, priced
from harness.reporting.terminal import longest_word, print_board, shown
from harness.reporting.wording import METRIC_NAMES, latency, rough_latencies
from harness.select.candidates import Cost
from harness.select.comparison import MIN_SEEDS_TO_RESAMPLE
from harness.select.from_table import TABLE_COLUMNS, Leaderboard, Standing, rank_table
from harness.select.ranking_csv import METRICS
from harness.study.store import atomic_write
from harness.study.table import load_table, to_csv
from harness.words import counted

FILE = "ranking_by_seeds.csv"
"""Named so that nobody takes it for the `ranking.csv` of a report, whose intervals know the val images too."""

_TOP = 10

_SETTINGS = ("backbone", "weights", "freeze", "image_size", "recipe")

COLUMNS: tuple[str, ...] = (
    *("protocol", "dataset", "rank", "label", "metric", "score", "seed_interval_low", "seed_interval_high", "seed_tied"),
    *("expected", "prob_best"),
    *("recommended", "on_front", "excluded", "num_seeds", *_SETTINGS, *METRICS),
    *(field.name for field in fields(Cost)),
)


def report_table(path: Path, cfg: RankConfig, console: Console | None = None) -> list[Leaderboard]:
    """Rank a `results.parquet` by its columns alone, print the leaders of each protocol and write `ranking_by_seeds.csv` beside it.

    Raises:
        TableError: the file is missing, is no table of rows or is older than the rows beside it, or its metric is empty.
    """
    leaderboards = rank_table(load_table(path, TABLE_COLUMNS), cfg)
    with atomic_write(path.with_name(FILE)) as temporary:
        temporary.write_text(to_csv(seeds_frame(leaderboards)), encoding="utf-8", newline="")
    console = console or Console()
    for leaderboard in leaderboards:
        _print(console, leaderboard, cfg)
    console.print(shown("All candidates: "), shown(str(path.with_name(FILE))), sep="", soft_wrap=True)
    return leaderboards


def seeds_frame(leaderboards: Iterable[Leaderboard]) -> pd.DataFrame:
    """One line per candidate, columns in the order of `COLUMNS`; fractions, not percent; the rank of an excluded candidate is empty."""
    records = [_record(leaderboard, standing) for leaderboard in leaderboards for standing in leaderboard.standings]
    return pd.DataFrame(records, columns=list(COLUMNS)).convert_dtypes(dtype_backend="numpy_nullable")


def _record(leaderboard: Leaderboard, standing: Standing) -> dict[str, object]:
    candidate, interval = standing.candidate, standing.seed_interval
    return {
        "protocol": leaderboard.protocol,
        "dataset": leaderboard.dataset,
        "rank": standing.rank,
        "label": candidate.label,
        "metric": leaderboard.metric.value,
        "score": candidate.score,
        "seed_interval_low": interval.low if interval else None,
        "seed_interval_high": interval.high if interval else None,
        "seed_tied": standing.seed_tied,
        "expected": standing.expected,
        "prob_best": standing.prob_best,
        "recommended": standing is leaderboard.recommended,
        "on_front": standing.on_front,
        "excluded": "; ".join(breach.text for breach in standing.breaches),
        "num_seeds": candidate.num_seeds,
        **{name: getattr(candidate.row, name) for name in _SETTINGS},
        **candidate.metrics,
        **asdict(candidate.cost),
    }


def _print(console: Console, leaderboard: Leaderboard, cfg: RankConfig) -> None:
    size = f"{counted(len(leaderboard.standings), 'candidate')} in {counted(leaderboard.num_rows, 'row')}"
    console.print(shown(f"{formats.one_line(leaderboard.dataset)}, protocol {leaderboard.protocol}: {size}", style="bold"))
    print_board(console, _table(leaderboard, is_plain=not console.is_terminal), _lines(leaderboard))
    console.print(shown(_sentence(leaderboard, cfg)))
    if text := rough_latencies(standing.candidate.cost for standing in leaderboard.standings):
        console.print(shown(text))
    if leaderboard.other_machines:
        others = formats.one_line(", ".join(leaderboard.other_machines))
        console.print(shown(f"Latencies of other machines ({others}) are left out: only those of one machine compare."))


def _table(leaderboard: Leaderboard, *, is_plain: bool) -> Table:
    table = Table(box=None if is_plain else SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("candidate", min_width=longest_word(standing.candidate.label for standing in _leading(leaderboard)))
    for name in (f"val {METRIC_NAMES[leaderboard.metric]}", "over seeds", "best", "seeds", "latency"):
        table.add_column(name, justify="right")
    table.add_column("standing")
    for standing in _leading(leaderboard):
        cells = [shown(cell) for cell in _cells(leaderboard, standing)]
        table.add_row(*cells, style="bold green" if standing is leaderboard.recommended else "")
    return table


def _lines(leaderboard: Leaderboard) -> Iterator[tuple[str, str, str]]:
    """The same in words."""
    for standing in _leading(leaderboard):
        rank, name, score, _, best, seeds, latency_ms, word = _cells(leaderboard, standing)
        style = "bold green" if standing is leaderboard.recommended else ""
        numbers = f"val {METRIC_NAMES[leaderboard.metric]} {score}, best with {best}, seeds {seeds}, {latency_ms}: {word}"
        yield f"{rank}  {name}", numbers, style


def _leading(leaderboard: Leaderboard) -> list[Standing]:
    """The first lines; the recommended takes the last one when it stands further down."""
    shown, chosen = list(leaderboard.standings[:_TOP]), leaderboard.recommended
    return shown if chosen is None or chosen in shown else [*shown[:-1], chosen]


def _cells(leaderboard: Leaderboard, standing: Standing) -> list[str]:
    candidate, metric = standing.candidate, leaderboard.metric
    spread = formats.score_range(metric, standing.seed_interval) if standing.seed_interval else formats.EMPTY
    costs = [formats.odds(standing.prob_best), formats.count(candidate.num_seeds), latency(candidate.cost)]
    return [
        formats.count(standing.rank),
        candidate.label,
        formats.score(metric, candidate.score),
        spread,
        *costs,
        _word(leaderboard, standing),
    ]


def _word(leaderboard: Leaderboard, standing: Standing) -> str:
    if standing is leaderboard.recommended:
        return "recommended"
    if standing.breaches:
        return "excluded"
    return "not compared" if standing.seed_tied is None else "tied" if standing.seed_tied else "behind"


def _sentence(leaderboard: Leaderboard, cfg: RankConfig) -> str:
    """What these intervals know and what they do not."""
    if leaderboard.recommended is None:
        return f"No recommendation: no candidate within the limits has {MIN_SEEDS_TO_RESAMPLE} seeds. Run more seeds, or make the report of its study."
    assert leaderboard.decision is not None
    stake = at_stake(leaderboard.metric, leaderboard.decision.recommended, leaderboard.num_weighed)
    num_tied = sum(standing.seed_tied is True for standing in leaderboard.standings)
    tied = f" {formats.count(num_tied)} candidates cannot be excluded as best by seeds." if num_tied > 1 else ""
    return (
        f"{leaderboard.recommended.candidate.label} is recommended: {stake}, as far as seeds know. It has "
        f"{priced(leaderboard.metric, leaderboard.decision, cfg)}.{tied}{_left_out(leaderboard)} The table holds no predictions, so nothing "
        "here says how far the val images can be trusted. The report of a study does."
    )


def _left_out(leaderboard: Leaderboard) -> str:
    """Who was too far down to be weighed."""
    if leaderboard.num_weighed == leaderboard.num_compared:
        return ""
    return f" Only the best {formats.count(leaderboard.num_weighed)} of {formats.count(leaderboard.num_compared)} compared candidates were weighed."
