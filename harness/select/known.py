"""What the posterior and the decision ask of a candidate and of the user: prior knowledge, costs, prices.

Between candidates, which are rows and predictions, and the decision, which is arithmetic.
"""

import math
from typing import Protocol

from harness.config import RankConfig
from harness.select.candidates import Cost
from harness.select.decision import DEFAULT_POINTS_PER_DOUBLING, Option, Terms
from harness.select.posterior import Known
from harness.select.prior import OwnRanks, prior
from harness.study.row import Row


class Weighed(Protocol):
    """A candidate of a study, or one that is known from a table alone."""

    @property
    def label(self) -> str: ...
    @property
    def row(self) -> Row: ...
    @property
    def trunk(self) -> tuple[object, ...]: ...
    @property
    def cost(self) -> Cost: ...


def known_of(candidate: Weighed, own: OwnRanks) -> Known:
    """What is known of a candidate before it has seen an image of this data set."""
    row, rank = candidate.row, own.of(candidate.row)
    frozen = None if row.num_frozen_blocks is None or not row.num_blocks else row.num_frozen_blocks / row.num_blocks
    return Known(
        backbone=" ".join(map(str, candidate.trunk)),
        family=row.family,
        top1_frac=prior(row),
        log2_cost=math.log2(row.gmacs) if row.gmacs else None,
        own_rank=None if rank is None else rank.mean,
        frozen_frac=frozen,
    )


def option_of(candidate: Weighed) -> Option:
    """What using it takes."""
    return Option(label=candidate.label, latency_ms=candidate.cost.latency_ms_p50, train_cost=candidate.cost.train_min)


def terms_of(cfg: RankConfig) -> Terms:
    """What latency is worth to the user: within a limit on it nothing, unless a price was given as well."""
    default = DEFAULT_POINTS_PER_DOUBLING if cfg.max_latency_ms is None else 0.0
    return Terms(points_per_doubling=default if cfg.points_per_doubling is None else cfg.points_per_doubling)
