"""Step 5: per-class results and over-fitting."""

from harness.data.labels import count_classes
from harness.reporting import formats
from harness.reporting.document import Block, Cell, Column, Paragraph, Table, Tone
from harness.reporting.plots.classes import MAX_CLASSES, hardest
from harness.reporting.sections.facts import MAX_LISTED
from harness.select.audit import is_frozen
from harness.select.classes import val_scores
from harness.select.ranking import Entry, Ranking

LARGE_GAP_FRAC = 0.10
"""From this lead of train accuracy over val accuracy on, a candidate is said to over-fit."""


def classes(ranking: Ranking) -> Table:
    """Precision, recall and F1 of each class, of the recommended or else the best candidate; of labels with their thresholds."""
    first, *_ = val_scores(ranking)
    named = ("label", ["threshold"]) if first.thresholds else ("class", [])
    counts_C = count_classes(ranking.pool.labels_N, len(ranking.pool.class_names))
    rows: list[list[Cell]] = []
    for c in hardest(first):
        found = first.classes[c]
        parts = [formats.percent(value) for value in (found.precision, found.recall, found.f1)]
        called_from = [formats.percent(first.thresholds[c])] if first.thresholds else []
        rows.append([formats.one_line(ranking.pool.class_names[c]), formats.count(int(counts_C[c])), *parts, *called_from])
    columns = [Column(named[0]), *(Column(name, is_number=True) for name in ("val images", "precision", "recall", "F1", *named[1]))]
    title = f"Per {named[0]}, {first.label}, hardest first"
    hidden = len(ranking.pool.class_names) - MAX_CLASSES
    return Table(f"{title} ({hidden} easier {'labels' if named[1] else 'classes'} left out)" if hidden > 0 else title, columns, rows)


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
            "over-fits" if gap >= LARGE_GAP_FRAC else "",
        ]
        for entry, gap in gaps[:MAX_LISTED]
    ]
    columns = [
        Column("candidate", is_name=True),
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
    can_freeze = any(not is_frozen(entry.candidate.row) for entry, gap in gaps if gap >= LARGE_GAP_FRAC)
    advice = f"More images{', a deeper freeze' if can_freeze else ''} or stronger augmentation would help."
    return (
        f"These are {bound} or more better on the images they were trained on than on val, so they over-fit: {named}. {advice}",
        Tone.warning,
    )
