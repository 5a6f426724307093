"""What a library downloads comes in bounded time and whole, or not at all.

Below `torchvision_sets`, whose library waits for as long as a server sends a byte now and then, writes under the final name and takes a
half-extracted folder for a whole one.
"""

import http.client
import io
import shutil
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from harness.online.pace import MIN_KIB_PER_S, stall_s, too_slow


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
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(stall_s())
    urllib.request.install_opener(urllib.request.build_opener(_Handler, _TlsHandler))
    try:
        yield
    finally:
        urllib.request.install_opener(None)  # as at the start: made anew when it is needed
        socket.setdefaulttimeout(before)


class _Watched(io.RawIOBase):
    """The bytes of a connection, headers included, as long as enough of them come."""

    def __init__(self, connection: io.RawIOBase, limit_s: float) -> None:
        self._connection, self._limit_s = connection, limit_s
        self._since, self._num_bytes = time.monotonic(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        try:
            number: int | None = self._connection.readinto(buffer)
        except TimeoutError:
            raise self._too_slow() from None
        if number:
            self._count(number)
        return number

    def close(self) -> None:
        self._connection.close()
        super().close()

    def _count(self, number: int) -> None:
        self._num_bytes += number
        if time.monotonic() - self._since >= self._limit_s:
            if self._num_bytes < MIN_KIB_PER_S * 1024 * self._limit_s:
                raise self._too_slow()
            self._since, self._num_bytes = time.monotonic(), 0

    def _too_slow(self) -> http.client.HTTPException:
        """No OSError: those have torchvision try again without TLS."""
        return http.client.HTTPException(too_slow(self._limit_s))


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        limit_s = sock.gettimeout()
        assert limit_s is not None
        self.fp = io.BufferedReader(_Watched(self.fp.detach(), limit_s))

    def read(self, amt: int | None = None) -> bytes:
        chunk = super().read(amt)
        if amt and not chunk and self.length:
            raise http.client.HTTPException(f"it broke off, {self.length:,} bytes too soon")
        return chunk


class _Connection(http.client.HTTPConnection):
    response_class = _Response


class _TlsConnection(http.client.HTTPSConnection):
    response_class = _Response


class _Handler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


class _TlsHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TlsConnection, req)
