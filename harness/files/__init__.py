"""Atomic writes: a file is there whole or not at all, whoever is killed meanwhile; and what a disk refuses, in one line.

Lowest step of the study folder: knows paths and bytes, not what they mean. A path may stand for an object of a store (`place`): what is written
here goes there as well, and what is read is what the store has.
"""

import errno
import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path

from harness.errors import StoreError
from harness.files import mirror
from harness.files.place import as_typed, local_folder, url_of

__all__ = ["as_typed", "local_folder"]

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{32}")
_ABANDONED_S = 24 * 3600
_PROBE_BYTES = 2**16  # about what a row and its predictions take

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_IN_THE_WAY = frozenset({errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY})


@contextmanager
def atomic_write(path: Path, *, is_durable: bool = False) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends well and vanishes when it does not.

    Args:
        path: the file; folders above it are made.
        is_durable: wait until the disk has all of it before it gets its name, so that a power cut leaves no empty file.

    Raises:
        StoreError: the disk is full, read-only or broken, or something else lies there; or the store behind it refuses, the file being written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with _write_trouble(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if is_durable:
                _flush(temporary)
            mirror.announce(path)
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        mirror.send(path)


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file by these bytes; after a power cut it is the old or the new one. Raises StoreError like `atomic_write`."""
    with atomic_write(path, is_durable=True) as temporary:
        temporary.write_bytes(content)


def remove(path: Path) -> None:
    """Delete a file, if it is there. Raises StoreError."""
    with _write_trouble(path):
        mirror.delete(path)
        path.unlink(missing_ok=True)


def append_line(path: Path, line: str) -> None:
    """Add a line to a log, in one piece, behind an empty one where the line before was cut short. Raises StoreError.

    Objects cannot be appended to: in a store a log is a folder, and each line an object.
    """
    if url_of(path) is not None:
        write_durably(path / f"{time.time_ns():020}-{uuid.uuid4().hex}", line.encode())
        return
    with _write_trouble(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(0, end - 1))
            is_cut = log.read(1) not in {b"", b"\n"}
            log.write(b"\n" * is_cut + line.encode() + b"\n")


def read_lines(path: Path) -> list[bytes]:
    """The lines of a log, oldest first, empty ones left out. Raises OSError like `open_plain`, and StoreError."""
    if url_of(path) is not None:
        return [part.read_bytes() for part in fetched(listed(path, ""))]
    with open_plain(path) as log:
        return [line for line in log.read().split(b"\n") if line]


def require_writable(folder: Path) -> None:
    """Make a folder where there is none, and see that it takes a file. Raises StoreError when it does not, and leaves nothing behind."""
    probe = folder / f".writable.{uuid.uuid4().hex}"
    with _write_trouble(folder):
        made = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                probe.write_bytes(bytes(_PROBE_BYTES))
            finally:
                probe.unlink(missing_ok=True)
        except OSError:
            for path in made:
                with suppress(OSError):
                    path.rmdir()
            raise
        mirror.require_writable(folder)


def send_rest(folder: Path) -> None:
    """Send files to the store that it refused when they were written. Raises StoreError."""
    mirror.send_rest(folder)


def free_mib(folder: Path) -> float:
    """What the disk of an existing folder still takes. Raises StoreError like `atomic_write`."""
    with _write_trouble(folder):
        return shutil.disk_usage(folder).free / 2**20


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files below a folder whose writers were killed: those that nobody has touched for a day."""
    for path in folder.rglob(".*"):
        with suppress(OSError):
            if _TEMPORARY.fullmatch(path.name) and path.is_file() and time.time() - path.stat().st_mtime > _ABANDONED_S:
                path.unlink()


def listed(folder: Path, suffix: str) -> list[Path]:
    """Files in a folder whose names end so, sorted, hidden ones left out; none where there is no such folder.

    Raises:
        StoreError: the folder cannot be read.
    """
    elsewhere = [folder / name for name in mirror.names(folder)]
    try:
        paths = sorted({*folder.iterdir(), *elsewhere} if elsewhere else folder.iterdir())
    except FileNotFoundError:
        paths = sorted(elsewhere)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read ({why(error)}); check what it is and its permissions.") from error
    return [path for path in paths if path.name.endswith(suffix) and not path.name.startswith(".")]


def fetched(paths: Iterable[Path]) -> list[Path]:
    """The same paths, when all that a store has of them is here: many at once, where opening them would be one by one. Raises StoreError."""
    found = list(paths)
    mirror.fetch(found)
    return found


def skim(folder: Path, suffix: str | None) -> None:
    """Bring the files of a folder that end so, with None none of them; for the next few seconds those that a store did not list are taken to be missing.

    Raises StoreError.
    """
    mirror.skim(folder, suffix)


def open_plain(path: Path) -> BufferedReader:
    """Open a file for reading. Raises OSError, also for what is no plain file: reading a pipe would never end. Raises StoreError."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is not a file")
    mirror.fetch_one(path)
    return path.open("rb")


def is_there(path: Path) -> bool:
    """Whether a file is there, without bringing it from a store. Raises StoreError."""
    return mirror.is_there(path)


def is_folder(path: Path) -> bool:
    """Whether a folder is there. Raises StoreError."""
    return mirror.is_folder(path)


def changed_s(path: Path) -> float:
    """When a file was changed (seconds since 1970), by the clock of whoever keeps it; 0 when there is none. Raises StoreError."""
    return mirror.changed_s(path)


def num_bytes(path: Path) -> int:
    """The size of a file, without bringing it from a store; 0 when there is none. Raises StoreError."""
    return mirror.num_bytes(path)


def digest(content: bytes | BufferedReader) -> str:
    """Hash of bytes, or of an open file from where it stands."""
    if isinstance(content, bytes):
        return hashlib.blake2b(content, digest_size=16).hexdigest()
    return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def why(error: BaseException) -> str:
    """What the system or a library says, on one line."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(said).split())


@contextmanager
def _write_trouble(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({why(error)}); {_way_out(error.errno)} or give another folder (results_dir, cache_dir), then run "
            f"the same command again: what is there already stays."
        ) from error


def _way_out(number: int | None) -> str:
    if number in _FULL:
        return "free some space"
    if number in _FORBIDDEN:
        return "make the folder writable"
    return "move away what lies in its place" if number in _IN_THE_WAY else "check the disk"


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
