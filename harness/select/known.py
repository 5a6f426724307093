"""What the posterior and the decision ask of a candidate: prior knowledge and costs.

Between candidates, which are rows and predictions, and the decision, which is arithmetic.
"""

import math

from harness.select.candidates import Candidate
from harness.select.decision import Option
from harness.select.posterior import Known
from harness.select.prior import OwnRanks, prior


def known_of(candidate: Candidate, own: OwnRanks) -> Known:
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


def option_of(candidate: Candidate) -> Option:
    """What using it takes."""
    return Option(label=candidate.label, latency_ms=candidate.cost.latency_ms_p50, train_cost=candidate.cost.train_min)
