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
from harness.text.language import say

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
    failed = say("{jobs} failed; the report at the end says why.", jobs=counted(stage.num_failed, "job")) if stage.num_failed else ""
    facts = [
        Fact(say("Now"), "" if has_ended else say("{clauses}.", clauses=formats.sentence(stage.doing))),
        Fact(say("Failed"), failed),
        Fact(say("Not known yet"), _unknown(ranking)),
    ]
    go_on = Command(say("To go on, run the same sweep again. To rank what is there"), report_command)
    return Document(
        title=say("Which model to use for {study}", study=formats.one_line(study)),
        verdict=say("interrupted" if has_ended else "still running"),
        tone=Tone.warning if has_ended else Tone.note,
        headline=_headline(stage, has_ended=has_ended),
        facts=[fact for fact in facts if fact.answer],
        next_steps=[go_on] if has_ended else [],
        leaderboard=[] if ranking is None or not ranking.entries else _leaderboard(ranking),
        sections=[],
    )


def _headline(stage: Stage, *, has_ended: bool) -> str:
    if has_ended:
        return say("The sweep was interrupted: {stage}.", stage=stage.done)
    return say("The sweep is still running: {stage}.", stage=say("; ").join(filter(None, (stage.done, stage.left))))


def _unknown(ranking: Ranking | None) -> str:
    if ranking is None or not ranking.entries:
        return say("A ranking of the candidates follows when jobs have ended well and there was time to make it.")
    return say(
        "Latencies, which are measured when all jobs are done, and the score on test images, which stay sealed until then. Places may change."
    )


def _leaderboard(ranking: Ranking) -> Sequence[Block]:
    names = (say("interval"), say("expected"), say("probability of being best"), say("parameters"), say("training"))
    columns = [
        Column(say("rank interval"), is_number=True),
        Column(say("candidate"), is_name=True),
        *(Column(name, is_number=True) for name in (metric_name(ranking.metric), *names)),
    ]
    num_jobs = sum(len(entry.candidate.rows) for entry in ranking.entries)
    title = say("So far: {candidates}, {jobs}", candidates=counted(len(ranking.entries), "candidate"), jobs=counted(num_jobs, "job"))
    shown = ranking.entries[:TOP]
    hidden = len(ranking.entries) - len(shown)
    table = Table(title, columns, [_line(ranking, entry) for entry in shown])
    return [table, Paragraph(say("{number} more candidates have lower scores.", number=hidden))] if hidden else [table]


def _line(ranking: Ranking, entry: Entry) -> list[str]:
    minutes = entry.cost.train_min
    return [
        formats.places(entry.rank_interval),
        entry.label,
        formats.score(ranking.metric, entry.score),
        formats.score_range(ranking.metric, entry.interval),
        formats.score(ranking.metric, entry.expected),
        say("excluded by a limit") if entry.breaches else formats.odds(entry.prob_best),
        formats.millions(entry.cost.params_m),
        formats.duration(None if minutes is None else 60 * minutes),
    ]
