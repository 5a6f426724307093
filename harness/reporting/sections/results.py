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
from harness.text.language import say, told


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
    return Section("results", say("Test and compare"), blocks)


def outcome(ranking: Ranking) -> str:
    """Who is ahead, in one sentence for everybody."""
    best = ranking.best
    assert best is not None
    scored = say(
        "{label} scores best, {score} {metric}",
        label=best.label,
        score=formats.score(ranking.metric, best.score),
        metric=metric_name(ranking.metric),
    )
    if not ranking.eligible:
        return say("{scored}, but no candidate meets the limits.", scored=scored)
    if len(ranking.eligible) == 1:
        return say("{scored}; nothing else within the limits was {measured}.", scored=scored, measured=measured(ranking))
    number = len(ranking.tied)
    if number == 1:
        return say(
            "{scored}, and is ahead of the other by more than chance explains."
            if len(ranking.eligible) == 2
            else "{scored}, and is ahead of all others by more than chance explains.",
            scored=scored,
        )
    tied = say(
        "{scored}, but one other cannot be excluded as best."
        if number == 2
        else "{scored}, but {number} others cannot be excluded as best.",
        scored=scored,
        number=number - 1,
    )
    return told(tied, separation(ranking))


def _failed(ranking: Ranking) -> list[Block]:
    if not ranking.pool.failed:
        return [Paragraph(say("No job failed."))]
    columns = [
        Column(say("job")),
        Column(say("backbone"), is_name=True),
        Column(say("freeze")),
        Column(say("seed"), is_number=True),
        Column(say("status")),
        Column(say("reason")),
    ]
    rows = [
        [*(formats.plain(value) for value in (row.job_id, row.backbone, row.strategy, row.seed, row.status, row.error))]
        for row in ranking.pool.failed
    ]
    return [Table(say("Failed jobs"), columns, rows)]


def _left_out(ranking: Ranking) -> list[Block]:
    if not ranking.pool.left_out:
        return []
    sentences = [
        say(
            "Job {job} ({backbone}, freeze={freeze}): {reason}.",
            job=left.row.job_id,
            backbone=formats.one_line(left.row.backbone),
            freeze=left.row.strategy,
            reason=formats.one_line(left.reason),
        )
        for left in ranking.pool.left_out[:MAX_LISTED]
    ]
    hidden = len(ranking.pool.left_out) - MAX_LISTED
    sentences += [say("{number} more are in results.csv.", number=hidden)] if hidden > 0 else []
    return [
        Paragraph(say("These rows are left out, as they cannot be compared with the ranked ones or were not measured:")),
        Bullets(sentences),
    ]


def _damaged(ranking: Ranking) -> list[Block]:
    """Files of the study that cannot be used; nothing that they held is anywhere in the report."""
    if not ranking.pool.damaged:
        return []
    columns = [Column(name) for name in (say("file"), say("what is wrong"), say("what to do"))]
    rows = [[formats.one_line(text) for text in (each.name, each.reason, each.remedy)] for each in ranking.pool.damaged[:MAX_LISTED]]
    hidden = len(ranking.pool.damaged) - MAX_LISTED
    more = (
        [Paragraph(say("{number} more are told by `{command}`.", number=hidden, command=ranking.command("verify")))] if hidden > 0 else []
    )
    return [Table(say("Files that cannot be used"), columns, rows), *more]
