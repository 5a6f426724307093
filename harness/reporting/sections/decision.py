"""Step 6: the recommendation, its score on images that nothing was chosen on, and what would change it."""

from harness.reporting import formats
from harness.reporting.answer import how_sure, in_full, is_overturned, is_safe, test_score, why
from harness.reporting.document import Block, Code, Column, Paragraph, Section, Table, Tone
from harness.reporting.grounds import fine_tuning, rests_on
from harness.reporting.picks import against, picks
from harness.reporting.sections import validation
from harness.reporting.sections.changes import changes
from harness.reporting.sections.facts import Pictures, picture
from harness.reporting.wording import command, metric_name, runner_up
from harness.select.ranking import Ranking
from harness.text.language import say, told


def build(ranking: Ranking, pictures: Pictures) -> Section:
    """The decision and the evidence for it."""
    chosen, title = ranking.recommended, say("Decide and validate")
    if chosen is None:
        return Section("decision", title, [Paragraph(in_full(ranking), Tone.warning), Paragraph(why(ranking)), *_nearest(ranking)])
    blocks: list[Block] = [Paragraph(in_full(ranking), tone(ranking)), Paragraph(told(why(ranking), how_sure(ranking)))]
    blocks += [Paragraph(told(rests_on(ranking), fine_tuning(ranking))), Paragraph(told(picks(ranking), against(ranking)))]
    blocks += [Paragraph(runner_up(ranking)), Paragraph(say("Score on new images: {score}", score=test_score(ranking)))]
    blocks += [*validation.finalists(ranking), *validation.scores(ranking), *validation.opened(ranking)]
    blocks += [*changes(ranking), *picture(pictures, "confusion"), Paragraph(say("To reproduce it:"))]
    return Section("decision", title, [*blocks, Code("\n".join(command(row) for row in chosen.candidate.rows))])


def tone(ranking: Ranking) -> Tone:
    """How much the answer should be doubted: not at all, somewhat, or a lot."""
    if ranking.recommended is None or is_overturned(ranking):
        return Tone.warning
    return Tone.plain if is_safe(ranking) else Tone.note


def _nearest(ranking: Ranking) -> list[Block]:
    if not ranking.nearest:
        return []
    columns = [Column(say("candidate"), is_name=True), Column(metric_name(ranking.metric), is_number=True), Column(say("misses by"))]
    rows = [
        (entry.label, formats.score(ranking.metric, entry.score), say("; ").join(breach.miss for breach in entry.breaches))
        for entry in ranking.nearest
    ]
    return [Table(say("Nearest to the limits"), columns, rows)]
