"""Whether another process is alive. Imports nothing of the harness."""

import psutil


def is_alive(pid: int) -> bool:
    """Whether it can still do anything; one that was killed stays listed until its parent, or the system's first process, takes note."""
    try:
        return psutil.Process(pid).status() not in {psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD}
    except psutil.NoSuchProcess:
        return False
