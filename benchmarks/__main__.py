"""`python -m benchmarks`: the short form of every benchmark, one after the other. `python -m benchmarks.NAME` runs one in full."""

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A command, and the package beyond the project's own that it needs."""

    name: str
    needs: str | None = None
    extra: str = "bench"
    """That installs it."""


BENCHMARKS = (
    Benchmark("commands"),
    Benchmark("table"),
    Benchmark("tutorial_loop"),
    Benchmark("fastai", needs="fastai"),
    Benchmark("finetune"),
    Benchmark("adapters"),
    Benchmark("depths"),
    Benchmark("modes"),
    Benchmark("pipeline"),
    Benchmark("memory"),
    Benchmark("million_paths"),
    Benchmark("front"),
    Benchmark("workers"),
    Benchmark("scale"),
    Benchmark("many_candidates"),
    Benchmark("seeds"),
    Benchmark("views"),
    Benchmark("equality"),
    Benchmark("precision"),
    Benchmark("devices"),
    Benchmark("on_gpu"),
    Benchmark("replay"),
    Benchmark("search"),
    Benchmark("studies"),
    Benchmark("export_families", needs="onnx", extra="export"),
    Benchmark("out_of_fold"),
    Benchmark("coverage"),
    Benchmark("many_candidates"),
    Benchmark("new_images"),
    Benchmark("label_errors"),
    Benchmark("refit"),
    Benchmark("patients"),
    Benchmark("several_labels", needs="onnx", extra="export"),
)


def run(benchmark: Benchmark) -> bool:
    """Run one benchmark, its output passed on. Returns whether it ended well; one that cannot run here is skipped with a line."""
    command = ["-m", f"benchmarks.{benchmark.name}", "--short"]
    print(f"\n$ python {' '.join(command)}", flush=True)
    if benchmark.needs is not None and find_spec(benchmark.needs) is None:
        print(f"skipped: {benchmark.needs} is not installed; run: pip install 'model-selection-harness[{benchmark.extra}]'", flush=True)
        return True
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=_CHECKOUT, check=False)
    print(f"({time.perf_counter() - started:.0f} s)", flush=True)
    return done.returncode == 0


def main(benchmarks: Sequence[Benchmark] = BENCHMARKS) -> int:
    """Run all, whatever becomes of any of them. Returns the exit status: 1 when one did not end well."""
    started = time.perf_counter()
    failed = [benchmark.name for benchmark in benchmarks if not run(benchmark)]
    print(f"\n{(time.perf_counter() - started) / 60:.1f} minutes in all; failed: {', '.join(failed) or 'none'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
