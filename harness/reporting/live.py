"""The page of a study whose sweep is running: how far it is, and who leads so far. Light: no pictures, no sections, no test score.

The report at the end of the sweep replaces it (`build`).
"""

from collections.abc import Sequence

from harness.reporting import formats
from harness.reporting.document import Block, Column, Command, Document, Fact, Paragraph, Table, Tone
from harness.reporting.stage import Stage
from harness.reporting.wording import metric_name
from harness.select.ranking import Entry, Ranking
from harness.text.counts import counted

REFRESH_S = 10
"""After so long a browser loads the page again."""
TOP = 20
"""Lines of the ranking."""


def describe(study: str, stage: Stage, ranking: Ranking | None, report_command: str, *, has_ended: bool = False) -> Document:
    """The page.

    Args:
        study: its name.
        stage: how far the sweep is, or was when it ended.
        ranking: of the good rows that there were some time ago; None: there were none.
        report_command: what ranks the study, as typed in a shell.
        has_ended: the sweep has ended without a report.
    """
    failed = f"{counted(stage.num_failed, 'job')} failed; the report at the end says why." if stage.num_failed else ""
    told = {
        "Now": "" if has_ended else f"{formats.sentence(stage.doing)}.",
        "Failed": failed,
        "Not known yet": _unknown(ranking),
    }
    return Document(
        title=f"Which model to use for {formats.one_line(study)}",
        verdict="interrupted" if has_ended else "still running",
        tone=Tone.warning if has_ended else Tone.note,
        headline=_headline(stage, has_ended=has_ended),
        facts=[Fact(question, answer) for question, answer in told.items() if answer],
        next_steps=[Command("To go on, run the same sweep again. To rank what is there", report_command)] if has_ended else [],
        leaderboard=[] if ranking is None or not ranking.entries else _leaderboard(ranking),
        sections=[],
    )


def _headline(stage: Stage, *, has_ended: bool) -> str:
    if has_ended:
        return f"The sweep was interrupted: {stage.done}."
    return f"The sweep is still running: {'; '.join(filter(None, (stage.done, stage.left)))}."


def _unknown(ranking: Ranking | None) -> str:
    if ranking is None or not ranking.entries:
        return "A ranking of the candidates follows when jobs have ended well and there was time to make it."
    return "Latencies, which are measured when all jobs are done, and the score on test images, which stay sealed until then. Places may change."


def _leaderboard(ranking: Ranking) -> Sequence[Block]:
    names = ("interval", "expected", "probability of being best", "parameters", "training")
    columns = [
        *(Column("rank interval", is_number=True), Column("candidate", is_name=True), Column(metric_name(ranking.metric), is_number=True)),
        *(Column(name, is_number=True) for name in names),
    ]
    num_jobs = sum(len(entry.candidate.rows) for entry in ranking.entries)
    title = f"So far: {counted(len(ranking.entries), 'candidate')}, {counted(num_jobs, 'job')}"
    shown = ranking.entries[:TOP]
    hidden = len(ranking.entries) - len(shown)
    table = Table(title, columns, [_line(ranking, entry) for entry in shown])
    return [table, Paragraph(f"{hidden} more candidates have lower scores.")] if hidden else [table]


def _line(ranking: Ranking, entry: Entry) -> list[str]:
    minutes = entry.cost.train_min
    return [
        formats.places(entry.rank_interval),
        entry.label,
        formats.score(ranking.metric, entry.score),
        formats.score_range(ranking.metric, entry.interval),
        formats.score(ranking.metric, entry.expected),
        "excluded by a limit" if entry.breaches else formats.odds(entry.prob_best),
        formats.millions(entry.cost.params_m),
        formats.duration(None if minutes is None else 60 * minutes),
    ]
