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
from harness.reporting.sections.facts import leading
from harness.reporting.terminal import longest_word, print_board, shown
from harness.reporting.wording import latency, metric_name, rough_latencies
from harness.select.candidates import Cost
from harness.select.comparison import MIN_SEEDS_TO_RESAMPLE
from harness.select.from_table import TABLE_COLUMNS, rank_table
from harness.select.ranking import Entry, Ranking
from harness.select.ranking_csv import METRICS
from harness.study.store import atomic_write
from harness.study.table import load_table, to_csv
from harness.text.console import new_console
from harness.text.counts import counted
from harness.text.language import ENGLISH, say, speaking, told

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


def report_table(path: Path, cfg: RankConfig, console: Console | None = None) -> list[Ranking]:
    """Rank a `results.parquet` by its columns alone, print the leaders of each protocol and write `ranking_by_seeds.csv` beside it.

    Raises:
        TableError: the file is missing, is no table of rows or is older than the rows beside it, or its metric is empty.
    """
    rankings = rank_table(load_table(path, TABLE_COLUMNS), cfg)
    with speaking(ENGLISH), atomic_write(path.with_name(FILE)) as temporary:  # a table is for programs
        temporary.write_text(to_csv(seeds_frame(rankings)), encoding="utf-8", newline="")
    console = console or new_console()
    for ranking in rankings:
        _print(console, ranking)
    console.print(shown(say("All candidates: {path}", path=path.with_name(FILE))), soft_wrap=True)
    return rankings


def seeds_frame(rankings: Iterable[Ranking]) -> pd.DataFrame:
    """One line per candidate, columns in the order of `COLUMNS`; fractions, not percent; the rank of an excluded candidate is empty."""
    records = [_record(ranking, entry) for ranking in rankings for entry in ranking.entries]
    return pd.DataFrame(records, columns=list(COLUMNS)).convert_dtypes(dtype_backend="numpy_nullable")


def _record(ranking: Ranking, entry: Entry) -> dict[str, object]:
    candidate, is_compared = entry.candidate, _is_compared(entry)
    return {
        "protocol": ranking.pool.protocol,
        "dataset": candidate.row.dataset,
        "rank": entry.rank,
        "label": candidate.label,
        "metric": ranking.metric.value,
        "score": entry.score,
        "seed_interval_low": entry.interval.low if is_compared else None,
        "seed_interval_high": entry.interval.high if is_compared else None,
        "seed_tied": entry.tied if is_compared else None,
        "expected": entry.expected if is_compared else None,
        "prob_best": entry.prob_best,
        "recommended": entry is ranking.recommended,
        "on_front": entry.on_front,
        "excluded": "; ".join(breach.text for breach in entry.breaches),
        "num_seeds": candidate.num_seeds,
        **{name: getattr(candidate.row, name) for name in _SETTINGS},
        **{name: candidate.mean(name) for name in METRICS},
        **asdict(candidate.cost),
    }


def _is_compared(entry: Entry) -> bool:
    """Whether it has seeds enough to say how much they differ."""
    return entry.candidate.num_seeds >= MIN_SEEDS_TO_RESAMPLE


def _print(console: Console, ranking: Ranking) -> None:
    num_rows, dataset = sum(entry.candidate.num_seeds for entry in ranking.entries), ranking.entries[0].candidate.row.dataset
    title = say(
        "{dataset}, protocol {protocol}: {candidates} in {rows}",
        dataset=formats.one_line(dataset),
        protocol=ranking.pool.protocol,
        candidates=counted(len(ranking.entries), "candidate"),
        rows=counted(num_rows, "row"),
    )
    console.print(shown(title, style="bold"))
    print_board(console, _table(ranking, is_plain=not console.is_terminal), _lines(ranking))
    console.print(shown(sentence(ranking)))
    if text := rough_latencies(entry.candidate.cost for entry in ranking.entries):
        console.print(shown(text))
    if ranking.pool.other_machines:
        others = formats.one_line(say(", ").join(ranking.pool.other_machines))
        console.print(shown(say("Latencies of other machines ({others}) are left out: only those of one machine compare.", others=others)))


def _table(ranking: Ranking, *, is_plain: bool) -> Table:
    table = Table(box=None if is_plain else SIMPLE_HEAD, pad_edge=False)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column(say("candidate"), min_width=longest_word(entry.candidate.label for entry in leading(ranking, _TOP)))
    on_val = say("val {metric}", metric=metric_name(ranking.metric))
    for name in (on_val, say("over seeds"), say("best"), say("seeds"), say("latency")):
        table.add_column(name, justify="right")
    table.add_column(say("outcome"))
    for entry in leading(ranking, _TOP):
        cells = [shown(cell) for cell in _cells(ranking, entry)]
        table.add_row(*cells, style="bold green" if entry is ranking.recommended else "")
    return table


def _lines(ranking: Ranking) -> Iterator[tuple[str, str, str]]:
    """The same in words."""
    for entry in leading(ranking, _TOP):
        rank, name, score, _, best, seeds, latency_ms, word = _cells(ranking, entry)
        style = "bold green" if entry is ranking.recommended else ""
        numbers = say(
            "val {metric} {score}, best with {odds}, seeds {seeds}, {latency}: {outcome}",
            metric=metric_name(ranking.metric),
            score=score,
            odds=best,
            seeds=seeds,
            latency=latency_ms,
            outcome=word,
        )
        yield f"{rank}  {name}", numbers, style


def _cells(ranking: Ranking, entry: Entry) -> list[str]:
    candidate, metric = entry.candidate, ranking.metric
    spread = formats.score_range(metric, entry.interval) if _is_compared(entry) else formats.EMPTY
    costs = [formats.odds(entry.prob_best), formats.count(candidate.num_seeds), latency(candidate.cost)]
    return [
        formats.count(entry.rank),
        candidate.label,
        formats.score(metric, entry.score),
        spread,
        *costs,
        _word(ranking, entry),
    ]


def _word(ranking: Ranking, entry: Entry) -> str:
    if entry is ranking.recommended:
        return say("recommended")
    if entry.breaches:
        return say("excluded")
    return say("tied" if entry.tied else "behind") if _is_compared(entry) else say("not compared")


def sentence(ranking: Ranking) -> str:
    """What these intervals know and what they do not."""
    decision = ranking.decision
    if decision is None:
        return say(
            "No recommendation: no candidate within the limits has {number} seeds. Run more seeds, or make the report of its study.",
            number=MIN_SEEDS_TO_RESAMPLE,
        )
    num_compared, num_tied = sum(map(_is_compared, ranking.eligible)), len(ranking.tied)
    return told(
        say(
            "{label} is recommended: {stake}, as far as seeds know.",
            label=decision.recommended.label,
            stake=at_stake(ranking.metric, decision.picks.recommended, num_compared),
        ),
        say("It has {price}.", price=priced(ranking.metric, decision.picks, ranking.rank)),
        say("{number} candidates cannot be excluded as best by seeds.", number=formats.count(num_tied)) if num_tied > 1 else "",
        say("The table holds no predictions, so nothing here says how far the val images can be trusted. The report of a study does."),
    )
