"""The pictures that the page draws itself, as plain JSON: points with their intervals, joined or not, each with its words.

Beside `plots`, which draws the same with matplotlib for Markdown and for a page whose script does not run.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from harness.measure.epoch import Epoch
from harness.reporting import formats
from harness.reporting.plots.quality import depth_lines, depth_markers, drawn, line_colours, score_axis, shown
from harness.reporting.plots.style import BLUE, QUIET, VERMILION
from harness.reporting.plots.training import MAX_PANELS
from harness.reporting.sections.facts import recommended_first, split_name
from harness.reporting.wording import latency, metric_name
from harness.select.ranking import Entry, Ranking
from harness.text.language import say

Chart = dict[str, Any]


def charts(ranking: Ranking) -> dict[str, list[Chart]]:
    """Name of a picture -> what the page draws in its place, one chart or several side by side."""
    made = {
        "quality-latency": [_quality_latency(ranking)],
        "freeze-depth": [_freeze_depth(ranking)],
        "learning-curves": list(_learning_curves(ranking)),
    }
    filled = {name: found for name, found in made.items() if any(line["points"] for chart in found for line in chart["lines"])}
    return {name: [chart | {"about": _about(chart)} for chart in found] for name, found in filled.items()}


def _about(chart: Chart) -> str:
    """What its axes are, for who hears the page."""
    return say("{score} by {what}", score=chart["y"]["name"], what=chart["x"]["name"])


def _quality_latency(ranking: Ranking) -> Chart:
    known = [entry for entry in drawn(ranking) if entry.cost.latency_ms_p50 is not None]
    colours, depths = line_colours(ranking), list(depth_markers(ranking))
    lines = [
        {
            "name": name,
            "colour": colours.get(name, QUIET),
            "points": [
                _point(ranking, entry, entry.cost.latency_ms_p50 or 0.0, depths.index(entry.candidate.row.freeze))
                for entry in known
                if entry.candidate.line == name
            ],
        }
        for name in dict.fromkeys(entry.candidate.line for entry in known)
    ]
    front = sorted((entry.cost.latency_ms_p50 or 0.0, shown(ranking.metric, entry.score)) for entry in known if entry.on_front)
    limit = ranking.rank.max_latency_ms
    return {
        "x": {"name": say("median latency of one image (ms)"), "from_zero": True},
        "y": {"name": score_axis(ranking.metric)},
        "lines": lines,
        "shapes": [f"freeze={depth}" for depth in depths],
        "steps": front,
        "limit": limit,
    }


def _freeze_depth(ranking: Ranking) -> Chart:
    colours, lines = line_colours(ranking), depth_lines(ranking)
    return {
        "x": {"name": say("share of the backbone's blocks that is frozen (%)"), "ends": [0, 100]},
        "y": {"name": score_axis(ranking.metric)},
        "lines": [
            {
                "name": name,
                "colour": colours.get(name, QUIET),
                "is_joined": True,
                "points": [_point(ranking, point.entry, 100 * point.share, place) for point in points],
            }
            for place, (name, points) in enumerate(lines.items())
        ],
    }


def _learning_curves(ranking: Ranking) -> Iterable[Chart]:
    """Log loss of train and val by epoch, as that tells of over-fitting."""
    for entry in [each for each in recommended_first(ranking) if each.candidate.row.details.curve][:MAX_PANELS]:
        curve, chosen = entry.candidate.row.details.curve, entry.candidate.row.chosen_epoch
        yield {
            "title": entry.label,
            "x": {"name": say("epoch")},
            "y": {"name": say("log loss (nats)")},
            "lines": [
                _curve(split_name("train"), VERMILION, 1, curve, [epoch.train_loss for epoch in curve]),
                _curve(split_name("val"), BLUE, 0, curve, [epoch.val_loss for epoch in curve]),
            ],
            "limit": chosen,
        }


def _curve(name: str, colour: str, shape: int, curve: Sequence[Epoch], values: Sequence[float | None]) -> dict[str, Any]:
    points = [
        {
            "x": epoch.epoch,
            "y": value,
            "shape": shape,
            "words": say("{name}, epoch {epoch}: {loss} nats", name=name, epoch=epoch.epoch, loss=formats.nats(value)),
        }
        for epoch, value in zip(curve, values, strict=True)
        if value is not None
    ]
    return {"name": name, "colour": colour, "is_joined": True, "points": points}


def _point(ranking: Ranking, entry: Entry, x: float, shape: int) -> dict[str, Any]:
    metric = ranking.metric
    ends = sorted((shown(metric, entry.interval.low), shown(metric, entry.interval.high)))
    words = say(
        "{label}: {metric} {score} ({ends}), {latency}",
        label=entry.label,
        metric=metric_name(metric),
        score=formats.score(metric, entry.score),
        ends=formats.score_range(metric, entry.interval),
        latency=latency(entry.cost),
    )
    point = {"x": x, "y": shown(metric, entry.score), "low": ends[0], "high": ends[1], "shape": shape, "words": words}
    marks = {"is_ringed": entry is ranking.recommended, "is_hollow": bool(entry.breaches)}
    return point | {name: True for name, is_so in marks.items() if is_so}
