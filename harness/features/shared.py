"""Entries of the feature store in a store that other machines reach too: `<key>/entry.json` names `<key>/<sha256>.npy`, which is put before it.

So an entry is whole or not there. What it holds is verified after it was brought, like any other. Sharing saves time and nothing else: what goes
wrong is told once, and from then on this process does without.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.errors import StoreError
from harness.features.entry import ENTRY, ROWS
from harness.files import objects

_log = logging.getLogger("harness")  # reaches stderr with and without Hydra


class Shared:
    """Entries below a URL; with None there are none."""

    def __init__(self, url: str | None) -> None:
        self._url = None if url is None else url.rstrip("/")

    def entry(self, key: str) -> bytes | None:
        """The `entry.json` of a key; None where there is none."""
        with self._without() as url:
            return objects.read(f"{url}/{key}/{ENTRY}") if url else None
        return None

    def bring(self, key: str, sha256: str, folder: Path) -> bool:
        """Whether the rows of a key are in a folder now."""
        with self._without() as url:
            if url:
                objects.get_file(f"{url}/{key}/{sha256}.npy", folder / ROWS)
                return True
        return False

    def publish(self, key: str, sha256: str, folder: Path) -> None:
        """Let others have an entry, if they have none at this key."""
        with self._without() as url:
            if url and objects.read(f"{url}/{key}/{ENTRY}") is None:
                objects.put_file(folder / ROWS, f"{url}/{key}/{sha256}.npy")
                objects.put_file(folder / ENTRY, f"{url}/{key}/{ENTRY}")

    def drop(self, key: str) -> None:
        """Take away an entry that is damaged; whoever computes it anew publishes it again."""
        with self._without() as url:
            if url:
                objects.delete(f"{url}/{key}/{ENTRY}")

    @contextmanager
    def _without(self) -> Iterator[str | None]:
        try:
            yield self._url
        except StoreError as error:
            _log.warning("Cached activations are not shared from here on: %s", error)
            self._url = None
