"""`python -m benchmarks.studies`: simulated studies with a known truth: what the rule of recommendation loses, and how often the tied set and the
corrected score are right. Rules are played by `rules`; this module judges the tied set and prints both.

Candidates answer two-class images right when the image is easier than the candidate is good. An image is hard for all
candidates (difficulty), for those of one family, and for single ones; how these three are mixed is the protocol of errors.
Draws, tied set, intervals and corrected scores are the harness's own.
Shapes: S studies at once, R resamples, K candidates, N images, C classes.
"""

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import Any

import numpy as np
from scipy.special import log_expit, ndtri

from benchmarks.corrected import corrected_score
from benchmarks.figures import Figure, as_records, figure_table
from benchmarks.kept import add_json, keep
from benchmarks.rules import SHORT_STUDIES, cells, judge_rules, workers
from benchmarks.side_by_side import describe_machine, machine_line, software
from harness.config import Metric
from harness.select.comparison import score_interval, tied_set
from harness.select.evidence import Evidence, image_errors
from harness.select.scores import FloatArray, IntArray, Runs, score_and_influence

CONFIDENCE, NUM_RESAMPLES = 0.95, 2000
MIN_COVERAGE = 0.94
"""What this benchmark must show in every setting."""
NUM_STUDIES = {5: 2000, 20: 1000, 200: 500}
"""By number of candidates: membership of few candidates varies more from study to study."""
FAMILY_SIZE = 5
TILT_FRAC = 0.05
"""Recall that some candidates gain in one class and lose in the other where classes are imbalanced."""
SHARPNESS = 3.0
"""Logit per standard deviation of difficulty, for log loss."""
_RUNS_AT_ONCE = 1000
"""Studies of one setting have the same labels and so the same resamples; this many runs share a call."""


class Case(StrEnum):
    """How good the candidates truly are."""

    equal = "all equal"
    lone = "one best"  # by 10 points
    graded = "graded"  # evenly from 0.85 down to 0.70


class Errors(StrEnum):
    """What the candidates' errors have in common."""

    shared = "shared"
    families = "families"


MIXES = {Errors.shared: (0.6, 0.0), Errors.families: (0.5, 0.3)}
"""Shares of difficulty and of family in the variance of what makes an image hard; the rest is the candidate's own."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One cell of the grid."""

    metric: Metric
    errors: Errors
    case: Case
    num_candidates: int
    num_images: int
    num_studies: int

    @property
    def labels_N(self) -> IntArray:
        """Half of the images in each class; one in ten in the second class for balanced accuracy."""
        num_second = self.num_images // (10 if self.metric is Metric.balanced_accuracy else 2)
        return np.repeat([0, 1], [self.num_images - num_second, num_second])


@dataclass(frozen=True, slots=True)
class Outcome:
    """One study, or the means of many. Errors of a reported score against the truth are in points, above 0 when it promises too much."""

    has_a_best: float
    """Share of the truly best candidates that are in the tied set: whether it contains a given one."""
    has_every_best: float
    num_tied: float
    num_overlapping: float
    """Candidates whose own interval reaches that of the best by score."""
    overlap_has_a_best: float
    """Share of the truly best among those."""
    naive: float
    """Of the best by score, its score."""
    corrected: float
    """Of the best by score, its corrected score."""
    cheapest: float
    """Of the cheapest candidate in the tied set, its corrected score; costs are random."""
    dearer_better: float
    """The same where costs are in the order of true quality, so that the cheapest is the worst of the tied set."""


def grid() -> list[Setting]:
    """The full form: every combination for accuracy, and a part of them for the other metrics."""
    sizes = [(K, N) for K in NUM_STUDIES for N in (200, 1000, 5000)]
    parts = [
        *((Metric.accuracy, errors, size) for errors in Errors for size in sizes),
        *((Metric.balanced_accuracy, Errors.families, size) for size in sizes[:8]),
        *((Metric.log_loss, Errors.families, size) for size in [(20, 200), (20, 1000)]),
    ]
    return [Setting(metric, errors, case, K, N, NUM_STUDIES[K]) for metric, errors, (K, N) in parts for case in Case]


def short_grid() -> list[Setting]:
    """What `make bench` runs."""
    return [Setting(Metric.accuracy, Errors.families, case, K, 200, 500) for K in (5, 20) for case in Case]


def run_setting(setting: Setting, seed: int) -> Outcome:
    """Means over the studies of one setting."""
    rng = np.random.default_rng(seed)
    truth_K, K = true_scores(setting), setting.num_candidates
    outcomes = []
    for runs in simulate(setting, rng):
        error_RJ = image_errors(score_and_influence(runs, setting.metric)[1], runs.labels_N, NUM_RESAMPLES)
        for start in range(0, len(runs.predicted_JN), K):
            study = slice(start, start + K)
            own = replace(runs, predicted_JN=runs.predicted_JN[study], true_log_prob_JN=runs.true_log_prob_JN[study])
            evidence = Evidence.of(own, setting.metric, [1] * K)
            draws_RK = evidence.draws_around(error_RJ[:, study])
            outcomes.append(judge(evidence.scores_K, draws_RK, truth_K, rng.random(K), setting.metric))
    return mean_outcome(outcomes)


def simulate(setting: Setting, rng: np.random.Generator) -> Iterator[Runs]:
    """The runs of all studies, study after study, as many studies at once as share a call."""
    labels_N = setting.labels_N
    threshold_KN = _thresholds(setting)[:, labels_N].astype(np.float32)
    at_once = max(1, _RUNS_AT_ONCE // setting.num_candidates)
    for start in range(0, setting.num_studies, at_once):
        hardness_SKN = _hardness(setting, min(at_once, setting.num_studies - start), rng)
        margin_JN = (threshold_KN - hardness_SKN).reshape(-1, setting.num_images)
        predicted_JN = np.where(margin_JN > 0, labels_N, 1 - labels_N)
        yield Runs(predicted_JN, log_expit(SHARPNESS * margin_JN), labels_N, num_classes=2)


def true_scores(setting: Setting) -> FloatArray:
    """Every candidate's score on infinitely many images, shape K; higher is better."""
    if setting.metric is not Metric.log_loss:
        return _qualities(setting)
    hardness_Q, weight_Q = np.polynomial.hermite_e.hermegauss(200)
    log_prob_KQ = log_expit(SHARPNESS * (_thresholds(setting)[:, :1] - hardness_Q))
    return np.asarray((log_prob_KQ * weight_Q).sum(axis=1) / weight_Q.sum())  # row by row, so that equal candidates stay equal


def judge(scores_K: FloatArray, draws_RK: FloatArray, truth_K: FloatArray, cost_K: FloatArray, metric: Metric) -> Outcome:
    """What one study says against what is true."""
    tied = np.flatnonzero(tied_set(scores_K, draws_RK, CONFIDENCE))
    best_J = np.flatnonzero(truth_K == truth_K.max())
    is_tied_best = np.isin(best_J, tied)
    intervals = [score_interval(draws_R, metric, CONFIDENCE) for draws_R in draws_RK.T]
    best, cheapest, worst = int(np.argmax(scores_K)), int(tied[np.argmin(cost_K[tied])]), int(tied[np.argmin(truth_K[tied])])
    overlapping = [k for k, each in enumerate(intervals) if each.high >= intervals[best].low]
    error = {k: 100 * (corrected_score(scores_K, draws_RK, k) - float(truth_K[k])) for k in {best, cheapest, worst}}
    return Outcome(
        has_a_best=float(is_tied_best.mean()),
        has_every_best=float(is_tied_best.all()),
        num_tied=len(tied),
        num_overlapping=len(overlapping),
        overlap_has_a_best=float(np.isin(best_J, overlapping).mean()),
        naive=100 * float(scores_K[best] - truth_K[best]),
        corrected=error[best],
        cheapest=error[cheapest],
        dearer_better=error[worst],
    )


def mean_outcome(outcomes: Sequence[Outcome]) -> Outcome:
    """Field by field."""
    return Outcome(*(float(np.mean([getattr(outcome, each.name) for outcome in outcomes])) for each in fields(Outcome)))


def _qualities(setting: Setting) -> FloatArray:
    """True mean recall over the two classes, best first, shape K."""
    K = setting.num_candidates
    if setting.case is Case.graded:
        return np.linspace(0.85, 0.70, K)
    return np.where(np.arange(K) == 0, 0.85, 0.75) if setting.case is Case.lone else np.full(K, 0.80)


def _thresholds(setting: Setting) -> FloatArray:
    """The hardness up to which a candidate is right about images of a class, shape K x C."""
    tilt_frac = TILT_FRAC if setting.metric is Metric.balanced_accuracy else 0.0
    tilt_K = np.resize([tilt_frac, 0.0, -tilt_frac], setting.num_candidates)
    quality_K = _qualities(setting)
    return np.asarray(ndtri(np.stack([quality_K + tilt_K, quality_K - tilt_K], axis=1)))


def _hardness(setting: Setting, num_studies: int, rng: np.random.Generator) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
    """How hard every image is for every candidate, standard normal, shape S x K x N."""
    difficulty, family = MIXES[setting.errors]
    family_K = np.arange(setting.num_candidates) // FAMILY_SIZE

    def normal(num: int, share: float) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
        return np.float32(share**0.5) * rng.standard_normal((num_studies, num, setting.num_images), dtype=np.float32)

    hardness_SKN = normal(setting.num_candidates, 1 - difficulty - family)
    hardness_SKN += normal(1, difficulty)
    if family:
        hardness_SKN += normal(int(family_K[-1]) + 1, family)[:, family_K]
    return hardness_SKN


def run_grid(settings: Sequence[Setting], num_workers: int) -> Iterator[Outcome]:
    """Every setting in its order, one process a core. What is found does not depend on their number."""
    with workers(num_workers) as pool:
        yield from pool.map(run_setting, settings, range(len(settings)))


HEADER = """\
                                                              contains a true best  candidates in   error of the reported score, points
                                                              by ties     overlap   the set by      best by score  cheapest in the set
metric             errors   case      cand.  images studies    one every      one   ties overlap   naive   ours  random cost  dearer is better"""


def show(setting: Setting, found: Outcome) -> str:
    """A line of the table under `HEADER`."""
    return (
        f"{setting.metric.value:18} {setting.errors.value:8} {setting.case.value:9} {setting.num_candidates:5,} {setting.num_images:7,} "
        f"{setting.num_studies:7,} {found.has_a_best:6.1%} {found.has_every_best:5.0%} {found.overlap_has_a_best:8.1%} {found.num_tied:6.1f} {found.num_overlapping:7.1f} "
        f"{found.naive:+7.2f} {found.corrected:+6.2f} {found.cheapest:+12.2f} {found.dearer_better:+17.2f}"
    )


def summarise(settings: Sequence[Setting], outcomes: Sequence[Outcome]) -> list[Figure]:
    """The worst and the mean of all settings. The tied set is held to containing a given best, as subset selection is."""
    numbers = range(len(outcomes))
    hardest = min(numbers, key=lambda number: outcomes[number].has_a_best)
    widest = max(numbers, key=lambda number: _relative_size(outcomes[number]))
    found = mean_outcome(outcomes)
    return [
        Figure(
            outcomes[hardest].has_a_best, "", f"lowest coverage of a given true best ({_name(settings[hardest])})", at_least=MIN_COVERAGE
        ),
        Figure(found.has_a_best, "", "mean coverage over the settings", at_least=MIN_COVERAGE),
        Figure(
            _relative_size(outcomes[widest]),
            "x",
            f"largest mean size of the tied set over that of overlapping intervals ({_name(settings[widest])})",
            at_most=1,
        ),
        Figure(found.num_tied / found.num_overlapping, "x", "the same over all settings", at_most=1),
        Figure(found.naive, "points", "mean winner's curse of the naive rule"),
        Figure(found.corrected, "points", "of the best by score, corrected"),
        Figure(found.cheapest, "points", "of the cheapest in the tied set, corrected"),
        Figure(max(abs(each.naive) for each in outcomes), "points", "largest curse of the naive rule"),
        Figure(max(abs(each.corrected) for each in outcomes), "points", "largest error of the best by score, corrected"),
    ]


def _relative_size(outcome: Outcome) -> float:
    return outcome.num_tied / outcome.num_overlapping


def _name(setting: Setting) -> str:
    words = (setting.metric.value, setting.errors.value, setting.case.value, f"{setting.num_candidates} candidates")
    return ", ".join((*words, f"{setting.num_images:,} images"))


def judge_ties(settings: Sequence[Setting], num_workers: int) -> tuple[list[Figure], list[dict[str, Any]]]:
    """Print the table of the tied set; its figures, and everything found."""
    print(HEADER, flush=True)
    outcomes = []
    for setting, outcome in zip(settings, run_grid(settings, num_workers), strict=True):
        print(show(setting, outcome), flush=True)
        outcomes.append(outcome)
    found = [{"setting": asdict(setting), **asdict(outcome)} for setting, outcome in zip(settings, outcomes, strict=True)]
    return summarise(settings, outcomes), found


def main() -> None:
    """Run the grids, print their tables and figures, write them where asked to."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.studies", description="Judge rules of recommendation, ties and corrected scores on simulated studies."
    )
    parser.add_argument("--part", choices=["rules", "ties", "all"], default="all", help="what to judge")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--short", action="store_true", help="few studies, candidates and images")
    add_json(parser)
    args = parser.parse_args()
    where = describe_machine()
    print(f"{machine_line(where)}\n{NUM_RESAMPLES:,} resamples; for log loss a point is 0.01\n", flush=True)
    figures: list[Figure] = []
    record: dict[str, Any] = {"machine": where, **software(), "num_resamples": NUM_RESAMPLES}
    if args.part != "ties":
        found_figures, record["rules"] = judge_rules(cells(SHORT_STUDIES if args.short else None), args.workers)
        figures += found_figures
        print(f"\n{figure_table(found_figures)}\n", flush=True)
    if args.part != "rules":
        found_figures, record["ties"] = judge_ties(short_grid() if args.short else grid(), args.workers)
        figures += found_figures
        print(f"\n{figure_table(found_figures)}", flush=True)
    keep(record | {"figures": as_records(figures)}, args)


if __name__ == "__main__":
    main()
