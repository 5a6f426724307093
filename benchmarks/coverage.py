"""`python -m benchmarks.coverage`: how often the tied set and the intervals hold the truth, where seeds are few and where images hardly tell two apart.

Candidates answer two-class images right when the image is easier than the candidate is good. How hard an image is, is shared by all candidates,
by the seeds of one, and by nobody, in parts; a seed is a little better or worse than its candidate. Evidence, sets and intervals are the harness's own.
Shapes: N images, K candidates, J runs.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from benchmarks.figures import Figure, as_records, figure_table
from benchmarks.kept import add_json, keep
from harness.config import Metric
from harness.select.comparison import tied_set
from harness.select.evidence import Evidence
from harness.select.resamples import Resamples
from harness.select.scores import IntArray, Runs

CONFIDENCE, NUM_RESAMPLES = 0.95, 2000
MIN_COVERAGE, MAX_WIDTH = 0.94, 1.15
SHARED, OF_CANDIDATE = 0.6, 0.25
"""Of the variance of what makes an image hard; the rest is of a single seed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Candidates with a known truth, the mean over infinitely many images and seeds."""

    truths: tuple[float, ...]
    num_images: int
    seeds: tuple[int, ...]
    seed_sd: float = 0.0

    def runs(self, rng: np.random.Generator) -> Runs:
        """One study: the runs of a candidate side by side."""
        candidate_J = np.repeat(np.arange(len(self.truths)), self.seeds)
        truth_J = np.array(self.truths)[candidate_J] + self.seed_sd * rng.standard_normal(len(candidate_J))
        own = 1 - SHARED - OF_CANDIDATE
        hard_JN = SHARED**0.5 * rng.standard_normal(self.num_images)
        hard_JN = hard_JN + OF_CANDIDATE**0.5 * rng.standard_normal((len(self.truths), self.num_images))[candidate_J]
        hard_JN += own**0.5 * rng.standard_normal(hard_JN.shape)
        labels_N: IntArray = np.arange(self.num_images) % 2
        is_right_JN = hard_JN < ndtri(truth_J)[:, None]
        return Runs(np.where(is_right_JN, labels_N, 1 - labels_N), np.where(is_right_JN, -0.1, -2.0), labels_N, 2)


def kept(world: World, num_studies: int, seed: int = 0) -> float:
    """How often a given one of the equal candidates, the one with the fewest seeds, is in the tied set."""
    rng, given = np.random.default_rng(seed), int(np.argmin(world.seeds))
    found = [Evidence.of(world.runs(rng), Metric.accuracy, world.seeds) for _ in range(num_studies)]
    return float(np.mean([tied_set(each.scores_K, each.draws(NUM_RESAMPLES), CONFIDENCE)[given] for each in found]))


def pair(world: World, num_studies: int, seed: int = 0) -> tuple[float, float]:
    """How often the interval of a difference holds the truth, and its mean width over that of an interval that knows its spread."""
    rng, truth = np.random.default_rng(seed), world.truths[0] - world.truths[1]
    values, widths, holds = [], [], []
    for _ in range(num_studies):
        runs = world.runs(rng)
        answers = [(runs.predicted_JN[[j]], runs.true_log_prob_JN[[j]]) for j in range(2)]
        found = Resamples.of(answers, runs.labels_N, 2, Metric.accuracy, NUM_RESAMPLES).difference(0, 1, CONFIDENCE)
        values.append(found.value)
        widths.append(found.interval.high - found.interval.low)
        holds.append(found.interval.low <= truth <= found.interval.high)
    return float(np.mean(holds)), float(np.mean(widths) / (2 * float(ndtri((1 + CONFIDENCE) / 2)) * np.std(values)))


def single(accuracy: float, num_images: int, num_studies: int, seed: int = 0) -> float:
    """How often the interval of one score holds the truth."""
    rng, world = np.random.default_rng(seed), World(truths=(accuracy,), num_images=num_images, seeds=(1,))
    holds = []
    for _ in range(num_studies):
        runs = world.runs(rng)
        found = Resamples.of([(runs.predicted_JN, runs.true_log_prob_JN)], runs.labels_N, 2, Metric.accuracy, NUM_RESAMPLES).interval(
            0, CONFIDENCE
        )
        holds.append(found.low <= accuracy <= found.high)
    return float(np.mean(holds))


def _equal(num: int, num_images: int, seeds: Sequence[int], seed_sd: float) -> World:
    return World(truths=(0.85,) * num, num_images=num_images, seeds=tuple(seeds), seed_sd=seed_sd)


def figures(scale: float) -> list[Figure]:
    """Everything that is held to a limit; `scale` times as many studies as the full form."""

    def num(full: int) -> int:
        return max(round(full * scale), 20)

    sets: list[tuple[str, World, int]] = [
        ("20 equal candidates, 3 seeds, 3,000 images", _equal(20, 3000, [3] * 20, 0.004), 1000),
        ("20 equal candidates, 2 seeds, 3,000 images", _equal(20, 3000, [2] * 20, 0.004), 1000),
        ("2 equal candidates, 2 seeds, 3,000 images", _equal(2, 3000, [2] * 2, 0.004), 1000),
        ("a single run among 19 equal candidates with 5 seeds, 3,000 images", _equal(20, 3000, [1] + [5] * 19, 0.004), 600),
        ("20 equal candidates, one seed, 90 images", _equal(20, 90, [1] * 20, 0.0), 2000),
        ("2 equal candidates, one seed, 90 images", _equal(2, 90, [1] * 2, 0.0), 2000),
        ("200 equal candidates, one seed, 200 images", _equal(200, 200, [1] * 200, 0.0), 500),
    ]
    found = [
        Figure(kept(world, num(full)), "", f"in the tied set: a given one of {text}", at_least=MIN_COVERAGE) for text, world, full in sets
    ]
    for truths, num_images in (((0.93, 0.97), 90), ((0.95, 0.95), 90), ((0.8, 0.85), 90), ((0.93, 0.97), 1000)):
        covered, width = pair(World(truths=truths, num_images=num_images, seeds=(1, 1)), num(2000))
        name = f"interval of a difference, {truths[0]:.0%} and {truths[1]:.0%}, {num_images:,} images"
        found += [
            Figure(covered, "", f"{name}: holds the truth", at_least=MIN_COVERAGE),
            Figure(width, "x", f"{name}: width over that of a known spread", at_most=MAX_WIDTH),
        ]
    found += [
        Figure(
            single(accuracy, 90, num(2000)), "", f"interval of a score, {accuracy:.0%}, 90 images: holds the truth", at_least=MIN_COVERAGE
        )
        for accuracy in (0.85, 0.97, 0.99)
    ]
    return found


def main(make: Callable[[float], list[Figure]] = figures) -> None:
    """Print the figures, and write them where asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description="How often sets and intervals hold the truth.")
    parser.add_argument("--short", action="store_true", help="a twentieth of the studies")
    add_json(parser)
    args = parser.parse_args()
    found = make(0.05 if args.short else 1.0)
    print(figure_table(found))
    keep({"figures": as_records(found)}, args)


if __name__ == "__main__":
    main()
