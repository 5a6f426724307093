"""Decode every chosen image once before anything is trained, and remember the outcome, so that no job dies of one bad file.

Good files are remembered in `<cache_dir>/audit/`, keyed by absolute path, size and the times of its last changes; a second load reads none of them.
"""

import hashlib
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from pathlib import Path

import PIL

from harness.data.facts import Facts, Measures
from harness.data.images import quiet, reason
from harness.data.listing import Candidate
from harness.errors import StoreError
from harness.files import atomic_write
from harness.process.place import num_cores

_log = logging.getLogger(__name__)
_SLICE = 8
"""Images that a thread takes at once: a million of them one by one would take longer to hand out than to read."""
_SHOW_PROGRESS_FROM = 200 // _SLICE
"""Slices."""

Cache = dict[str, list[object]]
"""Absolute path -> size, mtime and ctime (ns), and the fields of Facts."""


def audit(candidates: Sequence[Candidate], cache_dir: Path, key: str) -> list[Facts | str]:
    """Facts of each candidate in order, or why it cannot be used.

    Args:
        candidates: images to read.
        cache_dir: the harness's cache folder; it is made when missing.
        key: names the cache file, one per data source and root.
    """
    path = cache_dir / "audit" / f"{hashlib.blake2b(key.encode('utf-8', 'surrogatepass'), digest_size=12).hexdigest()}.json"
    cache = _read(path)
    found = [_known(candidate, cache) for candidate in candidates]
    unknown = [number for number, outcome in enumerate(found) if outcome is None]
    slices = [unknown[start : start + _SLICE] for start in range(0, len(unknown), _SLICE)]
    fresh: Cache = {}
    with quiet(), ThreadPoolExecutor(min(8, num_cores())) as pool:
        examined = pool.map(lambda numbers: [_examine(candidates[number], fresh) for number in numbers], slices)
        for numbers, outcomes in zip(slices, _with_progress(examined, len(slices)), strict=True):
            for number, outcome in zip(numbers, outcomes, strict=True):
                found[number] = outcome
    if fresh:
        _write(path, cache | fresh)
    return [outcome for outcome in found if outcome is not None]


def _known(candidate: Candidate, cache: Cache) -> Facts | str | None:
    """What is remembered, or why there is no such file; None: it has to be read."""
    try:
        stamp = candidate.stamp()
    except Exception as error:  # noqa: BLE001 - as for one that is read
        return reason(error)
    return None if stamp is None else _recall(cache.get(stamp[0]), stamp[1:])


def _examine(candidate: Candidate, fresh: Cache) -> Facts | str:
    try:
        stamp = candidate.stamp()
        facts = candidate.examine()
    except MemoryError:  # says nothing about the file
        raise
    except Exception as error:  # noqa: BLE001 - decoders raise nearly anything on damaged bytes
        return reason(error)
    if stamp is not None:
        fresh[stamp[0]] = [*stamp[1:], *astuple(facts)]
    return facts


def _recall(entry: object, state: Sequence[object]) -> Facts | None:
    match entry:
        case [
            *stamp,
            str(content),
            int(width),
            int(height),
            str(mode),
            [str(dhash), float(highlight), float(contrast), float(sharpness)],
            bool(more),
            (float() | None) as high,
        ] if stamp == list(state):
            return Facts(content, width, height, mode, Measures(dhash, highlight, contrast, sharpness), more, high)
    return None


def _read(path: Path) -> Cache:
    """What is remembered; nothing when the file is missing, damaged, or from a Pillow that may decode differently."""
    try:
        stored = json.loads(path.read_bytes())
        files = stored["files"] if stored["pillow"] == PIL.__version__ else {}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}
    return files if isinstance(files, dict) else {}


def _write(path: Path, files: Cache) -> None:
    try:
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps({"pillow": PIL.__version__, "files": files}), encoding="utf-8")
    except StoreError as error:
        _log.warning("%s The images will be decoded again next time.", error)


def _with_progress(results: Iterable[list[Facts | str]], total: int) -> Iterable[list[Facts | str]]:
    if total < _SHOW_PROGRESS_FROM or not sys.stderr.isatty():
        return results
    from rich.console import Console
    from rich.progress import track

    return track(results, description="Reading images", total=total, console=Console(stderr=True), transient=True)
