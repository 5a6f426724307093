"""Latencies to decide with, where some of those measured say more of a busy machine than of a model."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from harness.select.candidates import Cost


class Basis(Enum):
    """Where a latency comes from."""

    measured = "measured"  # the median; the machine was quiet
    multiply_adds = "multiply_adds"  # that of a steady model of the same family, times the ratio of their multiply-adds
    lowest = "lowest"  # the lowest block of an uneven timing
    unknown = "unknown"  # never timed


@dataclass(frozen=True, slots=True)
class Decisive:
    """The latency of one candidate to decide with."""

    latency_ms: float | None
    basis: Basis

    @property
    def is_rough(self) -> bool:
        """Whether it has to be marked."""
        return self.basis in (Basis.multiply_adds, Basis.lowest)


def decisive_latency_ms(costs: Sequence[Cost], families: Sequence[str | None]) -> list[Decisive]:
    """A latency for each candidate that does not depend on what else the machine did meanwhile, as far as that can be had.

    Steady ones are the medians that were measured. Models are timed in turn, so of an unsteady one the lowest block compares best: it is as
    good as free of disturbances if the machine was quiet at all. It may still be too high and never much too low, since disturbances only add;
    so where steady models of its family and their multiply-adds say less, that is taken.

    Args:
        costs: of the candidates.
        families: theirs; None belongs to no family.

    Returns:
        One for each, in their order.
    """
    ms_per_gmac = {family: _ms_per_gmac(costs, families, family) for family in set(families)}
    return [_decisive(cost, ms_per_gmac[family]) for cost, family in zip(costs, families, strict=True)]


def _decisive(cost: Cost, ms_per_gmac: float | None) -> Decisive:
    if cost.latency_ms_p50 is None:
        return Decisive(None, Basis.unknown)
    if cost.latency_steady is not False:
        return Decisive(cost.latency_ms_p50, Basis.measured)
    lowest_ms = cost.latency_ms_p50 if cost.latency_ms_min is None else cost.latency_ms_min
    by_macs_ms = float("inf") if ms_per_gmac is None or cost.gmacs is None else ms_per_gmac * cost.gmacs
    return Decisive(by_macs_ms, Basis.multiply_adds) if by_macs_ms < lowest_ms else Decisive(lowest_ms, Basis.lowest)


def _ms_per_gmac(costs: Sequence[Cost], families: Sequence[str | None], family: str | None) -> float | None:
    """What the steady models of a family take; None where there is none. Each model counts once, however many depths it has."""
    found = {
        (cost.latency_ms_p50, cost.gmacs)
        for cost, other in zip(costs, families, strict=True)
        if other == family is not None and cost.latency_steady is not False and cost.latency_ms_p50 and cost.gmacs
    }
    return statistics.median(latency_ms / gmacs for latency_ms, gmacs in found if latency_ms and gmacs) if found else None
