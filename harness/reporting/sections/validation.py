"""Step 6: what the sealed test images say: the recommended before and on test, whether the choice stands, and how often the seal was broken."""

from harness.config import Metric
from harness.data.labels import is_several
from harness.reporting import formats
from harness.reporting.answer import is_overturned, overturned
from harness.reporting.document import Block, Cell, Column, Paragraph, Table, Tone
from harness.reporting.picks import surpassed, unit
from harness.reporting.wording import metric_name, metric_title, metrics_of
from harness.select.decision import PROB_OVERTURN
from harness.select.finalists import Finalist, Outcome
from harness.select.ranking import Ranking
from harness.text.language import say, told
from harness.text.metric_spec import MetricSpec


def finalists(ranking: Ranking) -> list[Block]:
    """Those whose test predictions were opened, before and on test, and what follows; nothing without a test split."""
    if not ranking.finalists:
        return []
    numbers = (say("train and val"), say("test"), say("interval"), say("lost on test ({unit})", unit=unit(ranking.metric)))
    columns = [
        Column(say("finalist"), is_name=True),
        *(Column(name, is_number=True) for name in numbers),
        Column(say("more than chance")),
        Column(surpassed(ranking), is_number=True),
    ]
    chosen = ranking.recommended
    places = [place for place, found in enumerate(ranking.finalists) if chosen is not None and found.label == chosen.label]
    rows = [_line(ranking, found) for found in ranking.finalists]
    title = say("Opened on test: {metric} before and on test", metric=metric_name(ranking.metric))
    return [Table(title, columns, rows, frozenset(places)), Paragraph(*_verdict(ranking))]


def scores(ranking: Ranking) -> list[Block]:
    """Every metric of the recommended on val and on test."""
    chosen, test = ranking.recommended, ranking.test
    if chosen is None or test is None:
        return []
    own = []
    if isinstance(ranking.metric, MetricSpec):
        found = formats.score(ranking.metric, chosen.score), formats.score(ranking.metric, test.score)
        own = [(say("{metric} (train and val in place of val)", metric=metric_name(ranking.metric)), *found)]
    rows = []
    for metric in metrics_of(ranking):
        shown = formats.nats if metric is Metric.log_loss else formats.percent
        rows.append((metric_title(metric), shown(chosen.candidate.mean(f"val_{metric.value}")), shown(test.quality.get(metric.value))))
    columns = [Column(say("metric")), Column(say("val"), is_number=True), Column(say("test"), is_number=True)]
    return [Table(say("{label} on val and test", label=chosen.label), columns, [*own, *rows])]


def opened(ranking: Ranking) -> list[Block]:
    """How often the seal was broken, or what is said in place of a test score."""
    opening = ranking.decision.opening if ranking.decision else None
    if opening is None or opening.test is None:
        return [Paragraph(_unopened(ranking))]
    text = say(
        "The test predictions of {number} job has been opened in this study; each further one makes the best of them more optimistically biased."
        if opening.num_opened == 1
        else "The test predictions of {number} jobs have been opened in this study; each further one makes the best of them more optimistically "
        "biased.",
        number=formats.count(opening.num_opened),
    )
    return [Paragraph(text)]


def _unopened(ranking: Ranking) -> str:
    reason = say("There is no test split" if ranking.outcome is Outcome.no_test else "Its test predictions stay sealed")
    if is_several(ranking.pool.labels_N):
        return say("{reason}.", reason=reason)
    return say("{reason}; the confusion matrix below is on val, which is optimistically biased.", reason=reason)


def _line(ranking: Ranking, found: Finalist) -> list[Cell]:
    metric, test, drop = ranking.metric, found.test, found.drop
    before = formats.score(metric, ranking.entry(found.label).score)
    ends = formats.EMPTY if test.interval is None else formats.score_range(metric, test.interval)
    lost = [formats.EMPTY] * 2
    if drop is not None:
        lost = [formats.difference_with_range(metric, drop.value, drop.interval), say("yes" if drop.is_beyond_chance else "no")]
    return [found.label, before, formats.score(metric, test.score), ends, *lost, formats.odds(found.prob_behind)]


def _verdict(ranking: Ranking) -> tuple[str, Tone]:
    """What the test images do to the choice, in words."""
    if is_overturned(ranking):
        afterwards = say("Its own test predictions were opened afterwards, for its score alone.") if ranking.test is not None else ""
        return told(overturned(ranking), afterwards), Tone.warning
    if ranking.outcome is Outcome.undefined:
        text = say(
            "{metric} has no value on these test images, so they cannot check the choice.",
            metric=formats.sentence(metric_name(ranking.metric)),
        )
        return text, Tone.warning
    stands = say(
        "The choice stands: it would fall if train, val and its own test score were more than {sure} sure that {surpassed}. No other "
        "candidate was opened for this choice. Some loss on test is usual, as the winner was picked by train and val.",
        sure=formats.chance(PROB_OVERTURN),
        surpassed=surpassed(ranking),
    )
    return stands, Tone.plain
