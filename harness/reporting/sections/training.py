"""Step 5: per-class results and over-fitting."""

from harness.data.labels import count_classes
from harness.reporting import formats
from harness.reporting.document import Block, Cell, Column, Paragraph, Table, Tone
from harness.reporting.plots.classes import MAX_CLASSES, hardest
from harness.reporting.sections.facts import MAX_LISTED, some
from harness.select.audit import is_frozen
from harness.select.classes import val_scores
from harness.select.ranking import Entry, Ranking
from harness.text.language import say, told

LARGE_GAP_FRAC = 0.10
"""From this lead of train accuracy over val accuracy on, a candidate is said to over-fit."""


def classes(ranking: Ranking) -> Table:
    """Precision, recall and F1 of each class, of the recommended or else the best candidate; of labels with their thresholds."""
    first, *_ = val_scores(ranking)
    is_labels = bool(first.thresholds)
    counts_C = count_classes(ranking.pool.labels_N, len(ranking.pool.class_names))
    rows: list[list[Cell]] = []
    for c in hardest(first):
        found = first.classes[c]
        parts = [formats.percent(value) for value in (found.precision, found.recall, found.f1)]
        called_from = [formats.percent(first.thresholds[c])] if first.thresholds else []
        rows.append([formats.one_line(ranking.pool.class_names[c]), formats.count(int(counts_C[c])), *parts, *called_from])
    threshold = [say("threshold")] if is_labels else []
    numbers = (say("val images"), say("precision"), say("recall"), "F1", *threshold)
    columns = [Column(say("label" if is_labels else "class")), *(Column(name, is_number=True) for name in numbers)]
    return Table(_title(first.label, len(ranking.pool.class_names) - MAX_CLASSES, is_labels=is_labels), columns, rows)


def _title(label: str, hidden: int, *, is_labels: bool) -> str:
    title = say("Per label, {label}, hardest first" if is_labels else "Per class, {label}, hardest first", label=label)
    if hidden <= 0:
        return title
    return say(
        "{title} ({number} easier labels left out)" if is_labels else "{title} ({number} easier classes left out)",
        title=title,
        number=hidden,
    )


def overfitting(ranking: Ranking) -> list[Block]:
    """Accuracy on train against val, and a warning where the gap is large; nothing where it is not known."""
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
            say("over-fits") if gap >= LARGE_GAP_FRAC else "",
        ]
        for entry, gap in gaps[:MAX_LISTED]
    ]
    columns = [
        Column(say("candidate"), is_name=True),
        *(Column(name, is_number=True) for name in (say("train accuracy"), say("val accuracy"), say("gap (points)"))),
        Column(""),
    ]
    return [Table(say("Over-fitting: accuracy on train against val"), columns, rows), Paragraph(*_overfitting_words(gaps))]


def _gap(entry: Entry) -> float | None:
    train, val = entry.candidate.mean("train_accuracy"), entry.candidate.mean("val_accuracy")
    return None if train is None or val is None else train - val


def _overfitting_words(gaps: list[tuple[Entry, float]]) -> tuple[str, Tone]:
    large = [entry.label for entry, gap in gaps if gap >= LARGE_GAP_FRAC]
    bound = formats.points(LARGE_GAP_FRAC)
    if not large:
        return say("No candidate is {bound} or more better on the images it was trained on than on val.", bound=bound), Tone.plain
    can_freeze = any(not is_frozen(entry.candidate.row) for entry, gap in gaps if gap >= LARGE_GAP_FRAC)
    these = say(
        "These are {bound} or more better on the images they were trained on than on val, so they over-fit: {labels}.",
        bound=bound,
        labels=some(large),
    )
    advice = say(
        "More images, a deeper freeze or stronger augmentation would help."
        if can_freeze
        else "More images or stronger augmentation would help."
    )
    return told(these, advice), Tone.warning
