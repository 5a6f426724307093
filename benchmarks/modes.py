"""`python -m benchmarks.modes`: how fast each mode of a fixed trunk is, whether the chosen one is worth it, and whether it agrees with float32.

Rates are of inference and of training steps on decoded images at hand; agreement is of whole jobs, and is held against the interval that
the report itself states.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.figures import Figure, as_records, figure_table
from benchmarks.kept import add_json, keep
from benchmarks.parts import BATCH_SIZE, Subject, best_s, load_elpv, plain_pass, run_in_pieces, subject, training_step
from benchmarks.side_by_side import describe_machine, machine_line, software
from benchmarks.sweeps import Swept, sweep
from harness.backbones.weights import BUNDLES
from harness.cli.command import quit_on_error
from harness.config import Precision
from harness.data.dataset import Dataset
from harness.features.mode import choose, modes
from harness.study.row import Row
from harness.transfer.depth import parse_freeze
from harness.transfer.freeze import plan_freeze

RANDOM = ("resnet18", "mobilenetv3", "vit")
"""Backbones without weights here: their speed is the same."""
DEPTHS = "all,0.5"
"""At which jobs must agree."""
MIN_CHOSEN_OVER_PLAIN = 0.95
"""The chosen mode is never slower than the plain one by more than 5 %."""
SCORES = ("val_accuracy", "val_balanced_accuracy", "val_log_loss")


@dataclass(frozen=True, slots=True)
class Setting:
    """How much is measured."""

    pretrained: tuple[str, ...]
    random: tuple[str, ...]
    num_images: int
    """Of the jobs that must agree."""
    epochs: int
    num_at_hand: int
    """Images that rates are measured on."""
    repeats: int
    """Timings of each rate; the best counts."""
    train_depths: tuple[str, ...]
    """At which training steps are timed."""


FULL = Setting(tuple(BUNDLES), RANDOM, num_images=600, epochs=3, num_at_hand=64, repeats=3, train_depths=("0.5", "none"))
SHORT = Setting(tuple(BUNDLES)[:1], (), num_images=60, epochs=1, num_at_hand=32, repeats=1, train_depths=("0.5",))


def pass_rates(found: Subject, repeats: int) -> tuple[dict[str, float], str]:
    """Images per second of the plain pass and of every mode in pieces, and the mode that a job here would choose."""
    images, num_images = (found.images_NCHW,), len(found.images_NCHW)
    chains = [found.chain(mode) for mode in modes(found.runtime, Precision.auto, lower=True)]
    # By what a chain says that it does: not every network has something to fuse.
    calls = {"plain": plain_pass(found)} | {str(chain.mode): partial(run_in_pieces, chain, images, found.pool) for chain in chains}
    # As in a job: the mode is chosen by a trial on a few images of the first piece.
    few = tuple(part[: found.pool.piece] for part in images)
    chain, _ = choose(found.trunk, [0, found.trunk.last], few, found.pool, Precision.auto, lower=True)
    return {name: num_images / seconds for name, seconds in best_s(calls, repeats).items()}, str(chain.mode)


def step_rates(found: Subject, text: str, repeats: int) -> dict[str, float]:
    """Images per second of training steps behind the boundary of a depth."""
    depth = parse_freeze(text)
    activations = found.activations(found.trunk.nearest(plan_freeze(found.backbone.blocks, depth).first_changed_block))
    calls = {
        precision.value: training_step(found, depth, activations, precision)
        for precision in dict.fromkeys([Precision.float32, found.runtime.precision])
    }
    num_images = min(BATCH_SIZE, len(found.images_NCHW))
    return {name: num_images / seconds for name, seconds in best_s(calls, repeats).items()}


def rate_figures(name: str, weights: str, dataset: Dataset, setting: Setting) -> list[Figure]:
    """All rates of one backbone."""
    found = subject(name, weights, dataset, setting.num_at_hand)
    passes, chosen = pass_rates(found, setting.repeats)
    figures = [Figure(passes["plain"], "images/s", f"{name}: pass, float32 as it was built, batches of {BATCH_SIZE}")]
    figures += [
        Figure(rate, "images/s", f"{name}: pass, {mode}, in pieces{', chosen' * (mode == chosen)}")
        for mode, rate in passes.items()
        if mode != "plain"
    ]
    over_plain = passes[chosen] / passes["plain"]
    figures.append(Figure(over_plain, "x", f"{name}: pass, chosen mode over plain", at_least=MIN_CHOSEN_OVER_PLAIN))
    for depth in setting.train_depths:
        steps = step_rates(found, depth, setting.repeats)
        figures += [Figure(rate, "images/s", f"{name}: training step at {depth}, {how}") for how, rate in steps.items()]
    return figures


def agreement_figures(setting: Setting) -> tuple[list[Figure], list[dict[str, Any]]]:
    """How far jobs in the chosen mode are from the same jobs in float32, and all their scores."""
    grid = [f"backbone={','.join(setting.pretrained)}", f"freeze={DEPTHS}", "data=elpv", f"data.max_images={setting.num_images}"]
    grid += [f"train.epochs={setting.epochs}", "train.lr_search=[1]"]
    with tempfile.TemporaryDirectory() as folder:
        fast, exact = (
            sweep(Path(folder), *grid, f"precision={precision}", study=precision) for precision in (Precision.auto.value, "float32")
        )
        half_widths = _half_widths(exact)
    pairs = [(row, _partner(row, exact.rows)) for row in sorted(fast.rows, key=lambda row: row.started_at)]
    figures, scores = [], []
    for one, other in pairs:
        metric = f"val_{other.primary_metric}"
        apart, allowed = abs(getattr(one, metric) - getattr(other, metric)), half_widths[other.backbone, other.freeze]
        text = f"{one.backbone} freeze={one.freeze}: {metric}, {one.activations_mode} against float32; limit: half the report's interval"
        figures.append(Figure(apart, "", text, at_most=allowed))
        for name in SCORES:
            fast_score, exact_score = getattr(one, name), getattr(other, name)
            scores.append({"job": f"{one.backbone} freeze={one.freeze}", "score": name, "auto": fast_score, "float32": exact_score})
    return figures, scores


def _half_widths(swept: Swept) -> dict[tuple[str, str], float]:
    """Of the report's interval for each candidate, by backbone and depth; in the metric that the report ranks by."""
    ranking = pd.read_csv(swept.study.report_dir / "ranking.csv", dtype={"freeze": str})
    halves = (ranking["interval_high"] - ranking["interval_low"]) / 2
    return dict(zip(zip(ranking["backbone"], ranking["freeze"], strict=True), halves.tolist(), strict=True))


def _partner(row: Row, others: Sequence[Row]) -> Row:
    return next(other for other in others if (other.backbone, other.freeze) == (row.backbone, row.freeze))


def main() -> None:
    """Measure every backbone, run the jobs that must agree, print the table, write `benchmarks/modes.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.modes", description="Time the modes of fixed trunks and check agreement.")
    parser.add_argument(
        "--short", action="store_true", help=f"{SHORT.pretrained[0]} alone, {SHORT.num_images} images; no file beside the module"
    )
    add_json(parser)
    args = parser.parse_args()
    setting = SHORT if args.short else FULL
    with quit_on_error():
        where = describe_machine()
        print(machine_line(where), flush=True)
        dataset = load_elpv(max(setting.num_at_hand, 64))
        figures = []
        for weights, names in (("pretrained", setting.pretrained), ("random", setting.random)):
            for name in names:
                figures += rate_figures(name, weights, dataset, setting)
        apart, scores = agreement_figures(setting)
        figures += apart
        print(figure_table(figures))
        for score in scores:
            print(f"{score['auto']:10.4f} against {score['float32']:.4f} in float32: {score['score']}, {score['job']}")
        keep({"machine": where, **software(), "scores": scores, "figures": as_records(figures)}, args, __file__)


if __name__ == "__main__":
    main()
