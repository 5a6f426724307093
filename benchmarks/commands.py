"""`python -m benchmarks.commands`: how long the commands make a person wait, and what a finished sweep costs when run again."""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.kept import add_json, keep
from harness.provenance import machine, versions

REPEATS = 3
SWEEP = ["harness.sweep", "backbone=test_resnet,test_vit", "freeze=all,none", "weights=random", "data=digits", "data.max_images=200"]


def seconds(*command: str) -> float:
    """Wall time of one whole process; its output is dropped."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True)
    return time.perf_counter() - started


def median(*command: str) -> float:
    """Median wall time of a few runs."""
    return statistics.median(seconds(*command) for _ in range(REPEATS))


def main() -> None:
    """Run every side and print the table; the full form writes `benchmarks/commands.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commands", description="Time what the commands make a person wait.")
    parser.add_argument("--short", action="store_true", help="no file beside the module")
    add_json(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sweep = [*SWEEP, f"results_dir={folder}/results", f"cache_dir={folder}/cache"]
        found = {
            "python -m harness": median("harness"),
            "python -m harness.sweep --help": median("harness.sweep", "--help"),
            "a sweep of 4 small jobs, first run": seconds(*sweep),
            "the same sweep, finished": median(*sweep),
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
