"""What val says: scores, limits, ties and the choice, and what follows from them. Knows nothing of test.

Middle of selection: pool -> contest -> finalists -> ranking. Everything here is about positions among the K candidates of the
pool; "within" are those that no limit excludes.
"""

from dataclasses import dataclass

import numpy as np

from harness.config import Metric, RankConfig
from harness.select.candidates import Candidate, Pool
from harness.select.comparison import BoolArray, Chance, tied_set
from harness.select.limits import Breach, breaches
from harness.select.metric import is_higher_better
from harness.select.optimism import corrected_score
from harness.select.pairs import Pair, compare_pairs
from harness.select.pareto import Front, draw_latency_ms, likely_front, pareto_front
from harness.select.ranks import Leads, RankInterval, rank_intervals
from harness.select.resamples import Resamples
from harness.select.rule import cheapest, or_infinite
from harness.select.sample_size import Separation, separate
from harness.select.sensitivity import Sensitivity, half_the_images, other_limits, other_metrics


@dataclass(frozen=True, slots=True, eq=False)
class Contest:
    """The candidates of one pool under one metric and the user's limits."""

    pool: Pool
    cfg: RankConfig
    val: Resamples
    missed: tuple[tuple[Breach, ...], ...]
    """Limits that each candidate misses."""
    order: tuple[int, ...]
    """Within the limits, best score first."""
    excluded: tuple[int, ...]
    """The others, best score first."""
    tied_K: BoolArray
    """In the tied set of those within."""
    leads: Leads
    """What chance explains among those within, in their `order`."""
    first: int | None
    """Val's choice: the cheapest of the tied; None when nobody is within."""

    @classmethod
    def of(cls, pool: Pool, metric: Metric, cfg: RankConfig) -> "Contest":
        """Resample the val images and apply the limits and the rule."""
        answers = [candidate.answers for candidate in pool.candidates]
        val = Resamples.of(answers, pool.labels_N, len(pool.class_names), metric, cfg.num_resamples)
        missed = tuple(tuple(breaches(candidate, cfg)) for candidate in pool.candidates)
        by_score = sorted(range(len(missed)), key=lambda k: (-val.scores_K[k], pool.candidates[k].label))
        order = tuple(k for k in by_score if not missed[k])
        within = val.take(order)
        tied_K = np.zeros(len(missed), dtype=np.bool_)
        tied_K[list(order)] = tied_set(within.scores_K, within.draws_RK, cfg.confidence)
        first = cheapest([candidate.cost for candidate in pool.candidates], val.scores_K, np.flatnonzero(tied_K))
        leads = Leads.of(Chance.of(within.draws_RK, cfg.confidence))
        return cls(pool, cfg, val, missed, order, tuple(k for k in by_score if missed[k]), tied_K, leads, first)

    def label(self, k: int) -> str:
        return self.pool.candidates[k].label

    def rank_intervals(self) -> dict[int, RankInterval]:
        """Of those within."""
        return dict(zip(self.order, rank_intervals(self.val.take(self.order).scores_K, self.leads), strict=True))

    def point_front(self) -> dict[int, bool]:
        """Who of those within is on the front of scores and median latencies."""
        latency_ms = np.array([or_infinite(candidate.cost.latency_ms_p50) for candidate in self._within()])
        return dict(zip(self.order, pareto_front(self.val.take(self.order).scores_K, latency_ms).tolist(), strict=True))

    def front(self) -> Front:
        """The front of those within, in their `order`, in joint draws of score and latency."""
        draws_RK = self.val.take(self.order).draws_RK
        latency_ms_RK = draw_latency_ms([c.cost for c in self._within()], [c.network for c in self._within()], len(draws_RK))
        return likely_front(draws_RK, latency_ms_RK, self.cfg.confidence)

    def pairs(self, reference: int) -> tuple[Pair, ...]:
        """The pair table of those within, the reference first."""
        return compare_pairs(
            self.pool.candidates,
            self.pool.labels_N,
            self.val,
            self.order,
            reference,
            confidence=self.cfg.confidence,
            equivalence_frac=self.cfg.equivalence_frac,
        )

    def separation(self) -> Separation | None:
        """Of val's choice and the best other one in the tied set; None when it is alone there."""
        other = next((k for k in self.order if self.tied_K[k] and k != self.first), None)
        if self.first is None or other is None:
            return None
        behind = max(self.order.index(self.first), self.order.index(other))
        critical = float(self.leads.of_one_K[behind])
        labels = (self.label(self.first), self.label(other))
        difference = self.val.difference(self.first, other, self.cfg.confidence)
        errors = self.val.standard_errors(self.first, other)
        return separate(labels, difference, errors, len(self.pool.labels_N), critical)

    def sensitivity(self) -> Sensitivity | None:
        """What would flip val's choice; None when there is none."""
        if self.first is None:
            return None
        within, first = self._within(), self.order.index(self.first)
        missed = [frozenset(breach.key for breach in found) for found in self.missed]
        return Sensitivity(
            other_metrics(self.pool, within, self.val.metric, self.cfg),
            other_limits(self.pool.candidates, self.val, missed, self.first, self.cfg),
            half_the_images(within, self.val.take(self.order), self.leads, first, len(self.pool.labels_N)),
        )

    def corrected(self, k: int) -> float:
        """The score of one of those within, less what it owes to a choice among all of them; in the metric's unit."""
        within = self.val.take(self.order)
        found = corrected_score(within.scores_K, within.draws_RK, self.order.index(k))
        return found if is_higher_better(self.val.metric) else -found

    def _within(self) -> list[Candidate]:
        return [self.pool.candidates[k] for k in self.order]
