"""Step 5, for readers with statistics: how it was compared, rank intervals, pairs, and how sure the Pareto front is."""

from collections.abc import Sequence

from harness.config import Metric
from harness.reporting import formats
from harness.reporting.answer import separation
from harness.reporting.document import Block, Cell, Column, Paragraph, Table
from harness.reporting.grounds import judged_on, rests_on
from harness.reporting.picks import unit
from harness.reporting.sections.facts import MAX_LISTED, marked, outcome_of
from harness.reporting.wording import latency, metric_name, metric_title, metrics_of, rough_latencies
from harness.select.pairs import Pair, Verdict
from harness.select.ranking import Entry, Ranking
from harness.select.sample_size import Separation
from harness.text.counts import counted
from harness.text.language import noted, say, told

_VERDICTS = {
    Verdict.better: noted("better"),
    Verdict.equivalent: noted("equivalent"),
    Verdict.worse: noted("worse"),
    Verdict.unclear: noted("unclear"),
}


def compared(ranking: Ranking) -> list[Block]:
    """How it was compared, the scores with rank intervals, and every metric."""
    return [Paragraph(_how(ranking)), _scores(ranking), *_long(ranking), *_separation(ranking), *_other_metrics(ranking)]


def pairs(ranking: Ranking) -> list[Block]:
    """The pair table and how to read it; nothing where there is no pair."""
    found = ranking.decision.pairs if ranking.decision else ()
    if not found:
        return []
    columns = [
        *(Column(name) for name in (say("candidate"), say("against"))),
        Column(say("better by ({unit})", unit=unit(ranking.metric)), is_number=True),
        Column(say("in practice")),
        *(Column(name, is_number=True) for name in (say("only it is right on val"), say("only the other"), "mid-p", "Holm")),
    ]
    rows = [_pair_line(ranking, pair) for pair in found[:MAX_LISTED]]
    hidden = len(found) - MAX_LISTED
    more = [Paragraph(say("{number} more pairs are left out.", number=hidden))] if hidden > 0 else []
    return [Table(say("Pairs"), columns, rows), *more, Paragraph(_how_pairs(ranking, len(found)))]


def front(ranking: Ranking) -> list[Block]:
    """How likely each candidate is on the Pareto front of score and latency; nothing where no latency is known."""
    known = [entry for entry in ranking.entries if entry.front_prob is not None][:MAX_LISTED]
    if not known:
        return []
    names = (metric_name(ranking.metric), say("latency"), say("interval of the latency"), say("chance to be on the front"))
    columns = [
        Column(say("candidate"), is_name=True),
        *(Column(name, is_number=True) for name in names),
        Column(say("beaten on both by"), is_name=True),
    ]
    rows = [
        [
            entry.label,
            formats.score(ranking.metric, entry.score),
            latency(entry.cost),
            formats.ms_range(entry.cost.latency_ms_low, entry.cost.latency_ms_high),
            formats.odds(entry.front_prob),
            entry.dominated_by or say("nobody"),
        ]
        for entry in known
    ]
    text = say(
        "The front is drawn anew with every resample of the images and of the timings; the probability is the share of these fronts. A "
        "candidate is beaten only if the other one is better on both in at least {confidence} of them.",
        confidence=formats.confidence(ranking.rank.confidence),
    )
    table = Table(say("Score against latency: who is on the front"), columns, rows, marked(ranking, known))
    rough = rough_latencies((entry.cost for entry in known), ranking.command("retime"))
    return [table, Paragraph(text), *([Paragraph(rough)] if rough else [])]


def _how(ranking: Ranking) -> str:
    drawn = say(
        "Images were drawn again {number} times, class by class and the same for every candidate; intervals hold {confidence} of the outcomes."
        if ranking.pool.groups_N is None
        else "Whole groups of images, not single ones, were drawn again {number} times, class by class and the same for every candidate; "
        "intervals hold {confidence} of the outcomes.",
        number=formats.count(ranking.rank.num_resamples),
        confidence=formats.confidence(ranking.rank.confidence),
    )
    model = say(
        "Candidates marked as tied cannot be excluded as best. Rank intervals hold for all candidates at once, and so are more cautious. "
        "Expected scores, probabilities and losses are those of a Gaussian model of the true scores: what was measured, with its joint errors, "
        "and before that published accuracy, multiply-adds, rank on other data sets, family, backbone and depth."
    )
    return told(rests_on(ranking), drawn, model)


def _scores(ranking: Ranking) -> Table:
    metric = ranking.metric
    numbers = (
        metric_name(metric),
        say("interval"),
        say("expected"),
        say("probability of being best"),
        say("expected loss ({unit})", unit=unit(metric)),
        say("recommended scores better by ({unit})", unit=unit(metric)),
    )
    columns = [
        Column(say("rank interval"), is_number=True),
        Column(say("candidate"), is_name=True),
        Column(say("judged on")),
        *(Column(name, is_number=True) for name in numbers),
        Column(say("outcome")),
        Column(say("may be the best")),
    ]
    shown = ranking.entries[:MAX_LISTED]
    rows = [_score_line(ranking, entry, judged) for entry, judged in zip(shown, judged_on(ranking, shown), strict=True)]
    return Table(say("Scores"), columns, rows, marked(ranking, shown))


def _score_line(ranking: Ranking, entry: Entry, judged: str) -> list[Cell]:
    metric, behind = ranking.metric, entry.behind
    return [
        formats.places(entry.rank_interval),
        entry.label,
        judged,
        formats.score(metric, entry.score),
        formats.score_range(metric, entry.interval),
        formats.score(metric, entry.expected),
        formats.odds(entry.prob_best),
        formats.loss(metric, entry.expected_loss),
        formats.difference_with_range(metric, behind.value, behind.interval) if behind else formats.EMPTY,
        outcome_of(ranking, entry),
        say("yes" if entry.tied else "no"),
    ]


def _long(ranking: Ranking) -> list[Block]:
    hidden = len(ranking.entries) - MAX_LISTED
    return [Paragraph(say("{number} more candidates are in ranking.csv.", number=hidden))] if hidden > 0 else []


def _separation(ranking: Ranking) -> list[Block]:
    """The same sentence as on the first screen, with the difference it rests on."""
    return [_separated(ranking, found) for found in ranking.decision.separations] if ranking.decision else []


def _separated(ranking: Ranking, found: Separation) -> Paragraph:
    basis = say(
        "They differ by {size} ({confidence} interval {ends}) on {images}.",
        size=formats.difference(ranking.metric, found.difference.value),
        confidence=formats.confidence(ranking.rank.confidence),
        ends=formats.difference_range(ranking.metric, found.difference.interval),
        images=counted(found.num_images, "image"),
    )
    return Paragraph(told(separation(ranking), basis))


def _other_metrics(ranking: Ranking) -> list[Block]:
    metrics = metrics_of(ranking)
    names = (*map(metric_title, metrics), say("seeds"))
    columns = [Column(say("candidate"), is_name=True), *(Column(name, is_number=True) for name in names)]
    shown = ranking.entries[:MAX_LISTED]
    val = Table(say("Every metric on val"), columns, [_metrics_line(entry, "val", metrics) for entry in shown], marked(ranking, shown))
    heads = [entry for entry in shown if entry.candidate.out_of_fold is not None]
    rows = [_metrics_line(entry, "oof", metrics) for entry in heads]
    return [val, *([Table(say("Every metric out of fold"), columns, rows, marked(ranking, heads))] if heads else [])]


def _metrics_line(entry: Entry, split: str, metrics: Sequence[Metric]) -> list[Cell]:
    cells = [_metric_cell(metric, entry.candidate.mean(f"{split}_{metric.value}")) for metric in metrics]
    return [entry.label, *cells, formats.count(len(entry.candidate.rows))]


def _metric_cell(metric: Metric, value: float | None) -> str:
    return formats.nats(value) if metric is Metric.log_loss else formats.percent(value)


def _pair_line(ranking: Ranking, pair: Pair) -> list[Cell]:
    test = pair.mcnemar
    return [
        pair.first,
        pair.second,
        formats.difference_with_range(ranking.metric, pair.difference.value, pair.difference.interval),
        say(_VERDICTS[pair.verdict]),
        formats.count(test.first_only),
        formats.count(test.second_only),
        formats.p_value(test.p),
        formats.p_value(test.p_holm),
    ]


def _how_pairs(ranking: Ranking, number: int) -> str:
    return say(
        "In practice, scores within {margin} of each other count as equal (rank.equivalence_frac): better, equivalent or worse if the whole "
        "{confidence} interval says so, else unclear. The counts are of images that just one of the two classifies correctly, one seed each; "
        "mid-p is the exact McNemar test of whether they are split evenly, and Holm's value is the same adjusted for {pairs}.",
        margin=formats.difference(ranking.metric, ranking.rank.equivalence_frac),
        confidence=formats.confidence(ranking.rank.confidence),
        pairs=counted(number, "pair"),
    )
