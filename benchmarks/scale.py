"""`python -m benchmarks.scale`: what a sweep of 10,000 candidates on a million images costs besides training: planning, starting a worker, taking jobs, promoting trials.

Jobs, images and rows are made up; the code is that of sweeps. Each part runs in a process of its own, so that its peak memory is its own. Ranking and
report are in `benchmarks.many_candidates`.
"""

import argparse
import multiprocessing
import pickle
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import Figure
from benchmarks.kept import add_json, conclude
from benchmarks.side_by_side import describe_machine, machine_line, software
from benchmarks.workers import made_up_jobs
from harness.cli.command import quit_on_error
from harness.data.dataset import Dataset, Split
from harness.data.file_images import FileImages, Texts
from harness.jobs.identity import failed_row
from harness.jobs.sharing import backbone_key, candidate_key
from harness.jobs.spec import JobSpec
from harness.process.place import EVERYWHERE
from harness.search.grid import Groups
from harness.search.plan import read_plan, write_plan
from harness.search.predicted_cost import Prediction
from harness.search.runner import Sweep
from harness.search.staged import Budget, Searching
from harness.search.trial import Trial
from harness.select.posterior import Known, Posterior, posterior
from harness.status import Status
from harness.study.claims import try_claimed
from harness.study.store import Study
from harness.transfer.rungs import Rung

NUM_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """What one part took."""

    name: str
    seconds: float
    peak_mib: float
    note: str = ""

    def __str__(self) -> str:
        return f"{self.seconds:9.2f} s {self.peak_mib:7,.0f} MiB  {self.name}{f' ({self.note})' if self.note else ''}"


def listing(num_images: int) -> Dataset:
    """So many files that nobody opens, three fifths of them train."""
    (job,) = made_up_jobs(Path("nowhere"), 1)[:1]
    train, val = num_images * 3 // 5, num_images // 5
    parts = {"train": (0, train), "val": (train, train + val), "test": (train + val, num_images)}
    split = {name: Split(_files(low, high), np.arange(low, high) % NUM_CLASSES) for name, (low, high) in parts.items()}
    names = tuple(f"class {number}" for number in range(NUM_CLASSES))
    return replace(job.dataset, class_names=names, train=split["train"], val=split["val"], test=split["test"])


def _files(low: int, high: int) -> FileImages:
    names = [f"class_{number % NUM_CLASSES:04d}/image_{number:08d}.jpg" for number in range(low, high)]
    hashes = Texts.of([f"{number:032x}" for number in range(low, high)])
    return FileImages(Texts.of(names), hashes, Texts.of([f"/data/images/{name}" for name in names]), None)


def plan(folder: Path, num_images: int, num_backbones: int) -> Part:
    """Write the plan."""
    dataset = listing(num_images)
    jobs = [replace(job, dataset=dataset) for job in made_up_jobs(folder, num_backbones)]
    started = time.perf_counter()
    written = write_plan(jobs)
    taken_s = time.perf_counter() - started
    mib = sum(path.stat().st_size for path in written.folder.iterdir()) / 2**20
    return _part("plan written, once", taken_s, f"{mib:.0f} MiB")


def start(folder: Path, *_: int) -> Part:
    """Read the plan, as each worker does once."""
    started = time.perf_counter()
    jobs = read_plan(_plan(folder)).jobs
    return _part(
        "plan read, once a worker", time.perf_counter() - started, f"{len(jobs):,} jobs, {len(jobs[0].dataset.train):,} train images"
    )


def hand_over(folder: Path, *_: int) -> Part:
    """Send a job to the process that runs it, and unpack it there."""
    job = read_plan(_plan(folder)).jobs[0]
    started = time.perf_counter()
    content = pickle.dumps([job])
    pickle.loads(content)
    return _part("job handed to its process, once a job", time.perf_counter() - started, f"{len(content) / 2**20:.0f} MiB")


def take(folder: Path, *_: int) -> Part:
    """Find the next free job where nine tenths are done and the next 1,000 are taken; as a worker that comes late does, and then again."""
    jobs = read_plan(_plan(folder)).jobs
    study, done = Study(jobs[0].config.study_dir), len(jobs) * 9 // 10
    for job in jobs[:done]:
        study.write_row(failed_row(job, Status.failed, "made up"))
    groups = Groups(_Quiet(jobs, places=[EVERYWHERE, EVERYWHERE]), jobs)  # several put them in order
    started = time.perf_counter()
    next(groups.tasks())
    first_s = time.perf_counter() - started
    started = time.perf_counter()
    for task in groups.tasks():
        with try_claimed(study.root, task.name) as is_mine:
            assert is_mine
            break
    again_s = time.perf_counter() - started
    return _part(f"next job found by a worker that comes when {done:,} are done", first_s, f"{1000 * again_s:.1f} ms for the one after")


class _Quiet(Sweep):
    def finished(self, *_: object) -> None:
        """Nobody is told."""


def promote(folder: Path, _: int, num_backbones: int) -> Part:
    """Decide which trial is trained next, once all backbones are probed."""
    jobs = made_up_jobs(folder, num_backbones)
    backbones = {job.config.backbone: backbone_key(job) for job in jobs if job.trains_head_only}
    trials = [Trial(candidate_key(job), backbones[job.config.backbone], None, job.trains_head_only) for job in jobs]
    judge = _Judge(dict(zip([trial.name for trial in trials], jobs, strict=True)))
    searching = Searching(trials, judge, Budget(share=0.3))
    searching.due(until_little=False)
    for trial in trials:
        if trial.is_probe:
            searching.reached(trial, Rung.probe)
    started = time.perf_counter()
    due = searching.due(until_little=False)
    first_s = time.perf_counter() - started
    started = time.perf_counter()
    searching.due(until_little=False)
    return _part(
        "trials put in order, once a row", first_s, f"{len(due):,} trials; {time.perf_counter() - started:.1f} s without a new row"
    )


class _Judge:
    """Scores that are made up; what they say of all trials is the posterior that ships."""

    def __init__(self, jobs: dict[str, JobSpec]) -> None:
        rng = np.random.default_rng(0)
        self.jobs = jobs
        self.scores = {name: float(0.8 + 0.03 * rng.normal()) for name, job in jobs.items() if job.trains_head_only}
        self.believed: Posterior | None = None

    def believe(self, names: Any) -> Posterior:
        if self.believed is None:
            jobs = [self.jobs[name] for name in names]
            known = [Known(backbone=job.config.backbone, frozen_frac=job.depth.frozen_frac) for job in jobs]
            scores_K = np.array([np.nan if (score := self.score(name)) is None else score for name in names])
            self.believed = posterior(scores_K, np.diag(np.full(len(known), 0.005**2)), known)
        return self.believed

    def score(self, name: str) -> float | None:
        return self.scores.get(name)

    def excluded(self, _: str) -> bool:
        return False

    def predict_s(self, _: str, path: Any) -> Prediction:
        seconds = 60.0 * len(path)
        return Prediction(seconds, seconds, seconds)

    def spent_s(self) -> float:
        return 0.0


PARTS: tuple[Callable[..., Part], ...] = (plan, start, hand_over, take, promote)


def _plan(folder: Path) -> Path:
    (path,) = (folder / "s" / "plan").iterdir()
    return path


def _part(name: str, seconds: float, note: str = "") -> Part:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return Part(name, seconds, int(status.partition("VmHWM:")[2].split()[0]) / 1024, note)


def _serve(sender: Any, part: Callable[..., Part], *arguments: Any) -> None:
    sender.send(part(*arguments))


def apart(part: Callable[..., Part], *arguments: Any) -> Part:
    """In a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(sender, part, *arguments))
    process.start()
    sender.close()
    try:
        found = receiver.recv()
    finally:
        process.join()
    assert isinstance(found, Part)
    return found


def main() -> None:
    """Print all parts."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description="A very large sweep, without its training.")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--candidates", type=int, default=10_000)
    parser.add_argument("--short", action="store_true", help="a hundredth of both; no file beside the module")
    add_json(parser)
    args = parser.parse_args()
    share = 100 if args.short else 1
    with quit_on_error():
        where = describe_machine()
        print(machine_line(where))
        found = []
        with tempfile.TemporaryDirectory() as folder:
            for part in PARTS:
                found.append(apart(part, Path(folder), args.images // share, -(-args.candidates // 3 // share)))
                print(found[-1], flush=True)
        record = {"machine": where, **software(), "parts": [asdict(part) for part in found]}
        conclude([Figure(max(part.peak_mib for part in found) / 1024, "GiB", "largest peak memory", at_most=8.0)], record, args, __file__)


if __name__ == "__main__":
    main()
