"""`python -m benchmarks.commands`: how long the commands make a person wait, and what a finished sweep costs when run again."""

import argparse
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.kept import add_json, keep
from harness.jobs.provenance import machine, versions

REPEATS = 3
SWEEP = ["harness.sweep", "backbone=test_resnet,test_vit", "freeze=all,none", "weights=random", "data=digits", "data.max_images=200"]
MANY = ["harness.sweep", "backbone=test_resnet", "freeze=all", "weights=random", "data=digits", "train.epochs=1"]
SWEPT = [f"seed={','.join(map(str, range(50)))}", f"train.lr={','.join(f'{step}e-4' for step in range(1, 21))}"]
"""A thousand jobs."""


def seconds(*command: str) -> float:
    """Wall time of one whole process; its output is dropped."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    return time.perf_counter() - started


def median(*command: str) -> float:
    """Median wall time of a few runs."""
    return statistics.median(seconds(*command) for _ in range(REPEATS))


def seconds_to_first_job(*command: str) -> float:
    """Wall time until a sweep has prepared its jobs and is about to run the first; it is interrupted there."""
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as sweep:
        assert sweep.stdout is not None
        next(line for line in sweep.stdout if line.startswith("1,000 jobs, "))
        taken_s = time.perf_counter() - started
        sweep.send_signal(signal.SIGINT)
        sweep.communicate()
    return taken_s


def main() -> None:
    """Run every side and print the table; the full form writes `benchmarks/commands.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commands", description="Time what the commands make a person wait.")
    parser.add_argument("--short", action="store_true", help="no file beside the module")
    add_json(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        where_to = [f"results_dir={folder}/results", f"cache_dir={folder}/cache"]
        sweep = [*SWEEP, *where_to]
        found = {
            "python -m harness": median("harness"),
            "python -m harness.sweep --help": median("harness.sweep", "--help"),
            "a sweep of 4 small jobs, first run": seconds(*sweep),
            "the same sweep, finished": median(*sweep),
            "a sweep of 1,000 jobs, until the first": seconds_to_first_job(*MANY, *SWEPT, "study=many", *where_to),
        }
    first, again = found["a sweep of 4 small jobs, first run"], found["the same sweep, finished"]
    where = machine()
    print(f"{where['cpu_name']}, {where['num_cores']} cores; medians of {REPEATS} except the first run")
    for name, value in found.items():
        print(f"{value:8.2f} s  {name}")
    print(f"{first / again:8.2f} x  first run over finished run")
    keep({"machine": where, **versions(), "seconds": found, "ratio_first_over_finished": first / again}, args, __file__)


if __name__ == "__main__":
    main()
