"""Metrics that are named with a parameter or a class: `recall:malignant`, `fbeta@beta=2`, `sensitivity@specificity=0.95:malignant`.

The name as it is typed, and what it says. What such a metric is worth is computed in `measure/statistics`. Shapes: C classes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from harness.errors import ConfigError
from harness.text.untrusted import one_line


class Takes(StrEnum):
    """Whether a metric is of one class."""

    never = "never"
    optionally = "optionally"  # without one: the mean over classes, each as the one against the rest
    always = "always"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a name has to be followed by."""

    takes_class: Takes = Takes.never
    parameter: str | None = None
    needs_probabilities: bool = False
    """Beyond the class that an image is called."""


KINDS: Mapping[str, Kind] = {
    "roc_auc": Kind(Takes.optionally, needs_probabilities=True),
    "average_precision": Kind(Takes.optionally, needs_probabilities=True),
    "top_k_accuracy": Kind(needs_probabilities=True),
    "matthews_corrcoef": Kind(),
    "cohen_kappa": Kind(),
    "fbeta": Kind(Takes.optionally, "beta"),
    "recall": Kind(Takes.always),
    "precision": Kind(Takes.always),
    "f1": Kind(Takes.always),
    "sensitivity": Kind(Takes.always, "specificity", needs_probabilities=True),
    "expected_cost": Kind(needs_probabilities=True),
}

_TOP_K = re.compile(r"top([1-9]\d{0,5})_accuracy")
_SIGNED = ("matthews_corrcoef", "cohen_kappa")
"""From -1 to 1; 0 is chance."""


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """One such metric. The fields from `class_index` on are known once it is bound to the classes of a data set (`measure/binding`)."""

    name: str
    """A key of `KINDS`."""
    parameter: float | None = None
    """Beta, the specificity, or k."""
    label: str | None = None
    """Name of the class that it is of."""
    class_index: int | None = None
    is_balanced: bool = False
    """Whether images are called the likeliest class for its share, as the models of this study do, or simply the likeliest."""
    costs: tuple[tuple[float, ...], ...] | None = None
    """What a decision costs, C x C: by true class, then by the class that an image is called."""

    @property
    def value(self) -> str:
        """The name as it is typed, in its shortest form."""
        if self.name == "top_k_accuracy":
            return f"top{self.parameter:.0f}_accuracy"
        known = KINDS[self.name].parameter
        return self.name + (f"@{known}={self.parameter:g}" if known else "") + (f":{self.label}" if self.label is not None else "")

    @property
    def needs_probabilities(self) -> bool:
        """Whether it asks for more than the class that each image is called."""
        return KINDS[self.name].needs_probabilities

    @property
    def is_higher_better(self) -> bool:
        """Costs are better when lower."""
        return self.name != "expected_cost"

    @property
    def is_fraction(self) -> bool:
        """Whether it is shown in percent."""
        return self.name not in (*_SIGNED, "expected_cost")

    @property
    def unit(self) -> float:
        """What one is in its own numbers: from the lowest to the highest cost of a decision. All that is compared is divided by it."""
        if self.costs is None:
            return 1.0
        every = [cost for row in self.costs for cost in row]
        return max(every) - min(every)

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest score in that unit; higher is better, so that costs have a minus sign."""
        if self.costs is not None:
            every = [cost for row in self.costs for cost in row]
            return -max(every) / self.unit, -min(every) / self.unit
        return (-1.0, 1.0) if self.name in _SIGNED else (0.0, 1.0)


def parse(text: str, plain: Sequence[str], key: str) -> MetricSpec:
    """What a name says.

    Args:
        text: that was typed, and is none of `plain`.
        plain: names of metrics that take neither a parameter nor a class.
        key: whose value it is, for messages.

    Raises:
        ConfigError: there is no such metric, or what has to follow its name is missing or not allowed.
    """
    head, colon, label = text.partition(":")
    name, at, given = head.partition("@")
    shown = f"{key}={one_line(text)}"
    top = _TOP_K.fullmatch(name)
    if top is None and name not in KINDS:
        raise ConfigError(f"{shown}: not allowed; {key} takes one of {', '.join([*plain, *map(usage, KINDS)])}{_nearest(name, plain)}")
    name, kind = ("top_k_accuracy", KINDS["top_k_accuracy"]) if top else (name, KINDS[name])
    if (kind.takes_class is Takes.always and not label) or (colon and (kind.takes_class is Takes.never or not label)):
        raise ConfigError(f"{shown}: not allowed; give {usage(name)}, {_CLASS[kind.takes_class]}.")
    parameter = _top(int(top[1]), shown) if top else _parameter(kind.parameter, given, shown, usage(name))
    if at and kind.parameter is None:
        raise ConfigError(f"{shown}: not allowed; give {usage(name)}, which takes no parameter.")
    return MetricSpec(name, parameter, label or None)


def usage(name: str) -> str:
    """How a metric is typed: `sensitivity@specificity=0.95:CLASS`."""
    if name == "top_k_accuracy":
        return "top3_accuracy"
    kind = KINDS[name]
    after = {Takes.never: "", Takes.optionally: "[:CLASS]", Takes.always: ":CLASS"}[kind.takes_class]
    return name + ("" if kind.parameter is None else f"@{kind.parameter}={_EXAMPLES[kind.parameter]}") + after


_CLASS = {
    Takes.never: "which is not of one class",
    Takes.optionally: "CLASS being the name of a class, or no colon for all of them",
    Takes.always: "CLASS being the name of a class",
}
_EXAMPLES = {"beta": "2", "specificity": "0.95"}
_RANGES = {"beta": (0.0, 1000.0, "a positive number"), "specificity": (0.0, 1.0, "a fraction above 0, at most 1")}


def _nearest(name: str, plain: Sequence[str]) -> str:
    near = get_close_matches(name, [*plain, *KINDS], n=1)
    return f"; did you mean {usage(near[0]) if near[0] in KINDS else near[0]}?" if near else "."


def _top(k: int, shown: str) -> float:
    if k == 1:
        raise ConfigError(f"{shown}: not allowed; give accuracy, which it is, or two or more, such as top3_accuracy.")
    return float(k)


def _parameter(name: str | None, given: str, shown: str, wanted: str) -> float | None:
    if name is None:
        return None
    low, high, allowed = _RANGES[name]
    found = re.fullmatch(rf"{name}=([0-9.]+(?:e-?[0-9]+)?)", given)
    try:
        value = float(found[1]) if found else 0.0
    except ValueError:
        value = 0.0
    if not low < value <= high:
        raise ConfigError(f"{shown}: not allowed; give {wanted}, {name} being {allowed}.")
    return value
