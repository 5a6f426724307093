"""`python -m tests.faults.soak`: a long sweep whose jobs, and itself, are killed at random until it is done; and four sweeps at once.

The table must be that of a sweep that nobody disturbed.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.faults.box import Box, quality
from tests.faults.misbehave import plant

LAUNCHERS: dict[str, tuple[str, ...]] = {
    "basic": (),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.sweeper.max_batch_size=8"),
}
_FIRST_SEED = 100
"""Lower ones misbehave (`misbehave`)."""
_JOB_KILL_S, _SWEEP_KILL_S = 4.0, 25.0
"""Mean times between kills."""


def jobs_of(num: int) -> tuple[str, ...]:
    """Options of so many jobs (even), at two freeze depths."""
    return ("backbone=test_resnet", "freeze=none,-1", f"seed={','.join(map(str, range(num // 2)))}")


def soak(box: Box, options: Sequence[str], luck: random.Random) -> tuple[int, int]:
    """Run the sweep again and again, killing, until it ends well. Returns how many jobs and how many sweeps were killed."""
    num_jobs = num_sweeps = 0
    while True:
        process = box.start(*options, "retry=failed")
        ends = time.monotonic() + luck.expovariate(1 / _SWEEP_KILL_S)
        while process.poll() is None:
            time.sleep(luck.expovariate(1 / _JOB_KILL_S))
            if time.monotonic() > ends:
                process.kill()
                num_sweeps += 1
                break
            num_jobs += _kill_one(process, luck)
        process.communicate()
        if process.returncode == 0:
            return num_jobs, num_sweeps


def _kill_one(sweep: subprocess.Popen[str], luck: random.Random) -> int:
    """SIGKILL to one of the processes that jobs run in."""
    with suppress(psutil.Error):
        servers = [child for child in psutil.Process(sweep.pid).children(recursive=True) if "forkserver" in " ".join(child.cmdline())]
        forks = [child for child in servers if child.ppid() in {server.pid for server in servers}]
        if forks:
            luck.choice(forks).send_signal(signal.SIGKILL)
            return 1
    return 0


def four_at_once(box: Box, seeds: Sequence[int]) -> tuple[list[int], list[int]]:
    """Four sweeps of overlapping jobs into one study; each leaves out other seeds. Returns their exit statuses, and the seed of each job begun."""
    log = plant(box.root / "plant")
    parts = [[seed for seed in seeds if seed % 4 != each] for each in range(4)]
    sweeps = [box.start("backbone=test_resnet", "freeze=none", f"seed={','.join(map(str, part))}", env=log) for part in parts]
    for sweep in sweeps:
        sweep.communicate()
    begun = (box.root / "plant" / "started").read_text(encoding="ascii").split()
    return [sweep.returncode for sweep in sweeps], sorted(map(int, begun))


def main() -> int:
    """Run both; print what was killed and whether the tables are equal. Returns 1 when one is not."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.soak", description="Kill a sweep and its jobs at random until it is done."
    )
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--launchers", nargs="*", choices=LAUNCHERS, default=list(LAUNCHERS))
    args = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for name in args.launchers:
            options = (*jobs_of(args.jobs), *LAUNCHERS[name])
            calm, box = _box(folder, f"calm-{name}"), _box(folder, name)
            _run_to_the_end(calm, options)
            started = time.monotonic()
            jobs, sweeps = soak(box, options, random.Random(args.seed))
            rows = quality(box.rows())
            same = rows == quality(calm.rows())
            good &= same
            taken_s = time.monotonic() - started
            print(f"{name}: {len(rows)} jobs; {jobs} jobs and {sweeps} sweeps killed; {taken_s:.0f} s; same table: {same}", flush=True)
        box, alone = _box(folder, "four"), _box(folder, "alone")
        seeds = list(range(_FIRST_SEED, _FIRST_SEED + max(4, args.jobs // 4)))
        statuses, begun = four_at_once(box, seeds)
        _run_to_the_end(alone, ("backbone=test_resnet", "freeze=none", f"seed={','.join(map(str, seeds))}"))
        same, once = quality(box.rows()) == quality(alone.rows()), begun == seeds
        good &= same and once and statuses == [0] * 4
        print(f"four at once: {len(seeds)} jobs, exit statuses {statuses}; every job begun once: {once}; same table: {same}")
    return 0 if good else 1


def _run_to_the_end(box: Box, options: Sequence[str]) -> None:
    process = box.start(*options)
    _, err = process.communicate()
    assert process.returncode == 0, err


def _box(folder: str, name: str) -> Box:
    root = Path(folder, name)
    root.mkdir()
    return Box(root)


if __name__ == "__main__":
    sys.exit(main())
