"""Plot of every candidate's score with its interval, the tied set, and test scores of the finalists."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from harness.reporting.plots.quality import score_axis, shown
from harness.reporting.plots.style import BLUE, INK, ORANGE, QUIET, label, new_figure
from harness.select.comparison import Interval
from harness.select.finalists import Finalist
from harness.select.ranking import Entry, Ranking
from harness.text.language import say

MAX_LINES = 25
"""Candidates in the picture: the first ones, and the recommended and the finalists wherever they stand."""

_TINT = "#E4EFF8"
BELOW = 0.26
"""How far below its candidate's line a test score is drawn, in lines."""


def intervals(ranking: Ranking) -> Figure | None:
    """Scores with intervals, best first, the tied set shaded, finalists' test scores below; None when nothing was ranked."""
    if not ranking.entries:
        return None
    entries = _chosen(ranking)
    figure = new_figure(8.0, 1.25 + 0.31 * len(entries))
    axes = figure.add_subplot()
    finalists = {found.label: found for found in ranking.finalists}
    for place, entry in enumerate(entries):
        if entry.tied:
            axes.axhspan(place - 0.5, place + 0.5, color=_TINT, linewidth=0, zorder=0)
        _score(axes, ranking, entry, place)
        if entry.label in finalists:
            _test(axes, ranking, finalists[entry.label], place + BELOW)
    axes.set_yticks(range(len(entries)), [label(entry.label) for entry in entries])
    axes.set_ylim(len(entries) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    _name_recommended(axes, ranking, entries)
    axes.set_xlabel(score_axis(ranking.metric))
    figure.legend(handles=_keys(ranking, entries), loc="outside upper right", ncols=4, handlelength=1.6)
    return figure


def _chosen(ranking: Ranking) -> list[Entry]:
    wanted = {found.label for found in ranking.finalists} | ({ranking.recommended.label} if ranking.recommended else set())
    must = [entry for entry in ranking.entries[MAX_LINES:] if entry.label in wanted]
    return [*ranking.entries[: MAX_LINES - len(must)], *must]


def _colour(ranking: Ranking, entry: Entry) -> str:
    return BLUE if entry is ranking.recommended else INK if entry.tied else QUIET


def _score(axes: Axes, ranking: Ranking, entry: Entry, place: int) -> None:
    colour = _colour(ranking, entry)
    is_chosen = entry is ranking.recommended
    _whisker(axes, ranking, entry.interval, place, colour=colour, width=3.2 if is_chosen else 1.8)
    face = "white" if entry.breaches else colour
    axes.plot(
        shown(ranking.metric, entry.score),
        place,
        marker="o",
        markersize=8 if is_chosen else 6,
        color=colour,
        markerfacecolor=face,
        zorder=3,
    )


def _test(axes: Axes, ranking: Ranking, found: Finalist, height: float) -> None:
    if found.test.score is None or found.test.interval is None:
        return
    _whisker(axes, ranking, found.test.interval, height, colour=ORANGE, width=1.2)
    axes.plot(shown(ranking.metric, found.test.score), height, marker="D", markersize=5, color=ORANGE, markerfacecolor="white", zorder=4)


def _whisker(axes: Axes, ranking: Ranking, interval: Interval, height: float, *, colour: str, width: float) -> None:
    ends = [shown(ranking.metric, interval.low), shown(ranking.metric, interval.high)]
    axes.plot(ends, [height, height], color=colour, linewidth=width, solid_capstyle="butt", zorder=2)


def _name_recommended(axes: Axes, ranking: Ranking, entries: Sequence[Entry]) -> None:
    for text, entry in zip(axes.get_yticklabels(), entries, strict=True):
        if entry is ranking.recommended:
            text.set_color(BLUE)
            text.set_fontweight("bold")


def _keys(ranking: Ranking, entries: Sequence[Entry]) -> list[Line2D | Patch]:
    """Only what the picture holds."""
    keys: list[Line2D | Patch] = []
    if ranking.recommended is not None:
        keys.append(Line2D([], [], color=BLUE, marker="o", markersize=8, linewidth=3.2, label=say("recommended")))
    if any(entry.tied and entry is not ranking.recommended for entry in entries):
        keys.append(Patch(facecolor=_TINT, label=say("cannot be excluded as best")))
    if any(found.test.score is not None for found in ranking.finalists):
        keys.append(Line2D([], [], color=ORANGE, marker="D", markersize=5, markerfacecolor="white", linewidth=1.2, label=say("on test")))
    if any(entry.breaches for entry in entries):
        keys.append(Line2D([], [], color=QUIET, marker="o", markerfacecolor="white", linewidth=1.8, label=say("outside the limits")))
    return keys
