"""Plots of single classes: F1 of each, and the confusion matrix."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.data.labels import count_classes
from harness.reporting.plots.style import BLUE, INK, ORANGE, label, new_figure
from harness.select.classes import ClassScores, final_scores, val_scores
from harness.select.ranking import Ranking
from harness.text.language import say

MAX_CLASSES = 30
"""More classes than this are not readable; the ones with the lowest F1 are shown."""
_MAX_COUNTED = 15
_MAX_NAMED = 40


def class_f1(ranking: Ranking) -> Figure | None:
    """F1 of each class on val, of the recommended and the runner-up; None when nothing was ranked."""
    if not ranking.entries:
        return None
    both = val_scores(ranking)
    shown = hardest(both[0])
    figure = new_figure(8.0, 1.1 + 0.27 * len(shown))
    axes = figure.add_subplot()
    styles = ((BLUE, BLUE, "o"), (ORANGE, "white", "D"))
    for scores, (edge, face, marker) in zip(both, styles, strict=False):
        _dots(axes, scores, shown, marker=marker, color=edge, markerfacecolor=face)
    counts_C = count_classes(ranking.pool.labels_N, len(ranking.pool.class_names))
    names = [f"{label(ranking.pool.class_names[c], 30)} ({counts_C[c]:,})" for c in shown]
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(-2, 102)
    axes.set_xlabel(say("F1 (%) on val; number of images in brackets"))
    figure.legend(loc="outside upper right", ncols=2)
    return figure


def hardest(scores: ClassScores) -> list[int]:
    """Classes with the lowest F1 first, at most `MAX_CLASSES`."""
    order = sorted(range(len(scores.classes)), key=lambda c: (scores.classes[c].f1 or 0.0, c))
    return order[:MAX_CLASSES]


def confusion_matrix(ranking: Ranking) -> Figure | None:
    """Images of the recommended candidate by true and predicted class; None without a recommendation, or where images may have several labels."""
    final = final_scores(ranking)
    if final is None or final.confusion_CC is None:
        return None
    counts_CC = final.confusion_CC
    share_CC = counts_CC / np.maximum(counts_CC.sum(axis=1, keepdims=True), 1)
    side_in = min(7.6, 2.6 + 0.42 * len(counts_CC))
    figure = new_figure(side_in + 0.6, side_in)
    axes = figure.add_subplot()
    axes.grid(visible=False)
    image = axes.imshow(100 * share_CC, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, shrink=0.75, label=say("share of the true class (%)"))
    _name_classes(axes, ranking.pool.class_names)
    if len(counts_CC) <= _MAX_COUNTED:
        _print_counts(axes, counts_CC.tolist(), share_CC.tolist())
    axes.set_xlabel(say("predicted class"))
    axes.set_ylabel(say("true class"))
    return figure


def _dots(axes: Axes, scores: ClassScores, shown: Sequence[int], *, marker: str, color: str, markerfacecolor: str) -> None:
    known = [(place, 100 * f1) for place, c in enumerate(shown) if (f1 := scores.classes[c].f1) is not None]
    style = {"marker": marker, "color": color, "markerfacecolor": markerfacecolor}
    places, heights = [place for place, _ in known], [f1 for _, f1 in known]
    axes.plot(heights, places, linestyle="none", markersize=6.5, label=label(scores.label), **style)  # type: ignore[arg-type]


def _name_classes(axes: Axes, class_names: Sequence[str]) -> None:
    if len(class_names) > _MAX_NAMED:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    names = [label(name, 22) for name in class_names]
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)


def _print_counts(axes: Axes, counts: Sequence[Sequence[int]], shares: Sequence[Sequence[float]]) -> None:
    for true, row in enumerate(counts):
        for predicted, count in enumerate(row):
            colour = "white" if shares[true][predicted] > 0.55 else INK
            axes.text(predicted, true, f"{count:,}", ha="center", va="center", color=colour)
