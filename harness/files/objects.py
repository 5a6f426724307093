"""Requests to a store, through fsspec: one line for whatever it refuses, and nothing remembered between two of them.

fsspec's filesystems do not survive a fork; each process makes its own when it first asks.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from harness.errors import StoreError

_TAKEN = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
"""What stores answer when an object is there already, or somebody else is just putting it."""

_SMALL_BYTES = 2**20
"""To ask for a range spares s3fs asking for the size first."""


@dataclass(frozen=True, slots=True)
class About:
    """What a store says of an object."""

    token: str
    """Another one whenever the content is: S3's ETag, Google's generation."""
    num_bytes: int
    changed_s: float
    """When it was put, by the store's clock (seconds since 1970)."""


def put_file(path: Path, url: str) -> None:
    """Replace an object by a file. Raises StoreError."""
    with trouble(url):
        _filesystem(url).put_file(str(path), url)


def put(content: bytes, url: str) -> None:
    """Replace an object by these bytes. Raises StoreError."""
    with trouble(url):
        _filesystem(url).pipe_file(url, content)


def create(content: bytes, url: str) -> bool:
    """Put an object where there is none; of all who try at once exactly one succeeds. False: there is one. Raises StoreError."""
    with trouble(url):
        try:
            _filesystem(url).pipe_file(url, content, mode="create")
        except FileExistsError:
            return False
        except OSError as error:
            if _code(error) in _TAKEN:
                return False
            raise
    return True


def read(url: str) -> bytes | None:
    """What a small object holds, of a longer one the beginning; None when there is none. One request. Raises StoreError."""
    with trouble(url):
        try:
            return bytes(_filesystem(url).cat_file(url, start=0, end=_SMALL_BYTES))
        except FileNotFoundError as error:
            _require_bucket(error)
            return None


def get_file(url: str, path: Path) -> None:
    """Write an object to a file. Raises StoreError, also when there is none."""
    with trouble(url):
        _filesystem(url).get_file(url, str(path))


def about(url: str) -> About | None:
    """What the store says of an object; None when there is none. Raises StoreError."""
    with trouble(url):
        try:
            return _about(_filesystem(url).info(url))
        except FileNotFoundError as error:
            _require_bucket(error)
            return None


def names(url: str) -> dict[str, About | None]:
    """Names below a folder, by what the store's listing says; None for a folder. Empty when there is nothing. Raises StoreError."""
    with trouble(url):
        try:
            found = _filesystem(url).ls(url, detail=True)
        except FileNotFoundError as error:
            _require_bucket(error)
            return {}
    each = {str(info["name"]).rstrip("/").rpartition("/")[2]: _about(info) for info in found if not _is_itself(info, url)}
    return {name: what for name, what in each.items() if name}


def require_bucket(url: str) -> None:
    """See that the bucket of an object is there: not every library tells a missing one from a missing object. Raises StoreError."""
    protocol, _, rest = url.partition("://")
    with trouble(url):
        _filesystem(url).info(f"{protocol}://{rest.partition('/')[0]}")


def delete(url: str) -> None:
    """Delete an object, if there is one. Raises StoreError."""
    with trouble(url):
        try:
            _filesystem(url).rm_file(url)
        except FileNotFoundError as error:
            _require_bucket(error)


@contextmanager
def trouble(url: str) -> Iterator[None]:
    """Turn what a store refuses into one line."""
    try:
        yield
    except StoreError:
        raise
    except Exception as error:  # libraries of stores raise nearly anything: botocore's errors are no OSError
        said = " ".join(f"{error or type(error).__name__}".split())
        raise StoreError(
            f"{url}: the store refuses ({said}); check the address, the credentials and the network, then run the same command again: what "
            f"is there already stays, and what was not sent yet is kept here and sent then."
        ) from error


def _filesystem(url: str) -> Any:
    return _of_process(url.partition("://")[0], os.getpid())


@cache
def _of_process(protocol: str, _pid: int) -> Any:
    import fsspec

    return fsspec.filesystem(protocol, use_listings_cache=False, skip_instance_cache=True)


def _about(info: Mapping[str, Any]) -> About | None:
    if info.get("type") == "directory":
        return None
    token = next(str(found) for key in ("ETag", "generation", "etag", "md5Hash") if (found := info.get(key)))
    changed = next((found for key in ("LastModified", "mtime") if isinstance(found := info.get(key), datetime)), None)
    return About(token, int(info.get("size") or 0), changed.timestamp() if changed else 0.0)


def _is_itself(info: Mapping[str, Any], url: str) -> bool:
    """Some stores list a folder among what it holds, and an object under its own name."""
    return str(info["name"]).strip("/") == url.partition("://")[2].strip("/")


def _code(error: BaseException) -> str:
    response = getattr(error.__cause__, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _require_bucket(error: FileNotFoundError) -> None:
    """A bucket that is not there is no missing file."""
    if _code(error) == "NoSuchBucket":
        raise error
