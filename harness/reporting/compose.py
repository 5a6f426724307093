"""A ranking and its pictures become one document: the first screen, then the six steps."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from harness.reporting import first_screen, formats, leaderboard, what_if
from harness.reporting.answer import damage
from harness.reporting.charts import charts
from harness.reporting.data_audit import DataAudit
from harness.reporting.document import Document, Fact, Picture, Section
from harness.reporting.next_steps import next_steps
from harness.reporting.picks import table
from harness.reporting.plots.candidates import intervals
from harness.reporting.plots.classes import class_f1, confusion_matrix
from harness.reporting.plots.quality import MOST_DRAWN, freeze_depth, quality_latency
from harness.reporting.plots.style import save, themed, undrawn
from harness.reporting.plots.training import costs, learning_curves
from harness.reporting.scope import images, latencies, outranked, protocols, versions
from harness.reporting.sections import candidates, decision, resources, results, strategy, task
from harness.select.audit import Audit
from harness.select.classes import final_scores
from harness.select.prior import OwnRanks
from harness.select.ranking import Ranking
from harness.text.language import noted, say, told

_PLOTS: Mapping[str, tuple[Callable[[Ranking], Figure | None], str]] = {
    "candidates": (
        intervals,
        noted(
            "Scores with their intervals. Shaded candidates cannot be excluded as best; diamonds are scores on the sealed test images, opened for the recommended only."
        ),
    ),
    "quality-latency": (
        quality_latency,
        noted(
            "Quality against latency. Up and to the left is better; whiskers are intervals; hollow points are outside the limits; grey points belong to backbones with lower scores."
        ),
    ),
    "freeze-depth": (
        freeze_depth,
        noted("Quality over freeze depth, one line per backbone; whiskers are intervals. The ring is the recommendation."),
    ),
    "class-f1": (class_f1, noted("F1 of each class on val, hardest first, for the recommended candidate and the runner-up.")),
    "learning-curves": (
        learning_curves,
        noted(
            "Learning curves. Where train goes on improving and val does not, the model over-fits. The dotted line is the epoch that was kept."
        ),
    ),
    "cost": (costs, noted("What each candidate costs; the recommended one is blue, limits are red lines.")),
    "confusion": (confusion_matrix, noted("Confusion matrix: images of the recommended candidate by true and predicted class.")),
}


_OF_ALL = ("quality-latency", "freeze-depth")
"""Pictures of every candidate, unless there are too many."""
_OF_CLASSES = ("class-f1", "confusion")
"""Pictures that name classes."""


def draw(ranking: Ranking, folder: Path) -> dict[str, Picture]:
    """Draw every picture that the ranking has data for and write it to `folder` as SVG and PNG."""
    pictures, drawn_by_page = {}, charts(ranking)
    with themed():
        for name, (plot, caption) in _PLOTS.items():
            figure = plot(ranking)
            if figure is not None:
                svg, said = save(figure, folder, name), _caption(ranking, name, caption)
                words = [
                    say("recommended"),
                    *(ranking.pool.class_names if name in _OF_CLASSES else ()),
                ]  # the first: the language's letters
                pictures[name] = Picture(name, said, svg, drawn_by_page.get(name, ()), undrawn(words))
    return pictures


def compose(
    ranking: Ranking,
    pictures: dict[str, Picture],
    own: OwnRanks,
    audit: Audit,
    *,
    found: DataAudit | None = None,
    asked: Sequence[str] = (),
    gallery: Section | None = None,
) -> Document:
    """The whole report as plain data.

    Args:
        ranking: what it is about.
        pictures: those that could be drawn.
        own: what other data sets say of its models.
        audit: of the cheap scores.
        found: of the images.
        asked: overrides with which the report command asks for this ranking, but for what the page itself can change.
        gallery: pictures of single images.
    """
    return Document(
        title=say("Which model to use for {study}", study=formats.one_line(ranking.pool.study)),
        verdict=first_screen.verdict(ranking),
        tone=first_screen.tone(ranking),
        headline=first_screen.headline(ranking),
        reason=first_screen.reason(ranking),
        cards=first_screen.cards(ranking, found),
        picks=table(ranking),
        next_steps=next_steps(ranking),
        left_out=first_screen.left_out(ranking),
        facts=_left_out(ranking),
        leaderboard=leaderboard.build(ranking),
        what_if=what_if.build(ranking, asked),
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
    if name in _OF_ALL and len(ranking.entries) > MOST_DRAWN:
        shown = say(
            "Of {total} candidates the {number} of the best scores are drawn, and those on the front.",
            total=formats.count(len(ranking.entries)),
            number=formats.count(MOST_DRAWN),
        )
        return told(say(caption), shown)
    final = final_scores(ranking) if name == "confusion" else None
    if final is None:
        return say(caption)
    num_seeds = len(ranking.recommended.candidate.rows) if ranking.recommended else 1
    split = say("Split: {split}, {number} seeds together." if num_seeds > 1 else "Split: {split}.", split=final.split, number=num_seeds)
    return told(say(caption), split)


def _left_out(ranking: Ranking) -> list[Fact]:
    """What a reader would miss: jobs that cannot be compared, and files that cannot be used."""
    facts = [
        Fact(say("Data left out"), images(ranking)),
        Fact(say("Not compared"), told(protocols(ranking), outranked(ranking), latencies(ranking))),
        Fact(say("Versions"), versions(ranking)),
        Fact(say("Damaged"), damage(ranking)),
    ]
    return [fact for fact in facts if fact.answer]
