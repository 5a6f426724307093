"""Step 5: what was measured: scores, ties, failures, depths, classes, training, cost."""

import numpy as np

from harness.config import Metric
from harness.reporting import formats
from harness.reporting.document import Block, Bullets, Cell, Column, Paragraph, Section, Table, Tone
from harness.reporting.plots.classes import MAX_CLASSES, hardest
from harness.reporting.sections.facts import MAX_LISTED, Pictures, picture
from harness.reporting.wording import METRIC_NAMES
from harness.select.ranking import Entry, Ranking

TITLE = "Test and compare"

LARGE_GAP_FRAC = 0.10
"""From this lead of train accuracy over val accuracy on, a candidate is said to over-fit."""


def build(ranking: Ranking, pictures: Pictures) -> Section:
    """The table, the pictures, and who is tied with whom."""
    blocks: list[Block] = []
    if ranking.entries:
        blocks += [Paragraph(_how_compared(ranking)), _scores(ranking), *_long(ranking), _other_metrics(ranking)]
        blocks += picture(pictures, "quality-latency", "freeze-depth")
        blocks += [_classes(ranking), *picture(pictures, "class-f1", "learning-curves")]
        blocks += [*_overfitting(ranking), *picture(pictures, "cost")]
    blocks += [*_failed(ranking), *_left_out(ranking)]
    return Section("results", TITLE, blocks)


def _how_compared(ranking: Ranking) -> str:
    return (
        f"All candidates labelled the same {formats.count(len(ranking.labels_N))} val images. The images were drawn again "
        f"{formats.count(ranking.rank.num_resamples)} times, class by class and the same for every candidate; intervals hold "
        f"{formats.confidence(ranking.rank.confidence)} of the outcomes. Candidates marked as tied cannot be told apart from the best."
    )


def _scores(ranking: Ranking) -> Table:
    unit = "nats" if ranking.metric is Metric.log_loss else "points"
    names = (METRIC_NAMES[ranking.metric], "interval", f"recommended is better by ({unit})")
    columns = [Column("rank", is_number=True), Column("candidate"), *(Column(name, is_number=True) for name in names), Column("standing")]
    return Table("Scores on val", columns, [_score_line(ranking, entry) for entry in ranking.entries[:MAX_LISTED]], _marked(ranking))


def _score_line(ranking: Ranking, entry: Entry) -> list[Cell]:
    metric, behind = ranking.metric, entry.behind
    return [
        formats.count(entry.rank),
        entry.label,
        formats.score(metric, entry.score),
        formats.score_range(metric, entry.interval),
        formats.difference_with_range(metric, behind.value, behind.interval) if behind else formats.EMPTY,
        standing(ranking, entry),
    ]


def _other_metrics(ranking: Ranking) -> Table:
    names = ("accuracy", "balanced accuracy", "macro F1", "weighted F1", "log loss (nats)", "calibration error", "seeds")
    columns = [Column("candidate"), *(Column(name, is_number=True) for name in names)]
    rows: list[list[Cell]] = []
    for entry in ranking.entries[:MAX_LISTED]:
        mean = entry.candidate.mean
        shares = [formats.percent(mean(f"val_{name}")) for name in ("accuracy", "balanced_accuracy", "f1_macro", "f1_weighted")]
        doubts = [formats.nats(mean("val_log_loss")), formats.percent(mean("val_ece"))]
        rows.append([entry.label, *shares, *doubts, formats.count(len(entry.candidate.rows))])
    return Table("Every metric on val", columns, rows, _marked(ranking))


def _marked(ranking: Ranking) -> frozenset[int]:
    return frozenset(place for place, entry in enumerate(ranking.entries[:MAX_LISTED]) if entry is ranking.recommended)


def standing(ranking: Ranking, entry: Entry) -> str:
    """Where one candidate stands, in a word or two."""
    if entry is ranking.recommended:
        return "recommended"
    if entry.breaches:
        return "excluded"
    return "tied" if entry.tied else "behind"


def leading(ranking: Ranking, number: int) -> list[Entry]:
    """The first lines of the ranking; the recommended takes the last one when it stands further down."""
    shown = list(ranking.entries[:number])
    if ranking.recommended is not None and ranking.recommended not in shown:
        shown[-1] = ranking.recommended
    return shown


def _long(ranking: Ranking) -> list[Block]:
    hidden = len(ranking.entries) - MAX_LISTED
    return [Paragraph(f"{hidden} more candidates are in ranking.csv.")] if hidden > 0 else []


def _classes(ranking: Ranking) -> Table:
    first = ranking.class_scores[0]
    counts_C = np.bincount(ranking.labels_N, minlength=len(ranking.class_names))
    rows: list[list[Cell]] = []
    for c in hardest(first):
        found = first.classes[c]
        parts = [formats.percent(value) for value in (found.precision, found.recall, found.f1)]
        rows.append([formats.one_line(ranking.class_names[c]), formats.count(int(counts_C[c])), *parts])
    columns = [Column("class"), *(Column(name, is_number=True) for name in ("val images", "precision", "recall", "F1"))]
    title = f"Per class, {first.label}, hardest first"
    hidden = len(ranking.class_names) - MAX_CLASSES
    return Table(f"{title} ({hidden} easier classes left out)" if hidden > 0 else title, columns, rows)


def _overfitting(ranking: Ranking) -> list[Block]:
    gaps = [(entry, gap) for entry in ranking.entries if (gap := _gap(entry)) is not None]
    if not gaps:
        return []
    gaps = sorted(gaps, key=lambda pair: -pair[1])
    rows: list[list[Cell]] = [
        [
            entry.label,
            formats.percent(entry.candidate.mean("train_accuracy")),
            formats.percent(entry.candidate.mean("val_accuracy")),
            formats.signed_points(gap),
            "over-fits" if gap >= LARGE_GAP_FRAC else "",
        ]
        for entry, gap in gaps[:MAX_LISTED]
    ]
    columns = [
        Column("candidate"),
        *(Column(name, is_number=True) for name in ("train accuracy", "val accuracy", "gap (points)")),
        Column(""),
    ]
    return [Table("Over-fitting: accuracy on train against val", columns, rows), Paragraph(*_overfitting_words(gaps))]


def _gap(entry: Entry) -> float | None:
    train, val = entry.candidate.mean("train_accuracy"), entry.candidate.mean("val_accuracy")
    return None if train is None or val is None else train - val


def _overfitting_words(gaps: list[tuple[Entry, float]]) -> tuple[str, Tone]:
    large = [entry.label for entry, gap in gaps if gap >= LARGE_GAP_FRAC]
    bound = formats.points(LARGE_GAP_FRAC)
    if not large:
        return f"No candidate is {bound} or more better on the images it was trained on than on val.", Tone.plain
    named = ", ".join(large[:6]) + (f" and {len(large) - 6} more" if len(large) > 6 else "")
    advice = "More images, a deeper freeze or stronger augmentation would help."
    return (
        f"These are {bound} or more better on the images they were trained on than on val, so they over-fit: {named}. {advice}",
        Tone.warning,
    )


def _failed(ranking: Ranking) -> list[Block]:
    if not ranking.failed:
        return [Paragraph("No job failed.")]
    columns = [Column("job"), Column("backbone"), Column("freeze"), Column("seed", is_number=True), Column("status"), Column("reason")]
    rows = [
        [*(formats.plain(value) for value in (row.job_id, row.backbone, row.freeze, row.seed, row.status, row.error))]
        for row in ranking.failed
    ]
    return [Table("Failed jobs", columns, rows)]


def _left_out(ranking: Ranking) -> list[Block]:
    if not ranking.left_out:
        return []
    sentences = [
        f"Job {left.row.job_id} ({formats.one_line(left.row.backbone)}, freeze={left.row.freeze}): {formats.one_line(left.reason)}."
        for left in ranking.left_out[:MAX_LISTED]
    ]
    hidden = len(ranking.left_out) - MAX_LISTED
    sentences += [f"{hidden} more are in results.csv."] if hidden > 0 else []
    return [Paragraph("These good rows are left out, as they cannot be compared with the ranked ones:"), Bullets(sentences)]
