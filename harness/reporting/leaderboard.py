"""The leaderboard: one row for each distinct candidate, the recommended first, with everything that a reader may sort and filter by."""

from collections.abc import Callable, Sequence

from harness.config import RankMetric, is_higher_better
from harness.reporting import formats
from harness.reporting.document import Bar, Block, Cell, Column, Leaderboard, Paragraph, Table, Value
from harness.reporting.picks import knows_test
from harness.reporting.sections.facts import outcome_of, recommended_first
from harness.reporting.wording import latency, metric_name, rough_latencies
from harness.select.ranking import Entry, Ranking
from harness.text.language import say, told

TOP = 10
"""Rows that are shown before the reader asks for more."""
MOST = 300
"""Rows that a page holds; `ranking.csv` has them all."""


def build(ranking: Ranking) -> list[Block]:
    """Nothing where no job has ended well."""
    if not ranking.entries:
        return []
    shown = recommended_first(ranking)[:MOST]
    columns = [
        Column(say("rank interval"), is_number=True),
        Column(say("candidate"), is_name=True, key="candidate"),
        Column(say("outcome")),
        *(Column(name, is_number=True) for name in (metric_name(ranking.metric), say("interval"))),
        Column("", is_bar=True),
        *(Column(name, is_number=True) for name in (say("expected"), say("probability of being best"), say("latency"))),
        Column(say("parameters"), is_number=True, key="parameters"),
        *(Column(name, is_number=True, is_optional=True) for name in (say("training"), say("size on disk"), "GMACs")),
        Column(say("family"), is_optional=True, key="family"),
        Column(say("licence"), is_optional=True, key="licence"),
    ]
    scale = _scale(shown, ranking.metric)
    rows = [_row(ranking, entry, scale) for entry in shown]
    marked = frozenset({0} if ranking.recommended else ())
    groups = [" ".join(map(str, entry.candidate.features_key)) for entry in shown]
    files = [
        (say("This table and more as CSV"), "ranking.csv"),
        (say("All jobs as CSV"), "../results.csv"),
        (say("This report as Markdown"), "report.md"),
    ]
    blocks: list[Block] = [
        Leaderboard(Table(say("Leaderboard"), columns, rows, marked), TOP, groups, files),
        Paragraph(_how_to_read(ranking)),
    ]
    if text := rough_latencies((entry.cost for entry in shown), ranking.command("retime")):
        blocks.append(Paragraph(text))
    hidden = len(ranking.entries) - len(shown)
    return [*blocks, Paragraph(say("{number} more candidates are in step 5.", number=hidden))] if hidden > 0 else blocks


def _how_to_read(ranking: Ranking) -> str:
    text = say(
        "Rank intervals hold for all candidates at once. The expected score draws each candidate towards what was known of it and of those like it."
    )
    if knows_test(ranking):
        seen = say(
            "Expected scores and probabilities are those of train and val; the sentence above also knows the test score that overturned the first "
            "choice."
        )
        return told(text, seen)
    return told(text, say("Expected scores and probabilities are those of train and val."))


def _row(ranking: Ranking, entry: Entry, scale: Callable[[float], float]) -> list[Cell]:
    metric, found, row = ranking.metric, entry.cost, entry.candidate.row
    low, high = sorted((scale(entry.interval.low), scale(entry.interval.high)))
    seconds = None if found.train_min is None else 60 * found.train_min
    rank = entry.rank_interval
    return [
        Value(formats.places(rank), None if rank is None else rank.low),
        entry.label,
        outcome_of(ranking, entry),
        Value(formats.score(metric, entry.score), entry.score),
        Value(formats.score_range(metric, entry.interval), entry.interval.low),
        Bar(low, scale(entry.score), high),
        Value(formats.score(metric, entry.expected), entry.expected),
        Value(formats.odds(entry.prob_best), entry.prob_best),
        Value(latency(found), found.latency_ms_p50),
        Value(formats.millions(found.params_m), found.params_m),
        Value(formats.duration(seconds), seconds),
        Value(formats.mib(found.weights_mib), found.weights_mib),
        Value(formats.gmacs(found.gmacs), found.gmacs),
        formats.plain(row.family),
        formats.plain(row.licence),
    ]


def _scale(entries: Sequence[Entry], metric: RankMetric) -> Callable[[float], float]:
    """From a score to its place on the bars' common scale: 0 is the worst end of any interval, 1 the best."""
    ends = [end for entry in entries for end in (entry.interval.low, entry.interval.high, entry.score)]
    worst, best = (min(ends), max(ends)) if is_higher_better(metric) else (max(ends), min(ends))
    return lambda value: (value - worst) / (best - worst) if best != worst else 0.5
