"""One job is trained by one process at a time, however many sweeps run, on one host or on several that share a file system or a bucket.

A claim is a lock on an empty file of the study, held by the process that runs the job. The system frees it with its owner, so a claim
never outlives a sweep that was killed, and nothing has to be guessed from times. The files stay: removing one under somebody's lock
would let two hold it. Where the study lies in a bucket, which has no locks, a claim is a lease (`files.lease`).
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import StoreError
from harness.files import lease, mirror
from harness.files.lease import Lease
from harness.files.place import url_of

_POLL_S = 0.2

_held: dict[tuple[int, Path], list[Lease]] = {}
"""Thread and study -> the leases that it holds."""


@contextmanager
def claimed(folder: Path, name: str) -> Iterator[None]:
    """Hold a claim; waits for as long as somebody else holds it.

    Args:
        folder: of the study.
        name: of what is claimed; plain hexadecimal.
    """
    if url_of(folder) is None:
        with _lock(folder, name).acquire(poll_interval=_POLL_S):
            yield
        return
    while (found := lease.take(_url(folder, name))) is None:
        time.sleep(_POLL_S)
    with _holding(folder, found):
        yield


@contextmanager
def try_claimed(folder: Path, name: str) -> Iterator[bool]:
    """Hold a claim if nobody else does. Yields at once whether it is held."""
    if url_of(folder) is not None:
        found = lease.take(_url(folder, name))
        with nullcontext() if found is None else _holding(folder, found):
            yield found is not None
        return
    lock = _lock(folder, name)
    with suppress(Timeout):
        lock.acquire(timeout=0)
    try:
        yield lock.is_locked
    finally:
        lock.release()


def is_claimed(folder: Path, name: str) -> bool:
    """Whether somebody holds the claim now. The answer may be old when it is read: good for an order of work, not for a decision."""
    if url_of(folder) is not None:
        return lease.is_held(_url(folder, name))
    with try_claimed(folder, name) as is_free:
        return not is_free


def require_held(folder: Path) -> None:
    """See that this thread still has the claims on a study that it holds, before it writes what it did under them.

    Raises:
        StoreError: another host has taken one over, as this one could not reach the store for a while.
    """
    for found in _held.get((threading.get_ident(), folder), []):
        if not found.renew():
            raise StoreError(
                f"{folder}: another host has taken over what this one was at, as it could not reach the store for {lease.SILENT_S:g} s or more; "
                f"its row will be that of the other host."
            )


@contextmanager
def _holding(folder: Path, found: Lease) -> Iterator[None]:
    mirror.forget()  # what was done by whoever held it before is to be seen
    mine = _held.setdefault((threading.get_ident(), folder), [])
    mine.append(found)
    try:
        yield
    finally:
        mine.remove(found)
        found.release()


def _url(folder: Path, name: str) -> str:
    return f"{url_of(folder)}/claims/{name}"


def _lock(folder: Path, name: str) -> FileLock:
    path = folder / "claims" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)
