"""Step 5: the results. First one sentence and one plot, then the statistics, the search, the transferability scores and the costs."""

from harness.reporting import formats
from harness.reporting.answer import is_safe, separation
from harness.reporting.document import Block, Bullets, Column, Paragraph, Section, Table, Tone
from harness.reporting.scope import measured
from harness.reporting.sections import calibration, search, statistics, training, transferability
from harness.reporting.sections.facts import MAX_LISTED, Pictures, picture
from harness.reporting.wording import metric_name
from harness.select.audit import Audit
from harness.select.ranking import Ranking

TITLE = "Test and compare"


def build(ranking: Ranking, pictures: Pictures, audit: Audit) -> Section:
    """Who is best and who is tied with whom, at growing depth."""
    blocks: list[Block] = []
    if ranking.entries:
        blocks += [Paragraph(outcome(ranking), Tone.plain if is_safe(ranking) else Tone.note), *picture(pictures, "candidates")]
        blocks += [*statistics.compared(ranking), *calibration.table(ranking), *statistics.pairs(ranking)]
        blocks += [*picture(pictures, "quality-latency"), *statistics.front(ranking), *picture(pictures, "freeze-depth")]
        blocks += [training.classes(ranking), *picture(pictures, "class-f1", "learning-curves"), *training.overfitting(ranking)]
        blocks += [*picture(pictures, "cost"), *search.stopped(ranking), *search.learning_rates(ranking)]
        blocks += [*transferability.scores(ranking), *transferability.self_audit(audit)]
    blocks += [*_failed(ranking), *_left_out(ranking), *_damaged(ranking)]
    return Section("results", TITLE, blocks)


def outcome(ranking: Ranking) -> str:
    """Who is ahead, in one sentence for everybody."""
    best = ranking.best
    assert best is not None
    scored = f"{best.label} scores best, {formats.score(ranking.metric, best.score)} {metric_name(ranking.metric)}"
    number = len(ranking.tied)
    if len(ranking.eligible) <= 1:
        return (
            f"{scored}; nothing else within the limits was {measured(ranking)}."
            if ranking.eligible
            else f"{scored}, but no candidate meets the limits."
        )
    if number == 1:
        return f"{scored}, and is ahead of {'the other' if len(ranking.eligible) == 2 else 'all others'} by more than chance explains."
    others = "one other" if number == 2 else f"{number - 1} others"
    return f"{scored}, but {others} cannot be excluded as best. {separation(ranking)}".strip()


def _failed(ranking: Ranking) -> list[Block]:
    if not ranking.pool.failed:
        return [Paragraph("No job failed.")]
    columns = [
        Column("job"),
        Column("backbone", is_name=True),
        Column("freeze"),
        Column("seed", is_number=True),
        Column("status"),
        Column("reason"),
    ]
    rows = [
        [*(formats.plain(value) for value in (row.job_id, row.backbone, row.strategy, row.seed, row.status, row.error))]
        for row in ranking.pool.failed
    ]
    return [Table("Failed jobs", columns, rows)]


def _left_out(ranking: Ranking) -> list[Block]:
    if not ranking.pool.left_out:
        return []
    sentences = [
        f"Job {left.row.job_id} ({formats.one_line(left.row.backbone)}, freeze={left.row.strategy}): {formats.one_line(left.reason)}."
        for left in ranking.pool.left_out[:MAX_LISTED]
    ]
    hidden = len(ranking.pool.left_out) - MAX_LISTED
    sentences += [f"{hidden} more are in results.csv."] if hidden > 0 else []
    return [Paragraph("These rows are left out, as they cannot be compared with the ranked ones or were not measured:"), Bullets(sentences)]


def _damaged(ranking: Ranking) -> list[Block]:
    """Files of the study that cannot be used; nothing that they held is anywhere in the report."""
    if not ranking.pool.damaged:
        return []
    columns = [Column(name) for name in ("file", "what is wrong", "what to do")]
    rows = [[formats.one_line(text) for text in (each.name, each.reason, each.remedy)] for each in ranking.pool.damaged[:MAX_LISTED]]
    hidden = len(ranking.pool.damaged) - MAX_LISTED
    more = [Paragraph(f"{hidden} more are told by `{ranking.command('verify')}`.")] if hidden > 0 else []
    return [Table("Files that cannot be used", columns, rows), *more]
