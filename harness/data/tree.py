"""Walk a folder of images, without hidden files, system files and what the harness wrote there."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from harness.data.shown import text
from harness.errors import DataError

_SYSTEM = frozenset(
    {"@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "__macosx", "__pycache__"}
    | {"$recycle.bin", "system volume information", "lost+found", "found.000", "_gsdata_"}
)
"""Folders that file systems, network drives and programs make beside the user's, in small letters. Hidden ones need no entry."""
_STUDY = ("rows", "results.csv")
"""What every folder of results holds, wherever it lies."""

Identity = tuple[int, int]
"""Device and inode: one folder, whatever its name and whichever links lead to it."""


@dataclass(frozen=True, slots=True)
class Tree:
    """Visible folders and files. Notes what it passes over."""

    own: frozenset[Identity] = frozenset()
    """Folders that the harness writes to, by location."""
    system: dict[Path, None] = field(default_factory=dict)
    """System folders that were passed over; they are never opened."""
    written: dict[Path, None] = field(default_factory=dict)
    """Folders of the harness's own that were passed over."""

    @classmethod
    def without(cls, folders: Iterable[Path]) -> "Tree":
        """One that leaves these out, where they exist."""
        return cls(frozenset(found for folder in folders if (found := _identity_or_none(folder))))

    def listed(self, folder: Path) -> tuple[list[Path], list[Path]]:
        """Folders, with links to some, and everything else, each in the order of its names.

        Raises:
            DataError: it cannot be listed.
        """
        try:
            with os.scandir(folder) as entries:
                visible = sorted((entry.name, _is_folder(entry)) for entry in entries if not entry.name.startswith("."))
        except OSError as error:
            _refuse(error)
        folders = [name for name, is_folder in visible if is_folder]
        files = [name for name, is_folder in visible if not is_folder]
        if _STUDY[0] in folders and _STUDY[1] in files:
            self.written[folder] = None
            return [], []
        return [folder / name for name in folders if self._is_wanted(folder / name)], [folder / name for name in files]

    def folders(self, folder: Path) -> list[Path]:
        """Folders directly in it."""
        return self.listed(folder)[0]

    def walk(self, folder: Path) -> Iterator[Path]:
        """Files below `folder`.

        Wherever links lead, no folder is entered twice and none above this one: loops end, and no class swallows the others.
        """
        above = [Path(os.path.realpath(start)) for start in (folder.parent, folder)]
        seen = {identity(path) for path in (above[0], *above[0].parents, *above[1].parents)}
        todo = [folder]
        while todo:
            here = todo.pop()
            if (found := identity(here)) in seen:
                continue
            seen.add(found)
            folders, files = self.listed(here)
            yield from files
            todo.extend(reversed(folders))

    def _is_wanted(self, folder: Path) -> bool:
        if folder.name.casefold() in _SYSTEM:
            self.system[folder] = None
            return False
        if self.own and _identity_or_none(folder) in self.own:
            self.written[folder] = None
            return False
        return True


def identity(folder: Path) -> Identity:
    """Raises DataError where there is no such folder, or no way to it."""
    try:
        status = folder.stat()
    except OSError as error:
        _refuse(error)
    return status.st_dev, status.st_ino


def leads_somewhere(link: Path) -> bool:
    """Whether what a symbolic link names is there."""
    try:
        link.stat()
    except OSError:
        return False
    return True


def _identity_or_none(folder: Path) -> Identity | None:
    with suppress(OSError, ValueError):
        status = folder.stat()
        return status.st_dev, status.st_ino
    return None


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself leads nowhere, like one to what is gone
            return False
        raise


def _refuse(error: OSError) -> NoReturn:
    step = "check its permissions" if isinstance(error, PermissionError) else "mend it, or move it out of data.root"
    raise DataError(f"{text(error.filename or 'a folder')}: cannot be listed ({error.strerror}); {step}.") from error
