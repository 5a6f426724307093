"""`python -m benchmarks.million_paths`: a table that names a million images: from the command to the moment when the first job computes, and peak memory.

Three starts, each a command of its own that is ended once its job computes: with the default draw, with every image for the first time (each is read, decoded
and hashed), and with every image again, when the audit remembers them. Writing the files is not measured.
"""

import argparse
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure
from benchmarks.kept import add_json, conclude
from benchmarks.memory import session_mib
from benchmarks.side_by_side import BenchmarkError, describe_machine, machine_line, software
from benchmarks.sweeps import places
from harness.cli.command import quit_on_error

MAX_S, MAX_MIB = 60.0, 2048.0
"""What a start may take."""
SIDE, NUM_IN_FOLDER = 8, 1000
SAMPLE_S = 0.5
JOB = ("backbone=test_resnet", "weights=random", "freeze=all", "train.epochs=1", "data.image_size=32", "evidence.minutes=0")


@dataclass(frozen=True, slots=True)
class Started:
    """A sweep until its first job computes."""

    wall_s: float
    peak_mib: float
    """Highest sum of PSS over all its processes."""


def write_table(root: Path, num_images: int) -> Path:
    """Distinct grey PNG files of two classes, a thousand in a folder, and the CSV that names them."""
    table = root / "images.csv"
    with table.open("w", encoding="utf-8") as lines:
        lines.write("path,label\n")
        for number in range(num_images):
            path = Path(f"{number // NUM_IN_FOLDER:04d}", f"{number:07d}.png")
            if number % NUM_IN_FOLDER == 0:
                (root / path.parent).mkdir()
            (root / path).write_bytes(_png(number))
            lines.write(f"{path.as_posix()},{'dark' if number % 2 else 'bright'}\n")
    return table


def _png(number: int) -> bytes:
    """A picture that no other number has; written by hand, since Pillow takes ten times as long."""
    noise = random.Random(number)
    rows = (bytes([0, *(noise.randrange(128) + 100 * (number % 2 == 0) for _ in range(SIDE))]) for _ in range(SIDE))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    parts = (_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(b"".join(rows), 1)), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def start(table: Path, folder: Path, *overrides: str) -> Started:
    """Run a sweep until its job caches its first activations or is done, then end it.

    Raises:
        BenchmarkError: it ended before.
    """
    command = [sys.executable, "-m", "harness.sweep", *JOB, "data=table", f"data.root={table}", *overrides, *places(folder, "bench")]
    features, rows = folder / "cache" / "features", folder / "results" / "bench" / "rows"
    started, peak_mib = time.perf_counter(), 0.0
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            while not _has_any(features) and not _has_any(rows):
                if process.poll() is not None:
                    printed.seek(0)
                    raise BenchmarkError(f"exit status {process.returncode}, before a job computed: {printed.read().strip()[-300:]}")
                peak_mib = max(peak_mib, session_mib(process.pid))
                time.sleep(SAMPLE_S)
            return Started(time.perf_counter() - started, max(peak_mib, session_mib(process.pid)))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _has_any(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def measure(num_images: int) -> list[Figure]:
    """Write the files, then start three times."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        (top / "images").mkdir()
        table = write_table(top / "images", num_images)
        starts = {"a draw of 5,000": start(table, top / "drawn")}
        for what in ("all, each read for the first time", "all again"):
            starts[what] = start(table, top / "all", "data.max_images=null")
            for left in (top / "all" / "cache" / "features", top / "all" / "results"):
                shutil.rmtree(left, ignore_errors=True)
    first = "all, each read for the first time"
    figures = []
    for what, each in starts.items():
        of = f"{num_images:,} paths, {what}"
        figures.append(Figure(each.wall_s, "s", f"{of}: from the command to the first job", at_most=None if what == first else MAX_S))
        figures.append(Figure(each.peak_mib, "MiB", f"{of}: peak memory of all processes (PSS)", at_most=MAX_MIB))
    return figures


def main() -> None:
    """Measure, print the table, write `benchmarks/million_paths.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.million_paths", description="Start a sweep on a table of very many images.")
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--short", action="store_true", help="10,000 images, whatever else is given; no file beside the module")
    add_json(parser)
    args = parser.parse_args()
    num_images = 10_000 if args.short else args.images
    with quit_on_error():
        if not Path("/proc/self/smaps_rollup").exists():
            raise BenchmarkError("/proc/self/smaps_rollup: not on this system; memory of a process tree is read there, run this on Linux.")
        where = describe_machine()
        print(machine_line(where), flush=True)
        conclude(measure(num_images), {"machine": where, **software(), "setting": {"num_images": num_images}}, args, __file__)


if __name__ == "__main__":
    main()
