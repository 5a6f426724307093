"""`python -m benchmarks.seeds`: what more seeds and more learning rates cost once features are there, and what a job costs beyond its own work."""

import argparse
import tempfile
from pathlib import Path

from benchmarks.figures import Figure, as_records, figure_table
from benchmarks.kept import add_json, keep
from benchmarks.side_by_side import Side, describe_machine, machine_line, software, table, times
from benchmarks.sweeps import add_up, sweep, total
from harness.cli.command import quit_on_error

BACKBONE, NUM_SEEDS = "tf_efficientnet_lite0", 10
MAX_MANY_OVER_ONE, MAX_OVERHEAD_S = 1.1, 2.0
"""What this benchmark must show."""
TINY = ("backbone=test_resnet", "weights=random", "data=digits", "data.max_images=200", "train.epochs=1")
UNTIMED = ("measure.warm_up_s=0", "measure.timing_s=0")
TINY_DEPTHS, TINY_SEEDS = ("all", "-1", "none"), 4
"""Random weights differ by seed, so that every one of these jobs has a process of its own."""


def run_seeds(num_images: int, repeats: int) -> tuple[list[Side], list[Figure]]:
    """One seed against ten, each with nothing kept; then another seed, and another learning rate, with what the first one kept."""
    grid = [f"backbone={BACKBONE}", "freeze=all", "data=elpv", f"data.max_images={num_images}"]
    walls: dict[str, list[float]] = {"1 seed": [], f"{NUM_SEEDS} seeds": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as many:
            walls["1 seed"].append(sweep(Path(one), *grid, "seed=0").wall_s)
            walls[f"{NUM_SEEDS} seeds"].append(sweep(Path(many), *grid, f"seed={_numbers(NUM_SEEDS)}").wall_s)
            later = sweep(Path(one), *grid, "seed=11", study="seed")
            faster = sweep(Path(one), *grid, "train.lr=3e-4", study="lr")
    sides = [Side(name, taken) for name, taken in walls.items()]
    return sides, [
        Figure(sides[1].median_s / sides[0].median_s, "x", f"{NUM_SEEDS} seeds over 1, whole commands", at_most=MAX_MANY_OVER_ONE),
        Figure(later.wall_s, "s", "a second sweep, another seed"),
        Figure(
            total(later.rows, "num_activations_computed"), "images", "through frozen layers in it (num_activations_computed)", at_most=0
        ),
        Figure(faster.wall_s, "s", "a third sweep, another learning rate"),
        Figure(
            total(faster.rows, "num_activations_computed"), "images", "through frozen layers in it (num_activations_computed)", at_most=0
        ),
    ]


def overhead_figures(num_seeds: int) -> list[Figure]:
    """What tiny jobs cost besides their own passes and training.

    The jobs' part of a command is what it takes longer than the same command with all jobs done, which imports, prepares and reports
    too. Timing networks is turned down to a few calls and counts as overhead.
    """
    grid = [*TINY, *UNTIMED, f"freeze={','.join(TINY_DEPTHS)}", f"seed={_numbers(num_seeds)}"]
    with tempfile.TemporaryDirectory() as folder:
        first = sweep(Path(folder), *grid)
        again = sweep(Path(folder), *grid)
    num_jobs, spent = len(first.rows), add_up(first.rows)
    jobs_s = first.wall_s - again.wall_s
    own_s = spent["features_s"] + spent["train_s"]
    return [
        Figure(first.wall_s, "s", f"{num_jobs} tiny jobs, each in a process of its own: the whole command"),
        Figure(again.wall_s, "s", "the same command when all jobs are done: imports, preparing, report"),
        Figure(jobs_s / num_jobs, "s", "a job, from the difference"),
        Figure(own_s / num_jobs, "s", "a job's own pass and training"),
        Figure((jobs_s - own_s) / num_jobs, "s", "a job beyond its own work", at_most=MAX_OVERHEAD_S),
        Figure((spent["jobs_s"] - own_s) / num_jobs, "s", "of that within the job's process: building, cutting, predicting, measuring"),
    ]


def _numbers(count: int) -> str:
    return ",".join(str(number) for number in range(count))


def main() -> None:
    """Run both parts, print the tables, write `benchmarks/seeds.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.seeds", description="Time more seeds, and the overhead of a job.")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--short", action="store_true", help="120 images, 1 repeat, 2 tiny seeds, whatever else is given; no file beside the module"
    )
    add_json(parser)
    args = parser.parse_args()
    num_images, repeats, num_tiny = (120, 1, 2) if args.short else (args.images, args.repeats, TINY_SEEDS)
    with quit_on_error():
        where = describe_machine()
        print(machine_line(where))
        print(f"{BACKBONE}, freeze=all, {num_images} images of elpv, 3 epochs; medians of {repeats}", flush=True)
        sides, figures = run_seeds(num_images, repeats)
        figures += overhead_figures(num_tiny)
        print(f"{table(sides)}\n\n{figure_table(figures)}")
        record = {"machine": where, **software(), "setting": {"num_images": num_images, "num_tiny_seeds": num_tiny}}
        keep(record | times(sides) | {"figures": as_records(figures)}, args, __file__)


if __name__ == "__main__":
    main()
