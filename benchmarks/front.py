"""`python -m benchmarks.front`: what stands before the first job of a large sweep: composing its configurations, making its jobs exact, naming them.

Every size is measured in a process of its own, which has imported what it needs. Networks are timm's, spread over its list, with random weights, and
three with weights from a package; each with 25 seeds.
"""

import argparse
import pickle
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.figures import Figure
from benchmarks.kept import add_json, conclude
from benchmarks.side_by_side import BenchmarkError, describe_machine, machine_line, software
from harness.cli.command import quit_on_error
from harness.process.isolate import run_isolated

NUM_SEEDS = 25
MAX_S, MAX_MIB = 60.0, 2048.0
"""What ten thousand jobs may take."""
BUNDLED = tuple(f"tf_efficientnet_lite{number}" for number in range(3))


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def names(num: int) -> list[str]:
    """Values of `backbone=`, so many."""
    from harness.backbones.catalog import architectures

    every = [name for name in architectures() if name not in BUNDLED]
    return [*BUNDLED, *(f"{every[number * len(every) // num]}@random" for number in range(num))][:num]


def front(num_jobs: int, folder: str) -> dict[str, float]:
    """Seconds of each step, and MiB. Runs in a process of its own."""
    import harness.jobs.preload  # noqa: F401  as the process that prepares has it
    from harness.cli.call import sweeper_of
    from harness.data.early import load_early
    from harness.jobs.prepare import prepare_all

    found = {"MiB before": _peak_mib()}

    def timed(step: str, call: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        value = call()
        found[step] = time.perf_counter() - started
        return value

    options = {"data": "digits", "backbone": names(num_jobs // NUM_SEEDS), "seed": list(range(NUM_SEEDS)), "freeze": "all"}
    places = {"results_dir": f"{folder}/results", "cache_dir": f"{folder}/cache"}

    def composed() -> Any:
        with sweeper_of(options | places) as (sweeper, line):
            return sweeper.asked(line)

    asked = timed("composed", composed)
    data = load_early([(cfg.data, cfg.cache_dir, cfg.results_dir) for cfg, _ in asked])
    jobs, problems = timed("made exact", lambda: prepare_all(asked, data))
    if problems:
        raise BenchmarkError(f"{len(problems)} problems, the first: {problems[0]}")
    timed("named", lambda: [job.job_id for job in jobs])
    text = timed("written", lambda: pickle.dumps(jobs))
    timed("read back", lambda: pickle.loads(text))
    return found | {"jobs": len(jobs), "MiB handed over": len(text) / 2**20, "MiB": _peak_mib()}


def measure(sizes: Sequence[int]) -> list[Figure]:
    """A process for each size."""
    figures = []
    for num_jobs in sizes:
        with tempfile.TemporaryDirectory() as folder:
            outcome = run_isolated("benchmarks.front:front", num_jobs, folder)
        if outcome.value is None:
            raise BenchmarkError(f"{num_jobs} jobs: {outcome.error}")
        found = outcome.value
        of = f"{found['jobs']:,.0f} jobs"
        for step in ("composed", "made exact", "named", "written", "read back"):
            is_bound = step == "made exact"
            figures.append(Figure(found[step], "s", f"{of}: {step}", at_most=MAX_S if is_bound else None))
        figures.append(Figure(found["MiB handed over"], "MiB", f"{of}: handed to the sweep"))
        figures.append(Figure(found["MiB"], "MiB", f"{of}: peak memory, {found['MiB before']:,.0f} MiB of it before", at_most=MAX_MIB))
    return figures


def main() -> None:
    """Measure, print the table, write `benchmarks/front.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.front", description="What stands before the first job of a large sweep.")
    parser.add_argument("--jobs", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--short", action="store_true", help="100 jobs, whatever else is given; no file beside the module")
    add_json(parser)
    args = parser.parse_args()
    sizes = [100] if args.short else args.jobs
    with quit_on_error():
        where = describe_machine()
        print(machine_line(where), flush=True)
        conclude(measure(sizes), {"machine": where, **software(), "setting": {"num_seeds": NUM_SEEDS}}, args, __file__)


if __name__ == "__main__":
    main()
