"""Step 1: what is asked, and what the data are like."""

from harness.config import Metric
from harness.data.labels import count_classes, is_several
from harness.reporting import data_audit, formats
from harness.reporting.data_audit import DataAudit
from harness.reporting.document import Block, Bullets, Cell, Column, Paragraph, Section, Table, Tone
from harness.reporting.sections.facts import MAX_LISTED, known_rows, pairs, profile
from harness.reporting.wording import metric_meaning, metric_name
from harness.select.metric import baseline
from harness.select.ranking import Ranking

TITLE = "Define the task, profile the data"


def build(ranking: Ranking, audit: DataAudit | None = None) -> Section:
    """Classes, counts, image sizes, what was left out, and the metric that follows."""
    blocks: list[Block] = [Paragraph(_task(ranking)), Paragraph(_metric(ranking))]
    blocks += [Paragraph(_baseline(ranking))] if ranking.entries else []
    found = profile(ranking)
    if not found:
        return Section("task", TITLE, [*blocks, Paragraph("No job got as far as reading the data.", Tone.warning)])
    blocks += [_counts(ranking), _images(ranking), *_doubts(ranking), *([] if audit is None else data_audit.blocks(audit))]
    return Section("task", TITLE, blocks)


def _task(ranking: Ranking) -> str:
    row, found = known_rows(ranking)[0], profile(ranking)
    if not found:
        return f"Data set {formats.one_line(row.dataset)}: each image belongs to one class."
    where = f" from {formats.one_line(found['root'])}" if found.get("root") else ""
    is_labels = is_several(ranking.pool.labels_N)
    each = "each with any of" if is_labels else "each in one of"
    what = ("labels", "label") if is_labels else ("classes", "class")
    return (
        f"Data set {formats.one_line(row.dataset)}{where}: {formats.count(found['num_used'])} of {formats.count(found['num_found'])} images "
        f"are used, {each} {len(ranking.pool.class_names)} {what[0]}. The largest {what[1]} of train has "
        f"{formats.ratio(found['imbalance_ratio'])} times the images of the smallest."
    )


def _metric(ranking: Ranking) -> str:
    name = metric_name(ranking.metric)
    return f"Candidates are ranked by {name} ({ranking.metric_reason}): {metric_meaning(ranking.metric)}."


def _baseline(ranking: Ranking) -> str:
    """Always naming the most frequent class: what a score must beat to mean anything."""
    scores = baseline(ranking.pool, ranking.metric)
    counts_C = count_classes(ranking.pool.labels_N, len(ranking.pool.class_names))
    if is_several(ranking.pool.labels_N):
        scored = formats.score(ranking.metric, scores.get(ranking.metric.value))
        return f"Without looking at an image, stating for every label its share of the val images scores {scored} by {metric_name(ranking.metric)}."
    most = int(counts_C.argmax())
    name = formats.one_line(ranking.pool.class_names[most])
    sentence = f"Without looking at an image, always answering “{name}” is right on {formats.percent(counts_C[most] / counts_C.sum())} of the val images"
    value = scores.get(ranking.metric.value)
    if ranking.metric is Metric.accuracy or value is None:
        return f"{sentence}."
    states_shares = ranking.metric is Metric.log_loss or ranking.metric.value == "expected_cost"
    basis = "stating the class shares of val" if states_shares else "that answer"
    return f"{sentence}; by {metric_name(ranking.metric)}, {basis} scores {formats.score(ranking.metric, value)}."


def _counts(ranking: Ranking) -> Table:
    counts = profile(ranking)["class_counts"]
    splits = [split for split in counts if sum(counts[split].values())]
    row, is_labels = known_rows(ranking)[0], is_several(ranking.pool.labels_N)
    columns = [Column("label" if is_labels else "class"), *(Column(split, is_number=True) for split in splits)]
    rows: list[list[Cell]] = [
        [formats.one_line(name), *(formats.count(counts[split].get(name, 0)) for split in splits)]
        for name in ranking.pool.class_names[:MAX_LISTED]
    ]
    if len(ranking.pool.class_names) > MAX_LISTED:
        hidden = ranking.pool.class_names[MAX_LISTED:]
        more = (formats.count(sum(counts[split].get(name, 0) for name in hidden)) for split in splits)
        rows.append([f"{len(hidden)} more {'labels' if is_labels else 'classes'}", *more])
    sizes = (
        {"train": row.n_train, "val": row.n_val, "test": row.n_test} if is_labels else {name: sum(counts[name].values()) for name in splits}
    )
    rows.append(["all images" if is_labels else "all", *(formats.count(sizes[split]) for split in splits)])
    return Table(f"Images per {'label' if is_labels else 'class'} and split", columns, rows, marked=frozenset({len(rows) - 1}))


def _images(ranking: Ranking) -> Table:
    found = profile(ranking)
    sides = [
        (f"{name} (pixels)", ", ".join(f"{key} {formats.count(value)}" for key, value in found[name].items()))
        for name in ("widths", "heights")
        if found.get(name)
    ]
    modes = ", ".join(f"{mode} {formats.count(number)}" for mode, number in found.get("modes", {}).items())
    checks = [
        ("unreadable files", formats.count(found.get("num_unreadable", 0))),
        ("equal images within a split, kept", formats.count(found.get("num_duplicates_within", 0))),
        ("equal images across splits, left out", formats.count(found.get("num_duplicates_across", 0))),
        ("equal images with different labels", formats.count(found.get("num_label_conflicts", 0))),
    ]
    return pairs("Image quality", ("what", "found"), [*sides, ("modes as stored", modes or None), *checks])


def _doubts(ranking: Ranking) -> list[Block]:
    found = profile(ranking)
    sentences = [formats.one_line(note) for note in [*found.get("notes", []), *found.get("unreadable", [])]]
    return [Bullets(sentences)] if sentences else []
