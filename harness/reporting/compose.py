"""A ranking and its pictures become one document: the first screen, then the six steps."""

from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.figure import Figure

from harness.config import RankMetric, is_higher_better
from harness.reporting import formats
from harness.reporting.answer import damage, headline, how_sure, test_score, verdict, why
from harness.reporting.data_audit import DataAudit, leaks
from harness.reporting.document import Bar, Block, Column, Document, Fact, Paragraph, Picture, Section, Table
from harness.reporting.grounds import fine_tuning, rests_on
from harness.reporting.next_steps import next_steps
from harness.reporting.picks import knows_test, picks
from harness.reporting.plots.candidates import intervals
from harness.reporting.plots.classes import class_f1, confusion_matrix
from harness.reporting.plots.quality import freeze_depth, quality_latency
from harness.reporting.plots.style import save, themed
from harness.reporting.plots.training import costs, learning_curves
from harness.reporting.scope import images, latencies, protocols, versions
from harness.reporting.sections import candidates, decision, resources, results, strategy, task
from harness.reporting.sections.facts import leading, marked, outcome_of
from harness.reporting.wording import cost, latency, metric_name, rough_latencies
from harness.select.audit import Audit
from harness.select.classes import final_scores
from harness.select.prior import OwnRanks
from harness.select.ranking import Entry, Ranking

TOP = 10
"""Lines of the leaderboard on the first screen."""

_PLOTS: Mapping[str, tuple[Callable[[Ranking], Figure | None], str]] = {
    "candidates": (
        intervals,
        "Scores with their intervals. Shaded candidates cannot be excluded as best; diamonds are scores on the sealed test images, opened for the recommended only.",
    ),
    "quality-latency": (
        quality_latency,
        "Quality against latency. Up and to the left is better; whiskers are intervals; hollow points are outside the limits; grey points belong to backbones with lower scores.",
    ),
    "freeze-depth": (
        freeze_depth,
        "Quality over freeze depth, one line per backbone; whiskers are intervals. The ring is the recommendation.",
    ),
    "class-f1": (class_f1, "F1 of each class on val, hardest first, for the recommended candidate and the runner-up."),
    "learning-curves": (
        learning_curves,
        "Learning curves. Where train goes on improving and val does not, the model over-fits. The dotted line is the epoch that was kept.",
    ),
    "cost": (costs, "What each candidate costs; the recommended one is blue, limits are red lines."),
    "confusion": (confusion_matrix, "Confusion matrix: images of the recommended candidate by true and predicted class."),
}


def draw(ranking: Ranking, folder: Path) -> dict[str, Picture]:
    """Draw every picture that the ranking has data for and write it to `folder` as SVG and PNG."""
    pictures = {}
    with themed():
        for name, (plot, caption) in _PLOTS.items():
            figure = plot(ranking)
            if figure is not None:
                pictures[name] = Picture(name, _caption(ranking, name, caption), save(figure, folder, name))
    return pictures


def compose(
    ranking: Ranking,
    pictures: dict[str, Picture],
    own: OwnRanks,
    audit: Audit,
    found: DataAudit | None = None,
    *,
    gallery: Section | None = None,
) -> Document:
    """The whole report as plain data: the ranking, what other data sets say of its models, the audit of the cheap scores, that of the images, and these."""
    return Document(
        title=f"Which model to use for {formats.one_line(ranking.pool.study)}",
        verdict=verdict(ranking),
        tone=decision.tone(ranking),
        headline=headline(ranking),
        facts=[*_facts(ranking), *_leaks(found)],
        next_steps=next_steps(ranking),
        leaderboard=_leaderboard(ranking),
        sections=[
            task.build(ranking, found),
            resources.build(ranking),
            candidates.build(ranking, own),
            strategy.build(ranking),
            results.build(ranking, pictures, audit),
            decision.build(ranking, pictures),
        ],
        images=gallery,
    )


def _caption(ranking: Ranking, name: str, caption: str) -> str:
    final = final_scores(ranking) if name == "confusion" else None
    if final is None:
        return caption
    num_seeds = len(ranking.recommended.candidate.rows) if ranking.recommended else 1
    together = f", {num_seeds} seeds together" if num_seeds > 1 else ""
    return f"{caption} Split: {final.split}{together}."


def _facts(ranking: Ranking) -> list[Fact]:
    chosen = ranking.recommended
    if chosen is None:
        return [Fact("Why", why(ranking)), Fact("Next step", _next_step(ranking)), *_left_out(ranking)]
    return [
        Fact("Why", why(ranking)),
        Fact("How sure", how_sure(ranking)),
        Fact("If latency matters more", picks(ranking)),
        *_fine_tuning(ranking),
        Fact("What it rests on", rests_on(ranking)),
        Fact("What it costs", cost(chosen)),
        Fact("On new images", test_score(ranking)),
        *_left_out(ranking),
    ]


def _leaks(found: DataAudit | None) -> list[Fact]:
    """What makes scores too good to be true belongs where they are read."""
    text = "" if found is None else leaks(found)
    return [Fact("Near copies", f"{text} Step 1 says what to do.")] if text else []


def _fine_tuning(ranking: Ranking) -> list[Fact]:
    told = fine_tuning(ranking)
    return [Fact("Fine-tuning", told)] if told else []


def _left_out(ranking: Ranking) -> list[Fact]:
    """What a reader would miss: jobs that cannot be compared, and files that cannot be used."""
    told = {
        "Data left out": images(ranking),
        "Not compared": " ".join(filter(None, (protocols(ranking), latencies(ranking)))),
        "Versions": versions(ranking),
        "Damaged": damage(ranking),
    }
    return [Fact(question, answer) for question, answer in told.items() if answer]


def _next_step(ranking: Ranking) -> str:
    if ranking.entries:
        return "Relax a limit with rank.…, or sweep smaller backbones; then make the report again."
    return "Mend the reasons listed in step 5 and run the sweep again with retry=failed; jobs that ended well are not run twice."


def _leaderboard(ranking: Ranking) -> list[Block]:
    if not ranking.entries:
        return []
    shown = leading(ranking, TOP)
    columns = [
        Column("rank interval", is_number=True),
        Column("candidate"),
        Column("outcome"),
        Column(metric_name(ranking.metric), is_number=True),
        Column("interval", is_number=True),
        Column("", is_bar=True),
        *(Column(name, is_number=True) for name in ("expected", "probability of being best", "latency", "parameters", "training")),
    ]
    rows = [_line(ranking, entry, _scale(shown, ranking.metric)) for entry in shown]
    blocks: list[Block] = [Table("Leaderboard", columns, rows, marked(ranking, shown)), Paragraph(_how_to_read(ranking))]
    if text := rough_latencies((entry.cost for entry in shown), ranking.command("retime")):
        blocks.append(Paragraph(text))
    hidden = len(ranking.entries) - len(shown)
    return [*blocks, Paragraph(f"{hidden} more candidates are in step 5.")] if hidden > 0 else blocks


def _how_to_read(ranking: Ranking) -> str:
    text = (
        "Rank intervals hold for all candidates at once. The expected score draws each candidate towards what was known of it and of those like "
        "it. Expected scores and probabilities are those of train and val"
    )
    return f"{text}; the sentence above also knows the test score that overturned the first choice." if knows_test(ranking) else f"{text}."


def _line(ranking: Ranking, entry: Entry, scale: Callable[[float], float]) -> list[str | Bar]:
    low, high = sorted((scale(entry.interval.low), scale(entry.interval.high)))
    minutes = entry.cost.train_min
    return [
        formats.places(entry.rank_interval),
        entry.label,
        outcome_of(ranking, entry),
        formats.score(ranking.metric, entry.score),
        formats.score_range(ranking.metric, entry.interval),
        Bar(low, scale(entry.score), high),
        formats.score(ranking.metric, entry.expected),
        formats.odds(entry.prob_best),
        latency(entry.cost),
        formats.millions(entry.cost.params_m),
        formats.duration(None if minutes is None else 60 * minutes),
    ]


def _scale(entries: list[Entry], metric: RankMetric) -> Callable[[float], float]:
    """From a score to its place on the bars' common scale: 0 is the worst end of any interval, 1 the best."""
    ends = [end for entry in entries for end in (entry.interval.low, entry.interval.high, entry.score)]
    worst, best = (min(ends), max(ends)) if is_higher_better(metric) else (max(ends), min(ends))
    return lambda value: (value - worst) / (best - worst) if best != worst else 0.5
