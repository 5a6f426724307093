"""Statistics found again from draws, the slow and literal way; only the resamples, the test of ties and the posterior come from the harness.

What the posterior says is found again by `believe`, integrating over the same model in another way.

Higher scores are better. Shapes: R resamples, K candidates.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations, permutations
from statistics import NormalDist, fmean
from typing import Any

import numpy as np
from scipy import stats

from harness.select import posterior as model
from harness.select import structure
from harness.select.comparison import FloatArray
from harness.select.posterior import Known, Posterior

CONFIDENCE = 0.95
EQUIVALENCE = 0.01
LATENCY_TIE = 0.05
PRICE = 0.005
"""Half a point."""


def spreads(draws_RK: FloatArray) -> FloatArray:
    """Standard deviation of every pair's difference."""
    return np.asarray((draws_RK[:, :, None] - draws_RK[:, None, :]).std(axis=0))


def chance_leads(draws_RK: FloatArray) -> FloatArray:
    """In resamples of no difference, how far candidate j is ahead of candidate i, in spreads: R x K x K, never below zero."""
    centred_RK = draws_RK - draws_RK.mean(axis=0)
    spread_KK = spreads(draws_RK)
    lead_RKK = (centred_RK[:, None, :] - centred_RK[:, :, None]) / np.where(spread_KK > 0, spread_KK, np.inf)
    return np.asarray(np.maximum(lead_RKK, 0.0))


def reached(values_R: FloatArray) -> float:
    """The largest value that 5 % of the resamples reach."""
    return float(np.sort(values_R)[-math.ceil((1 - CONFIDENCE) * len(values_R) - 1e-9)])


def rank_intervals(scores_K: FloatArray, draws_RK: FloatArray) -> list[str]:
    """Rank intervals that hold together, as the report prints them."""
    spread_KK, critical = spreads(draws_RK), reached(chance_leads(draws_RK).max(axis=(1, 2)))
    found = []
    for i, score in enumerate(scores_K):
        lead_K = (scores_K - score) / np.where(spread_KK[i] > 0, spread_KK[i], np.inf)
        low, high = 1 + int((lead_K > critical).sum()), len(scores_K) - int((-lead_K > critical).sum())
        found.append(str(low) if low == high else f"{low} to {high}")
    return found


def more_images(scores_K: FloatArray, draws_RK: FloatArray, first: int, second: int, num_images: int) -> int | None:
    """How many more images would tell two candidates apart with a power of 80 %; None where it would take more than a hundred times as many."""
    behind = first if scores_K[first] < scores_K[second] else second
    critical = reached(chance_leads(draws_RK)[:, behind, :].max(axis=1))
    error = float((draws_RK[:, first] - draws_RK[:, second]).std())
    wanted = float(scores_K[first] - scores_K[second]) / (critical + NormalDist().inv_cdf(0.8))
    growth = error * error / (wanted * wanted)
    return None if growth > 100 else math.ceil(num_images * (growth - 1))


def doublings(latencies: Sequence[float]) -> list[float]:
    """Above the lowest; a latency within 5 % of the lowest of its group counts as that."""
    grouped: dict[float, float] = {}
    lowest = -math.inf
    for latency in sorted(latencies):
        lowest = latency if latency > lowest * 1.05 or lowest < 0 else lowest
        grouped[latency] = lowest
    return [math.log2(grouped[latency] / min(latencies)) for latency in latencies]


def decide(belief: Posterior, latencies: Sequence[float], among: Sequence[int] | None = None, price: float = PRICE) -> int:
    """The highest expected score less the price of latency; of those that are rarely a point of that below another, if there are any."""
    spent_K = price * np.array(doublings(latencies))
    worth_RK, worth_K = belief.draws_RK - spent_K, belief.mean_K - spent_K
    gamble_K = (worth_RK.max(axis=1, keepdims=True) - worth_RK > 0.01).mean(axis=0)
    among = range(len(latencies)) if among is None else among
    safe = [k for k in among if gamble_K[k] <= 0.3]
    return max(safe or among, key=lambda k: float(worth_K[k]))


def prob_surpassed(belief: Posterior, latencies: Sequence[float], k: int) -> float:
    """That another is better by more than a point after the price of latency."""
    worth_RK = belief.draws_RK - PRICE * np.array(doublings(latencies))
    return float((worth_RK.max(axis=1) - worth_RK[:, k] > 0.01).mean())


def prob_behind(belief: Posterior, k: int) -> float:
    """That the best is better by more than a point."""
    return float((belief.draws_RK.max(axis=1) - belief.draws_RK[:, k] > 0.01).mean())


def budget(belief: Posterior, latencies: Sequence[float], first: int) -> tuple[int, float]:
    """Who first overtakes another as the price rises, and at how many points for a doubling."""
    taken = doublings(latencies)
    prices = {
        k: 100 * float(belief.mean_K[first] - belief.mean_K[k]) / (taken[first] - taken[k])
        for k in range(len(taken))
        if taken[k] < taken[first]
    }
    if not prices:
        return first, 100 * PRICE
    found = min(prices, key=lambda k: prices[k])
    return found, max(prices[found], 0.0)


def on_front(quality_RK: FloatArray, latency_RK: FloatArray) -> FloatArray:
    """Share of draws in which nobody beats a candidate; latencies within 5 % are equal."""
    kept = np.ones(quality_RK.shape)
    for i in range(quality_RK.shape[1]):
        for j in range(quality_RK.shape[1]):
            not_slower = latency_RK[:, j] <= latency_RK[:, i] * (1 + LATENCY_TIE)
            faster = latency_RK[:, j] * (1 + LATENCY_TIE) < latency_RK[:, i]
            better, as_good = quality_RK[:, j] > quality_RK[:, i], quality_RK[:, j] >= quality_RK[:, i]
            kept[:, i] *= ~((not_slower & better) | (faster & as_good))
    return np.asarray(kept.mean(axis=0))


def beaten_by(quality_RK: FloatArray, latency_RK: FloatArray, i: int) -> int | None:
    """Who is better on both axes in 95 % of the draws, the one that most often is."""
    faster_RK = latency_RK * (1 + LATENCY_TIE) < latency_RK[:, [i]]
    share_K = ((quality_RK > quality_RK[:, [i]]) & faster_RK).mean(axis=0)
    best = int(share_K.argmax())
    return best if float(share_K[best]) >= CONFIDENCE else None


def mcnemar(first_only: int, second_only: int) -> float:
    """Exact two-sided mid-p, summed term by term."""
    number, fewer = first_only + second_only, min(first_only, second_only)
    terms = [math.ldexp(math.comb(number, k), -number) for k in range(number + 1)]
    total = math.fsum(terms[: fewer + 1])
    return 1 - terms[fewer] / 2 if first_only == second_only else 2 * total - terms[fewer]


def holm(values: Sequence[float]) -> list[float]:
    """Step-down adjustment, by its definition: the largest of the multiplied smaller ones."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    adjusted = [0.0] * len(values)
    for place, i in enumerate(order):
        adjusted[i] = min(1.0, max((len(values) - k) * values[order[k]] for k in range(place + 1)))
    return adjusted


def practical(low: float, high: float) -> str:
    """The verdict on a difference."""
    if low > EQUIVALENCE or high < -EQUIVALENCE:
        return "better" if low > EQUIVALENCE else "worse"
    return "equivalent" if low >= -EQUIVALENCE and high <= EQUIVALENCE else "unclear"


def pairs(order: Sequence[int], first: int) -> list[tuple[int, int]]:
    """All pairs, those of the recommended first."""
    others = [k for k in order if k != first]
    return [*((first, k) for k in others), *combinations(others, 2)]


def advice(scores: Mapping[str, float], truth: Mapping[str, float], number: int) -> tuple[float, float, dict[str, float]]:
    """Recall, regret and shares taken, as means over every order that a score leaves open."""
    orders = [order for order in permutations(scores) if [scores[n] for n in order] == sorted(scores.values(), reverse=True)]
    enough = sorted((truth[name] for name in scores), reverse=True)[number - 1]
    best = max(truth[name] for name in scores)
    taken = {name: fmean(name in order[:number] for order in orders) for name in scores}
    recall = fmean(sum(truth[name] >= enough for name in order[:number]) / number for order in orders)
    return recall, fmean(best - max(truth[name] for name in order[:number]) for order in orders), taken


def tau(scores: Mapping[str, float], truth: Mapping[str, float]) -> float:
    """Weighted Kendall tau."""
    names = sorted(scores)
    return float(stats.weightedtau([scores[name] for name in names], [truth[name] for name in names]).statistic)


def ranks(scores: Mapping[str, float]) -> dict[str, float]:
    """0 for the lowest, equal ones sharing theirs."""
    places: Any = stats.rankdata(list(scores.values())) - 1
    return dict(zip(scores, places.tolist(), strict=True))


def believe(scores_K: FloatArray, error_KK: FloatArray, known: Sequence[Known]) -> FloatArray:
    """Draws of the true scores, R x K, by the model of `harness.select.posterior` written anew: t from a fine grid, then a Gaussian each.

    Args:
        scores_K: fractions.
        error_KK: covariance of their errors, as the model takes it. What it has in common for all is not learnt: it only adds to what is not known.
        known: of each.
    """
    rng, score_K, error_KK = np.random.default_rng(1), 100 * (scores_K - scores_K.mean()), 1e4 * error_KK
    mean_K, structure_KK = _beforehand(known)
    common_K = common_error(error_KK)
    error_KK -= np.outer(common_K, common_K)
    grid = np.exp(np.linspace(math.log(0.05), math.log(40), 400))
    log_weights = []
    for t in grid:
        total_KK = 900 + t * t * structure_KK + error_KK
        fit = float(stats.multivariate_normal(t * mean_K, total_KK).logpdf(score_K))
        log_weights.append(fit - (math.log(t / model.SPREAD_POINTS) / model.SPREAD_LOG_SD) ** 2 / 2)
    weights = np.exp(np.array(log_weights) - max(log_weights))
    found = []
    for t, number in zip(grid, rng.multinomial(40_000, weights / weights.sum()), strict=True):
        prior_KK = 900 + t * t * structure_KK
        gain_KK = prior_KK @ np.linalg.inv(prior_KK + error_KK)
        centre_K = t * mean_K + gain_KK @ (score_K - t * mean_K)
        covariance_KK = prior_KK - gain_KK @ prior_KK + np.outer(gain_KK @ common_K, gain_KK @ common_K)
        found.append(rng.multivariate_normal(centre_K, covariance_KK, size=number, check_valid="ignore"))
    return np.asarray(scores_K.mean() + np.concatenate(found) / 100)


def common_error(error_KK: FloatArray) -> FloatArray:
    """What moves all errors: what their mean, each in its standard deviations, tells of each, less what that of independent ones would."""
    sd_K = np.sqrt(np.diag(error_KK))
    like_KK = error_KK / np.outer(sd_K, sd_K)
    num = len(sd_K)
    correlation = max((like_KK.sum() - num) / max(num * (num - 1), 1), 0.0)
    excess = max(like_KK.sum() - num * (1 - correlation), 0.0)
    return np.asarray(sd_K * like_KK.sum(axis=1) * excess**0.5 / like_KK.sum())


def _beforehand(known: Sequence[Known]) -> tuple[FloatArray, FloatArray]:
    """Mean and covariance of the true scores at t = 1, in points, by what is known of each alone."""
    top1, cost, rank = (np.array([getattr(each, name) for each in known]) for name in ("top1_frac", "log2_cost", "own_rank"))
    told = [(top1 - top1.mean()) / top1.std(), cost - cost.mean(), rank - rank.mean()]
    means = (structure.TOP1_MEAN, structure.DOUBLING_MEAN, structure.OWN_RANK_MEAN)
    spreads = (structure.TOP1_SPREADS, structure.DOUBLING_SPREADS, structure.OWN_RANK_SPREADS)
    structure_KK = np.sum([np.outer(spread * x, spread * x) for spread, x in zip(spreads, told, strict=True)], axis=0)
    for i, one in enumerate(known):
        for j, other in enumerate(known):
            assert one.frozen_frac is not None
            assert other.frozen_frac is not None
            shared = structure.DEPTH_SPREADS**2 * math.exp(-abs(one.frozen_frac - other.frozen_frac) / structure.DEPTH_REACH)
            shared += structure.FAMILY_SHARE * (one.family == other.family) + structure.BACKBONE_SHARE * (one.backbone == other.backbone)
            structure_KK[i, j] += shared + (1 - structure.FAMILY_SHARE - structure.BACKBONE_SHARE) * (i == j)
    return np.sum([mean * x for mean, x in zip(means, told, strict=True)], axis=0), structure_KK
