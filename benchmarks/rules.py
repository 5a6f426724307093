"""Rules of recommendation, played against a known truth: in simulated studies, which `benchmarks.studies` runs, and on tables by `benchmarks.replay`.

A simulated study has backbones at three freeze depths, in families. What makes a candidate good is shared by family, backbone and depth in parts that
differ from study to study, and is bent so that a few candidates are far behind. Published accuracy tells something in one study and nothing in
another; slower backbones are better on average. So the world is not the model of `harness.select.posterior`: its tail, its parts and the worth of what
is known beforehand are others.
Shapes: N images, K candidates, B backbones, F families.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields
from multiprocessing import get_context
from typing import Any

import numpy as np
from scipy.special import expit, gammaincinv, ndtr, ndtri

from benchmarks.figures import Figure
from harness.config import Metric
from harness.select.comparison import tied_set
from harness.select.decision import Option, Terms, decide, doublings
from harness.select.evidence import Evidence
from harness.select.posterior import POINT, Known, Posterior, posterior
from harness.select.scores import FloatArray, IntArray, Runs

PRICE = 0.5
"""Points per doubling of latency at which utilities are counted."""
DEPTHS = (1.0, 0.5, 0.0)
"""Frozen share of the blocks."""
SPREADS = (2.5, 0.8)
"""Standard deviation of the true scores, in points."""
NUM_CANDIDATES = (9, 24, 60)
NUM_IMAGES = (50, 90, 200, 1000)
NUM_STUDIES = {9: 500, 24: 300, 60: 200}
SHORT_STUDIES = 40
_FIRST_SEED = 1000
"""The constants of the posterior were chosen on studies of lower seeds."""
_NUM_RESAMPLES = 1000

SHIPPED_0, SHIPPED = "shipped, price 0", "shipped, price 0.5"
BEST, ONE_SE, PRIOR, OLD = "best on val", "one standard error", "prior only", "cheapest in the tied set"


@dataclass(frozen=True, slots=True)
class Cell:
    """One kind of study."""

    spread_points: float
    num_candidates: int
    num_images: int
    num_studies: int


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Truth:
    """Candidates as they are."""

    scores_K: FloatArray
    latency_ms_K: FloatArray
    known: tuple[Known, ...]
    families_K: IntArray
    backbones_K: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a rule may use."""

    scores_K: FloatArray
    covariance_KK: FloatArray
    """Of their errors."""
    belief: Posterior
    options: tuple[Option, ...]
    doublings_K: FloatArray
    known: tuple[Known, ...]

    @classmethod
    def of(cls, scores_K: FloatArray, covariance_KK: FloatArray, options: tuple[Option, ...], known: tuple[Known, ...]) -> "Seen":
        """With the posterior that ships. Scores are fractions, higher is better; every latency is known."""
        belief = posterior(scores_K, covariance_KK, known)
        return cls(scores_K, covariance_KK, belief, options, doublings([option.latency_ms for option in options]), known)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one rule: one study, or the mean of many. Points."""

    regret: float
    """True score of the best less that of the chosen."""
    doublings: float
    """Of its latency above the lowest."""
    utility: float
    """True score less the price of latency, against the best score at the lowest latency: 0 is perfect."""
    expected_loss: float
    """What the posterior says that the choice loses."""
    too_high: float = 0.0
    """Score that the posterior expects of the chosen less its true score; 0 where no truth is known."""


@dataclass(frozen=True, slots=True)
class Played:
    """Every rule on the same studies."""

    means: Mapping[str, Outcome]
    errors: Mapping[str, float]
    """Standard error of each rule's mean utility less that of best on val, studies in pairs."""

    @classmethod
    def of(cls, found: Mapping[str, Sequence[Outcome]]) -> "Played":
        """Means over the outcomes, which are in the same order for every rule."""
        best_S = np.array([outcome.utility for outcome in found[BEST]])
        errors = {
            name: float(np.std(np.array([outcome.utility for outcome in outcomes]) - best_S) / len(best_S) ** 0.5)
            for name, outcomes in found.items()
        }
        return cls({name: mean(outcomes) for name, outcomes in found.items()}, errors)


def cells(num_studies: int | None = None) -> list[Cell]:
    """The grid; with fewer studies where a number is given."""
    return [Cell(spread, K, N, num_studies or NUM_STUDIES[K]) for spread in SPREADS for K in NUM_CANDIDATES for N in NUM_IMAGES]


def draw_truth(cell: Cell, rng: np.random.Generator) -> Truth:
    """Candidates in random order, so that the first of equals is any of them."""
    num_backbones = cell.num_candidates // len(DEPTHS)
    backbones_K, depths_K = np.divmod(rng.permutation(cell.num_candidates), len(DEPTHS))
    family_B = rng.integers(0, max(num_backbones * 2 // 5, 1), num_backbones)
    parts = np.sqrt(rng.dirichlet((2.0, 4.0, 1.0, 3.0)))  # family, backbone, depth, each candidate's own
    inborn_B = parts[0] * rng.standard_normal(num_backbones)[family_B] + parts[1] * rng.standard_normal(num_backbones)
    own_K = parts[2] * rng.standard_normal(len(DEPTHS))[depths_K] + parts[3] * rng.standard_normal(cell.num_candidates)
    scores_K = rng.uniform(0.75, 0.92) + POINT * cell.spread_points * _bent(inborn_B[backbones_K] + own_K)
    inborn_B = inborn_B / np.hypot(parts[0], parts[1])
    top1_B = _told(inborn_B, rng.uniform(0, 0.9), rng)
    doublings_B = np.clip(1.5 + 0.9 * _told(inborn_B, 0.4, rng), 0, 3)
    rank_B = expit(-1.5 * _told(inborn_B, rng.uniform(0, 0.7), rng))
    cost_B = doublings_B + 0.5 * rng.standard_normal(num_backbones)
    has_rank = rng.random() < 0.5
    known = [
        Known(
            backbone=f"b{b}",
            family=f"f{family_B[b]}",
            top1_frac=None if b % 10 == 9 else 0.76 + 0.04 * top1_B[b],
            log2_cost=cost_B[b],
            own_rank=rank_B[b] if has_rank else None,
            frozen_frac=DEPTHS[d],
        )
        for b, d in zip(backbones_K, depths_K, strict=True)
    ]
    latency_ms_K = (5.0 * 2**doublings_B)[backbones_K]
    return Truth(
        scores_K=np.clip(scores_K, 0.3, 0.99),
        latency_ms_K=latency_ms_K,
        known=tuple(known),
        families_K=family_B[backbones_K],
        backbones_K=backbones_K,
    )


def observe(truth: Truth, num_images: int, rng: np.random.Generator) -> Seen:
    """Measure the candidates on so many images, whose hardness they share in part."""
    shared, own = rng.uniform(0.4, 0.6), 0.15
    rest = 1 - shared - own
    hard_KN = shared**0.5 * rng.standard_normal(num_images) + own**0.5 * rng.standard_normal((len(truth.scores_K), num_images))
    for share, groups_K in ((0.4 * rest, truth.families_K), (0.6 * rest, truth.backbones_K)):
        hard_KN += share**0.5 * rng.standard_normal((int(groups_K.max()) + 1, num_images))[groups_K]
    labels_N: IntArray = np.arange(num_images) % 2
    is_right_KN = hard_KN < ndtri(truth.scores_K)[:, None]
    runs = Runs(np.where(is_right_KN, labels_N, 1 - labels_N), np.where(is_right_KN, -0.1, -2.0) - hard_KN**2 * 1e-6, labels_N, 2)
    evidence = Evidence.of(runs, Metric.accuracy, [1] * len(truth.scores_K))
    options = tuple(Option(label=f"{k:02d}", latency_ms=latency_ms) for k, latency_ms in enumerate(truth.latency_ms_K.tolist()))
    return Seen.of(evidence.scores_K, evidence.covariance_KK, options, truth.known)


def _bent(normal_K: FloatArray) -> FloatArray:
    """Mean 0 and standard deviation 1, with a long tail below: less a gamma of shape 2."""
    return np.asarray((2.0 - gammaincinv(2.0, ndtr(-normal_K))) / 2.0**0.5)


def _told(inborn_B: FloatArray, correlation: float, rng: np.random.Generator) -> FloatArray:
    return np.asarray(correlation * inborn_B + (1 - correlation**2) ** 0.5 * rng.standard_normal(len(inborn_B)))


def _shipped(seen: Seen, price: float) -> int:
    return decide(seen.belief, seen.options, Terms(price)).recommended.position


def _best(seen: Seen) -> int:
    return int(seen.scores_K.argmax())


def _one_se(seen: Seen) -> int:
    """The fastest within one standard error of the best score."""
    best = _best(seen)
    floor = seen.scores_K[best] - np.sqrt(seen.covariance_KK[best, best])
    return _fastest(seen, np.flatnonzero(seen.scores_K >= floor))


def _old(seen: Seen) -> int:
    """The fastest that cannot be excluded as best. Errors are drawn from their covariance."""
    root_KK = np.linalg.cholesky(seen.covariance_KK + 1e-12 * np.eye(len(seen.options)))
    error_RK = np.random.default_rng(0).standard_normal((_NUM_RESAMPLES, len(root_KK))) @ root_KK.T
    scores_K = seen.scores_K
    return _fastest(seen, np.flatnonzero(tied_set(scores_K, scores_K + error_RK, 0.95)))


def _fastest(seen: Seen, positions: IntArray) -> int:
    return int(min(positions, key=lambda k: (seen.doublings_K[k], -seen.scores_K[k])))


def _prior_only(seen: Seen) -> int:
    """Highest published accuracy, at the middle depth where depths are known."""

    def promise(known: Known) -> tuple[float, float]:
        top1 = -np.inf if known.top1_frac is None else known.top1_frac
        return top1, -abs((known.frozen_frac or 0.0) - 0.5)

    return max(range(len(seen.known)), key=lambda k: promise(seen.known[k]))


RULES: Mapping[str, Callable[[Seen], int]] = {
    SHIPPED_0: lambda seen: _shipped(seen, 0.0),
    SHIPPED: lambda seen: _shipped(seen, PRICE),
    BEST: _best,
    ONE_SE: _one_se,
    PRIOR: _prior_only,
    OLD: _old,
}


def judge(truth_K: FloatArray, seen: Seen, chosen: int) -> Outcome:
    """What a choice truly comes to, by the true scores."""
    regret, doubled = float(truth_K.max() - truth_K[chosen]) / POINT, float(seen.doublings_K[chosen])
    too_high = float(seen.belief.mean_K[chosen] - truth_K[chosen]) / POINT
    return Outcome(regret, doubled, -regret - PRICE * doubled, float(seen.belief.expected_loss_K[chosen]) / POINT, too_high)


def play(cell: Cell, seed: int) -> Played:
    """Every rule on every study of a cell."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[Outcome]] = {name: [] for name in RULES}
    for _ in range(cell.num_studies):
        truth = draw_truth(cell, rng)
        seen = observe(truth, cell.num_images, rng)
        for name, rule in RULES.items():
            found[name].append(judge(truth.scores_K, seen, rule(seen)))
    return Played.of(found)


def mean(outcomes: Sequence[Outcome]) -> Outcome:
    """Field by field."""
    return Outcome(*(float(np.mean([getattr(outcome, each.name) for outcome in outcomes])) for each in fields(Outcome)))


def workers(num: int) -> ProcessPoolExecutor:
    """Processes of one thread each."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"  # read by a worker when it starts
    return ProcessPoolExecutor(num, mp_context=get_context("spawn"))


def judge_rules(grid: Sequence[Cell], num_workers: int) -> tuple[list[Figure], list[dict[str, Any]]]:
    """Play every cell and print its line; the figures, and everything found. What is found does not depend on the number of processes."""
    print(header(), flush=True)
    found = []
    with workers(num_workers) as pool:
        for cell, played in zip(grid, pool.map(play, grid, range(_FIRST_SEED, _FIRST_SEED + len(grid))), strict=True):
            print(show(cell, played), flush=True)
            found.append(played)
    planted = planted_figures(max(grid[0].num_studies // 5, 40))
    return [*summarise(grid, found), *planted], [{"cell": asdict(cell), **asdict(played)} for cell, played in zip(grid, found, strict=True)]


def header() -> str:
    """Headings of the table: regret, latency and utility of every rule, then what the posterior says less what is real at both prices."""
    names = "".join(f"{name:>24}" for name in RULES)
    return (
        "Of every rule: regret in points, latency in doublings above the lowest, utility less the best score at the lowest latency.\n"
        "Said: expected loss of the shipped choice less its regret, at both prices; then its expected score less its true one.\n"
        f"{'spread cand. images':19}{names}               said"
    )


def show(cell: Cell, played: Played) -> str:
    """A line of the table under `header`."""
    figures = "".join(f"{each.regret:11.2f} {each.doublings:5.2f} {each.utility:6.2f}" for each in played.means.values())
    said = " ".join(f"{played.means[name].expected_loss - played.means[name].regret:+.2f}" for name in (SHIPPED_0, SHIPPED))
    said += f" {played.means[SHIPPED].too_high:+.2f}"
    return f"{cell.spread_points:6.1f} {cell.num_candidates:5} {cell.num_images:6,}{figures}  {said}"


def summarise(grid: Sequence[Cell], found: Sequence[Played]) -> list[Figure]:
    """The worst cell and the mean of every claim, in points."""
    rivals = (BEST, ONE_SE, OLD)
    behind_G = [played.means[SHIPPED_0].regret - played.means[BEST].regret for played in found]
    lead_G = [played.means[SHIPPED].utility - max(played.means[name].utility for name in rivals) for played in found]
    total = {name: mean([played.means[name] for played in found]) for name in RULES}
    worst, least = int(np.argmax(behind_G)), int(np.argmin(lead_G))
    figures = [
        Figure(behind_G[worst], "points", f"price 0: regret less that of best on val, worst cell ({_name(grid[worst])})", at_most=0.1),
        Figure(float(np.mean(behind_G)), "points", "price 0: the same, mean over cells", at_most=0.0),
        Figure(
            lead_G[least],
            "points",
            f"price 0.5: utility less that of the best other rule, worst cell ({_name(grid[least])})",
            at_least=-0.1,
        ),
    ]
    figures += [
        Figure(
            total[SHIPPED].utility - total[name].utility, "points", f"price 0.5: utility less that of {name}, mean over cells", at_least=0.0
        )
        for name in rivals
    ]
    figures += [
        Figure(
            total[SHIPPED].too_high, "points", "price 0.5: expected score of the chosen less its true one, mean over cells", at_most=1.0
        ),
        Figure(max(played.means[SHIPPED].too_high for played in found), "points", "price 0.5: the same, worst cell", at_most=2.0),
    ]
    for sizes, limit in (((9, 24), 0.3), ((60,), 0.6)):
        for name in (SHIPPED_0, SHIPPED):
            gap = {
                g: abs(p.means[name].expected_loss - p.means[name].regret) for g, p in enumerate(found) if grid[g].num_candidates in sizes
            }
            widest = max(gap, key=lambda g: gap[g])
            text = f"{name}: expected against realised loss, {' and '.join(map(str, sizes))} candidates, worst cell ({_name(grid[widest])})"
            figures.append(Figure(gap[widest], "points", text, at_most=limit))
    return figures


def planted_figures(num_studies: int) -> list[Figure]:
    """Two cases whose answer is plain, over many draws of 90 images."""
    rng = np.random.default_rng(0)
    small = Truth(
        scores_K=np.array([0.85, 0.845, 0.84, 0.80]),
        latency_ms_K=np.array([20.0, 20.0, 15.0, 5.0]),
        known=tuple(
            Known(backbone=name, family=name, top1_frac=top1, log2_cost=cost, frozen_frac=1.0)
            for name, top1, cost in zip("abcd", (0.77, 0.78, 0.76, 0.70), (2.0, 2.1, 1.8, 0.2), strict=True)
        ),
        families_K=np.arange(4),
        backbones_K=np.arange(4),
    )
    studies = [observe(small, 90, rng) for _ in range(num_studies)]
    behind = [seen for seen in studies if seen.scores_K.max() - seen.scores_K[3] >= 5 * POINT]
    wrong = np.mean([_shipped(seen, PRICE) == 3 for seen in behind])
    belief = posterior(np.array([0.8, 0.8]), np.array([[1.6e-3, 1.2e-3], [1.2e-3, 1.6e-3]]), [Known(backbone="a"), Known(backbone="b")])
    fast = decide(belief, [Option(label="a", latency_ms=20.0), Option(label="b", latency_ms=10.0)]).recommended.position
    return [
        Figure(float(wrong), "", "a small network that scores 5 points less or worse on 90 images is recommended", at_most=0.0),
        Figure(float(fast == 1), "", "of two equal networks the one that is twice as fast is recommended", at_least=1.0),
    ]


def _name(cell: Cell) -> str:
    return f"spread {cell.spread_points}, {cell.num_candidates} candidates, {cell.num_images:,} images"
