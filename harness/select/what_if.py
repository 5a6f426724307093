"""What the page needs to decide anew in the browser: candidates with their costs, and the posterior's draws in few bytes.

After the contest, beside the decision: another limit or price asks the same belief, and `decision` gives the same answer.
Shapes: C candidates that are carried, of the K of the pool.
"""

from dataclasses import dataclass

import numpy as np

from harness.select.comparison import FloatArray, IntArray
from harness.select.contest import Contest
from harness.select.decision import Option
from harness.select.limits import SLID, column_of
from harness.select.posterior import Draws
from harness.select.rule import or_infinite

MAX_CANDIDATES = 60
"""That a page carries, so that their draws stay below 200 kB."""


@dataclass(frozen=True, slots=True, eq=False)
class WhatIf:
    """One belief, and what the choice among its candidates depends on."""

    positions: tuple[int, ...]
    """Of the C in the pool, best expected score first."""
    options: tuple[Option, ...]
    limited: tuple[dict[str, float | None], ...]
    """What each limit of `SLID` is about."""
    mean_C: FloatArray
    """Expected true scores, higher is better."""
    distinct_C: IntArray
    """Column of the draws; candidates that are one share it."""
    draws: Draws
    num_left_out: int
    """Candidates that another limit or price could choose, beyond `MAX_CANDIDATES`."""

    @classmethod
    def of(cls, contest: Contest) -> "WhatIf | None":
        """Of all whom these limits alone may exclude; None where there is nobody to choose between."""
        evidence = contest.evidence
        able = [k for k, missed in enumerate(contest.missed) if evidence.is_known_K[k] and all(each.key in SLID for each in missed)]
        if len(able) < 2:
            return None
        kept = _likeliest(contest, able)
        belief = contest.belief.take(kept)
        return cls(
            positions=tuple(kept),
            options=tuple(contest.options_of(kept)),
            limited=tuple({key: getattr(contest.pool.candidates[k].cost, column_of(key)) for key in SLID} for k in kept),
            mean_C=belief.mean_K,
            distinct_C=belief.distinct_K,
            draws=belief.draws,
            num_left_out=len(able) - len(kept),
        )


def _likeliest(contest: Contest, able: list[int]) -> list[int]:
    """Those whom fewest others beat on everything that is asked about: limits and prices choose nobody else."""
    by_mean = sorted(able, key=lambda k: (-float(contest.belief.mean_K[k]), contest.label(k)))
    if len(by_mean) <= MAX_CANDIDATES:
        return by_mean
    asked_CA = np.array([[-contest.belief.mean_K[k], *_costs(contest, k)] for k in by_mean])
    num_better_C = np.array([np.count_nonzero((asked_CA <= own_A).all(axis=1)) for own_A in asked_CA])
    kept = np.sort(np.argsort(num_better_C, kind="stable")[:MAX_CANDIDATES])
    return [by_mean[place] for place in kept]


def _costs(contest: Contest, k: int) -> list[float]:
    cost = contest.pool.candidates[k].cost
    return [or_infinite(contest.options_K[k].latency_ms), *(or_infinite(getattr(cost, column_of(key))) for key in SLID)]
