"""Step 1: what is asked, and what the data are like."""

from harness.config import Metric
from harness.data.labels import count_classes, is_several
from harness.reporting import data_audit, formats
from harness.reporting.data_audit import DataAudit
from harness.reporting.document import Block, Bullets, Cell, Column, Paragraph, Section, Table, Tone
from harness.reporting.sections.facts import MAX_LISTED, known_rows, pairs, profile, split_name
from harness.reporting.wording import metric_meaning, metric_name
from harness.select.metric import baseline
from harness.select.ranking import Ranking
from harness.text.language import noted, say

_SIDES = {"widths": noted("widths (pixels)"), "heights": noted("heights (pixels)")}
"""Fields of a data profile -> what they are."""


def build(ranking: Ranking, audit: DataAudit | None = None) -> Section:
    """Classes, counts, image sizes, what was left out, and the metric that follows."""
    blocks: list[Block] = [Paragraph(_task(ranking)), Paragraph(_metric(ranking))]
    blocks += [Paragraph(_baseline(ranking))] if ranking.entries else []
    found, title = profile(ranking), say("Define the task, profile the data")
    if not found:
        return Section("task", title, [*blocks, Paragraph(say("No job got as far as reading the data."), Tone.warning)])
    blocks += [_counts(ranking), _images(ranking), *_doubts(ranking), *([] if audit is None else data_audit.blocks(audit))]
    return Section("task", title, blocks)


def _task(ranking: Ranking) -> str:
    name, found = formats.one_line(known_rows(ranking)[0].dataset), profile(ranking)
    if not found:
        return say("Data set {name}: each image belongs to one class.", name=name)
    if found.get("root"):
        name = say("{name} from {folder}", name=name, folder=formats.one_line(found["root"]))
    return say(
        "Data set {name}: {used} of {total} images are used, each with any of {number} labels. The largest label of train has {ratio} times "
        "the images of the smallest."
        if is_several(ranking.pool.labels_N)
        else "Data set {name}: {used} of {total} images are used, each in one of {number} classes. The largest class of train has {ratio} times "
        "the images of the smallest.",
        name=name,
        used=formats.count(found["num_used"]),
        total=formats.count(found["num_found"]),
        number=len(ranking.pool.class_names),
        ratio=formats.ratio(found["imbalance_ratio"]),
    )


def _metric(ranking: Ranking) -> str:
    return say(
        "Candidates are ranked by {metric} ({reason}): {meaning}.",
        metric=metric_name(ranking.metric),
        reason=ranking.metric_reason,
        meaning=metric_meaning(ranking.metric),
    )


def _baseline(ranking: Ranking) -> str:
    """Always naming the most frequent class: what a score must beat to mean anything."""
    metric = ranking.metric
    value = baseline(ranking.pool, metric).get(metric.value)
    name, score = metric_name(metric), formats.score(metric, value)
    if is_several(ranking.pool.labels_N):
        return say(
            "Without looking at an image, stating for every label its share of the val images scores {score} by {metric}.",
            score=score,
            metric=name,
        )
    counts_C = count_classes(ranking.pool.labels_N, len(ranking.pool.class_names))
    most = int(counts_C.argmax())
    most_frequent = say(
        "Without looking at an image, always answering “{name}” is right on {share} of the val images",
        name=formats.one_line(ranking.pool.class_names[most]),
        share=formats.percent(counts_C[most] / counts_C.sum()),
    )
    if metric is Metric.accuracy or value is None:
        return say("{answering}.", answering=most_frequent)
    return say(
        "{answering}; by {metric}, stating the class shares of val scores {score}."
        if metric is Metric.log_loss or metric.value == "expected_cost"
        else "{answering}; by {metric}, that answer scores {score}.",
        answering=most_frequent,
        metric=name,
        score=score,
    )


def _counts(ranking: Ranking) -> Table:
    counts = profile(ranking)["class_counts"]
    splits = [split for split in counts if sum(counts[split].values())]
    row, is_labels = known_rows(ranking)[0], is_several(ranking.pool.labels_N)
    columns = [Column(say("label" if is_labels else "class")), *(Column(split_name(split), is_number=True) for split in splits)]
    rows: list[list[Cell]] = [
        [formats.one_line(name), *(formats.count(counts[split].get(name, 0)) for split in splits)]
        for name in ranking.pool.class_names[:MAX_LISTED]
    ]
    if len(ranking.pool.class_names) > MAX_LISTED:
        hidden = ranking.pool.class_names[MAX_LISTED:]
        more = (formats.count(sum(counts[split].get(name, 0) for name in hidden)) for split in splits)
        rows.append([say("{number} more labels" if is_labels else "{number} more classes", number=len(hidden)), *more])
    sizes = (
        {"train": row.n_train, "val": row.n_val, "test": row.n_test} if is_labels else {name: sum(counts[name].values()) for name in splits}
    )
    rows.append([say("all images" if is_labels else "all"), *(formats.count(sizes[split]) for split in splits)])
    title = say("Images per label and split" if is_labels else "Images per class and split")
    return Table(title, columns, rows, marked=frozenset({len(rows) - 1}))


def _images(ranking: Ranking) -> Table:
    found = profile(ranking)
    sides = [
        (say(title), say(", ").join(f"{key} {formats.count(value)}" for key, value in found[name].items()))
        for name, title in _SIDES.items()
        if found.get(name)
    ]
    modes = say(", ").join(f"{mode} {formats.count(number)}" for mode, number in found.get("modes", {}).items())
    checks = [
        (say("unreadable files"), formats.count(found.get("num_unreadable", 0))),
        (say("equal images within a split, kept"), formats.count(found.get("num_duplicates_within", 0))),
        (say("equal images across splits, left out"), formats.count(found.get("num_duplicates_across", 0))),
        (say("equal images with different labels"), formats.count(found.get("num_label_conflicts", 0))),
    ]
    return pairs(say("Image quality"), (say("what"), say("found")), [*sides, (say("modes as stored"), modes or None), *checks])


def _doubts(ranking: Ranking) -> list[Block]:
    found = profile(ranking)
    sentences = [formats.one_line(note) for note in [*found.get("notes", []), *found.get("unreadable", [])]]
    return [Bullets(sentences)] if sentences else []
