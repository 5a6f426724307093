"""A worker that does nothing: it says that it is there, and stays until it is told to stop or a file `done` lies in the plan."""

import os
import signal
import time
from pathlib import Path


def work(plan: Path) -> None:
    """As `harness.clusters.cluster.WORK`."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    (plan / f"{os.getpid()}.here").write_text(os.environ.get("OMP_NUM_THREADS", ""), encoding="ascii")
    while not told and not (plan / "done").exists():
        time.sleep(0.05)
    (plan / f"{os.getpid()}.gone").write_text("told" if told else "done", encoding="ascii")


def there(plan: Path, ending: str = "here") -> list[str]:
    """What workers said: `here` with their number of threads, `gone` with why."""
    return [path.read_text(encoding="ascii") for path in plan.glob(f"*.{ending}")]
