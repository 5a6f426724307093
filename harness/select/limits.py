"""The user's limits as hard filters: which candidates they exclude, and by how much."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from harness.config import RankConfig, RankMetric, is_higher_better
from harness.select.candidates import Cost
from harness.select.scores import SAME
from harness.text.language import noted, say

SLID = ("max_latency_ms", "max_params_m", "max_weights_mib")
"""Limits that a page asks about by itself, fields of `RankConfig`. All others stay as they are."""


class Costed(Protocol):
    """Whatever has costs: a candidate of a study, or one that is known from a table alone."""

    @property
    def cost(self) -> Cost: ...


@dataclass(frozen=True, slots=True)
class Breach:
    """One limit that one candidate does not meet, or is not known to meet."""

    key: str
    """Field of `RankConfig`."""
    value: float | None
    limit: float

    @property
    def text(self) -> str:
        name, _, unit = _LIMITS[self.key]
        asked = f"rank.{self.key}={number(self.limit)}"
        if self.value is None:
            return say("{name} is unknown, and {limit} asks for it", name=say(name), limit=asked)
        return say("{name} {value} is above {limit}", name=say(name), value=_with_unit(self.value, unit), limit=asked)

    @property
    def miss(self) -> str:
        """By how much the limit is missed, in words."""
        name, _, unit = _LIMITS[self.key]
        if self.value is None:
            return say("{name} unknown", name=say(name))
        return say("{name} by {value}", name=say(name), value=_with_unit(self.value - self.limit, unit))

    @property
    def ratio(self) -> float:
        """Value over limit; infinite when the value is unknown."""
        return float("inf") if self.value is None else self.value / self.limit


@dataclass(frozen=True, slots=True)
class ScoreBreach(Breach):
    """A score that one candidate does not reach."""

    metric: RankMetric
    """Its name is the key."""

    @property
    def text(self) -> str:
        is_least = is_higher_better(self.metric)
        return say(
            "{name} {value} is below {limit}" if is_least else "{name} {value} is above {limit}",
            name=self.key,
            value=number(self.value or 0.0),
            limit=f"rank.limits={self.key}{'>=' if is_least else '<='}{number(self.limit)}",
        )

    @property
    def miss(self) -> str:
        return say("{name} by {value}", name=self.key, value=number(abs((self.value or 0.0) - self.limit)))

    @property
    def ratio(self) -> float:
        """One and how far the value is off, in shares of the limit."""
        return 1.0 + abs((self.value or 0.0) - self.limit) / (abs(self.limit) or 1.0)


def score_breach(metric: RankMetric, score: float, limit: float) -> ScoreBreach | None:
    """The limit that a score, in the metric's own unit, does not reach; None where it does."""
    is_short = score < limit - SAME if is_higher_better(metric) else score > limit + SAME
    return ScoreBreach(metric.value, score, limit, metric) if is_short else None


def breaches(candidate: Costed, rank: RankConfig) -> list[Breach]:
    """The limits that a candidate does not meet. A value that was not measured does not meet one."""
    found, cost = [], candidate.cost
    for key, (_, column, _) in _LIMITS.items():
        limit, value = getattr(rank, key), getattr(cost, column)
        if limit is not None and (value is None or value > limit):
            found.append(Breach(key, value, limit))
    return found


def excluded(candidate: Costed, rank: RankConfig) -> list[str]:
    """Why the limits exclude a candidate, one sentence each; empty when they do not."""
    return [breach.text for breach in breaches(candidate, rank)]


def set_limits(rank: RankConfig) -> dict[str, float]:
    """The limits that were given: key without `rank.` -> value."""
    return {key: limit for key in _LIMITS if (limit := getattr(rank, key)) is not None}


def column_of(key: str) -> str:
    """Which field of `Cost` a limit is about."""
    return _LIMITS[key][1]


def number(value: float) -> str:
    """Two decimals at most from one on, three significant digits below."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) >= 1 else f"{value:.3g}"


def _with_unit(value: float, unit: str) -> str:
    return f"{number(value)} {say(unit)}"


_LIMITS: Mapping[str, tuple[str, str, str]] = {
    "max_latency_ms": (noted("latency"), "latency_ms_p50", "ms"),
    "max_params_m": (noted("parameters"), "params_m", noted("million")),
    "max_gmacs": (noted("multiply-adds"), "gmacs", "GMACs"),
    "max_peak_mem_mib": (noted("peak memory"), "peak_mem_mib", "MiB"),
    "max_weights_mib": (noted("size on disk"), "weights_mib", "MiB"),
    "max_train_min": (noted("training time"), "train_min", "min"),
}
"""Field of `RankConfig` -> name for people, field of `Cost`, unit."""
