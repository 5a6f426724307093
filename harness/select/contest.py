"""What train and val say: scores, limits, ties, the posterior and the decision, and what follows from them. Knows nothing of test.

Middle of selection: pool -> evidence -> contest -> test -> ranking. Everything here is about positions among the K candidates of the
pool; "within" are those that no limit excludes; those of them that can be compared are in `order`, and so is all that is decided.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from harness.config import RankConfig, RankMetric, is_higher_better
from harness.select.candidates import Pool
from harness.select.comparison import BoolArray, Chance, FloatArray, Interval
from harness.select.decision import Option, Picks, Terms, decide
from harness.select.evidence import Evidence
from harness.select.known import known_of, options_of
from harness.select.limits import Breach, breaches, score_breach
from harness.select.measured import evidence_of
from harness.select.metric import score_limits
from harness.select.pairs import Pair, compare_pairs
from harness.select.pareto import Front, draw_latency_ms, likely_front, pareto_front
from harness.select.posterior import Others, Posterior, posteriors
from harness.select.prior import OwnRanks
from harness.select.ranks import Leads, RankInterval, rank_intervals
from harness.select.resamples import Resamples
from harness.select.rule import or_infinite
from harness.select.sample_size import Separation, separate
from harness.select.scores import natural


def believe(pool: Pool, own: OwnRanks, scores_K: FloatArray, covariance_KK: FloatArray, metric: RankMetric | None = None) -> Posterior:
    """The true scores of all candidates of a pool, those that a limit excludes included: they tell what others are like.

    `metric`: of the scores, where it is not the one by which others are outranked; None: it is.
    """
    return next(believe_each(pool, own, scores_K[None, :], covariance_KK, metric))


def believe_each(
    pool: Pool, own: OwnRanks, scores_HK: FloatArray, covariance_KK: FloatArray, metric: RankMetric | None = None
) -> Iterator[Posterior]:
    """The same by each of several sets of scores with equal errors."""
    others = _others(pool, own, metric, float(np.sqrt(np.median(np.diag(covariance_KK))))) if pool.outranked else None
    return posteriors(scores_HK, covariance_KK, [known_of(candidate, own) for candidate in pool.candidates], others=others)


def _others(pool: Pool, own: OwnRanks, metric: RankMetric | None, sd: float) -> Others | None:
    """Those who are ranked by their scores alone; under another metric by what their rows say of it, with the error that others have."""
    if metric is None:
        scores = [(each, each.score, each.sd) for each in pool.outranked]
    else:
        stated = [(each, each.candidate.stated(metric)) for each in pool.outranked]
        scores = [(each, score, sd) for each, score in stated if score is not None]
    if not scores:
        return None
    known = tuple(known_of(each.candidate, own) for each, _, _ in scores)
    return Others(known, np.array([score for _, score, _ in scores]), np.array([error for _, _, error in scores]))


def _short_of(pool: Pool, cfg: RankConfig) -> list[list[Breach]]:
    """Limits on scores that each candidate misses, by what was measured."""
    missed: list[list[Breach]] = [[] for _ in pool.candidates]
    for metric, limit in score_limits(pool, cfg):
        for k, score in enumerate(evidence_of(pool, pool.candidates, metric).scores_K):
            breach = score_breach(metric, natural(metric, float(score)), limit)
            missed[k] += [breach] if breach else []
    return missed


@dataclass(frozen=True, slots=True, eq=False)
class Contest:
    """The candidates of one pool under one metric and the user's limits."""

    pool: Pool
    cfg: RankConfig
    own: OwnRanks
    evidence: Evidence
    val: Resamples
    missed: tuple[tuple[Breach, ...], ...]
    """Limits that each candidate misses."""
    within: tuple[int, ...]
    """Within the limits, best score first."""
    order: tuple[int, ...]
    """Those of them of whose errors something is known: all, where there are predictions. They are compared, and one of them recommended."""
    excluded: tuple[int, ...]
    """The others, best score first."""
    tied_K: BoolArray
    """Of those within, who cannot be excluded as best."""
    leads: Leads
    """What chance explains among those within, in their `order`."""
    belief: Posterior
    """The true scores of all K."""
    options_K: tuple[Option, ...]
    """What using each of the K takes, whoever else is within."""

    @classmethod
    def of(cls, pool: Pool, metric: RankMetric, cfg: RankConfig, own: OwnRanks) -> "Contest":
        """Put the evidence together, then all else. Raises TableError or ConfigError where a limit is about a score that there is not."""
        return cls.by(pool, evidence_of(pool, pool.candidates, metric), metric, cfg, own, short_of=_short_of(pool, cfg))

    @classmethod
    def by(
        cls,
        pool: Pool,
        evidence: Evidence,
        metric: RankMetric,
        cfg: RankConfig,
        own: OwnRanks,
        *,
        short_of: Sequence[Sequence[Breach]] | None = None,
    ) -> "Contest":
        """Resample the evidence, apply the limits; `short_of`: those on scores that each candidate misses."""
        val = Resamples.from_evidence(evidence, metric, cfg.num_resamples)
        others = short_of or [()] * len(pool.candidates)
        missed = tuple((*breaches(candidate, cfg), *more) for candidate, more in zip(pool.candidates, others, strict=True))
        by_score = sorted(range(len(missed)), key=lambda k: (-val.scores_K[k], pool.candidates[k].label))
        within = tuple(k for k in by_score if not missed[k])
        order = tuple(k for k in within if evidence.is_known_K[k])
        chance = Chance.of(val.draws_RK[:, list(order)], cfg.confidence)
        tied_K = np.zeros(len(missed), dtype=np.bool_)
        tied_K[list(order)] = chance.tied_set(val.scores_K[list(order)])
        return cls(
            pool=pool,
            cfg=cfg,
            own=own,
            evidence=evidence,
            val=val,
            missed=missed,
            within=within,
            order=order,
            excluded=tuple(k for k in by_score if missed[k]),
            tied_K=tied_K,
            leads=Leads.of(chance),
            belief=believe(pool, own, evidence.scores_K, evidence.covariance_KK),
            options_K=tuple(options_of(pool.candidates)),
        )

    @property
    def options(self) -> list[Option]:
        """Of those within."""
        return self.options_of(self.order)

    def options_of(self, among: Sequence[int]) -> list[Option]:
        """Of some of the K."""
        return [self.options_K[k] for k in among]

    @property
    def terms(self) -> Terms:
        return Terms.of(self.cfg)

    def belief_within(self) -> Posterior:
        """The true scores of those within."""
        return self.belief.take(self.order)

    def belief_if(self, first: int, growth: float) -> Posterior:
        """The same, if the errors of one candidate's score had that many times the variance that they seem to have."""
        is_one_K = self.evidence.same_K == self.evidence.same_K[first]
        scale_K = np.where(is_one_K, growth**0.5, 1.0)
        covariance_KK = self.evidence.covariance_KK * np.outer(scale_K, scale_K)
        return believe(self.pool, self.own, self.evidence.scores_K, covariance_KK).take(self.order)

    def on_val_alone(self, k: int) -> Evidence:
        """What val says of one candidate, without help from other images."""
        runs = self.pool.candidates[k].val.runs(self.pool.labels_N, len(self.pool.class_names), self.val.metric)
        return Evidence.of(runs, self.val.metric, [len(self.pool.candidates[k].rows)], self.pool.groups_N)

    def picks(self) -> Picks:
        """Among those within, of whom there is one or more."""
        return decide(self.belief_within(), self.options, self.terms)

    def interval(self, k: int) -> Interval:
        """Of a score, in the metric's own unit. Where seeds alone vary, their errors are normal, so that no draws are needed."""
        if len(self.evidence.labels_N):
            return self.val.interval(k, self.cfg.confidence)
        half = NormalDist().inv_cdf((1 + self.cfg.confidence) / 2) * float(self.evidence.seed_variance_K[k]) ** 0.5
        score, highest = self.val.score(k), 1.0 if is_higher_better(self.val.metric) else float("inf")
        return Interval(max(score - half, 0.0), min(score + half, highest))

    def label(self, k: int) -> str:
        return self.pool.candidates[k].label

    def rank_intervals(self) -> dict[int, RankInterval]:
        """Of those within."""
        order = list(self.order)
        return dict(zip(self.order, rank_intervals(self.val.scores_K[order], self.leads, self.tied_K[order]), strict=True))

    def point_front(self) -> dict[int, bool]:
        """Who of those within is on the front of scores and median latencies."""
        latency_ms = np.array([or_infinite(self.pool.candidates[k].cost.latency_ms_p50) for k in self.within])
        return dict(zip(self.within, pareto_front(self.val.scores_K[list(self.within)], latency_ms).tolist(), strict=True))

    def front(self) -> Front:
        """The front of those compared, in their `order`, in joint draws of score and latency."""
        draws_RK, compared = self.val.draws_RK[:, list(self.order)], [self.pool.candidates[k] for k in self.order]
        latency_ms_RK = draw_latency_ms([each.cost for each in compared], [each.timed_model for each in compared], len(draws_RK))
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
            groups_N=self.pool.groups_N,
        )

    def separations(self, first: int) -> tuple[Separation, ...]:
        """Of one candidate and the best other one that cannot be excluded as best; empty when nobody else is."""
        other = next((k for k in self.order if self.tied_K[k] and k != first), None)
        if other is None:
            return ()
        behind = max(self.order.index(first), self.order.index(other))
        two_sided = NormalDist().inv_cdf((1 + self.cfg.confidence) / 2)  # below it the interval of their difference would hold zero
        critical = max(self.leads.of_one(behind), two_sided)
        labels = (self.label(first), self.label(other))
        difference = self.val.difference(first, other, self.cfg.confidence)
        errors = self.val.standard_errors(first, other)
        return (separate(labels, difference, errors, self.pool.num_images, critical),)
