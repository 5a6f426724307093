"""Fetches one set of weights into a local cache. A program of its own, started and watched by `fetch`: looking up a name, waiting
as long as a server asks for, a lock that nobody releases and bytes that come in one by one obey no timeout, a process does.

Reads an `Order` as JSON from standard input. Writes JSON lines: `note` on the way, at last `path` or `why`. Ends with its parent.
"""

import json
import logging
import os
import re
import signal
import sys
import tempfile
import threading
import time
import warnings
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, NoReturn
from urllib.request import urlopen

from harness.backbones.integrity import published_sha256, sha256_of, why_not_as_published
from harness.online.reasons import brief, status_of, why

_CHUNK_BYTES = 1 << 16
"""`fetch` watches the file grow: it must grow in small steps."""
_MAX_NOTES = 200
"""Nobody reads them before the end, and a pipe holds only so much."""
_LEAVE_S = 5.0
_ADDRESS = re.compile(r"(https?://[^/\s]+)\S*?(?=:?(?:\s|$))")
"""Only the host of it is told: what follows may be long, and may be signed."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to fetch and where to put it. JSON can hold it."""

    address: str
    """Of the hub, or of the file itself."""
    repo: str | None
    """A repository of the hub; None: `address` is the file."""
    revision: str | None
    filenames: tuple[str, ...]
    """Alternatives, preferred first."""
    folder: str
    """Of the cache."""
    is_checkpoint: bool = True
    """Whether what comes must look like weights."""
    sha256: str = ""
    """What its hash must begin with; empty: what its publisher says."""
    branch: str | None = None
    """What is to stand for `revision` in the cache from now on, so that it is found where nobody can be asked."""

    @property
    def growing(self) -> tuple[Path, str]:
        """Folder and pattern of the files that grow while this is fetched; they never have the name of a finished one."""
        if self.repo is None:
            return Path(self.folder), f"{self.filenames[0]}.*.incomplete"
        return _folder_of(self.folder, self.repo) / "blobs", "*.incomplete"


def main() -> None:
    """The program."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this decides what an interrupt means
    signal.signal(signal.SIGTERM, _leave)
    wanted = json.loads(sys.stdin.readline())
    order = Order(**{**wanted, "filenames": tuple(wanted["filenames"])})
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    try:
        _tell(path=str(_from_url(order) if order.repo is None else _from_hub(order, order.repo)))
    except Exception as error:  # noqa: BLE001  clients raise whatever they like; the user gets one line
        _tell(why=why(error, folder=order.folder, is_hub=order.repo is not None))


def _leave(*_: object) -> NoReturn:
    """Leave by an exception, on whose way out partial files are removed."""
    sys.exit(1)


def _leave_with_parent() -> None:
    """Standard input ends when the parent does, however it ends."""
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_LEAVE_S)
    os._exit(1)


def _tell(**message: str) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


class _Notes(logging.Handler):
    """What the hub client has to say about its retries."""

    num_left = _MAX_NOTES

    def emit(self, record: logging.LogRecord) -> None:
        if self.num_left and not str(record.msg).startswith("Retrying in"):  # the line before says why
            self.num_left -= 1
            text = record.getMessage().strip().partition("\n")[0]
            _tell(note=brief(_ADDRESS.sub(r"\1", text)))


def _from_hub(order: Order, repo: str) -> Path:
    """The first of the files that the repository has. The client keeps partial files under names of their own and removes them."""
    from huggingface_hub import constants, hf_hub_download

    constants.DOWNLOAD_CHUNK_SIZE = _CHUNK_BYTES
    log = logging.getLogger("huggingface_hub")
    log.handlers, log.propagate = [_Notes()], False
    warnings.simplefilter("ignore")
    for filename in order.filenames:
        try:
            path = Path(hf_hub_download(repo, filename, revision=order.revision, cache_dir=order.folder, endpoint=order.address))
        except Exception as error:
            if status_of(error) != HTTPStatus.NOT_FOUND:
                raise
            continue
        if order.is_checkpoint:
            _require_published(path, path, order.sha256)
        if order.branch is not None:
            _name_commit(order, repo, order.branch)
        return path
    raise LookupError(f"HTTP 404: it is not there, or holds none of {', '.join(order.filenames)}")


def _from_url(order: Order) -> Path:
    """The file at a plain URL; it gets its name when it is whole and what it should be."""
    from huggingface_hub import constants

    target = Path(order.folder, order.filenames[0])
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f"{target.name}.", suffix=".incomplete")
    try:
        with (
            os.fdopen(descriptor, "wb") as file,
            urlopen(order.address, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT) as response,  # noqa: S310 (from a catalogue)
        ):
            _copy(response, file)
        _require_published(Path(temporary), target, order.sha256)
        Path(temporary).replace(target)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return target


def _name_commit(order: Order, repo: str, branch: str) -> None:
    """Leave the note by which the hub's client finds the commit of a branch in its cache, as it does when it is asked for the branch itself."""
    note = _folder_of(order.folder, repo) / "refs" / branch
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(str(order.revision), encoding="ascii")


def _folder_of(folder: str, repo: str) -> Path:
    return Path(folder, f"models--{repo.replace('/', '--')}")


def _require_published(path: Path, target: Path, sha256: str) -> None:
    """Remove what came, and the content that it is a link to, if it is not what belongs under the name of `target`, or has another hash."""
    fault = why_not_as_published(path, sha256_of(path), sha256 or published_sha256(target))
    if fault is not None:
        for each in (path.resolve(), path):
            each.unlink(missing_ok=True)
        raise ValueError(f"what came is not what was published: {fault}")


def _copy(response: Any, file: Any) -> None:
    expected, received = response.length, 0
    while chunk := response.read(_CHUNK_BYTES):
        file.write(chunk)
        received += len(chunk)
    if expected is not None and received != expected:
        raise EOFError(f"{received} of {expected} bytes came")
