"""Rows of numbers that a fixed network computed, one per image, kept on disk and addressed by what decides them.

An entry is a folder with an array that numpy reads (`rows.npy`) and what is known of it (`entry.json`). It appears under its final name in one rename and
never changes afterwards, so any number of processes and nodes share a store without a lock. Whatever cannot be proved to be what was written is removed, and
then computed again.

Legend: N images of an entry, B images of a batch, E values in a row.
"""

import errno
import hashlib
import io
import json
import logging
import mmap
import os
import platform
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from harness.errors import StoreError
from harness.process.alive import is_alive

IntArray = npt.NDArray[np.int64]

SCHEMA = 3

_ROWS, _ENTRY = "rows.npy", "entry.json"
_HEADER_BYTES = 128
"""Before the rows; they are not counted where there is room for rows."""
_KEY = re.compile(r"[0-9a-f]{32}")
_TEMPORARY = re.compile(r"\.[0-9a-f]{32}-(?P<host>.+)-(?P<pid>\d+)-[0-9a-f]{32}")
_HOST = re.sub(r"[^\w.-]", "_", platform.node()) or "unnamed"
_ABANDONED_S = 24 * 3600
_USABLE_DISK_FRAC = 0.8  # the rest is for whoever else writes to this disk
_RESIDENT_BYTES = 64 * 2**20
_REGION_BYTES = 2 * 2**20  # one touched byte makes up to one page table's worth of the file resident

_log = logging.getLogger("harness")  # reaches stderr with and without Hydra


@dataclass(frozen=True, slots=True)
class RowType:
    """What one image's row holds."""

    dtype: str
    """A numpy name: "uint8", "uint16" (the bits of bfloat16), "float32"."""
    num_values: int

    @property
    def num_bytes(self) -> int:
        return np.dtype(self.dtype).itemsize * self.num_values


class Entry:
    """A finished, verified entry. It stays readable while it is held, also after its folder was evicted."""

    def __init__(self, rows_file: BufferedReader, row: RowType, num_rows: int, about: dict[str, Any]) -> None:
        self.num_rows = num_rows
        self.row = row
        self.about = about
        """The writer's notes."""
        self._map = mmap.mmap(rows_file.fileno(), 0, access=mmap.ACCESS_READ)
        self._values_NE = np.frombuffer(self._map, dtype=row.dtype, offset=_HEADER_BYTES).reshape(num_rows, row.num_values)
        self._touched: set[int] = set()  # regions of the file that may be resident

    def read(self, rows: IntArray | slice) -> npt.NDArray[Any]:
        """A copy of the asked rows, in the asked order, shape (len(rows), num_values).

        Whatever the size of the entry, at most about 64 MiB of it stay resident besides the copy.

        Raises:
            IndexError: a row outside [-num_rows, num_rows).
        """
        rows_B = np.arange(*rows.indices(self.num_rows)) if isinstance(rows, slice) else rows
        values_BE = np.empty((len(rows_B), self.row.num_values), self.row.dtype)
        step = max(1, _RESIDENT_BYTES // (self.row.num_bytes + 2 * _REGION_BYTES))  # wherever they lie, so many rows keep the bound
        for start in range(0, len(rows_B), step):
            part = slice(start, start + step)
            self._bound_resident(rows_B[part])
            values_BE[part] = self._values_NE[rows_B[part]]
        return values_BE

    def _bound_resident(self, rows_B: IntArray) -> None:
        """Drop the resident pages if these rows could bring them over the bound."""
        size = self.row.num_bytes
        starts = (_HEADER_BYTES + row % max(1, self.num_rows) * size for row in rows_B.tolist())
        wanted = {region for start in starts for region in range(start // _REGION_BYTES, (start + size - 1) // _REGION_BYTES + 1)}
        if len(self._touched | wanted) * _REGION_BYTES > _RESIDENT_BYTES:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._touched.clear()
        self._touched |= wanted


class EntryWriter:
    """Takes the rows of one entry in order; leaving the `with` block with all of them publishes it, any other way discards it."""

    def __init__(
        self,
        *,
        folder: Path,
        address: Mapping[str, Any],
        row: RowType,
        num_rows: int,
        reserved: dict[Path, int],
        publish: Callable[[Path, str], None],
    ) -> None:
        self.about: dict[str, Any] = {}
        """Plain JSON; what it holds when the block ends is kept with the entry."""
        self._folder = folder
        self._address = address
        self._row = row
        self._num_rows = num_rows
        self._reserved = reserved
        self._publish = publish
        self._num_appended = 0
        self._sha256 = hashlib.sha256()

    def __enter__(self) -> Self:
        self._reserved[self._folder] = self._num_rows * self._row.num_bytes
        with _disk_trouble(self._folder.parent):
            self._folder.mkdir(parents=True)
            self._file = (self._folder / _ROWS).open("xb", buffering=0)  # nothing is left to flush when a block ends by an exception
            self._write(_header(self._row, self._num_rows))
        return self

    def append(self, values_BE: npt.NDArray[Any]) -> None:
        """Add the next rows.

        Raises:
            ValueError: another dtype or row length than the entry's, or more rows than it was made for.
            StoreError: the disk is full or gone.
        """
        self._check(values_BE)
        with _disk_trouble(self._folder.parent):
            self._write(np.ascontiguousarray(values_BE).reshape(-1).view(np.uint8).data)
        self._num_appended += len(values_BE)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._file.close()
            if kind is None:
                self._finish()
        finally:
            self._reserved.pop(self._folder, None)
            shutil.rmtree(self._folder, ignore_errors=True)  # a published folder has another name by now

    def _write(self, left: memoryview | bytes) -> None:
        self._sha256.update(left)
        while left:
            left = left[self._file.write(left) :]

    def _check(self, values_BE: npt.NDArray[Any]) -> None:
        if values_BE.ndim != 2 or values_BE.shape[1] != self._row.num_values or values_BE.dtype != np.dtype(self._row.dtype):
            raise ValueError(f"rows of {self._row} are wanted, got shape {values_BE.shape} of {values_BE.dtype}.")
        if self._num_appended + len(values_BE) > self._num_rows:
            raise ValueError(f"{self._num_appended} + {len(values_BE)} rows appended to an entry of {self._num_rows}.")

    def _finish(self) -> None:
        if self._num_appended != self._num_rows:
            raise ValueError(f"{self._num_appended} rows appended to an entry of {self._num_rows}; it is not kept.")
        sha256 = self._sha256.hexdigest()
        fields = {
            "schema": SCHEMA,
            "address": dict(self._address),
            "row": asdict(self._row),
            "num_rows": self._num_rows,
            "sha256": sha256,
            "about": self.about,
        }
        text = json.dumps(fields | {"seal": _hash(fields)}, indent=1, allow_nan=False)
        with _disk_trouble(self._folder.parent):
            (self._folder / _ENTRY).write_text(text, encoding="utf-8")
            self._publish(self._folder, sha256)


@dataclass(frozen=True, slots=True)
class _Kept:
    """An entry as the eviction sees it."""

    folder: Path
    used_ns: int
    num_bytes: int


class FeatureStore:
    """A folder of entries that stays within `max_gib` GiB of rows. Making the object touches nothing on disk.

    With `max_gib=0` the store is off: nothing is found, nothing is kept.
    """

    def __init__(self, root: Path, max_gib: float) -> None:
        self._root = root.absolute()
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
        key = _key(address)
        folder = self._root / key
        with _disk_trouble(self._root):
            if not self._max_bytes or not folder.is_dir():
                return None
            try:
                entry = self._open(folder, address)
            except (FileNotFoundError, ValueError) as reason:
                if self._remove(folder):  # else it only vanished meanwhile
                    _log.warning("%s: damaged and removed, to be computed again (%s).", folder, reason)
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
        with _disk_trouble(self._root):
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
            folder=self._temporary(_key(address)),
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
        with _disk_trouble(self._root):
            folders = sorted(path for path in _listed(self._root) if _KEY.fullmatch(path.name))
        for folder in folders:
            try:
                address = _read_fields(folder / _ENTRY)["address"]
                self._open(folder, address if _key(address) == folder.name else {})
            except _OtherVersionError:
                continue  # whose it is knows what it should hold; it goes when it was not used for longest
            except (OSError, ValueError) as reason:
                if folder.exists():  # else it was evicted meanwhile
                    yield folder, " ".join(str(reason).split())
            else:
                yield folder, None

    def has_room_for(self, num_bytes: int) -> bool:
        """Whether so many bytes of rows fit, counting what may be evicted: in `max_gib`, and in 80 % of the disk's free space."""
        with _disk_trouble(self._root):
            return self._to_evict(num_bytes, num_bytes) is not None

    def _open(self, folder: Path, address: Mapping[str, Any]) -> Entry:
        with (folder / _ROWS).open("rb") as rows_file:
            fields = _read_fields(folder / _ENTRY)
            if _canonical(fields["address"]) != _canonical(address):
                raise ValueError("it belongs to another address")
            row = RowType(**fields["row"])
            self._verify(folder.name, rows_file, _HEADER_BYTES + fields["num_rows"] * row.num_bytes, fields["sha256"])
            return Entry(rows_file, row, fields["num_rows"], fields["about"])

    def _verify(self, key: str, rows_file: BufferedReader, num_bytes: int, sha256: str) -> None:
        """Raises ValueError when the rows are not those that were written; hashes a file that has not changed only once."""
        stat = os.fstat(rows_file.fileno())
        if stat.st_size != num_bytes:
            raise ValueError(f"{_ROWS} has {stat.st_size} bytes, not {num_bytes}")
        if self._verified.get(key) != _stamp(stat, sha256):
            if hashlib.file_digest(rows_file, "sha256").hexdigest() != sha256:
                raise ValueError(f"{_ROWS} has another hash than when it was written")
            self._verified[key] = _stamp(stat, sha256)

    def _publish(self, written: Path, sha256: str) -> None:
        """Give a complete folder its final name, unless an entry has it already. Others may have published since `create` made room."""
        stat = (written / _ROWS).stat()
        key = written.name[1:].partition("-")[0]
        del self._reserved[written]
        for kept in self._to_evict(stat.st_size - _HEADER_BYTES, new_bytes=0) or ():
            self._remove(kept.folder)
        _mark_used(written)
        try:
            written.rename(self._root / key)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
        else:
            self._verified[key] = _stamp(stat, sha256)

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
        return [_Kept(folder, _stat(folder / _ENTRY)[0], max(0, _stat(folder / _ROWS)[1] - _HEADER_BYTES)) for folder in folders]

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


def _header(row: RowType, num_rows: int) -> bytes:
    """What stands before the rows in a file that `numpy.load` reads."""
    written = io.BytesIO()
    about = {"descr": np.dtype(row.dtype).str, "fortran_order": False, "shape": (num_rows, row.num_values)}
    np.lib.format.write_array_header_1_0(written, about)
    assert written.tell() == _HEADER_BYTES  # numpy fills it up, so that the rows are aligned
    return written.getvalue()


class _OtherVersionError(ValueError):
    """An entry that another version of the harness wrote."""


def _canonical(value: Any) -> str:
    """The same text for the same JSON, before and after a file."""
    plain = json.loads(json.dumps(value, allow_nan=False))
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def _key(address: Mapping[str, Any]) -> str:
    """Name of the folder of an entry; none that another version wrote has it."""
    return _hash({"schema": SCHEMA, **address})


def _hash(value: Mapping[str, Any]) -> str:
    return hashlib.blake2b(_canonical(dict(value)).encode(), digest_size=16).hexdigest()


def _read_fields(path: Path) -> dict[str, Any]:
    """The fields of an entry.json that this version wrote and nobody changed. Raises ValueError for any other file."""
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        seal = fields.pop("seal")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{_ENTRY} cannot be read") from error
    if seal != _hash(fields):
        raise ValueError(f"{_ENTRY} is not as it was written")
    if fields["schema"] != SCHEMA:
        raise _OtherVersionError(f"{_ENTRY} has schema {fields['schema']}, not {SCHEMA}")
    return fields


def _stamp(stat: os.stat_result, sha256: str) -> tuple[object, ...]:
    return (stat.st_size, stat.st_mtime_ns, stat.st_ino, sha256)


def _mark_used(folder: Path) -> None:
    """Now, by a finer clock than file systems stamp with. A store that cannot be written can still be read."""
    now_ns = time.time_ns()
    with suppress(OSError):
        os.utime(folder / _ENTRY, ns=(now_ns, now_ns))


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
    newest_ns = max(_stat(path)[0] for path in (folder, folder / _ROWS, folder / _ENTRY))
    return time.time() - newest_ns / 1e9


@contextmanager
def _disk_trouble(root: Path) -> Iterator[None]:
    """Turn what the disk refuses into one line."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{root}: the feature store cannot be used ({error.strerror or error}); free disk space or check the folder's permissions, "
            f"give cache_dir=..., or turn the store off with store.max_gib=0."
        ) from error
