"""Files of weights that were found whole, remembered with their hashes, so that a host reads each of them once and not once a sweep.

A small file in a folder stands for one state of one file: its path, size, times and inode. What is damaged or out of date there costs reading the
weights again, and nothing else: whoever fills a network holds the bytes that it reads against the hash (`checkpoint.read_state_dict`).
"""

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path

from harness.errors import StoreError
from harness.files import atomic_write

_SETTLED_NS = 2_000_000_000
"""A file that was written more lately may be written again without a change of its times."""

State = str
"""What would be different if a file had been written to, in one word."""


def state_of(path: Path) -> State:
    """Of a file as it is now. Raises OSError."""
    real = path.resolve()
    found = real.stat()
    words = [str(real), found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev]
    return hashlib.blake2b(json.dumps(words).encode(), digest_size=16).hexdigest()


def known_sha256(folder: Path, state: State) -> str | None:
    """The hash of a file that was whole in this state; None: nobody remembers."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        sha256, check = json.loads((folder / state).read_bytes())
        if check == _check(state, sha256):
            return str(sha256)
    return None


def remember(folder: Path, path: Path, state: State, sha256: str) -> None:
    """Note that a file was whole, unless it has changed since it was in `state`, or just before. A folder that takes no files costs the memory."""
    with suppress(OSError, StoreError):
        if time.time_ns() - path.stat().st_mtime_ns > _SETTLED_NS and state_of(path) == state:
            with atomic_write(folder / state) as temporary:
                temporary.write_text(json.dumps([sha256, _check(state, sha256)]), encoding="ascii")


def _check(state: State, sha256: str) -> str:
    return hashlib.blake2b(f"{state} {sha256}".encode(), digest_size=8).hexdigest()
