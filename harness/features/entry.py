"""One entry of the store: an array that numpy reads (`rows.npy`) and what is known of it (`entry.json`), in a folder that never changes.

Written in order, read at random, without more of it in memory than asked for. Knows no tensors.

Legend: N images of an entry, B images of a batch, E values in a row.
"""

import hashlib
import io
import json
import mmap
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from io import BufferedReader
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from harness.errors import StoreError

IntArray = npt.NDArray[np.int64]

SCHEMA = 3

ROWS, ENTRY = "rows.npy", "entry.json"
HEADER_BYTES = 128
"""Before the rows; they are not counted where there is room for rows."""
_RESIDENT_BYTES = 64 * 2**20
_REGION_BYTES = 2 * 2**20  # one touched byte makes up to one page table's worth of the file resident


@dataclass(frozen=True, slots=True)
class RowType:
    """What one image's row holds."""

    dtype: str
    """A numpy name: "uint8", "uint16" (the bits of bfloat16), "float16", "float32"."""
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
        self._values_NE = np.frombuffer(self._map, dtype=row.dtype, offset=HEADER_BYTES).reshape(num_rows, row.num_values)
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
        starts = (HEADER_BYTES + row % max(1, self.num_rows) * size for row in rows_B.tolist())
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
        with disk_trouble(self._folder.parent):
            self._folder.mkdir(parents=True)
            self._file = (self._folder / ROWS).open("xb", buffering=0)  # nothing is left to flush when a block ends by an exception
            self._write(_header(self._row, self._num_rows))
        return self

    def append(self, values_BE: npt.NDArray[Any]) -> None:
        """Add the next rows.

        Raises:
            ValueError: another dtype or row length than the entry's, or more rows than it was made for.
            StoreError: the disk is full or gone.
        """
        self._check(values_BE)
        with disk_trouble(self._folder.parent):
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
        text = json.dumps(fields | {"seal": _hash_of(fields)}, indent=1, allow_nan=False)
        with disk_trouble(self._folder.parent):
            (self._folder / ENTRY).write_text(text, encoding="utf-8")
            self._publish(self._folder, sha256)


def _header(row: RowType, num_rows: int) -> bytes:
    """What stands before the rows in a file that `numpy.load` reads."""
    written = io.BytesIO()
    about = {"descr": np.dtype(row.dtype).str, "fortran_order": False, "shape": (num_rows, row.num_values)}
    np.lib.format.write_array_header_1_0(written, about)
    assert written.tell() == HEADER_BYTES  # numpy fills it up, so that the rows are aligned
    return written.getvalue()


class OtherVersionError(ValueError):
    """An entry that another version of the harness wrote."""


def read_fields(path: Path) -> dict[str, Any]:
    """The fields of an entry.json that this version wrote and nobody changed. Raises ValueError for any other file."""
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        seal = fields.pop("seal")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{ENTRY} cannot be read") from error
    if seal != _hash_of(fields):
        raise ValueError(f"{ENTRY} is not as it was written")
    if fields["schema"] != SCHEMA:
        raise OtherVersionError(f"{ENTRY} has schema {fields['schema']}, not {SCHEMA}")
    return fields


def canonical(value: Any) -> str:
    """The same text for the same JSON, before and after a file."""
    plain = json.loads(json.dumps(value, allow_nan=False))
    return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def key_of(address: Mapping[str, Any]) -> str:
    """Return the name of the folder of an entry; none that another version wrote has it."""
    return _hash_of({"schema": SCHEMA, **address})


def _hash_of(value: Mapping[str, Any]) -> str:
    return hashlib.blake2b(canonical(dict(value)).encode(), digest_size=16).hexdigest()


@contextmanager
def disk_trouble(root: Path) -> Iterator[None]:
    """Turn what the disk refuses into one line."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{root}: the feature store cannot be used ({error.strerror or error}); free disk space or check the folder's permissions, "
            f"give cache_dir=..., or turn the store off with store.max_gib=0."
        ) from error
