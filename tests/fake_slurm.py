"""Slurm's commands without Slurm: the tasks of an array are processes of this machine. One file, which is called by each command's name.

For quick tests; `tests/cluster` has the real one.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

COMMANDS = ("sbatch", "squeue", "scancel", "scontrol")


def install(folder: Path, *, max_array: int = 1001, refusal: str = "") -> str:
    """Put the commands into a folder. Returns a `PATH` that begins with it.

    Args:
        folder: is made; tasks, options and pids are noted in it.
        max_array: tasks that an array may have.
        refusal: what `sbatch` refuses everything with; empty: it takes everything.
    """
    folder.mkdir(parents=True)
    (folder / "max_array").write_text(str(max_array), encoding="ascii")
    (folder / "refusal").write_text(refusal, encoding="utf-8")
    source = Path(__file__).read_text(encoding="utf-8")
    for name in COMMANDS:
        (folder / name).write_text(f"#!{sys.executable} -S\n{source}", encoding="utf-8")
        (folder / name).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def options(folder: Path, array: int = 1) -> list[str]:
    """What `sbatch` was given for an array, without the script."""
    return (folder / f"{array}.options").read_text(encoding="utf-8").splitlines()


def _sbatch(here: Path, *argv: str) -> int:
    if refusal := (here / "refusal").read_text(encoding="utf-8"):
        print(f"sbatch: error: {refusal}\nsbatch: error: Batch job submission failed: {refusal}", file=sys.stderr)
        return 1
    given = dict(each.removeprefix("--").partition("=")[::2] for each in argv[:-1])
    array = len(list(here.glob("*.options"))) + 1
    (here / f"{array}.options").write_text("\n".join(argv[:-1]), encoding="utf-8")
    for task in range(int(given["array"].removeprefix("0-")) + 1):
        _start(here, argv[-1], given, array, task)
    print(array)
    return 0


def _start(here: Path, script: str, given: dict[str, str], array: int, task: int) -> None:
    own = {"SLURM_ARRAY_JOB_ID": str(array), "SLURM_ARRAY_TASK_ID": str(task), "SLURM_CPUS_PER_TASK": given["cpus-per-task"]}
    log = re.sub("%(.)", lambda found: {"A": str(array), "a": str(task), "%": "%"}[found[1]], given["output"])
    with Path(log).open("ab") as out:
        process = subprocess.Popen(
            ["bash", script], env=os.environ | own, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    (here / f"{array}_{task}.pid").write_text(str(process.pid), encoding="ascii")


def _alive(here: Path, arrays: list[str]) -> list[int]:
    pids = [int(path.read_text(encoding="ascii")) for array in arrays for path in here.glob(f"{array}_*.pid")]
    states = {pid: Path(f"/proc/{pid}/stat") for pid in pids}
    return [pid for pid, stat in states.items() if stat.exists() and stat.read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"]


def _squeue(here: Path, *argv: str) -> int:
    (arrays,) = (each.partition("=")[2].split(",") for each in argv if each.startswith("--jobs="))
    if not any((here / f"{array}.options").exists() for array in arrays):
        print("slurm_load_jobs error: Invalid job id specified", file=sys.stderr)
        return 1
    print("\n".join("RUNNING" for _ in _alive(here, arrays)))
    return 0


def _scancel(here: Path, *arrays: str) -> int:
    for pid in _alive(here, list(arrays)):
        os.killpg(pid, signal.SIGTERM)
    return 0


def _scontrol(here: Path, *argv: str) -> int:
    if argv[:2] == ("show", "config"):
        print(f"Configuration data\nMaxArraySize            = {(here / 'max_array').read_text(encoding='ascii')}\nMaxDBDMsgs = 1")
    if argv[0] == "requeue":
        with (here / "requeued").open("a", encoding="utf-8") as log:
            log.write(f"{argv[1]}\n")
    return 0


if __name__ == "__main__":
    own = Path(sys.argv[0])
    sys.exit({"sbatch": _sbatch, "squeue": _squeue, "scancel": _scancel, "scontrol": _scontrol}[own.name](own.parent, *sys.argv[1:]))
