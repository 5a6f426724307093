"""A metric bound to the classes of a data set: the number of the class that it is of, and what decisions cost.

Between a name that was typed and everything that computes. Shapes: C classes.
"""

import csv
import math
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from harness.config import OF_ONE_LABEL, OF_SEVERAL_LABELS, Metric, RankMetric
from harness.errors import ConfigError
from harness.text.metric_spec import MetricSpec
from harness.text.untrusted import one_line

MAX_NAMED = 20
"""Classes that a message names."""

ONE_CLASS_ONLY = ("top_k_accuracy", "matthews_corrcoef", "cohen_kappa", "expected_cost")
"""Metrics with names of their own that have no meaning for several labels an image."""

Costs = tuple[tuple[float, ...], ...]


def bound(metric: RankMetric, class_names: Sequence[str], primary: Metric, costs: str | None = None) -> RankMetric:
    """The same metric, ready to be computed.

    Args:
        metric: as it was named.
        class_names: of the data set, in their order.
        primary: the metric by which the models of a study decide what an image is called.
        costs: file of `rank.costs`.

    Raises:
        ConfigError: there is no such class, or the file of costs is missing or does not fit the classes.
    """
    if isinstance(metric, Metric):
        return metric
    index = None if metric.label is None else _index(metric, class_names)
    matrix = read_costs(costs, class_names) if metric.name == "expected_cost" else None
    return replace(metric, class_index=index, is_balanced=primary is Metric.balanced_accuracy, costs=matrix)


def why_other_kind(metric: RankMetric, *, is_several: bool) -> str | None:
    """Why a metric does not go with the labels; None where it does."""
    if metric is Metric.auto:
        return None
    if is_several:
        fits = metric in OF_SEVERAL_LABELS if isinstance(metric, Metric) else metric.name not in ONE_CLASS_ONLY
        return None if fits else "asks for images of exactly one class each, and here an image may have several labels"
    is_other = isinstance(metric, Metric) and metric not in OF_ONE_LABEL
    return "is for images that may have several labels, and here each is of one class" if is_other else None


def require_kind(metric: RankMetric, *, is_several: bool, key: str = "rank.metric") -> None:
    """Raises ConfigError: a metric does not go with the labels."""
    if why := why_other_kind(metric, is_several=is_several):
        named = ", ".join(known.value for known in (OF_SEVERAL_LABELS if is_several else OF_ONE_LABEL))
        raise ConfigError(f"{key}={one_line(metric.value)}: {why}; give {named}.")


def _index(metric: MetricSpec, class_names: Sequence[str]) -> int:
    label = str(metric.label)
    if label in class_names:
        return list(class_names).index(label)
    raise ConfigError(f"{one_line(metric.value)}: there is no class {one_line(label)}{_nearest(label, class_names)}")


def _nearest(label: str, class_names: Sequence[str]) -> str:
    near = get_close_matches(label, class_names, n=1)
    named = ", ".join(one_line(name) for name in class_names[:MAX_NAMED])
    more = f" and {len(class_names) - MAX_NAMED} more" if len(class_names) > MAX_NAMED else ""
    return f"{f'; did you mean {one_line(near[0])}?' if near else '.'} The classes are {named}{more}."


def read_costs(path: str | None, class_names: Sequence[str]) -> Costs:
    """What decisions cost, C x C, from a CSV: the first row and the first column name the classes, in any order. Raises ConfigError."""
    if path is None:
        raise ConfigError("expected_cost: give rank.costs=FILE, a CSV of what a decision costs.")
    try:
        lines = [line for line in csv.reader(Path(path).read_text(encoding="utf-8-sig").splitlines()) if any(cell.strip() for cell in line)]
    except (OSError, UnicodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"rank.costs={one_line(path)}: cannot be read ({reason}).") from error
    called = [cell.strip() for cell in lines[0][1:]] if lines else []
    true = [line[0].strip() for line in lines[1:]]
    for names, what in ((called, "columns"), (true, "rows")):
        if sorted(names) != sorted(class_names):
            wrong = next((name for name in names if name not in class_names or names.count(name) > 1), None)
            said = f"{one_line(wrong)} is none of the classes, or there twice" if wrong else "some classes are missing"
            raise ConfigError(
                f"rank.costs={one_line(path)}: {said} in its {what}; the first row and the first column name every class once"
                f"{_nearest(wrong or '', class_names)}"
            )
    cost = {name: dict(zip(called, line[1:], strict=False)) for name, line in zip(true, lines[1:], strict=True)}
    matrix = tuple(tuple(_cost(path, cost[row].get(column, ""), (row, column)) for column in class_names) for row in class_names)
    if len({value for line in matrix for value in line}) < 2:
        raise ConfigError(f"rank.costs={one_line(path)}: every decision costs the same, so that no candidate is better than another.")
    return matrix


def _cost(path: str, text: str, where: tuple[str, str]) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        row, column = map(one_line, where)
        raise ConfigError(f"rank.costs={one_line(path)}: {one_line(text) or 'nothing'} in row {row}, column {column}; give a number.")
    return value
