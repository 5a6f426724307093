"""`python -m benchmarks.depths`: four freeze depths of one backbone against the floor, and against the same jobs run plainly in float32.

The floor is what nobody can avoid: one forward pass of all images at the best rate measured here, images decoded, and for each depth
the training steps behind its boundary, and val after each epoch, at their own best rates. Decoding, starting, cutting, solving heads,
predicting train and test, measuring and reporting are above it.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from benchmarks.figures import Figure, as_records, figure_table
from benchmarks.kept import add_json, keep
from benchmarks.parts import BATCH_SIZE, Subject, best_s, load_elpv, run_in_pieces, subject, training_step
from benchmarks.side_by_side import Side, describe_machine, machine_line, software, table, times
from benchmarks.sweeps import Swept, add_up, sweep
from harness.cli.command import quit_on_error
from harness.config import Precision
from harness.data.dataset import Dataset
from harness.features.mode import Mode, modes
from harness.study.row import Row
from harness.transfer.depth import FreezeDepth, parse_freeze
from harness.transfer.freeze import plan_freeze
from harness.transfer.rungs import short_epochs

BACKBONE, DEPTHS = "tf_efficientnet_lite0", ("all", "0.75", "0.5", "0.25")
PLAIN = ("precision=float32", "store.max_gib=0")
"""Nothing kept, nothing rewritten."""
MAX_OVER_FLOOR, MIN_PLAIN_OVER_HARNESS = 1.25, 4.0
"""What this benchmark must show on two cores."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all sides do."""

    num_images: int
    epochs: int | None
    """At one learning rate; None: the recipe as it ships, which tries several first."""
    num_at_hand: int
    """Images that rates are measured on."""
    repeats: int
    """Timings of each rate; the best counts."""


@dataclass(frozen=True, slots=True)
class Suffix:
    """Best measured times behind the boundary of one depth, in seconds per image."""

    train_s: float
    train_how: str
    eval_s: float
    eval_how: str


@dataclass(frozen=True, slots=True)
class Floor:
    """What nobody can avoid."""

    pass_s: float
    """Per image, in the best mode."""
    pass_how: str
    suffixes: dict[str, Suffix]
    """By depth."""

    def seconds(self, dataset: Dataset, epochs: Mapping[str, int]) -> dict[str, float]:
        """The parts of the floor for one pass over all images and the epochs of every depth."""
        num_train, num_val = len(dataset.train), len(dataset.val)
        return {
            "one pass": self.pass_s * (num_train + num_val + len(dataset.test)),
            "training steps": sum(suffix.train_s * epochs[depth] for depth, suffix in self.suffixes.items()) * num_train,
            "val after each epoch": sum(suffix.eval_s * epochs[depth] for depth, suffix in self.suffixes.items()) * num_val,
        }


def measure_floor(setting: Setting, dataset: Dataset) -> Floor:
    """The best rates of the pass and, for each depth, of what comes behind its boundary."""
    found = subject(BACKBONE, "pretrained", dataset, setting.num_at_hand)
    images = (found.images_NCHW,)
    chains = [found.chain(mode) for mode in modes(found.runtime, Precision.auto, lower=True)]
    passes = {str(chain.mode): partial(run_in_pieces, chain, images, found.pool) for chain in chains}
    how, taken_s = _best(best_s(passes, setting.repeats))
    suffixes = {text: _measure_suffix(found, parse_freeze(text), setting.repeats) for text in DEPTHS}
    return Floor(taken_s / len(found.images_NCHW), how, suffixes)


def _measure_suffix(found: Subject, depth: FreezeDepth, repeats: int) -> Suffix:
    boundary = found.trunk.nearest(plan_freeze(found.backbone.blocks, depth).first_changed_block)
    activations = found.activations(boundary)
    precisions = {Precision.float32, found.runtime.precision}
    chains = {f"{precision.value} in pieces": found.chain(Mode(precision, is_channels_last=True), boundary) for precision in precisions}
    evals = {how: partial(run_in_pieces, chain, activations, found.pool) for how, chain in chains.items()}
    steps = {precision.value: training_step(found, depth, activations, precision) for precision in precisions}
    (eval_how, eval_s), (train_how, train_s) = _best(best_s(evals, repeats)), _best(best_s(steps, repeats))
    num_images = len(activations[0])
    return Suffix(train_s / min(BATCH_SIZE, num_images), train_how, eval_s / num_images, eval_how)


def _best(times: dict[str, float]) -> tuple[str, float]:
    return min(times.items(), key=lambda item: item[1])


@dataclass(frozen=True, slots=True)
class Sides:
    """What was run as whole processes."""

    harness: Swept
    again: Swept
    """The same command when all jobs are done: imports, preparing, report."""
    plain: Swept | None
    """None: not run."""

    @property
    def epochs(self) -> dict[str, int]:
        """Depth -> epochs trained: of every learning rate that was tried, and of the whole. A closed-form head needs none."""
        return {row.freeze: _epochs(row) for row in self.harness.rows}


def _epochs(row: Row) -> int:
    if not row.epochs_trained:
        return 0
    return row.epochs_trained + len((row.lrs_tried or "").split()) * short_epochs(row.epochs_trained)


def run_sides(setting: Setting) -> Sides:
    """Every side with folders of its own."""
    grid = [f"backbone={BACKBONE}", f"freeze={','.join(DEPTHS)}", "data=elpv", f"data.max_images={setting.num_images}"]
    grid += [] if setting.epochs is None else [f"train.epochs={setting.epochs}", "train.lr_search=[1]"]
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        harness = sweep(Path(first), *grid)
        _say(harness.wall_s, "harness")
        again = sweep(Path(first), *grid)
        plain = None if setting.epochs is None else sweep(Path(second), *grid, *PLAIN)
        if plain:
            _say(plain.wall_s, "plain jobs")
    return Sides(harness, again, plain)


def _say(wall_s: float, what: str) -> None:
    print(f"{wall_s:9.1f} s  {what} done", file=sys.stderr, flush=True)


def figures_of(sides: Sides, floor_parts: dict[str, float]) -> list[Figure]:
    """The figures of the table; seconds and times."""
    floor_s, spent, harness_s = sum(floor_parts.values()), add_up(sides.harness.rows), sides.harness.wall_s
    own_s = spent["features_s"] + spent["train_s"]
    return [
        *(Figure(seconds, "s", f"floor: {part}") for part, seconds in floor_parts.items()),
        Figure(floor_s, "s", "floor"),
        Figure(spent["features_s"], "s", "harness: the pass, decoding included"),
        Figure(spent["train_s"], "s", "harness: training, val after each epoch and train predictions included"),
        Figure(spent["jobs_s"], "s", "harness: jobs in their processes, building and timing networks included"),
        Figure(sides.again.wall_s, "s", "harness: imports, preparing and report (the same command when all jobs are done)"),
        Figure(own_s / floor_s, "x", "floor: the jobs' own work (pass and training)", at_most=MAX_OVER_FLOOR),
        Figure(spent["jobs_s"] / floor_s, "x", "floor: jobs in their processes"),
        Figure(harness_s / floor_s, "x", "floor: the whole command"),
        *(
            [Figure(sides.plain.wall_s / harness_s, "x", "plain jobs over the harness, whole commands", at_least=MIN_PLAIN_OVER_HARNESS)]
            if sides.plain
            else []
        ),
    ]


def rows_table(swept: Swept, name: str) -> str:
    """One line a job: where its seconds went, and its score."""
    rows = sorted(swept.rows, key=lambda row: row.started_at)
    return "\n".join(
        f"{row.features_s or 0:9.1f} {row.train_s:9.1f} {row.total_s:9.1f}  {name}, freeze={row.freeze}, trained from {row.trained_from} "
        f"in {row.train_precision}, {row.num_activations_computed} images passed, val balanced accuracy {row.val_balanced_accuracy:.3f}"
        for row in rows
    )


def main() -> None:
    """Measure the floor, run the sides, print the tables, write `benchmarks/depths.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.depths", description="Time four freeze depths against the floor.")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--defaults", action="store_true", help="the recipe as it ships, with its own epochs and learning rates, without the plain jobs"
    )
    parser.add_argument("--short", action="store_true", help="60 images, 1 epoch, whatever else is given; no file beside the module")
    add_json(parser)
    args = parser.parse_args()
    setting = Setting(60, 1, 32, 1) if args.short else Setting(args.images, None if args.defaults else args.epochs, 64, 3)
    with quit_on_error():
        where = describe_machine()
        print(machine_line(where))
        print(
            f"{BACKBONE}, freeze={','.join(DEPTHS)}, {setting.num_images} images of elpv, {setting.epochs or 'default'} epochs", flush=True
        )
        dataset = load_elpv(setting.num_images)
        sides = run_sides(setting)
        floor = measure_floor(setting, dataset)
        figures = figures_of(sides, floor.seconds(dataset, sides.epochs))
        plain = {"plain jobs, float32": sides.plain} if sides.plain else {}
        timed = [Side("harness", [sides.harness.wall_s]), *(Side(name, [swept.wall_s]) for name, swept in plain.items())]
        print(f"{table(timed)}\n\n features    train      all  (s)")
        print("\n".join([rows_table(sides.harness, "harness"), *(rows_table(swept, "plain") for swept in plain.values()), ""]))
        print(f"{1 / floor.pass_s:10.1f} images/s one pass, {floor.pass_how}")
        for depth, suffix in floor.suffixes.items():
            print(
                f"{1 / suffix.train_s:10.1f} images/s training steps at {depth}, {suffix.train_how}; val {1 / suffix.eval_s:.1f} images/s"
            )
        print(f"\n{figure_table(figures)}")
        jobs = {"harness": add_up(sides.harness.rows)} | {name: add_up(swept.rows) for name, swept in plain.items()}
        record = {"machine": where, **software(), "setting": asdict(setting), "floor": asdict(floor), "jobs": jobs}
        keep(record | times(timed) | {"figures": as_records(figures)}, args, __file__)


if __name__ == "__main__":
    main()
