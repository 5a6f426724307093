"""`python -m benchmarks.label_errors`: how many planted label errors the data audit finds, and how many of those it names are planted.

A share of the photographs of solar cells gets the other label. Heads on the features of bundled networks are cross-fitted over all of them, as a sweep
does over train and val, and confident learning names suspects: by one network, and by the mean of several. Beside it, as many images of highest loss under a
head that was fitted on the same labels. Cells whose defect is uncertain (probability 1/3 or 2/3) are in doubt as they come, so precision is also told
among certain ones. Shapes: N images, D features.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from benchmarks.figures import Figure, as_records, figure_table
from benchmarks.kept import add_json, keep
from benchmarks.parts import bundled_features, images_of, load_elpv
from harness.config import ElpvConfig, ElpvTask, Metric
from harness.data.sources import list_images
from harness.measure.label_errors import suspects
from harness.measure.objective import SingleLabel
from harness.measure.quality import FloatArray, IntArray
from harness.transfer.probe import linear_probe

BACKBONES = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
VAL_FRAC = 0.25
"""Of train and val: what decides the number of folds."""

BoolArray = npt.NDArray[np.bool_]
Flagged = dict[str, BoolArray]
"""Way -> which images it names."""


def is_certain() -> BoolArray:
    """Of each photograph, in the order of the features, whether its defect probability is 0 or 1."""
    with TemporaryDirectory() as folder:
        listing = list_images(ElpvConfig(name="elpv", source="elpv", task=ElpvTask.levels), Path(folder))
    level = {row.candidate.id: row.classes[0] for row in listing.rows()}
    return np.array([level[image.id] in (0, 3) for image in images_of(load_elpv(None))])


def flagged(features: Mapping[str, FloatArray], labels_N: IntArray, seed: int) -> Flagged:
    """Whom each way names, by labels some of which are wrong."""
    num_train = round(len(labels_N) * (1 - VAL_FRAC))
    order_N = np.random.default_rng(seed).permutation(len(labels_N))
    back_N = np.argsort(order_N)
    objective = SingleLabel(np.bincount(labels_N) / len(labels_N))
    probs, ways = [], Flagged()
    for name, features_ND in features.items():
        parts = np.split(order_N, [num_train])
        probe = linear_probe(
            [features_ND[part] for part in parts],
            [labels_N[part] for part in parts],
            metric=Metric.balanced_accuracy,
            class_weights_C=np.ones(2),
            objective=objective,
            seed=seed,
        )
        probs.append(np.exp(probe.log_probs_NC.astype(np.float64))[back_N])
        ways[f"{name}, out of fold"] = _suspect(probs[-1], labels_N)
        fitted = objective.solve_head(features_ND, labels_N, np.ones(2), probe.strength)
        loss_N = -objective.true_log_probs(fitted.log_probs(features_ND), labels_N)
        ways[f"{name}, loss in sample"] = _highest(loss_N, int(ways[f"{name}, out of fold"].sum()))
    ways[f"mean of {len(features)}, out of fold"] = _suspect(np.mean(probs, axis=0), labels_N)
    return ways


def _suspect(probs_NC: FloatArray, labels_N: IntArray) -> BoolArray:
    found_N = np.zeros(len(labels_N), dtype=np.bool_)
    found_N[[each.place for each in suspects(probs_NC, labels_N)]] = True
    return found_N


def _highest(values_N: FloatArray, count: int) -> BoolArray:
    found_N = np.zeros(len(values_N), dtype=np.bool_)
    found_N[np.argsort(-values_N)[:count]] = True
    return found_N


def figures_of(runs: Sequence[tuple[BoolArray, Flagged]], is_certain_N: BoolArray) -> list[Figure]:
    """Means over runs, each with the images that were flipped in it."""
    figures = []
    for way in runs[0][1]:
        found = [(flipped_N, ways[way]) for flipped_N, ways in runs]
        figures += [
            Figure(float(np.mean([named_N.sum() for _, named_N in found])), "images", f"{way}: named"),
            Figure(float(np.mean([(named_N & flipped_N).sum() / flipped_N.sum() for flipped_N, named_N in found])), "", "recall"),
            Figure(float(np.mean([(named_N & flipped_N).sum() / named_N.sum() for flipped_N, named_N in found])), "", "precision"),
            Figure(
                float(
                    np.mean([(named_N & flipped_N & is_certain_N).sum() / (named_N & is_certain_N).sum() for flipped_N, named_N in found])
                ),
                "",
                "precision among cells that are certainly defective or not",
            ),
        ]
    return figures


def main() -> None:
    """Flip, cross-fit, print, write what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.label_errors", description="Recall and precision of suspect labels.")
    parser.add_argument("--size", type=int, default=224, help="side of the pictures in pixels")
    parser.add_argument("--frac", type=float, default=0.05, help="share of the labels that are flipped")
    parser.add_argument("--runs", type=int, default=5, help="times that labels are flipped, each time others")
    parser.add_argument("--short", action="store_true", help="one network, 64 pixels, one run")
    add_json(parser)
    args = parser.parse_args()
    names, size, num_runs = (BACKBONES[:1], 64, 1) if args.short else (BACKBONES, args.size, args.runs)
    found = {name: bundled_features(size, name) for name in names}
    true_N = found[names[0]][1]
    features = {name: features_ND for name, (features_ND, _) in found.items()}
    runs = []
    for seed in range(num_runs):
        is_flipped_N = _highest(np.random.default_rng(seed).random(len(true_N)), round(args.frac * len(true_N)))
        runs.append((is_flipped_N, flagged(features, np.where(is_flipped_N, 1 - true_N, true_N), seed)))
    certain_N = is_certain()
    print(
        f"{runs[0][0].sum()} of {len(true_N):,} labels flipped, {num_runs} runs, {size} pixels; {certain_N.sum():,} of the cells are certain",
        flush=True,
    )
    figures = figures_of(runs, certain_N)
    print(figure_table(figures))
    keep({"figures": as_records(figures), "size": size, "frac": args.frac, "runs": num_runs}, args)


if __name__ == "__main__":
    main()
