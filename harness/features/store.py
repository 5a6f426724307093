"""Cached activations on disk: one row of numbers per image, addressed by what decides them.

An entry appears under its final name in one rename and never changes afterwards, so any number of processes and nodes share a store without a lock.
Whatever cannot be proved to be what was written is removed, and then computed again. Entries that other machines have published are brought here
first, and stay within the same bounds. Knows no tensors.
"""

import errno
import hashlib
import logging
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from harness.errors import StoreError
from harness.features.entry import (
    ENTRY,
    HEADER_BYTES,
    ROWS,
    Entry,
    EntryWriter,
    OtherVersionError,
    RowType,
    canonical,
    disk_trouble,
    key_of,
    read_fields,
)
from harness.features.shared import Shared
from harness.process.alive import is_alive

_KEY = re.compile(r"[0-9a-f]{32}")
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}-(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{32}")
_HOST = re.sub(r"[^\w.-]", "_", platform.node()) or "unnamed"
_ABANDONED_S = 24 * 3600
_USABLE_DISK_FRAC = 0.8  # the rest is for whoever else writes to this disk

_log = logging.getLogger("harness")  # reaches stderr with and without Hydra


@dataclass(frozen=True, slots=True)
class _Kept:
    """An entry as the eviction sees it."""

    folder: Path
    used_ns: int
    num_bytes: int


class FeatureStore:
    """A folder of entries that stays within `max_gib` GiB of rows. Making the object touches nothing on disk.

    With `max_gib=0` the store is off: nothing is found, nothing is kept. `shared`: the URL where other machines find and publish entries.
    """

    def __init__(self, root: Path, max_gib: float, shared: str | None = None) -> None:
        self._root = root.absolute()
        self._shared = Shared(shared)
        self._max_bytes = int(max_gib * 2**30)
        self._handed_out: set[str] = set()
        self._reserved: dict[Path, int] = {}  # bytes of the entries that this object is writing
        self._verified: dict[str, tuple[object, ...]] = {}

    def find(self, address: Mapping[str, Any]) -> Entry | None:
        """The entry at `address`, or None when there is none; a damaged one is removed, with a line to the log. Entries of other versions are not met.

        The rows are hashed the first time that this object meets them. Finding an entry counts as using it.

        Raises:
            StoreError: the folder cannot be read, or a damaged entry not removed.
        """
        key = key_of(address)
        folder = self._root / key
        with disk_trouble(self._root):
            is_brought = bool(self._max_bytes) and not folder.is_dir() and self._bring(key)
            if not self._max_bytes or not folder.is_dir():
                return None
            try:
                entry = self._open(folder, address)
            except (FileNotFoundError, ValueError) as reason:
                if self._remove(folder):  # else it only vanished meanwhile
                    _log.warning("%s: damaged and removed, to be computed again (%s).", folder, reason)
                    if is_brought:
                        self._shared.drop(key)
                return None
        self._handed_out.add(key)
        _mark_used(folder)
        return entry

    def create(self, address: Mapping[str, Any], row: RowType, num_rows: int) -> EntryWriter:
        """A writer for a new entry; the least recently used ones are evicted for it, but none that this object has handed out.

        When another writer publishes the same address first, its entry is kept and this one dropped.

        Raises:
            StoreError: there is no room for it (see `has_room_for`), or the folder cannot be written.
        """
        num_bytes = num_rows * row.num_bytes
        with disk_trouble(self._root):
            self._remove_abandoned()
            evicted = self._to_evict(num_bytes, num_bytes)
            if evicted is None:
                raise StoreError(
                    f"{self._root}: no room for {num_bytes / 2**20:.1f} MiB of features; raise store.max_gib ({self._max_bytes / 2**30:g}), "
                    f"free disk space, give cache_dir=..., or turn the store off with store.max_gib=0."
                )
            for kept in evicted:
                self._remove(kept.folder)
        return EntryWriter(
            folder=self._temporary(key_of(address)),
            address=address,
            row=row,
            num_rows=num_rows,
            reserved=self._reserved,
            publish=self._publish,
        )

    def verify(self) -> Iterator[tuple[Path, str | None]]:
        """Every entry of this version with what is wrong with it, None where it is bit by bit as it was written. Hashes all rows, removes nothing.

        Raises:
            StoreError: the folder cannot be read.
        """
        self._verified.clear()
        with disk_trouble(self._root):
            folders = sorted(path for path in _listed(self._root) if _KEY.fullmatch(path.name))
        for folder in folders:
            try:
                address = read_fields(folder / ENTRY)["address"]
                self._open(folder, address if key_of(address) == folder.name else {})
            except OtherVersionError:
                continue  # whose it is knows what it should hold; it goes when it is the least recently used
            except (OSError, ValueError) as reason:
                if folder.exists():  # else it was evicted meanwhile
                    yield folder, " ".join(str(reason).split())
            else:
                yield folder, None

    def has_room_for(self, num_bytes: int) -> bool:
        """Whether so many bytes of rows fit, counting what may be evicted: in `max_gib`, and in 80 % of the disk's free space."""
        with disk_trouble(self._root):
            return self._to_evict(num_bytes, num_bytes) is not None

    def _bring(self, key: str) -> bool:
        """Whether an entry that others have published is here now; not where there is no room for it, or its `entry.json` says nothing that can be used."""
        if (about := self._shared.entry(key)) is None:
            return False
        folder = self._temporary(key)
        try:
            folder.mkdir(parents=True)
            (folder / ENTRY).write_bytes(about)
            fields = read_fields(folder / ENTRY)
            num_bytes = fields["num_rows"] * RowType(**fields["row"]).num_bytes
            if (evicted := self._to_evict(num_bytes, num_bytes)) is None:
                return False
            for kept in evicted:
                self._remove(kept.folder)
            return self._shared.bring(key, fields["sha256"], folder) and self._settle(folder, key)
        except ValueError:
            return False
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _open(self, folder: Path, address: Mapping[str, Any]) -> Entry:
        with (folder / ROWS).open("rb") as rows_file:
            fields = read_fields(folder / ENTRY)
            if canonical(fields["address"]) != canonical(address):
                raise ValueError("it belongs to another address")
            row = RowType(**fields["row"])
            self._verify(folder.name, rows_file, HEADER_BYTES + fields["num_rows"] * row.num_bytes, fields["sha256"])
            return Entry(rows_file, row, fields["num_rows"], fields["about"])

    def _verify(self, key: str, rows_file: BufferedReader, num_bytes: int, sha256: str) -> None:
        """Raises ValueError when the rows are not those that were written; hashes a file that has not changed only once."""
        stat = os.fstat(rows_file.fileno())
        if stat.st_size != num_bytes:
            raise ValueError(f"{ROWS} has {stat.st_size} bytes, not {num_bytes}")
        if self._verified.get(key) != _stamp(stat, sha256):
            if hashlib.file_digest(rows_file, "sha256").hexdigest() != sha256:
                raise ValueError(f"{ROWS} has another hash than when it was written")
            self._verified[key] = _stamp(stat, sha256)

    def _publish(self, written: Path, sha256: str) -> None:
        """Give a complete folder its final name, unless an entry has it already. Others may have published since `create` made room."""
        stat = (written / ROWS).stat()
        key = written.name[1:].partition("-")[0]
        del self._reserved[written]
        for kept in self._to_evict(stat.st_size - HEADER_BYTES, new_bytes=0) or ():
            self._remove(kept.folder)
        _mark_used(written)
        if self._settle(written, key):
            self._verified[key] = _stamp(stat, sha256)
        self._shared.publish(key, sha256, self._root / key)

    def _settle(self, folder: Path, key: str) -> bool:
        """Whether a complete folder has its final name now, or an entry has it already."""
        try:
            folder.rename(self._root / key)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
            return False
        return True

    def _to_evict(self, num_bytes: int, new_bytes: int) -> list[_Kept] | None:
        """What to remove, least recently used first, so that `num_bytes` more fit in the limit and `new_bytes` on the disk.

        None when they cannot fit.
        """
        if not self._max_bytes:
            return None
        everything = self._kept()
        room = self._max_bytes - sum(kept.num_bytes for kept in everything) - sum(self._reserved.values())
        disk = shutil.disk_usage(next(path for path in (self._root, *self._root.parents) if path.exists())).free
        candidates = iter(sorted((kept for kept in everything if kept.folder.name not in self._handed_out), key=lambda kept: kept.used_ns))
        chosen: list[_Kept] = []
        while num_bytes > room or new_bytes > _USABLE_DISK_FRAC * disk:
            kept = next(candidates, None)
            if kept is None:
                return None
            chosen.append(kept)
            room += kept.num_bytes
            disk += kept.num_bytes
        return chosen

    def _kept(self) -> list[_Kept]:
        """Every entry in the store; one that lacks a file counts as never used."""
        folders = [path for path in _listed(self._root) if _KEY.fullmatch(path.name)]
        return [_Kept(folder, _stat(folder / ENTRY)[0], max(0, _stat(folder / ROWS)[1] - HEADER_BYTES)) for folder in folders]

    def _remove(self, folder: Path) -> bool:
        """Rename, then delete, so that no one meets half an entry. False when someone else was faster."""
        doomed = self._temporary(folder.name)
        try:
            folder.rename(doomed)
        except FileNotFoundError:
            return False
        shutil.rmtree(doomed, ignore_errors=True)
        return True

    def _remove_abandoned(self) -> None:
        """Delete what dead processes left: those of this host at once, of others when nothing was written for a day."""
        for path in _listed(self._root):
            name = _TEMPORARY.fullmatch(path.name)
            if name and ((name["host"] == _HOST and not is_alive(int(name["pid"]))) or _idle_s(path) > _ABANDONED_S):
                shutil.rmtree(path, ignore_errors=True)

    def _temporary(self, key: str) -> Path:
        return self._root / f".{key}-{_HOST}-{os.getpid()}-{uuid.uuid4().hex}"


def _stamp(stat: os.stat_result, sha256: str) -> tuple[object, ...]:
    return (stat.st_size, stat.st_mtime_ns, stat.st_ino, sha256)


def _mark_used(folder: Path) -> None:
    """Now, by a finer clock than file systems stamp with. A store that cannot be written can still be read."""
    now_ns = time.time_ns()
    with suppress(OSError):
        os.utime(folder / ENTRY, ns=(now_ns, now_ns))


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _stat(path: Path) -> tuple[int, int]:
    """Time of change in ns and bytes of a file; zeros when it is gone."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


def _idle_s(folder: Path) -> float:
    newest_ns = max(_stat(path)[0] for path in (folder, folder / ROWS, folder / ENTRY))
    return time.time() - newest_ns / 1e9
