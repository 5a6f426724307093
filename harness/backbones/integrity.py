"""Check by hash and file type whether a file can be the expected checkpoint, before anything in it is read.

Used on whatever was fetched or found, so that a login page in place of weights is noticed while nothing has run. What passes is
still untrusted; `checkpoint` reads it.
"""

import hashlib
import zipfile
from pathlib import Path

_HEXADECIMAL = frozenset("0123456789abcdef")
_PICKLE, _ZIP = b"\x80", b"PK\x03\x04"
_NO_ARCHIVE = (
    zipfile.BadZipFile,
    ValueError,  # a name in the directory is not the UTF-8 that it says it is
    NotImplementedError,  # the directory asks for a version of the format that does not exist
    OSError,  # the directory would begin before the file, which older versions of Python find out by going there
)
"""What `zipfile` raises at damaged bytes, of which it promises only the first."""


def sha256_of(path: Path) -> str:
    """Hash of the content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_sha256(text: str) -> bool:
    """Whether a text has the form of such a hash."""
    return len(text) == 64 and set(text) <= _HEXADECIMAL


def published_sha256(path: Path) -> str:
    """What a cached file's hash must begin with, as its publisher states it; empty where it is not stated.

    The hub's cache names large files by their sha256, of which published URLs carry the start: alexnet-owt-7be5be79.pth.
    """
    blob = path.resolve().name
    if is_sha256(blob):
        return blob
    suffix = path.stem.rpartition("-")[2]
    return suffix if len(suffix) >= 8 and set(suffix) <= _HEXADECIMAL else ""


def why_not_as_published(path: Path, sha256: str, expected: str) -> str | None:
    """A few words on why a file with this hash is not what was published under the expected one; None: it may be.

    Raises:
        OSError: it cannot be read.
    """
    if sha256.startswith(expected):
        return why_no_checkpoint(path)
    return f"its content hash is {sha256[:8]}, not {expected[:8]}"


def why_no_checkpoint(path: Path) -> str | None:
    """A few words on why a file can fill no model; None: it may be a checkpoint.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        return "it is empty"
    if is_safetensors(start):
        return _why_no_safetensors(path)
    if start.startswith(_ZIP):
        return _why_no_archive(path)
    if start.startswith(_PICKLE):
        return None
    shown = "".join(character if character.isprintable() else " " for character in start[:24].decode("ascii", "replace"))
    return f"it begins with {shown.strip()!r}, as no checkpoint does"


def is_safetensors(start: bytes) -> bool:
    """Told by content, since hub caches and users rename files: eight bytes of header length, then JSON."""
    return start[8:9] == b"{"


def _why_no_safetensors(path: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):  # reads the header and holds it against the size of the file
            return None
    except (SafetensorError, OSError, ValueError) as error:
        return f"it is a damaged safetensors file: {' '.join(str(error).split())[:120]}"


def _why_no_archive(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except _NO_ARCHIVE:
        return "it is damaged: the end, which says what is in it, is wrong or missing"
    if "constants.pkl" in names:
        return "it is a TorchScript program, and reading it could run code; save the state_dict() alone"
    return None if "data.pkl" in names else "it is a zip archive without anything that torch.save wrote"
