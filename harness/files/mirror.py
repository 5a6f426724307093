"""Files of a mirror and their objects: what is written goes to the store, what is read comes from it. For paths of this machine alone all of this does nothing.

The store is right: where it has another object than the one that a file was a copy of, the file is replaced; where it has none any more, put aside.
But a file that could not be sent stays until it is. Which object a file is a copy of is noted beside the mirror (`place.tag_of`).
"""

import json
import time
import uuid
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.errors import StoreError
from harness.files import objects
from harness.files.objects import About
from harness.files.place import tag_of, url_of

_FRESH_S = 5.0
"""So long an answer of the store is good for: reading a hundred files after one listing asks nothing more."""
_AT_ONCE = 16
"""Transfers at a time."""


@dataclass(frozen=True, slots=True)
class _Tag:
    """What is noted about a file."""

    token: str | None
    """The object that it is a copy of, or was written over; None: none was known."""
    stat: list[int] | None
    """Of the file that is the copy; None: it is still to be sent."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the store said of an object that it has, and when. That it has none is asked anew each time."""

    about: About
    at: float

    @property
    def is_fresh(self) -> bool:
        return time.monotonic() - self.at < _FRESH_S


_answers: dict[Path, _Answer] = {}
_skimmed: dict[Path, tuple[float, list[str]]] = {}
"""Folder -> when its listing was said to be good enough, and the names in it."""


def forget() -> None:
    """From now on the store is asked anew."""
    _answers.clear()
    _skimmed.clear()


def announce(path: Path) -> None:
    """A file is about to be written: should what follows be cut short, it is known that it was not sent."""
    if url_of(path) is not None:
        tag = _tag(path)
        _note(path, _Tag(tag.token if tag else None, None))


def send(path: Path) -> None:
    """Put a file that was written to the store. Raises StoreError; the file stays as it is and is sent by `send_rest`."""
    url = url_of(path)
    if url is None:
        return
    stat = _stat(path)
    objects.put_file(path, url)
    if (about := objects.about(url)) is not None:
        _answers[path] = _Answer(about, time.monotonic())
        _note(path, _Tag(about.token, stat))


def send_rest(folder: Path) -> None:
    """Send what an earlier command could not, unless the store has got something newer since. Raises StoreError."""
    if url_of(folder) is None:
        return
    root, tags = folder.absolute(), tag_of(folder)
    for path in [root / tag.relative_to(tags) for tag in tags.rglob("*") if tag.is_file()]:
        tag = _tag(path)
        if tag is not None and tag.stat is None and path.is_file():
            about = _ask(path)
            if (about.token if about else None) == tag.token:
                send(path)


def fetch(paths: Iterable[Path]) -> None:
    """Bring files up to date with the store, many at once, each asked for by its name; those that it never had stay. Raises StoreError."""
    due = [path for path in paths if url_of(path) is not None and not _is_up_to_date(path)]
    for folder in {path.parent for path in due}:
        _skimmed.pop(folder, None)
    if due:
        with ThreadPoolExecutor(min(_AT_ONCE, len(due))) as pool:
            list(pool.map(_fetch, due))


def fetch_one(path: Path) -> None:
    """The same for a file that is about to be read. Asks nothing while a skimmed listing is good."""
    if url_of(path) is not None and not _is_up_to_date(path) and not _is_unlisted(path):
        _fetch(path)


def skim(folder: Path, suffix: str | None) -> None:
    """For the next few seconds what the store lists in a folder is all that it has; files that end so are fetched, with None only the names are.

    Good for an order of work, not for a decision, as a listing may lag behind. Raises StoreError.
    """
    if url_of(folder) is not None and _skimmed_names(folder) is None:
        found = names(folder)
        fetch(folder / name for name in found if suffix is not None and name.endswith(suffix))
        _skimmed[folder] = time.monotonic(), found


def names(folder: Path) -> list[str]:
    """What the store lists below a folder, or did when it was skimmed. Raises StoreError."""
    url = url_of(folder)
    if url is None:
        return []
    if (skimmed := _skimmed_names(folder)) is not None:
        return skimmed
    found, now = objects.names(url), time.monotonic()
    _answers.update({folder / name: _Answer(about, now) for name, about in found.items() if about is not None})
    return list(found)


def is_there(path: Path) -> bool:
    """Whether a file is there, here or in the store. Raises StoreError."""
    return path.is_file() or (url_of(path) is not None and not _is_unlisted(path) and _known(path) is not None)


def is_folder(folder: Path) -> bool:
    """Whether there is such a folder, here or in the store. Raises StoreError."""
    url, above = url_of(folder), _answers.get(folder.parent)
    is_below_a_file = above is not None and above.is_fresh
    return folder.is_dir() or (url is not None and not is_below_a_file and bool(objects.names(url)))


def num_bytes(path: Path) -> int:
    """The size of a file, here or in the store; 0 when it is gone. Raises StoreError."""
    with suppress(FileNotFoundError):
        return path.stat().st_size
    about = _known(path) if url_of(path) is not None else None
    return about.num_bytes if about else 0


def changed_s(path: Path) -> float:
    """When a file was changed, or put to the store; 0 when it is not there. Raises StoreError."""
    if url_of(path) is not None and (about := _known(path)) is not None:
        return about.changed_s
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def delete(path: Path) -> None:
    """Delete the object behind a file. Raises StoreError."""
    if (url := url_of(path)) is not None:
        objects.delete(url)
        _answers.pop(path, None)
        tag_of(path).unlink(missing_ok=True)


def require_writable(folder: Path) -> None:
    """See that the store takes an object below a folder and can be asked not to replace one, and send what it has not got yet. Raises StoreError."""
    if (url := url_of(folder)) is not None:
        probe = f"{url}/.writable.{uuid.uuid4().hex}"
        is_replaced = objects.create(b"first", probe) and objects.create(b"second", probe)
        objects.delete(probe)
        if is_replaced:
            raise StoreError(
                f"{url}: the store replaces an object when it is asked not to (If-None-Match), so two machines could take one job; update its "
                f"server, or give another results_dir."
            )
        send_rest(folder)


def _fetch(path: Path) -> None:
    about = _known(path)
    if about is None:
        _put_aside(path)
    if about is None or _is_copy(path, about):
        return
    url = url_of(path)
    assert url is not None
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with objects.trouble(url):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            objects.get_file(url, temporary)
            stat = _stat(temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _note(path, _Tag(about.token, stat))


def _put_aside(path: Path) -> None:
    """A copy of what somebody has deleted in the store gets a hidden name, under which leftovers are swept away after a day."""
    tag = _tag(path)
    url = url_of(path)
    if url is not None and tag is not None and tag.stat is not None and path.is_file() and tag.stat == _stat(path):
        objects.require_bucket(url)
        with suppress(FileNotFoundError):
            path.touch()
            path.rename(path.with_name(f".{path.name}.{uuid.uuid4().hex}"))
            tag_of(path).unlink()


def _is_up_to_date(path: Path) -> bool:
    """Whether nothing needs to be asked or brought: the store has just said what it has."""
    answer = _answers.get(path)
    return answer is not None and answer.is_fresh and _is_copy(path, answer.about)


def _is_unlisted(path: Path) -> bool:
    """Whether the folder was skimmed just now, and this name was not in it."""
    return _skimmed_names(path.parent) is not None and path not in _answers


def _skimmed_names(folder: Path) -> list[str] | None:
    """Names in a folder that was skimmed just now."""
    at, found = _skimmed.get(folder, (0.0, []))
    return found if folder in _skimmed and time.monotonic() - at < _FRESH_S else None


def _is_copy(path: Path, about: About) -> bool:
    """Whether a file is a copy of what the store has, or was written over just that."""
    tag = _tag(path)
    return tag is not None and tag.token == about.token and path.is_file() and tag.stat in (None, _stat(path))


def _known(path: Path) -> About | None:
    answer = _answers.get(path)
    return answer.about if answer is not None and answer.is_fresh else _ask(path)


def _ask(path: Path) -> About | None:
    url = url_of(path)
    assert url is not None
    about = objects.about(url)
    if about is None:
        _answers.pop(path, None)
    else:
        _answers[path] = _Answer(about, time.monotonic())
    return about


def _stat(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _tag(path: Path) -> _Tag | None:
    try:
        return _Tag(**json.loads(tag_of(path).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _note(path: Path, tag: _Tag) -> None:
    place = tag_of(path)
    temporary = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_text(json.dumps({"token": tag.token, "stat": tag.stat}), encoding="utf-8")
    temporary.replace(place)
