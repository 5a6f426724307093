"""Plots of training and of cost: learning curves side by side, and the cost of each candidate."""

import textwrap
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.data.labels import is_several
from harness.measure.epoch import Epoch
from harness.reporting.plots.style import BLUE, INK, QUIET, VERMILION, label, new_figure
from harness.reporting.sections.facts import recommended_first, split_name
from harness.select.candidates import Cost
from harness.select.ranking import Entry, Ranking
from harness.text.language import noted, say

MAX_PANELS = 4
"""Candidates whose learning curves are drawn."""
MAX_BARS = 20
"""Candidates in the cost picture."""

_COSTS: tuple[tuple[str, str, str | None], ...] = (
    (noted("latency (ms)"), "latency_ms_p50", "max_latency_ms"),
    (noted("parameters (M)"), "params_m", "max_params_m"),
    (noted("training (min)"), "train_min", "max_train_min"),
    (noted("peak memory (MiB)"), "peak_mem_mib", "max_peak_mem_mib"),
)


def learning_curves(ranking: Ranking) -> Figure | None:
    """Accuracy and log loss over epochs, train and val, of the recommended and the next best; None when there are no curves."""
    entries = [entry for entry in recommended_first(ranking) if entry.candidate.row.details.curve][:MAX_PANELS]
    if not entries:
        return None
    figure = new_figure(max(4.2, 2.2 * len(entries) + 0.6), 4.4)
    panels = figure.subplots(2, len(entries), sharex="col", sharey="row", squeeze=False)
    for column, entry in enumerate(entries):
        _curve(panels[0, column], entry, lambda point: point.train_accuracy, lambda point: point.val_accuracy, scale=100)
        _curve(panels[1, column], entry, lambda point: point.train_loss, lambda point: point.val_loss, scale=1)
        panels[0, column].set_title("\n".join(textwrap.wrap(label(entry.label, 44), 22)))
        panels[1, column].set_xlabel(say("epoch"))
        panels[1, column].xaxis.get_major_locator().set_params(integer=True)
    panels[0, 0].set_ylabel(say("all labels correct (%)" if is_several(ranking.pool.labels_N) else "accuracy (%)"))
    panels[1, 0].set_ylabel(say("log loss (nats)"))
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    return figure


def costs(ranking: Ranking) -> Figure | None:
    """Four costs of each candidate as bars with the limits; None when there are no two to compare."""
    entries = recommended_first(ranking)[:MAX_BARS]
    if len(entries) < 2:
        return None
    figure = new_figure(8.6, 1.0 + 0.26 * len(entries))
    panels = figure.subplots(1, len(_COSTS), sharey=True, squeeze=False)[0]
    for axes, (title, column, limit) in zip(panels, _COSTS, strict=True):
        _bars(axes, ranking, entries, column)
        bound = getattr(ranking.rank, limit) if limit else None
        if bound is not None:
            axes.axvline(bound, color=VERMILION, linewidth=1.2)
        axes.set_title(say(title))
        axes.set_xticks([])
        axes.spines["bottom"].set_visible(False)
        axes.grid(visible=False)
    panels[0].set_yticks(range(len(entries)), [label(entry.label) for entry in entries])
    panels[0].set_ylim(len(entries) - 0.4, -0.6)
    return figure


def _curve(axes: Axes, entry: Entry, train: Callable[[Epoch], float | None], val: Callable[[Epoch], float | None], *, scale: float) -> None:
    curve = entry.candidate.row.details.curve
    for name, pick, colour, style in (("train", train, VERMILION, "--"), ("val", val, BLUE, "-")):
        known = [(point.epoch, scale * value) for point in curve if (value := pick(point)) is not None]
        epochs, values = [epoch for epoch, _ in known], [value for _, value in known]
        axes.plot(epochs, values, color=colour, linestyle=style, marker="o", markersize=3, label=split_name(name))
    chosen = entry.candidate.row.chosen_epoch
    if chosen is not None:
        axes.axvline(chosen, color=INK, linewidth=0.8, linestyle=":", label=say("epoch kept"))


def _bars(axes: Axes, ranking: Ranking, entries: Sequence[Entry], column: str) -> None:
    values = [_value(entry.cost, column) for entry in entries]
    colours = [BLUE if entry is ranking.recommended else QUIET for entry in entries]
    axes.barh(range(len(entries)), [value or 0.0 for value in values], color=colours, height=0.62)
    largest = max((value for value in values if value is not None), default=1.0) or 1.0
    axes.set_xlim(0, 1.42 * largest)
    for place, value in enumerate(values):
        text = say("unknown") if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        axes.text((value or 0.0) + 0.03 * largest, place, text, va="center")


def _value(cost: Cost, column: str) -> float | None:
    found = getattr(cost, column)
    return None if found is None else float(found)
