"""`python -m benchmarks.views`: cached augmented views against new ones in every epoch, and against no augmentation: time and score."""

import argparse
import statistics
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.figures import Figure, as_records, figure_table
from benchmarks.kept import add_json, keep
from benchmarks.side_by_side import describe_machine, machine_line, software
from benchmarks.sweeps import sweep, total
from harness.cli.command import quit_on_error

BACKBONE, AUGMENT = "tf_efficientnet_lite0", "light"
WAYS = {
    "no augmentation": ("train.augment=none",),
    "2 views": (f"train.augment={AUGMENT}", "train.views=2"),
    "5 views": (f"train.augment={AUGMENT}", "train.views=5"),
    "new views in every epoch": (f"train.augment={AUGMENT}", "train.views=1"),
}
_HEAD = ("train.head_init=random", "train.lr=3e-3", "train.lr_search=[1]")
"""A head with a random start: after a closed-form one augmentation has little left to add."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One way to augment training images, over all seeds."""

    way: str
    wall_s: float
    """Of the whole command."""
    num_images: float
    """Passed ahead and cached; new views pass all training images again in every epoch, on top."""
    val_scores: list[float]
    """Balanced accuracy, by seed."""


def measure(way: str, *options: str) -> Seen:
    """Sweep in one way, with an empty cache."""
    with tempfile.TemporaryDirectory() as folder:
        swept = sweep(Path(folder), f"backbone={BACKBONE}", "freeze=all", "data=elpv", *_HEAD, *options, *WAYS[way])
    scores = [row.val_balanced_accuracy or 0.0 for row in sorted(swept.rows, key=lambda row: row.seed)]
    return Seen(way, swept.wall_s, total(swept.rows, "num_activations_computed"), scores)


def figures_of(seen: Seen) -> list[Figure]:
    """Time, work and score of one way."""
    return [
        Figure(seen.wall_s, "s", f"{seen.way}: the whole command"),
        Figure(seen.num_images, "images", "passed ahead, their activations cached"),
        Figure(100 * statistics.mean(seen.val_scores), "%", "balanced accuracy on val, mean over seeds"),
        Figure(100 * (max(seen.val_scores) - min(seen.val_scores)), "points", "from the lowest to the highest seed"),
    ]


def main() -> None:
    """Sweep in every way, print the table, write `benchmarks/views.json`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.views", description="Cached augmented views against new ones in every epoch."
    )
    parser.add_argument("--images", type=int, default=1200)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument(
        "--short", action="store_true", help="60 images, 2 epochs, 1 seed, whatever else is given; no file beside the module"
    )
    add_json(parser)
    args = parser.parse_args()
    num_images, epochs, num_seeds = (60, 2, 1) if args.short else (args.images, args.epochs, args.seeds)
    sizes = (f"data.max_images={num_images}", f"train.epochs={epochs}", f"seed={','.join(map(str, range(num_seeds)))}")
    with quit_on_error():
        where = describe_machine()
        print(machine_line(where))
        print(
            f"{BACKBONE}, freeze=all, train.augment={AUGMENT}, {num_images} images of elpv, {epochs} epochs, {num_seeds} seeds", flush=True
        )
        found: list[Seen] = []
        for way in WAYS:
            found.append(measure(way, *sizes))
            print(figure_table(figures_of(found[-1])), flush=True)
        figures = [figure for seen in found for figure in figures_of(seen)]
        record = {"machine": where, **software(), "ways": [asdict(seen) for seen in found], "options": sizes}
        keep(record | {"figures": as_records(figures)}, args, __file__)


if __name__ == "__main__":
    main()
