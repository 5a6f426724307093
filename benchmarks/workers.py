"""`python -m benchmarks.workers`: what two workers make of a grid, compared with one that has one core: the same rows, each backbone passed once, how much faster.

And what 64 simulated workers, each a process, make of 2,000 jobs that only sleep: how much of their time they work, and that none runs twice.
"""

import argparse
import multiprocessing
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.figures import Figure
from benchmarks.kept import add_json, conclude
from benchmarks.side_by_side import describe_machine, machine_line, software
from benchmarks.sweeps import Swept, sweep
from harness.backbones.backbone import BackboneSpec, Weights, WeightsSource
from harness.cli.command import quit_on_error
from harness.config import DataConfig, Device, Precision, SweepConfig, TrainConfig
from harness.data.dataset import Dataset, Split
from harness.data.profile import Profile
from harness.files import append_line
from harness.jobs.identity import failed_row, now
from harness.jobs.spec import JobSpec
from harness.process.place import EVERYWHERE
from harness.search.grid import Groups
from harness.search.pull import Crew
from harness.search.runner import Sweep
from harness.status import Status
from harness.study.row import COLUMNS, Row
from harness.study.store import Study
from harness.transfer.depth import parse_freeze

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
    """Rows that are equal in every column of quality, in the hash of the model and in every epoch."""
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
    equal = [_said(row) == _said(others[row.job_id]) for row in one.rows]
    counts = [Counter(_key(row) for row in found.rows if row.num_activations_computed) for found in (one, two)]
    passes = {key: (counts[0][key], counts[1][key]) for key in counts[0] | counts[1]}
    return Compared(jobs_s(one), jobs_s(two), len(equal), sum(equal), passes)


def _said(row: Row) -> list[Any]:
    """What must be equal: also every epoch, as the weights that are kept may be those from before the first one."""
    return [*(getattr(row, name) for name in QUALITY), row.details.curve, row.details.lr_losses]


@dataclass(frozen=True, slots=True)
class Together:
    """Two sweeps of different studies, with caches of their own."""

    apart_s: float
    """One after the other."""
    together_s: float

    @property
    def throughput_frac(self) -> float:
        return self.apart_s / self.together_s

    def __str__(self) -> str:
        return (
            f"two sweeps one after the other {self.apart_s:.1f} s, at once {self.together_s:.1f} s: throughput {self.throughput_frac:.2f}"
        )


def two_sweeps(folder: Path, options: Sequence[str]) -> Together:
    """Time the jobs of both, from the first one's start to the last one's end."""
    os.environ.pop("OMP_NUM_THREADS", None)
    one, other = (sweep(folder / name, *options, f"seed={seed}") for name, seed in (("a", 2), ("b", 3)))
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda each: sweep(folder / each[0], *options, f"seed={each[1]}"), (("c", 2), ("d", 3))))
    ends = [_span(found) for found in both]
    return Together(jobs_s(one) + jobs_s(other), max(end for _, end in ends) - min(start for start, _ in ends))


def _key(row: Row) -> str:
    return f"{row.backbone} seed={row.seed}"


def jobs_s(swept: Swept) -> float:
    """From the first job's start to the last row's file."""
    start, end = _span(swept)
    return end - start


def _span(swept: Swept) -> tuple[float, float]:
    paths = [swept.study.row_path(row.job_id) for row in swept.rows]
    starts = [path.stat().st_mtime - (row.total_s or 0.0) for path, row in zip(paths, swept.rows, strict=True)]
    return min(starts), max(path.stat().st_mtime for path in paths)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Simulated workers on simulated jobs."""

    num_workers: int
    num_jobs: int
    wall_s: float
    """From the last worker's start to the last row."""
    slept_s: float
    """By all jobs together: the work."""
    num_twice: int
    """Jobs that were begun more than once."""
    num_rows: int

    @property
    def efficiency(self) -> float:
        return self.slept_s / (self.num_workers * self.wall_s)

    def __str__(self) -> str:
        return (
            f"{self.num_workers} workers, {self.num_jobs} jobs of {self.slept_s / self.num_jobs:.1f} s: {self.wall_s:.1f} s, "
            f"efficiency {self.efficiency:.2f}; {self.num_twice} begun twice, {self.num_rows} rows"
        )


def crowd(folder: Path, num_workers: int, num_backbones: int, job_s: float) -> Crowd:
    """Start so many processes, which share nothing but the folder, on three depths of so many backbones."""
    jobs = made_up_jobs(folder, num_backbones)
    context = multiprocessing.get_context(
        "fork"
    )  # nothing here has threads yet, and 64 interpreters would take minutes to start on two cores
    barrier = context.Barrier(num_workers + 1)
    processes = [context.Process(target=_serve, args=(jobs, job_s, barrier)) for _ in range(num_workers)]
    for process in processes:
        process.start()
    barrier.wait()
    started = time.monotonic()
    for process in processes:
        process.join()
    begun = Counter((folder / "begun").read_text(encoding="ascii").split())
    ended_s = max(float(line) for line in (folder / "ended").read_text(encoding="ascii").split())
    slept_s = sum(_sleep_s(job.job_id, job_s) for job in jobs)
    num_rows = len(Study(jobs[0].config.study_dir).job_ids())
    return Crowd(num_workers, len(jobs), ended_s - started, slept_s, sum(count > 1 for count in begun.values()), num_rows)


def made_up_jobs(folder: Path, num_backbones: int) -> list[JobSpec]:
    """Three depths of each backbone, on images that nobody opens."""
    profile = Profile(source="made up", root=None, num_found=0, num_used=0, class_counts={}, imbalance_ratio=1.0, split_origin={})
    none = Split([], np.zeros(0, dtype=np.int64))
    dataset = Dataset("made up", ("a", "b"), none, none, none, "f", profile)
    passing = tuple(parse_freeze(freeze) for freeze in _DEPTHS)
    return [
        JobSpec(
            config=SweepConfig(
                backbone=f"b{number}",
                freeze=freeze,
                data=DataConfig("made up"),
                train=TrainConfig(epochs=1),
                study="s",
                results_dir=str(folder),
            ),
            dataset=dataset,
            backbone=BackboneSpec(f"b{number}", f"b{number}", None, "family", "timm"),
            weights=Weights(WeightsSource.random, None, "random", None, None, None),
            depth=parse_freeze(freeze),
            device=Device.cpu,
            precision=Precision.float32,
            protocol={"metric": "accuracy"},
            command=(),
            asked_at=now(),
            passing=passing,
        )
        for number in range(num_backbones)
        for freeze in _DEPTHS
    ]


_DEPTHS = ("all", "0.5", "none")


class _Sleeping(Sweep):
    """Sleeps instead of training."""

    job_s = 1.0

    def run(self, jobs: Sequence[JobSpec], *_: object, **__: object) -> bool:
        folder = Path(jobs[0].config.results_dir)
        for job in jobs:
            append_line(folder / "begun", job.job_id)
            time.sleep(_sleep_s(job.job_id, self.job_s))
            Study(job.config.study_dir).write_row(failed_row(job, Status.failed, "only slept"))
            append_line(folder / "ended", str(time.monotonic()))
        return True

    def finished(self, *_: object) -> None:
        """Nobody is told."""


def _serve(jobs: Sequence[JobSpec], job_s: float, barrier: Any) -> None:
    sweep = _Sleeping(jobs)
    sweep.job_s = job_s
    groups = Groups(sweep, jobs, random.random())
    barrier.wait()
    Crew(sweep, groups, [EVERYWHERE]).run()


def _sleep_s(job_id: str, mean_s: float) -> float:
    """Between half and one and a half times the mean."""
    return mean_s * (0.5 + random.Random(job_id).random())


def main() -> None:
    """Print both; exit status 1 when rows differ, a job ran twice, or workers wait for each other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description="Workers: the same rows, sooner?")
    parser.add_argument("--repeats", type=int, default=3, help="of the grid, and of two sweeps; the median counts")
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--job-s", type=float, default=4.0, help="what a simulated job takes in the mean")
    parser.add_argument("--short", action="store_true", help="a tenth of the jobs, grid and sweeps once; no file beside the module")
    add_json(parser)
    args = parser.parse_args()
    repeats, num_jobs = (1, args.jobs // 10) if args.short else (args.repeats, args.jobs)
    with quit_on_error():
        where = describe_machine()
        print(machine_line(where))
        with tempfile.TemporaryDirectory() as folder:
            crowded = crowd(Path(folder), args.workers, -(-num_jobs // len(_DEPTHS)), args.job_s)
        print(crowded, flush=True)
        compared = []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as folder:
                compared.append(compare(Path(folder), (*GRID, "evidence.minutes=0")))
            print(compared[-1], flush=True)
        together = []
        for _ in range(repeats):
            with tempfile.TemporaryDirectory() as folder:
                together.append(two_sweeps(Path(folder), (*(part for part in GRID if not part.startswith("seed=")), "evidence.minutes=0")))
            print(together[-1], flush=True)
        found = {"crowd": asdict(crowded), "compared": [asdict(each) for each in compared], "together": [asdict(each) for each in together]}
        conclude(_figures(crowded, compared, together), {"machine": where, **software(), **found}, args, __file__)


def _figures(crowded: Crowd, compared: Sequence[Compared], together: Sequence[Together]) -> list[Figure]:
    differ = sum(each.num_jobs - each.num_equal for each in compared)
    more = sum(two > one for each in compared for one, two in each.passes.values())
    return [
        Figure(crowded.num_twice, "jobs", f"begun twice by {crowded.num_workers} simulated workers", at_most=0),
        Figure(crowded.num_jobs - crowded.num_rows, "rows", "missing", at_most=0),
        Figure(crowded.efficiency, "", f"efficiency of {crowded.num_workers} simulated workers", at_least=0.9),
        Figure(differ, "rows", "of two workers that differ from one worker's", at_most=0),
        Figure(more, "passes", "more than one worker made", at_most=0),
        Figure(median(each.efficiency for each in compared), "", "efficiency of two workers, median", at_least=0.85),
        Figure(
            median(each.throughput_frac for each in together),
            "",
            "throughput of two sweeps at once, by that of one after the other, median",
            at_least=0.9,
        ),
    ]


if __name__ == "__main__":
    main()
