"""Who enters a rung of the staged search, and why: rules on scores alone, without time and without training.

Called by `staged` between rungs. Higher scores are better; what has no score or no prior ranks behind all that have one.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum

ETA = 3
"""One of so many is promoted, to so many times the epochs."""

MAX_TIES_FRAC = 0.5
"""Those promoted for a tie alone, over those promoted by rank."""

FEW_BACKBONES = 10
"""Below, half of the backbones are kept instead of a third: a handful of ranks says little."""

NUM_PROTECTED_PROBES = 2

Tied = Callable[[str, Sequence[str]], Collection[str]]
"""Which of the others cannot be told apart from the first."""


class Why(IntEnum):
    """Why someone enters a rung. What has the highest number is given up first when time is short."""

    protected = 1
    ranked = 2
    tied = 3
    family = 4


@dataclass(frozen=True, slots=True)
class Backbone:
    """A backbone as it stands after the probes."""

    name: str
    family: str | None
    prior: float | None
    probe: str | None
    """Name of its probe; None: it has none."""
    score: float | None
    """Of the probe; None: it has none, it failed, or there was no time for it."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """A contender that may enter a rung."""

    name: str
    backbone: str
    why: Why


@dataclass(frozen=True, slots=True)
class Scored:
    """A contender after a rung."""

    name: str
    backbone: str
    score: float


def protected(backbones: Sequence[Backbone]) -> set[str]:
    """Backbones that go all the way: of the two best probes and of the best prior. Few scores mislead; these are the hedge."""
    probed = sorted((b for b in backbones if b.score is not None), key=lambda b: -_or_lowest(b.score))
    known = sorted((b for b in backbones if b.prior is not None), key=lambda b: -_or_lowest(b.prior))
    return {b.name for b in (*probed[:NUM_PROTECTED_PROBES], *known[:1])}


def keep_backbones(backbones: Sequence[Backbone], tied: Tied) -> list[tuple[Backbone, Why | None]]:
    """Every backbone, best first by mean rank of probe and prior, with why its depths are trained; None: they are not.

    Kept are the protected, the better third (half below ten), all that are tied with the last of those, in mean rank or by their
    probes, and the best of each family that is missing still.
    """
    mean_rank = _mean_ranks(backbones)
    ordered = sorted(backbones, key=lambda b: mean_rank[b.name])
    num_kept = math.ceil(len(ordered) / (2 if len(ordered) < FEW_BACKBONES else ETA))
    safe, chosen, rest = protected(ordered), ordered[:num_kept], ordered[num_kept:]
    close: set[str] = set()
    if chosen:
        cut = chosen[-1]
        by_probe = {b.probe: b.name for b in rest if b.probe is not None and b.score is not None}
        same_probe = tied(cut.probe, list(by_probe)) if cut.probe is not None and cut.score is not None and by_probe else ()
        close = {by_probe[probe] for probe in same_probe} | {b.name for b in rest if mean_rank[b.name] == mean_rank[cut.name]}
    why = {b.name: Why.ranked for b in chosen} | {b.name: Why.tied for b in rest if b.name in close} | dict.fromkeys(safe, Why.protected)
    seen = {b.family for b in ordered if b.name in why}
    for b in ordered:
        if b.family is not None and b.family not in seen:
            seen.add(b.family)
            why[b.name] = Why.family
    return [(b, why.get(b.name)) for b in ordered]


def promote(scored: Sequence[Scored], safe: Collection[str], tied: Tied) -> list[Entrant]:
    """Who goes on to the next rung, best first: a third, those tied with the last of it, the leader and the best depth of each backbone in `safe`."""
    ordered = sorted(scored, key=lambda s: -s.score)
    num_ranked = num_promoted(len(ordered))
    chosen, rest = ordered[:num_ranked], ordered[num_ranked:]
    close = tied(chosen[-1].name, [s.name for s in rest]) if rest else ()
    why = {s.name: Why.ranked for s in chosen} | {s.name: Why.tied for s in [s for s in rest if s.name in close][: max_tied(len(ordered))]}
    best_depth = {s.backbone: s.name for s in reversed(ordered)}
    why |= {best_depth[backbone]: Why.protected for backbone in best_depth if backbone in safe}
    why |= {s.name: Why.protected for s in ordered[:1]}
    return [Entrant(s.name, s.backbone, why[s.name]) for s in ordered if s.name in why]


def num_promoted(num_scored: int) -> int:
    """By rank alone."""
    return math.ceil(num_scored / ETA)


def max_tied(num_scored: int) -> int:
    """For a tie with the last of those."""
    return math.ceil(num_promoted(num_scored) * MAX_TIES_FRAC)


def _mean_ranks(backbones: Sequence[Backbone]) -> dict[str, float]:
    by_probe, by_prior = _ranks([b.score for b in backbones]), _ranks([b.prior for b in backbones])
    return {b.name: (one + other) / 2 for b, one, other in zip(backbones, by_probe, by_prior, strict=True)}


def _ranks(values: Sequence[float | None]) -> list[float]:
    """1 is the highest; equal ones share the mean of their ranks, as do those without a value, behind all others."""
    numbers = [_or_lowest(value) for value in values]
    return [sum(other > number for other in numbers) + (numbers.count(number) + 1) / 2 for number in numbers]


def _or_lowest(value: float | None) -> float:
    return -math.inf if value is None else value
