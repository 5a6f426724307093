"""Step 6: what the sealed test images say: finalists from val to test, whether the choice stands, and how often the seal was broken."""

from harness.config import Metric
from harness.reporting import formats
from harness.reporting.answer import is_overturned, overturned
from harness.reporting.document import Block, Cell, Column, Paragraph, Table, Tone
from harness.reporting.wording import METRIC_NAMES
from harness.select.finalists import Finalist
from harness.select.ranking import Ranking


def finalists(ranking: Ranking) -> list[Block]:
    """Each finalist on val and on test, and what follows; nothing without a test split."""
    if not ranking.finalists:
        return []
    unit = "nats" if ranking.metric is Metric.log_loss else "points"
    columns = [
        Column("finalist"),
        *(Column(name, is_number=True) for name in ("val", "test", "interval", f"lost from val to test ({unit})")),
        *(Column(name) for name in ("more than chance", "on test")),
    ]
    chosen = ranking.recommended
    places = [place for place, found in enumerate(ranking.finalists) if chosen is not None and found.label == chosen.label]
    rows = [_line(ranking, found) for found in ranking.finalists]
    title = f"Finalists: {METRIC_NAMES[ranking.metric]} on val and on test"
    return [Table(title, columns, rows, frozenset(places)), Paragraph(*_verdict(ranking))]


def scores(ranking: Ranking) -> list[Block]:
    """Every metric of the recommended on val and on test."""
    chosen, test = ranking.recommended, ranking.test
    if chosen is None or test is None:
        return []
    names = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "f1_macro": "macro F1", "f1_weighted": "weighted F1"}
    rows = [
        (text, formats.percent(chosen.candidate.mean(f"val_{name}")), formats.percent(test.quality.get(name)))
        for name, text in names.items()
    ]
    rows.append(("log loss (nats)", formats.nats(chosen.candidate.mean("val_log_loss")), formats.nats(test.quality.get("log_loss"))))
    columns = [Column("metric"), Column("val", is_number=True), Column("test", is_number=True)]
    return [Table(f"{chosen.label} on val and test", columns, rows)]


def opened(ranking: Ranking) -> list[Block]:
    """How often the seal was broken, or what is said in place of a test score."""
    if ranking.test is None:
        return [
            Paragraph(
                f"There is no test split; the confusion matrix below is on val, where {METRIC_NAMES[ranking.metric]} is somewhat too good."
            )
        ]
    jobs = "job has" if ranking.num_opened == 1 else "jobs have"
    return [
        Paragraph(
            f"The test predictions of {formats.count(ranking.num_opened)} {jobs} ever been opened in this study; each further one makes the "
            "best of them look too good."
        )
    ]


def _line(ranking: Ranking, found: Finalist) -> list[Cell]:
    metric, test, drop = ranking.metric, found.test, found.drop
    val = formats.score(metric, ranking.entry(found.label).score)
    ends = formats.EMPTY if test.interval is None else formats.score_range(metric, test.interval)
    lost = [formats.EMPTY] * 2
    if drop is not None:
        lost = [formats.difference_with_range(metric, drop.value, drop.interval), "yes" if drop.is_beyond_chance else "no"]
    standing = formats.EMPTY if found.tied is None else "tied" if found.tied else "behind"
    return [found.label, val, formats.score(metric, test.score), ends, *lost, standing]


def _verdict(ranking: Ranking) -> tuple[str, Tone]:
    """What the test images do to the choice, in words."""
    if is_overturned(ranking):
        return f"{overturned(ranking)} This lead was found on test, so it is somewhat too large itself.", Tone.warning
    if any(found.tied is None for found in ranking.finalists):
        return (
            f"{METRIC_NAMES[ranking.metric].capitalize()} has no value on these test images, so they cannot check the choice.",
            Tone.warning,
        )
    if len(ranking.finalists) > 1:
        stands = f"None of these {len(ranking.finalists)} is clearly better on test than the choice on val, so it stands."
    elif len(ranking.eligible) > 1:
        stands = (
            "No other was opened: all are behind on val, and the lower end of this one's test interval is above what any of them has there."
        )
    else:
        stands = "There was no other to open."
    return f"{stands} Some loss from val to test is usual, because the winner was picked on val.", Tone.plain
