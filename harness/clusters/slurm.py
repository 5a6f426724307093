"""Workers as tasks of Slurm's job arrays, each a small shell script.

A task that is pre-empted, or whose node fails, goes back into the queue by itself (`--requeue`); one whose time is nearly over hears so, stops its
worker and puts itself back.
"""

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.clusters.cluster import WORK, note
from harness.clusters.start import command
from harness.config import WARNED_MINUTES, On, SlurmConfig
from harness.errors import ConfigError
from harness.files import why, write_durably
from harness.text.counts import counted

_ANSWER_S = 60.0
"""Slurm's commands are waited for at most."""
_MAX_ARRAY = 1001
"""Slurm's own default of MaxArraySize."""
_ALIVE = frozenset(
    {"PENDING", "CONFIGURING", "RUNNING", "RESIZING", "REQUEUED", "REQUEUE_FED", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"}
)
"""States of a task whose worker works, or will. Not those that are held back for a person to look at, or are ending."""

_SCRIPT = """#!/bin/bash
# One worker of this plan. Slurm runs this for each task of an array.
cd {cwd} || exit
{setup}
export OMP_NUM_THREADS="${{OMP_NUM_THREADS:-$SLURM_CPUS_PER_TASK}}"
{worker} &
worker=$!
trap 'kill -TERM "$worker"' TERM
trap 'is_over=yes; kill -TERM "$worker"' USR1
while kill -0 "$worker" 2>/dev/null; do
    wait "$worker"
    status=$?
done
if [ -n "$is_over" ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit "$status"
"""


class SlurmCluster:
    """Workers of one plan on the cluster whose `sbatch` this machine has."""

    def __init__(self, config: SlurmConfig, arrays: Sequence[str] = (), *, work: str = WORK) -> None:
        """Look for Slurm's commands; nothing is asked of them.

        Args:
            config: what each worker is given.
            arrays: ids of what was submitted before.
            work: `module:function` that it calls.

        Raises:
            ConfigError: there are none.
        """
        if shutil.which("sbatch") is None:
            raise ConfigError(
                "on=slurm: there is no sbatch on this machine; run the command on a login node of the cluster, or give on=here."
            )
        self.config, self.work, self.arrays = config, work, list(arrays)

    @classmethod
    def resumed(cls, config: dict[str, Any], arrays: Sequence[str]) -> "SlurmCluster":
        """The same again, from what it noted."""
        return cls(SlurmConfig(**config), arrays)

    def submit(self, plan: Path, num: int) -> str:
        """As `Cluster.submit`: one array, or several where Slurm takes no array of this size."""
        plan = plan.resolve()
        folder = plan / "slurm"
        script = folder / "worker.sh"
        write_durably(script, self._script(plan).encode())
        num_submitted = 0
        for size in _sizes(num, _max_array()):
            ended = _ask("sbatch", "--parsable", *self._options(folder, size), str(script))
            if ended.returncode != 0 and num_submitted == 0:
                raise ConfigError(f"on=slurm: sbatch refuses this: {_last_line(ended.stderr)}; see the options slurm.*, and sinfo.")
            if ended.returncode != 0:
                return f"{self._submitted(num_submitted)}; no more: {_last_line(ended.stderr)}"
            self.arrays.append(ended.stdout.strip().partition(";")[0])
            note(plan, On.slurm, config=asdict(self.config), arrays=self.arrays)
            num_submitted += size
        return self._submitted(num_submitted)

    def num_alive(self) -> int | None:
        """As `Cluster.num_alive`, from the queue: accounting is not needed."""
        if not self.arrays:
            return 0
        ended = _ask("squeue", "--noheader", "--array", f"--jobs={','.join(self.arrays)}", "--format=%T")
        if ended.returncode == 0:
            return sum(state in _ALIVE for state in ended.stdout.split())
        return 0 if "Invalid job id" in ended.stderr else None

    def cancel(self) -> None:
        """As `Cluster.cancel`."""
        if self.arrays and (ended := _ask("scancel", *self.arrays)).returncode != 0 and "Invalid job id" not in ended.stderr:
            raise ConfigError(f"on=slurm: scancel says: {_last_line(ended.stderr)}; run: scancel {' '.join(self.arrays)}")

    def _script(self, plan: Path) -> str:
        path = os.environ.get("PYTHONPATH")
        setup = [*([f"export PYTHONPATH={shlex.quote(path)}"] if path else []), *self.config.setup]
        return _SCRIPT.format(cwd=shlex.quote(str(Path.cwd())), setup="\n".join(setup), worker=shlex.join(command(self.work, plan)))

    def _options(self, folder: Path, size: int) -> list[str]:
        given = {
            "job-name": "harness",
            "array": f"0-{size - 1}",
            "output": f"{str(folder).replace('%', '%%')}/%A_%a.log",
            "open-mode": "append",
            "signal": f"B:USR1@{WARNED_MINUTES * 60:.0f}",
            "nodes": 1,
            "ntasks": 1,
            "cpus-per-task": self.config.cpus_per_task,
            "gpus-per-node": self.config.gpus_per_task or None,
            "mem": None if self.config.memory_gib is None else f"{round(self.config.memory_gib * 1024)}M",
            "time": self.config.time_minutes,
            "partition": self.config.partition,
            "account": self.config.account,
            "qos": self.config.qos,
        }
        return ["--requeue", *(f"--{name}={value}" for name, value in given.items() if value is not None), *self.config.options]

    def _submitted(self, num: int) -> str:
        cores, gpus = counted(self.config.cpus_per_task, "core"), self.config.gpus_per_task
        each = f"{cores} and {counted(gpus, 'GPU') if gpus else 'no GPU'}"
        return f"{counted(num, 'worker')} submitted to Slurm, each with {each}: {', '.join(self.arrays)}"


def _sizes(num: int, largest: int) -> Iterator[int]:
    """Of arrays for so many tasks."""
    for start in range(0, num, largest):
        yield min(largest, num - start)


def _max_array() -> int:
    """Tasks that an array may have: their numbers, from 0, are below MaxArraySize."""
    lines = _ask("scontrol", "show", "config").stdout.splitlines()
    values = (line.partition("=")[2].strip() for line in lines if line.startswith("MaxArraySize"))
    return next((int(value) for value in values if value.isdigit() and value != "0"), _MAX_ARRAY)


def _ask(*argv: str) -> subprocess.CompletedProcess[str]:
    """What one of Slurm's commands says; a status of its own where there is no such command, or no answer."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=_ANSWER_S)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(argv, 1, "", why(error))


def _last_line(said: str) -> str:
    """The reason, which Slurm gives last."""
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1].rpartition("error: ")[2] if lines else "no reason given"
