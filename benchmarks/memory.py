"""`python -m benchmarks.memory`: 20,000 generated image files through a small network: peak memory, and disk against what was predicted.

Memory is the proportional set size (PSS) of the whole process tree: pages that processes share count once, split among them, and pages
of cached activations that are mapped count too. Generating the files is not measured.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.figures import Figure, as_records, figure_table
from benchmarks.kept import add_json, keep
from benchmarks.side_by_side import BenchmarkError, describe_machine, machine_line, software
from benchmarks.sweeps import good_rows, places, total
from harness.cli.command import quit_on_error
from harness.study.store import Study

BACKBONE, SIDE, QUALITY, NUM_CLASSES = "mobilenetv3_small_100", 224, 85, 2
MAX_MIB, MAX_OFF_FRAC = 2048.0, 0.05
"""What this benchmark must show."""
SAMPLE_S = 0.25
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Watched:
    """One process tree from start to exit."""

    wall_s: float
    peak_mib: float
    """Highest sum of PSS over the tree that a sample met."""
    num_samples: int


def write_images(root: Path, num_images: int) -> None:
    """JPEG files of two classes: large spots of colour with noise over them, none like another."""
    for label in range(NUM_CLASSES):
        (root / f"class{label}").mkdir(parents=True)
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(partial(_write_image, root), range(num_images)):
            pass


def _write_image(root: Path, number: int) -> None:
    rng = np.random.default_rng(number)
    num_spots = int(rng.integers(3, 24))
    spots = Image.fromarray(rng.integers(0, 256, (num_spots, num_spots, 3), dtype=np.uint8))
    smooth = np.asarray(spots.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.int16)
    noisy = smooth + rng.integers(-20, 21, (SIDE, SIDE, 1), dtype=np.int16)
    picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    picture.save(root / f"class{number % NUM_CLASSES}" / f"{number:06d}.jpg", quality=QUALITY)


def watch(command: Sequence[str]) -> Watched:
    """Run a command in a session of its own and sample the memory of all processes in it.

    Raises:
        BenchmarkError: it ended with a status other than 0.
    """
    started, peak_mib, num_samples = time.perf_counter(), 0.0, 0
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            while process.poll() is None:
                peak_mib, num_samples = max(peak_mib, session_mib(process.pid)), num_samples + 1
                time.sleep(SAMPLE_S)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
        if process.returncode:
            printed.seek(0)
            last = (printed.read().strip() or "it wrote nothing").splitlines()[-1]
            raise BenchmarkError(f"exit status {process.returncode} ({last}); to see more, run: {' '.join(command)}")
    return Watched(time.perf_counter() - started, peak_mib, num_samples)


def session_mib(session: int) -> float:
    """Sum of PSS of all processes of a session (MiB); a process that ends meanwhile counts nothing."""
    return sum(_pss_mib(folder) for folder in Path("/proc").glob("[0-9]*") if _session_of(folder) == session)


def _session_of(folder: Path) -> int | None:
    try:
        # The name of the command stands in brackets and may hold anything.
        return int((folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[3])
    except OSError:
        return None


def _pss_mib(folder: Path) -> float:
    try:
        text = (folder / "smaps_rollup").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return int(text.partition("\nPss:")[2].split()[0]) / 1024 if "\nPss:" in text else 0.0


def size_mib(folder: Path) -> float:
    """Bytes of all files below a folder (MiB)."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / _MIB


def measure(num_images: int) -> list[Figure]:
    """Generate, run the sweep under watch, compare."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder / "images", num_images)
        data = ["data=folder", f"data.root={folder}/images", "data.max_images=null", f"data.image_size={SIDE}"]
        jobs = [f"backbone={BACKBONE}", "weights=random", "freeze=all,0.5", "train.epochs=1"]
        watched = watch([sys.executable, "-m", "harness.sweep", *jobs, *data, *places(folder, "bench")])
        rows = good_rows(Study(folder / "results" / "bench"))
        disk_mib = size_mib(folder / "cache" / "features")
    predicted_mib = total(rows, "cached_mib")
    own = [row.peak_mem_mib for row in rows if row.peak_mem_mib is not None]
    return [
        Figure(watched.wall_s, "s", f"{BACKBONE}, freeze=all,0.5, 1 epoch, {num_images:,} files of {SIDE} pixels: the whole command"),
        Figure(max(own), "MiB", "peak memory of a job's process, shared pages included (high-water mark)", at_most=MAX_MIB),
        Figure(watched.peak_mib, "MiB", f"peak memory of all processes (PSS, {watched.num_samples:,} samples)", at_most=MAX_MIB),
        Figure(predicted_mib, "MiB", "cached activations, predicted before the pass"),
        Figure(disk_mib, "MiB", "cached activations on disk"),
        Figure(abs(disk_mib / predicted_mib - 1), "", "off the prediction (fraction)", at_most=MAX_OFF_FRAC),
    ]


def main() -> None:
    """Measure, print the table, write `benchmarks/memory.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description="Watch the memory and the disk of a large sweep.")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--short", action="store_true", help="1,000 images, whatever else is given; no file beside the module")
    add_json(parser)
    args = parser.parse_args()
    num_images = 1_000 if args.short else args.images
    with quit_on_error():
        if not Path("/proc/self/smaps_rollup").exists():
            raise BenchmarkError("/proc/self/smaps_rollup: not on this system; memory of a process tree is read there, run this on Linux.")
        where = describe_machine()
        print(machine_line(where), flush=True)
        figures = measure(num_images)
        print(figure_table(figures))
        record = {"machine": where, **software(), "setting": {"num_images": num_images}}
        keep(record | {"figures": as_records(figures)}, args, __file__)


if __name__ == "__main__":
    main()
