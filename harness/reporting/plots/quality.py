"""Plots of scores: against latency with the Pareto front, and over freeze depth."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.config import RankMetric, is_higher_better
from harness.reporting import formats
from harness.reporting.plots.style import FONT_PT, INK, LINES, MARKERS, QUIET, VERMILION, gap_in_data, label, new_figure, spread, width_pt
from harness.reporting.wording import metric_name
from harness.select.ranking import Entry, Ranking
from harness.study.row import Row
from harness.text.language import say

MOST_DRAWN = 300
"""Candidates that are drawn: more are a cloud, and megabytes."""
_WIDTH_IN, _HEIGHT_IN = 8.0, 4.4
_LEFT_IN, _BOTTOM_IN, _TOP_IN = 0.75, 0.6, 0.3


def quality_latency(ranking: Ranking) -> Figure | None:
    """Score against median latency, one point per candidate; None when no latency was measured."""
    known = [entry for entry in drawn(ranking) if entry.cost.latency_ms_p50 is not None]
    if not known:
        return None
    colours = line_colours(ranking)
    figure, axes = _axes_with_margin([*colours, say("freeze depth")])
    markers = depth_markers(ranking)
    alike: dict[tuple[str, str, bool], list[Entry]] = defaultdict(list)
    for entry in known:
        style = (colours.get(entry.candidate.line, QUIET), markers[entry.candidate.row.freeze], bool(entry.breaches))
        alike[style].append(entry)
    for (colour, marker, is_hollow), entries in alike.items():
        _points(axes, ranking, entries, colour, marker=marker, face="white" if is_hollow else colour)
    _ring(axes, ranking)
    _front(axes, ranking)
    _limit(axes, ranking.rank.max_latency_ms)
    axes.set_xlim(left=0)
    axes.set_xlabel(say("median latency of one image (ms), lower is better"))
    axes.set_ylabel(score_axis(ranking.metric))
    _keys(axes, colours, markers, is_front_shown=True)
    return figure


def freeze_depth(ranking: Ranking) -> Figure | None:
    """Score over the frozen share of the blocks, one line per backbone; None when no backbone has two depths to compare."""
    lines = depth_lines(ranking)
    if all(len({point.share for point in points}) < 2 for points in lines.values()):
        return None
    colours = line_colours(ranking)
    figure, axes = _axes_with_margin([label(name) for name in colours])
    shifts = {name: 0.6 * (place - (len(colours) - 1) / 2) for place, name in enumerate(colours)}  # so that whiskers stay apart
    alike: dict[str, list[str]] = defaultdict(list)
    for name in lines:
        alike[colours.get(name, QUIET)].append(name)
    for colour, names in alike.items():
        _draw_lines(axes, ranking, [(lines[name], shifts.get(name, 0.0)) for name in names], colour)
    axes.set_xlim(-5, 105)
    axes.set_xticks([0, 25, 50, 75, 100], [say("none"), "25 %", "50 %", "75 %", say("all")])
    axes.set_xlabel(say("share of the backbone's blocks that is frozen"))
    axes.set_ylabel(score_axis(ranking.metric))
    _direct_labels(axes, ranking, {name: points for name, points in lines.items() if name in colours}, colours)
    return figure


def drawn(ranking: Ranking) -> list[Entry]:
    """The best scores, and whoever is on the front or recommended."""
    return [entry for place, entry in enumerate(ranking.entries) if place < MOST_DRAWN or entry.on_front or entry is ranking.recommended]


def score_axis(metric: RankMetric) -> str:
    """What a score axis says."""
    lower = "" if is_higher_better(metric) else say("lower is better")
    notes = ["%"] if formats.is_fraction(metric) else [formats.unit_name(metric), lower]
    said = say(", ").join(note for note in notes if note)
    return say("{metric} ({notes})", metric=metric_name(metric), notes=said) if said else metric_name(metric)


def shown(metric: RankMetric, value: float) -> float:
    """A score in the axis's unit."""
    return 100 * value if formats.is_fraction(metric) else value


def line_colours(ranking: Ranking) -> dict[str, str]:
    """Colours of the lines with the best scores; the recommended one's first. Others are drawn grey."""
    ordered = [ranking.recommended, *ranking.entries] if ranking.recommended else ranking.entries
    names = list(dict.fromkeys(entry.candidate.line for entry in ordered if entry is not None))
    return dict(zip(names, LINES, strict=False))


def _axes_with_margin(names: Sequence[str]) -> tuple[Figure, Axes]:
    """Axes that leave room at the right for the longest name."""
    figure = new_figure(_WIDTH_IN, _HEIGHT_IN, layout="none")
    margin_in = max(width_pt(label(name)) for name in names) / 72 + 0.5
    width_in = _WIDTH_IN - _LEFT_IN - margin_in
    height_in = _HEIGHT_IN - _BOTTOM_IN - _TOP_IN
    axes = figure.add_axes((_LEFT_IN / _WIDTH_IN, _BOTTOM_IN / _HEIGHT_IN, width_in / _WIDTH_IN, height_in / _HEIGHT_IN))
    return figure, axes


def depth_markers(ranking: Ranking) -> dict[str, str]:
    """A marker per freeze depth, from all frozen to none."""
    share = {entry.candidate.row.freeze: _frozen_share(entry.candidate.row) for entry in ranking.entries}
    ordered = sorted(share, key=lambda freeze: (-(share[freeze] or 0.0), freeze))
    return {freeze: MARKERS[place % len(MARKERS)] for place, freeze in enumerate(ordered)}


@dataclass(frozen=True, slots=True, eq=False)
class DepthPoint:
    """A candidate at one of its depths: several, where they ended in the same model."""

    share: float
    entry: Entry


def _frozen_share(row: Row) -> float | None:
    return row.num_frozen_blocks / row.num_blocks if row.num_frozen_blocks is not None and row.num_blocks else None


def _errors(ranking: Ranking, entries: Sequence[Entry]) -> tuple[list[float], tuple[list[float], list[float]]]:
    """Scores and the two half-widths of their intervals, in the axis's unit; shape 2 x number of entries as matplotlib wants it."""
    ends = [[shown(ranking.metric, value) for value in (entry.interval.low, entry.score, entry.interval.high)] for entry in entries]
    half_widths = [max(middle - low, 0.0) for low, middle, _ in ends], [max(high - middle, 0.0) for _, middle, high in ends]
    return [middle for _, middle, _ in ends], half_widths


def _points(axes: Axes, ranking: Ranking, entries: Sequence[Entry], colour: str, *, marker: str, face: str) -> None:
    """Candidates of one style, drawn at once: a thousand of them are a handful of shapes to lay out."""
    latencies_ms = [entry.cost.latency_ms_p50 or 0.0 for entry in entries]
    middles, half_widths = _errors(ranking, entries)
    axes.errorbar(latencies_ms, middles, yerr=half_widths, fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.45, zorder=2)
    axes.plot(latencies_ms, middles, marker=marker, color=colour, markerfacecolor=face, markersize=6.5, linestyle="none", zorder=3)


def _ring(axes: Axes, ranking: Ranking) -> None:
    chosen = ranking.recommended
    if chosen is not None and chosen.cost.latency_ms_p50 is not None:
        place = (chosen.cost.latency_ms_p50, shown(ranking.metric, chosen.score))
        axes.plot(*place, marker="o", markersize=15, markerfacecolor="none", markeredgecolor=INK, linestyle="none", zorder=4)


def _front(axes: Axes, ranking: Ranking) -> None:
    front = sorted((entry.cost.latency_ms_p50 or 0.0, entry.score) for entry in ranking.entries if entry.on_front)
    if front:
        heights = [shown(ranking.metric, value) for _, value in front]
        axes.step([latency_ms for latency_ms, _ in front], heights, where="post", color="#555555", linewidth=1.1, linestyle="--", zorder=1)


def _limit(axes: Axes, limit: float | None) -> None:
    if limit is not None:
        axes.axvline(limit, color=VERMILION, linewidth=1.2)
        text = f" rank.max_latency_ms={limit:g}"
        axes.text(limit, 1.01, text, color=VERMILION, transform=axes.get_xaxis_transform(), va="bottom", ha="center")


def _keys(axes: Axes, colours: dict[str, str], markers: dict[str, str], *, is_front_shown: bool) -> None:
    """What colours, shapes and lines mean, at the right of the axes."""
    lines = [Line2D([], [], color=colour, linewidth=5, label=label(name)) for name, colour in colours.items()]
    first = axes.legend(
        handles=lines, title=say("backbone"), loc="upper left", bbox_to_anchor=(1.01, 1.02), alignment="left", handlelength=1.0
    )
    axes.add_artist(first)
    shapes = [Line2D([], [], color="#555555", marker=marker, linestyle="none", label=freeze) for freeze, marker in markers.items()]
    shapes.append(
        Line2D([], [], marker="o", markersize=11, markerfacecolor="none", markeredgecolor=INK, linestyle="none", label=say("recommended"))
    )
    if is_front_shown:
        shapes.append(Line2D([], [], color="#555555", linestyle="--", label=say("Pareto front")))
    axes.legend(
        handles=shapes, title=say("freeze depth"), loc="lower left", bbox_to_anchor=(1.01, -0.02), alignment="left", handlelength=1.4
    )


def depth_lines(ranking: Ranking) -> dict[str, list[DepthPoint]]:
    """Of each backbone its candidates by the share of its blocks that is frozen."""
    lines: dict[str, list[DepthPoint]] = defaultdict(list)
    for entry in drawn(ranking):
        shares = [_frozen_share(row) for row in (entry.candidate.row, *entry.candidate.twins)]
        lines[entry.candidate.line] += [DepthPoint(share, entry) for share in dict.fromkeys(shares) if share is not None]
    return {name: sorted(points, key=lambda point: point.share) for name, points in lines.items() if points}


def _draw_lines(axes: Axes, ranking: Ranking, lines: Sequence[tuple[Sequence[DepthPoint], float]], colour: str) -> None:
    """Lines of one colour, each with its shift to the right (percent), drawn at once; the pen is lifted between them."""
    points = [point for line, _ in lines for point in line]
    places = [100 * point.share + shift for line, shift in lines for point in line]
    middles, half_widths = _errors(ranking, [point.entry for point in points])
    lifts = np.cumsum([len(line) for line, _ in lines])[:-1]
    path: dict[str, Any] = {"color": colour, "linewidth": 1.6, "marker": "o", "markersize": 4.5, "zorder": 1 if colour == QUIET else 3}
    axes.plot(np.insert(places, lifts, np.nan), np.insert(middles, lifts, np.nan), **path)
    axes.errorbar(places, middles, yerr=half_widths, fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.5)
    for place, middle, point in zip(places, middles, points, strict=True):
        if point.entry is ranking.recommended and point.share == _frozen_share(point.entry.candidate.row):
            axes.plot(place, middle, marker="o", markersize=13, markerfacecolor="none", markeredgecolor=INK, zorder=4)


def _direct_labels(axes: Axes, ranking: Ranking, lines: dict[str, list[DepthPoint]], colours: dict[str, str]) -> None:
    """Each line's name at the right, at the height where the line ends, moved apart where names would touch."""
    height_in = _HEIGHT_IN - _BOTTOM_IN - _TOP_IN
    ends = [shown(ranking.metric, points[-1].entry.score) for points in lines.values()]
    axes.set_ylim(axes.get_ylim())
    heights = spread(ends, gap_in_data(axes, height_in))
    for (name, points), height, end in zip(lines.items(), heights, ends, strict=True):
        from_x = 100 * points[-1].share
        axes.annotate(
            label(name),
            xy=(from_x + 1, end),
            xytext=(108, height),
            color=colours[name],
            va="center",
            fontsize=FONT_PT,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colours[name], "linewidth": 0.6, "alpha": 0.6, "shrinkA": 1, "shrinkB": 2},
        )
