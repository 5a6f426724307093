"""The numbers of each candidate: score, interval, rank interval, front, and what is believed of it. One entry for each candidate of a pool.

After the contest and before the decision.
"""

from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

from harness.config import RankMetric, is_higher_better
from harness.select.candidates import Candidate, Cost
from harness.select.comparison import Interval, at_least_wilson, interval
from harness.select.contest import Contest
from harness.select.limits import Breach
from harness.select.ranks import RankInterval
from harness.select.resamples import Difference
from harness.select.scores import bounds, natural


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Entry:
    """One candidate in the ranking. Scores are in the metric's own unit (log loss: lower is better)."""

    candidate: Candidate
    score: float
    interval: Interval
    expected: float
    """Expected true score, by what was measured and what was known before."""
    behind: Difference | None
    """How much better the recommended candidate scores; None without a recommendation and for the recommended itself."""
    breaches: tuple[Breach, ...]
    """Limits that exclude it: then nothing of what follows is known of it."""
    is_outranked: bool = False
    """Ranked by its score alone (`screen`): as of one that a limit excludes, nothing else is known of it but its rank."""
    rank: int | None = None
    """1 is the best score of the candidates within the limits."""
    on_front: bool = False
    """On the Pareto front of score and latency of the candidates within the limits."""
    rank_interval: RankInterval | None = None
    """Places that chance leaves open, for all candidates within the limits at once. This and what follows is not known either where nothing
    says how much the score varies."""
    tied: bool = False
    """In the tied set of the candidates within the limits."""
    front_prob: float | None = None
    """Share of joint draws of score and latency in which it is on that front; None as well when its latency is unknown."""
    dominated_by: str | None = None
    """Label of a candidate that is better on both in nearly all draws (`rank.confidence`); None as well when there is none."""
    prob_best: float | None = None
    """That no candidate within the limits is better."""
    expected_loss: float | None = None
    """Expected score of the best within the limits, whoever that is, less its own."""

    @property
    def label(self) -> str:
        return self.candidate.label

    @property
    def cost(self) -> Cost:
        return self.candidate.cost

    @property
    def excluded(self) -> list[str]:
        return [breach.text for breach in self.breaches]


def entries_of(contest: Contest, recommended: int | None = None) -> tuple[Entry, ...]:
    """Of all candidates, best score first; those that a limit excludes come after all others.

    Args:
        contest: what train and val say.
        recommended: position among its candidates of what is recommended in the end; None: nobody can be.
    """
    on_front, compared = contest.point_front(), _compared(contest) if contest.order else {}
    within = [replace(_entry(contest, k, recommended), on_front=on_front[k], **compared.get(k, {})) for k in contest.within]
    excluded = [_entry(contest, k, recommended) for k in contest.excluded]
    for place, each in enumerate(contest.pool.outranked):
        (excluded if each.breaches else within).append(_outranked(contest, place))
    if contest.pool.outranked:
        sign = 1 if is_higher_better(contest.val.metric) else -1
        for entries in (within, excluded):
            entries.sort(key=lambda entry: (-sign * entry.score, entry.label))
    return (*(replace(entry, rank=place) for place, entry in enumerate(within, start=1)), *excluded)


def possible(metric: RankMetric, mean: float) -> float:
    """The expected score nearest to a posterior mean, which is the mean of a normal distribution and knows no ends.

    Args:
        metric: whose score it is.
        mean: higher is better.
    """
    return natural(metric, float(np.clip(mean, *bounds(metric)))) + 0.0  # minus nothing is nothing


def expected_interval(contest: Contest, k: int) -> Interval:
    """What holds the true score of one candidate with the confidence of the study, by everything that its expected score rests on."""
    found = interval(contest.belief.take([k]).draws_RK[:, 0], contest.cfg.confidence)
    low, high = sorted(possible(contest.val.metric, end) for end in (found.low, found.high))
    return Interval(low, high)


def _entry(contest: Contest, k: int, recommended: int | None) -> Entry:
    """What is known of a candidate whether it is within the limits or not."""
    return Entry(
        candidate=contest.pool.candidates[k],
        score=contest.val.score(k),
        interval=contest.interval(k),
        expected=possible(contest.val.metric, float(contest.belief.mean_K[k])),
        behind=None if recommended in (None, k) else contest.val.difference(recommended, k, contest.cfg.confidence),
        breaches=contest.missed[k],
    )


def _outranked(contest: Contest, place: int) -> Entry:
    """What is known of a candidate by its score alone, whose error is as good as normal where images are many."""
    metric, confidence, found, others_H = contest.val.metric, contest.cfg.confidence, contest.pool.outranked[place], contest.belief.others_H
    assert others_H is not None
    half = NormalDist().inv_cdf((1 + confidence) / 2) * found.sd
    low, high = np.clip([found.score - half, found.score + half], *bounds(metric)).tolist()
    ends = at_least_wilson(Interval(low, high), metric, confidence, score=found.score, num_equal=found.num_equal)
    return Entry(
        candidate=found.candidate,
        score=natural(metric, found.score),
        interval=contest.val.natural(ends),
        expected=possible(metric, float(others_H[place])),
        behind=None,
        breaches=found.breaches,
        is_outranked=True,
    )


def _compared(contest: Contest) -> dict[int, dict[str, Any]]:
    """Fields that compare those within the limits with each other, by position."""
    rank_intervals, front, belief = contest.rank_intervals(), contest.front(), contest.belief_within()
    dominated_by = [front.dominated_by(place) for place in range(len(contest.order))]
    return {
        k: {
            "rank_interval": rank_intervals[k],
            "tied": bool(contest.tied_K[k]),
            "front_prob": front.prob(place),
            "dominated_by": None if (other := dominated_by[place]) is None else contest.label(contest.order[other]),
            "prob_best": float(belief.prob_best_K[place]),
            "expected_loss": float(belief.expected_loss_K[place]),
        }
        for place, k in enumerate(contest.order)
    }
