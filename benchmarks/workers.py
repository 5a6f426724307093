"""`python -m benchmarks.workers`: what two workers make of a grid, compared with one that has one core: the same rows, each backbone passed once, how much faster.

And what 64 simulated workers, each a process, make of 2,000 jobs that only sleep: how much of their time they work, and that none runs twice.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.sweeps import Swept, sweep
from harness.study.row import COLUMNS, Row

GRID = (
    *("backbone=test_resnet,test_vit,test_efficientnet,test_convnext", "freeze=all,0.5,none", "seed=0,1", "weights=random", "data=digits"),
    *("data.max_images=400", "data.image_size=64", "train.epochs=6", "precision=float32", "measure.timing_s=0.05", "report.live=false"),
)
"""24 jobs."""
QUALITY = [name for name in COLUMNS if name.startswith(("val_", "oof_", "train_accuracy", "train_log_loss")) or name == "model_blake2b"]


@dataclass(frozen=True, slots=True)
class Compared:
    """One grid, by one worker and by two, with one thread each."""

    one_s: float
    two_s: float
    """From the first job's start to the last one's end."""
    num_jobs: int
    num_equal: int
    """Rows that are equal in every column of quality and in the hash of the model."""
    passes: dict[str, tuple[int, int]]
    """Of each backbone and seed, how many jobs have computed activations, with one worker and with two."""

    @property
    def efficiency(self) -> float:
        return self.one_s / (2 * self.two_s)

    def __str__(self) -> str:
        twice = [name for name, (one, two) in self.passes.items() if two > one]
        return (
            f"{self.num_equal} of {self.num_jobs} rows equal; passed more often by two: {', '.join(twice) or 'none'}; "
            f"{self.one_s:.1f} s and {self.two_s:.1f} s: efficiency {self.efficiency:.2f}"
        )


def compare(folder: Path, options: Sequence[str]) -> Compared:
    """Sweep twice, with caches of their own."""
    os.environ["OMP_NUM_THREADS"] = "1"
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[:1])
    one = sweep(folder / "one", *options)
    os.sched_setaffinity(0, cores[:2])
    two = sweep(folder / "two", *options, "workers=2")
    os.sched_setaffinity(0, cores)
    others = {row.job_id: row for row in two.rows}
    equal = [all(getattr(row, name) == getattr(others[row.job_id], name) for name in QUALITY) for row in one.rows]
    counts = [Counter(_key(row) for row in found.rows if row.num_activations_computed) for found in (one, two)]
    passes = {key: (counts[0][key], counts[1][key]) for key in counts[0] | counts[1]}
    return Compared(jobs_s(one), jobs_s(two), len(equal), sum(equal), passes)


def _key(row: Row) -> str:
    return f"{row.backbone} seed={row.seed}"


def jobs_s(swept: Swept) -> float:
    """From the first job's start to the last row's file."""
    paths = [swept.study.row_path(row.job_id) for row in swept.rows]
    starts = [os.path.getmtime(swept.study.row_path(row.job_id)) - (row.total_s or 0.0) for row in swept.rows]
    return max(path.stat().st_mtime for path in paths) - min(starts)
