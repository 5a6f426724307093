"""Segments: rows of ended jobs by the ten thousand in one file each, byte by byte as their own files had them.

Between the disk and the study folder, of studies whose rows are too many to be listed and opened one by one. A segment is a Parquet file of two columns
whose name is the hash of its bytes; each row in it still carries the hash of its own text, and that of its predictions. It is never changed.
A row that has a file of its own is that file, whatever segments say, so that a job may be done again. Of a row that is in several segments, as
it was compacted and done again and compacted again, the one that started last counts. Hosts that compact at once write rows twice and lose none:
a file goes only when a segment that is on the disk holds its very bytes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from harness.files import digest, listed, open_plain, remove, why, write_durably
from harness.study.row_file import decode

COMPACT_FROM = 10_000
"""Files of rows from which on they are compacted, and rows of a segment at most."""
_SUFFIX = ".parquet"
_COLUMNS = ("job_id", "content")

Rows = dict[str, bytes]
"""Id of a job -> the bytes of its row."""


@dataclass(frozen=True, slots=True)
class BadSegment:
    """A segment that cannot be used: its rows count as not there."""

    path: Path
    reason: str


def folder_of(rows: Path) -> Path:
    """Where the segments of a folder of rows are."""
    return rows / "segments"


def compact(rows: Path, is_ended: Callable[[bytes], bool]) -> int:
    """Move rows of ended jobs into segments where there are `COMPACT_FROM` files of rows or more.

    Args:
        rows: the folder.
        is_ended: whether the bytes of a file are a row that nobody is going to write again soon.

    Returns:
        Rows that were moved.

    Raises:
        StoreError: the disk does not take a segment; nothing is lost then.
    """
    loose = listed(rows, ".json")
    if len(loose) < COMPACT_FROM:
        return 0
    found = {path.stem: content for path in loose if (content := _content(path)) is not None and is_ended(content)}
    names = list(found) if len(found) >= COMPACT_FROM else []
    for start in range(0, len(names), COMPACT_FROM):
        _write(rows, {name: found[name] for name in names[start : start + COMPACT_FROM]})
    return len(names)


def read_all(rows: Path) -> tuple[Rows, list[BadSegment]]:
    """Rows of all segments, read anew, and the segments that cannot be used."""
    found = [_read(path) for path in listed(folder_of(rows), _SUFFIX)]
    good = [each for each in found if not isinstance(each, BadSegment)]
    return _latest(good), [each for each in found if isinstance(each, BadSegment)]


def find(rows: Path, job_id: str) -> bytes | None:
    """The row of one job. Segments that were read before are not read again, as nobody changes one."""
    held = [each for path in listed(folder_of(rows), _SUFFIX) if job_id in (each := _held(path))]
    return _latest([{job_id: each[job_id]} for each in held]).get(job_id)


def _held(path: Path) -> Rows:
    """Empty where it cannot be used, now."""
    with suppress(ValueError):
        return _kept(path)
    return {}


@lru_cache(maxsize=256)
def _kept(path: Path) -> Rows:
    """Raises ValueError where it cannot be used, which is not remembered."""
    if isinstance(found := _read(path), BadSegment):
        raise ValueError(found.reason)  # noqa: TRY004  the bytes are wrong, not their type
    return found


def _write(rows: Path, part: Rows) -> None:
    """One segment, and then away with the files that it holds."""
    content = _encoded(part)
    path = folder_of(rows) / f"{digest(content)}{_SUFFIX}"
    write_durably(path, content)
    if isinstance(_read(path), BadSegment):  # the disk has made something else of it
        return
    for job_id, row in part.items():
        if _content(own := rows / f"{job_id}.json") == row:
            remove(own)


def _encoded(part: Rows) -> bytes:
    """The same bytes for the same rows."""
    import pyarrow as pa  # it starts a thread, and jobs are forked from a process that has read rows
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    names = sorted(part)
    table = pa.table({"job_id": pa.array(names, pa.string()), "content": pa.array([part[name] for name in names], pa.binary())})
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def _read(path: Path) -> Rows | BadSegment:
    try:
        with open_plain(path) as file:
            content = file.read()
    except OSError as error:
        return BadSegment(path, f"cannot be read ({why(error)})")
    return _decoded(content) if digest(content) == path.stem else BadSegment(path, "is not as it was written")


def _decoded(content: bytes) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(pa.BufferReader(content), columns=list(_COLUMNS))
    return dict(zip(*(table.column(name).to_pylist() for name in _COLUMNS), strict=True))


def _latest(segments: Sequence[Rows]) -> Rows:
    """Rows of several segments; of those that are in many, the one of the job that started last."""
    found: Rows = {}
    for job_id, content in _pairs(segments):
        if job_id not in found or (content != found[job_id] and _started(content) > _started(found[job_id])):
            found[job_id] = content
    return found


def _pairs(segments: Iterable[Rows]) -> Iterator[tuple[str, bytes]]:
    for each in segments:
        yield from each.items()


def _started(content: bytes) -> str:
    try:
        return decode(content).row.started_at
    except ValueError:
        return ""


def _content(path: Path) -> bytes | None:
    try:
        with open_plain(path) as file:
            return file.read()
    except OSError:
        return None
