"""One job is trained by one process at a time, however many sweeps run, on one host or on several that share a file system.

A claim is a lock on an empty file of the study, held by the process that runs the job. The system frees it with its owner, so a claim
never outlives a sweep that was killed, and nothing has to be guessed from times. The files stay: removing one under somebody's lock
would let two hold it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

_POLL_S = 0.2


@contextmanager
def claimed(folder: Path, name: str) -> Iterator[None]:
    """Hold a claim; waits for as long as somebody else holds it.

    Args:
        folder: of the study.
        name: of what is claimed; plain hexadecimal.
    """
    with _lock(folder, name).acquire(poll_interval=_POLL_S):
        yield


@contextmanager
def try_claimed(folder: Path, name: str) -> Iterator[bool]:
    """Hold a claim if nobody else does. Yields at once whether it is held."""
    lock = _lock(folder, name)
    with suppress(Timeout):
        lock.acquire(timeout=0)
    try:
        yield lock.is_locked
    finally:
        lock.release()


def is_claimed(folder: Path, name: str) -> bool:
    """Whether somebody holds the claim now. The answer may be old when it is read: good for an order of work, not for a decision."""
    with try_claimed(folder, name) as is_free:
        return not is_free


def _lock(folder: Path, name: str) -> FileLock:
    path = folder / "claims" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)
