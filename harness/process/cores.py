"""Cores compute for one job at a time, of all sweeps of a user on this machine.

Threads of a layer wait for each other, and those of two jobs on the same cores wait for each other's: together they take several times as long as one
after the other. So a job that computes on a processor takes as many of the machine's cores as it has threads, and waits until they are free. What is
taken is a lock on an empty file for each core, which the system frees with its owner. It decides when a job runs, and nothing else.
"""

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from harness.process.isolate import go_on
from harness.process.place import here

_POLL_S = 0.03
_TELL_S = 5.0


@contextmanager
def taken(say: Callable[[str], None]) -> Iterator[None]:
    """Wait for the cores of a job that this thread is about to start, and keep them until the block ends; without a place for locks at once.

    Args:
        say: is told once if it takes long.
    """
    with ExitStack() as held:
        started, has_said = time.monotonic(), False
        while not _take(held):
            held.close()
            go_on()
            if not has_said and time.monotonic() - started > _TELL_S:
                has_said = True
                say("waiting for cores: another sweep computes on them")
            time.sleep(_POLL_S * (0.5 + random.random()))  # noqa: S311  two that wait must not try at once for ever
        yield


def _take(held: ExitStack) -> bool:
    """Take as many as are needed of those that are free; False: there are fewer."""
    try:
        folder = _folder()
    except OSError:
        return True
    needed = num_threads()
    for number in own_cores():
        if needed == 0:
            break
        try:
            held.enter_context(FileLock(folder / f"core-{number}.lock").acquire(timeout=0))
        except Timeout:
            continue
        except OSError:
            return True
        needed -= 1
    return needed == 0


def num_threads() -> int:
    """Of a job that this thread starts: one for each of its cores, fewer where `OMP_NUM_THREADS` says so."""
    own, told = len(own_cores()), os.environ.get("OMP_NUM_THREADS", "")
    return min(own, int(told)) if told.isdecimal() and int(told) > 0 else own


def own_cores() -> Sequence[int]:
    """Numbers of the cores that a job of this thread may run on."""
    return here().cores or cores_of_process()


def cores_of_process() -> Sequence[int]:
    """Numbers of the cores that this process may run on."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)


def _folder() -> Path:
    """The user's own. Raises OSError: it cannot be made, or is somebody else's."""
    folder = Path(tempfile.gettempdir()) / f"model-selection-harness-{os.getuid() if hasattr(os, 'getuid') else 'cores'}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder}: belongs to another user")
    return folder
