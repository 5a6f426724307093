"""Downloads of a library arrive in bounded time and complete, or not at all.

Below `torchvision_sets`, whose library waits for as long as a server sends a byte now and then, writes under the final name and takes a
half-extracted folder for a whole one.
"""

import http.client
import shutil
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from harness.online.answer import within
from harness.online.pace import MIN_KIB_PER_S, stall_s, too_slow

_CHUNK_BYTES = 1 << 16


@contextmanager
def sole(root: Path, name: str) -> Iterator[None]:
    """Nobody else downloads `name` to `root` meanwhile; waits for whoever does. The system frees the lock of whoever is killed."""
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f".{name}.lock"):
        yield


@contextmanager
def staged(root: Path, name: str) -> Iterator[Path]:
    """A folder beside the final one, whose content moves to `root` when the block ends well and vanishes when it does not.

    A folder that is not there yet gets its name at once, by one rename; into one that is there, files move one by one. What a killed
    process left is removed by the next. Needs `sole`.
    """
    stage = root / f".{name}.incomplete"
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir()
    try:
        yield stage
        for path in stage.iterdir():
            _move(path, root / path.name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _move(source: Path, target: Path) -> None:
    if not (source.is_dir() and target.is_dir()):
        source.replace(target)
        return
    for path in source.iterdir():
        _move(path, target / path.name)


@contextmanager
def bounded_requests() -> Iterator[None]:
    """Requests of `urllib` in this process end in an HTTPException where in `HARNESS_DOWNLOAD_STALL_S` less than 10 KiB/s came.

    The same rule as for weights (`online.pace`). One that ends before all that was promised came is an HTTPException too.
    """
    before, limit_s = socket.getdefaulttimeout(), stall_s()
    socket.setdefaulttimeout(limit_s)
    urllib.request.install_opener(_Bounded(urllib.request.build_opener(), limit_s))  # type: ignore[arg-type]  # of it only `open` is used
    try:
        yield
    finally:
        urllib.request.install_opener(None)  # as at the start: made anew when it is needed
        socket.setdefaulttimeout(before)


class _Bounded:
    """Opens what an opener opens, headers included, in `limit_s` seconds, and has it watched."""

    def __init__(self, opener: urllib.request.OpenerDirector, limit_s: float) -> None:
        self._opener, self._limit_s = opener, limit_s

    def open(self, *request: Any) -> "_Watched":
        try:
            return _Watched(within(partial(self._opener.open, *request), self._limit_s), self._limit_s)
        except TimeoutError:
            raise _too_slow(self._limit_s) from None


class _Watched:
    """A response, as long as enough of it comes."""

    def __init__(self, response: Any, limit_s: float) -> None:
        self._response, self._limit_s = response, limit_s
        self._since, self._num_bytes = time.monotonic(), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._response, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    def read(self, amt: int = _CHUNK_BYTES) -> bytes:
        """The next bytes, as many as are there; none at the end."""
        try:
            chunk: bytes = self._response.read1(amt)
        except TimeoutError:
            raise _too_slow(self._limit_s) from None
        if not chunk and self._response.length:
            raise http.client.HTTPException(f"it broke off, {self._response.length:,} bytes too soon")
        self._count(len(chunk))
        return chunk

    def _count(self, number: int) -> None:
        self._num_bytes += number
        if time.monotonic() - self._since >= self._limit_s:
            if self._num_bytes < MIN_KIB_PER_S * 1024 * self._limit_s:
                raise _too_slow(self._limit_s)
            self._since, self._num_bytes = time.monotonic(), 0


def _too_slow(limit_s: float) -> http.client.HTTPException:
    """No OSError: those have torchvision try again without TLS."""
    return http.client.HTTPException(too_slow(limit_s))
