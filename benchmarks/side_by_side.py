"""Ways of doing the same work, timed as whole processes on one machine. The benchmark commands stand on this; it knows none of them."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.errors import HarnessError
from harness.jobs.provenance import machine, versions

_CHECKOUT = Path(__file__).resolve().parent.parent
_BFLOAT16 = ("avx512_bf16", "amx_bf16")
"""Instructions that multiply in bfloat16; a time on a processor with them says little about one without."""


class BenchmarkError(HarnessError):
    """A side of a benchmark cannot be run, or did not finish."""


@dataclass(frozen=True, slots=True)
class Run:
    """One process from start to exit."""

    wall_s: float
    stdout: str


@dataclass(frozen=True, slots=True)
class Side:
    """One way of doing the work, and the wall time of each of its runs (seconds)."""

    name: str
    walls_s: Sequence[float]

    @property
    def median_s(self) -> float:
        return statistics.median(self.walls_s)


def run_module(module: str, *arguments: str) -> Run:
    """Run `python -m module arguments` from the checkout, with this interpreter.

    Raises:
        BenchmarkError: it ended with a status other than 0; the message holds the last line it wrote.
    """
    command = ["-m", module, *arguments]
    # As on an ordinary machine, only the first start compiles modules.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=_CHECKOUT, env=env, capture_output=True, text=True, check=False)
    wall_s = time.perf_counter() - started
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "it wrote nothing").splitlines()[-1]
        raise BenchmarkError(f"exit status {done.returncode} ({last}); to see more, run: python {' '.join(command)}")
    return Run(wall_s, done.stdout)


def last_json(stdout: str) -> dict[str, Any]:
    """The last line that is a JSON object; what else a program prints, before or after, is passed over.

    Raises:
        BenchmarkError: there is none.
    """
    for line in reversed(stdout.splitlines()):
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    raise BenchmarkError(f"no line of JSON in {len(stdout.splitlines())} lines of output; a baseline ends by printing one.")


def describe_machine() -> dict[str, Any]:
    """Processor, threads, bfloat16 instructions, and how busy the machine is (mean number of running processes over a minute)."""
    import torch

    capabilities = torch.cpu.get_capabilities()
    return {
        **machine(),
        "cpu_bfloat16": {name: bool(capabilities.get(name)) for name in _BFLOAT16},
        "load_average_1min": os.getloadavg()[0],
    }


def machine_line(where: Mapping[str, Any]) -> str:
    """`describe_machine` on one line."""
    instructions = ", ".join(f"{name} {'yes' if there else 'no'}" for name, there in where["cpu_bfloat16"].items())
    return (
        f"{where['cpu_name']}, {where['num_cores']} cores, {where['num_threads']} threads, {instructions}, "
        f"load {where['load_average_1min']:.1f} at the start"
    )


def software(*packages: str) -> dict[str, str]:
    """Versions of the harness, torch, timm, and of the packages named."""
    return {**versions(), **{f"{package}_version": version(package) for package in packages}}


def ratios(sides: Sequence[Side]) -> list[float]:
    """Each side's median time over that of the first; above 1 is slower."""
    return [side.median_s / sides[0].median_s for side in sides]


def table(sides: Sequence[Side]) -> str:
    """One line a side: median seconds, how many times the first, name."""
    return "\n".join(f"{side.median_s:9.1f} s {ratio:7.2f} x  {side.name}" for side, ratio in zip(sides, ratios(sides), strict=True))


def times(sides: Sequence[Side]) -> dict[str, Any]:
    """For the record: every raw time (seconds) and the ratios to the first side."""
    return {
        "wall_s": {side.name: list(side.walls_s) for side in sides},
        f"ratio_to_{sides[0].name}": dict(zip((side.name for side in sides), ratios(sides), strict=True)),
    }
