"""`python -m benchmarks.out_of_fold`: whether intervals of out-of-fold scores hold the truth, and how wide they are beside those of val.

Draws of 450 photographs of solar cells are split as the harness splits them; heads on the features of a bundled network are cross-fitted over
train and val. The truth is what such heads score on all other photographs. Shapes: N images of train and val, M others, D features.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.figures import Figure, as_records, figure_table
from benchmarks.kept import add_json, keep
from benchmarks.parts import bundled_features
from harness.config import Metric
from harness.measure.objective import Objective, SingleLabel
from harness.measure.quality import FloatArray
from harness.select.evidence import Evidence
from harness.select.measured import WIDENED, WIDENED_LOG_LOSS
from harness.select.resamples import Resamples
from harness.select.scores import IntArray, Runs
from harness.transfer.probe import linear_probe

METRICS = (Metric.accuracy, Metric.balanced_accuracy, Metric.f1_macro, Metric.log_loss)
CONFIDENCE, NUM_RESAMPLES = 0.95, 1000
MIN_COVERAGE, MAX_WIDTH = 0.93, 0.55
NUM_IMAGES, VAL_FRAC = 450, 0.2
"""Images of a draw, all of them train and val."""


@dataclass(frozen=True, slots=True)
class Found:
    """One metric in one draw."""

    holds: bool
    """Whether the out-of-fold interval holds the truth."""
    width: float
    """Over that of the interval on val."""


def one_draw(features_ND: FloatArray, labels_N: IntArray, rng: np.random.Generator) -> dict[Metric, Found]:
    """Split, cross-fit, and hold the intervals against what is true on all images that were not drawn."""
    drawn = np.concatenate([_some(np.flatnonzero(labels_N == label), NUM_IMAGES / len(labels_N), rng) for label in np.unique(labels_N)])
    val = np.concatenate([_some(drawn[labels_N[drawn] == label], VAL_FRAC, rng) for label in np.unique(labels_N)])
    train, rest = np.setdiff1d(drawn, val), np.setdiff1d(np.arange(len(labels_N)), drawn)
    objective = SingleLabel(np.bincount(labels_N[train]) / len(train))
    return {metric: _judge(features_ND, labels_N, (train, val, rest), metric, objective) for metric in METRICS}


def _judge(
    features_ND: FloatArray, labels_N: IntArray, parts: tuple[IntArray, IntArray, IntArray], metric: Metric, objective: Objective
) -> Found:
    train, val, rest = parts
    chosen_by = metric if metric is Metric.balanced_accuracy else Metric.accuracy
    probe = linear_probe(
        [features_ND[train], features_ND[val]],
        [labels_N[train], labels_N[val]],
        metric=chosen_by,
        class_weights_C=np.ones(len(objective.prior_C)),
        objective=objective,
        seed=0,
    )
    true_score, val_said = (objective.log_probs(probe.solution.log_probs(features_ND[part]), probe.temperature) for part in (rest, val))
    truth = objective.quality(true_score, labels_N[rest], metric)[0][metric.value]
    assert truth is not None
    widened = WIDENED_LOG_LOSS if metric is Metric.log_loss else WIDENED
    out_of_fold = _interval(probe.log_probs_NC, probe.labels_N, metric, objective, widened)
    on_val = _interval(val_said, labels_N[val], metric, objective, 1.0)
    return Found(out_of_fold[0] <= truth <= out_of_fold[1], (out_of_fold[1] - out_of_fold[0]) / (on_val[1] - on_val[0]))


def _interval(log_probs_NC: FloatArray, labels_N: IntArray, metric: Metric, objective: Objective, widened: float) -> tuple[float, float]:
    """Of the score of these predictions, as the report has it."""
    true_N = objective.true_log_probs(log_probs_NC, labels_N)
    runs = Runs(objective.decide(log_probs_NC, metric)[None], true_N[None], labels_N, log_probs_NC.shape[1])
    evidence = Evidence.of(runs, metric, [1])
    found = Resamples.from_evidence(replace(evidence, influence_KN=evidence.influence_KN * widened), metric, NUM_RESAMPLES)
    ends = found.interval(0, CONFIDENCE)
    return ends.low, ends.high


def _some(members: IntArray, share: float, rng: np.random.Generator) -> IntArray:
    return rng.choice(members, round(share * len(members)), replace=False)


def summarise(found: Sequence[Mapping[Metric, Found]]) -> list[Figure]:
    """Coverage and mean width of every metric."""
    figures = []
    for metric in METRICS:
        of = [each[metric] for each in found]
        figures += [
            Figure(
                float(np.mean([each.holds for each in of])),
                "",
                f"{metric.value}: out-of-fold intervals that hold the truth",
                at_least=MIN_COVERAGE,
            ),
            Figure(float(np.mean([each.width for each in of])), "x", f"{metric.value}: their width over that on val", at_most=MAX_WIDTH),
        ]
    return figures


def main() -> None:
    """Draw, print, write what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.out_of_fold", description="Coverage of out-of-fold intervals.")
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--size", type=int, default=96, help="side of the pictures in pixels")
    parser.add_argument("--short", action="store_true", help="ten draws")
    add_json(parser)
    args = parser.parse_args()
    num_draws, rng = 10 if args.short else args.draws, np.random.default_rng(0)
    features_ND, labels_N = bundled_features(args.size)
    print(
        f"{num_draws} draws of {NUM_IMAGES} of {len(labels_N):,} photographs, heads on tf_efficientnet_lite0 at {args.size} pixels",
        flush=True,
    )
    figures = summarise([one_draw(features_ND, labels_N, rng) for _ in range(num_draws)])
    print(figure_table(figures))
    keep({"figures": as_records(figures)}, args)


if __name__ == "__main__":
    main()
