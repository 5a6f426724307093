"""Step 6: the recommendation, what would change it, and its score on images that nothing was chosen on."""

from harness.reporting import formats
from harness.reporting.document import Block, Bullets, Code, Column, Paragraph, Section, Table, Tone
from harness.reporting.sections.facts import Pictures, picture
from harness.reporting.wording import METRIC_NAMES, command, gives_up, headline, how_sure, test_score, why
from harness.select.ranking import Entry, Ranking, is_higher_better

TITLE = "Decide and validate"


def build(ranking: Ranking, pictures: Pictures) -> Section:
    """The decision and the evidence for it."""
    chosen = ranking.recommended
    if chosen is None:
        return Section("decision", TITLE, [Paragraph(headline(ranking), Tone.warning), Paragraph(why(ranking)), *_nearest(ranking)])
    blocks: list[Block] = [Paragraph(headline(ranking)), Paragraph(f"{why(ranking)} {how_sure(ranking)}"), Paragraph(_rival(ranking))]
    blocks += [*_changes(ranking), Paragraph(f"Score on new images: {test_score(ranking)}"), *_drop(ranking), *_test_table(ranking)]
    blocks += [Paragraph(_opened(ranking)), *picture(pictures, "confusion"), Paragraph("To reproduce it:")]
    return Section("decision", TITLE, [*blocks, Code("\n".join(command(row) for row in chosen.candidate.rows))])


def _rival(ranking: Ranking) -> str:
    if ranking.runner_up is None:
        return gives_up(ranking)
    return f"Runner-up: {ranking.runner_up.label}. {gives_up(ranking)}"


def _changes(ranking: Ranking) -> list[Block]:
    """What other limits would make of the decision."""
    sentences = [*_faster(ranking), *_relaxed(ranking)]
    return [Paragraph("What would change the decision:"), Bullets(sentences)] if sentences else [Paragraph(_nothing_cheaper(ranking))]


def _nothing_cheaper(ranking: Ranking) -> str:
    if len(ranking.entries) == 1:
        return "Nothing else was measured, so nothing is known about what would change the decision."
    return "No limit on latency would change the decision: no other candidate on the Pareto front is faster, and none was excluded with a better score."


def _faster(ranking: Ranking) -> list[str]:
    """Untied candidates that answer sooner: what a tighter limit on latency would lead to."""
    chosen = ranking.recommended
    assert chosen is not None
    bound = chosen.cost.latency_ms_p50
    faster = [entry for entry in ranking.entries if entry.on_front and not entry.tied and _is_below(entry, bound)]
    return [
        f"If {formats.ms(bound)} per image is too slow: {entry.label} takes {formats.ms(entry.cost.latency_ms_p50)} "
        f"and scores {formats.difference(ranking.metric, entry.behind.value)} worse "
        f"({formats.confidence(ranking.rank.confidence)} interval {formats.difference_range(ranking.metric, entry.behind.interval)})."
        for entry in faster[:3]
        if entry.behind is not None
    ]


def _is_below(entry: Entry, bound: float | None) -> bool:
    latency_ms = entry.cost.latency_ms_p50
    return latency_ms is not None and bound is not None and latency_ms < bound


def _relaxed(ranking: Ranking) -> list[str]:
    """Excluded candidates with a better score than every one within the limits."""
    assert ranking.best is not None
    sign = 1 if is_higher_better(ranking.metric) else -1
    better = [entry for entry in ranking.entries if entry.breaches and sign * (entry.score - ranking.best.score) > 0]
    return [
        f"Without the limits, {entry.label} would have the better score ({formats.score(ranking.metric, entry.score)}): {'; '.join(entry.excluded)}."
        for entry in better[:3]
    ]


def _drop(ranking: Ranking) -> list[Block]:
    chosen, test = ranking.recommended, ranking.test
    if chosen is None or test is None or test.score is None:
        return []
    fall = (chosen.score - test.score) * (1 if is_higher_better(ranking.metric) else -1)
    size = formats.difference(ranking.metric, fall)
    words = f"{size} {'worse' if fall > 0 else 'better'} than" if fall else "the same as"
    return [Paragraph(f"That is {words} its val score. Some loss is usual, because the winner was chosen on val.")]


def _test_table(ranking: Ranking) -> list[Block]:
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


def _opened(ranking: Ranking) -> str:
    if ranking.test is None:
        return f"There is no test split; the confusion matrix below is on val, where {METRIC_NAMES[ranking.metric]} is somewhat too good."
    jobs = "job has" if ranking.num_opened == 1 else "jobs have"
    return f"The test predictions of {ranking.num_opened} {jobs} ever been opened in this study; each further one makes the best of them look too good."


def _nearest(ranking: Ranking) -> list[Block]:
    if not ranking.nearest:
        return []
    columns = [Column("candidate"), Column(METRIC_NAMES[ranking.metric], is_number=True), Column("misses by")]
    rows = [
        (entry.label, formats.score(ranking.metric, entry.score), "; ".join(breach.miss for breach in entry.breaches))
        for entry in ranking.nearest
    ]
    return [Table("Nearest to the limits", columns, rows)]
