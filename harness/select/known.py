"""What the posterior and the decision ask of a candidate: prior knowledge and costs.

Between candidates, which are rows and predictions, and the decision, which is arithmetic.
"""

import math
from collections.abc import Sequence
from typing import Protocol

from harness.select.candidates import Cost
from harness.select.decision import Option
from harness.select.latency import decisive_latency_ms
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
    def features_key(self) -> tuple[object, ...]: ...
    @property
    def cost(self) -> Cost: ...


def known_of(candidate: Weighed, own: OwnRanks) -> Known:
    """What is known of a candidate before it has seen an image of this data set."""
    row, rank = candidate.row, own.of(candidate.row)
    frozen = None if row.num_frozen_blocks is None or not row.num_blocks else row.num_frozen_blocks / row.num_blocks
    return Known(
        backbone=" ".join(map(str, candidate.features_key)),
        family=row.family,
        top1_frac=prior(row),
        log2_cost=math.log2(row.gmacs) if row.gmacs else None,
        own_rank=None if rank is None else rank.mean,
        frozen_frac=frozen,
    )


def options_of(candidates: Sequence[Weighed]) -> list[Option]:
    """What using each takes; latencies are those to decide with (`latency.decisive_latency_ms`)."""
    costs = [candidate.cost for candidate in candidates]
    found = decisive_latency_ms(costs, [candidate.row.family for candidate in candidates])
    return [
        Option(label=candidate.label, latency_ms=latency.latency_ms, train_cost=cost.train_min)
        for candidate, latency, cost in zip(candidates, found, costs, strict=True)
    ]
