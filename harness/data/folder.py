"""Listing a folder of images: `root/class/` or `root/{train,val,test}/class/`. No file is opened here, and nothing but names is believed."""

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from harness.data.images import SUFFIXES
from harness.data.listing import POOL, FileCandidate, Group, Listing
from harness.errors import DataError
from harness.untrusted import one_line

_SPLIT_OF_FOLDER = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_MAX_SHOWN = 400
"""Characters of a path in a message."""
_LAYOUTS = "ROOT/CLASS/*.jpg, or ROOT/train/CLASS/*.jpg with ROOT/val and ROOT/test beside it"


@dataclass(frozen=True, slots=True)
class _Classes:
    """Class name -> image files below one folder, and what was passed over there."""

    files: dict[str, list[Path]]
    num_ignored: int
    without_images: list[str]


def list_folder(root: Path) -> Listing:
    """Every image below `root` by its file name.

    Hidden files and folders are passed over; files without an image suffix are counted; symbolic links are followed, but none upwards
    and each folder once.

    Raises:
        DataError: no such folder, no class folders, no images, a folder that cannot be listed, or a layout that can be read in two ways.
    """
    _require_folder(root)
    tops = _split_folders(root)
    found = {name: _classes(top) for name, top in tops.items()}
    for name, classes in found.items():
        if not classes.files:
            raise DataError(f"{_text(tops[name])}: holds no class folders with images in them; the layout is {_LAYOUTS}.")
    names = sorted(found["train" if "train" in found else POOL].files)
    _require_known_classes(found, names)
    groups = {name: _group(classes.files, names, root) for name, classes in found.items()}
    return Listing(tuple(_name(name) for name in names), groups, root, _notes(root, tops, found))


def _require_folder(root: Path) -> None:
    try:
        if stat.S_ISDIR(root.stat().st_mode):
            return
        what = "is a file"
    except ValueError as error:  # a NUL, or half a character
        raise DataError(f"data.root={str(root)!a}: no folder can have this name; give one laid out as {_LAYOUTS}.") from error
    except (FileNotFoundError, NotADirectoryError):
        what = "does not exist"
    except OSError as error:
        what = f"cannot be opened ({error.strerror})"
    raise DataError(f"data.root={_text(root)}: {what}; give a folder laid out as {_LAYOUTS}.")


def _split_folders(root: Path) -> dict[str, Path]:
    """Split -> its folder, or `pool` -> root. A folder `train` that holds no folders is a class of that name."""
    folders = _folders(root)
    named = [(_SPLIT_OF_FOLDER[folder.name.lower()], folder) for folder in folders if folder.name.lower() in _SPLIT_OF_FOLDER]
    splits = dict(named)
    if "train" in splits and (len(splits) > 1 or _folders(splits["train"])):
        if len(named) > len(splits):
            raise DataError(f"{_text(root)}: {_names(folder for _, folder in named)} name a split twice; keep one folder for each.")
        return splits
    if named and len(named) == len(folders) and "train" not in splits:
        raise DataError(f"{_text(root)}: holds {_names(folders)} but no train; add train/CLASS there, or point data.root inside.")
    return {POOL: root}


def _classes(top: Path) -> _Classes:
    files: dict[str, list[Path]] = {}
    folders, beside = _listed(top)
    _require_targets(beside)
    num_ignored = len(beside)
    without_images = []
    for folder in folders:
        below = list(_walk(folder))
        images = [path for path in below if path.suffix.lower() in SUFFIXES]
        num_ignored += len(below) - len(images)
        if images:
            files[folder.name] = images
        else:
            without_images.append(folder.name)
    return _Classes(files, num_ignored, without_images)


def _require_targets(beside: Iterable[Path]) -> None:
    """A class on a disk that is not mounted must not be left out of the task without a word."""
    for path in beside:
        if path.is_symlink() and not _leads_somewhere(path):
            raise DataError(
                f"{_text(path)}: is a link that leads nowhere and may stand for a class; restore its target, or remove the link."
            )


def _leads_somewhere(link: Path) -> bool:
    try:
        link.stat()
    except OSError:
        return False
    return True


def _walk(folder: Path) -> Iterator[Path]:
    """Visible files below `folder`.

    Wherever links lead, no folder is entered twice and none above this one: loops end, and no class swallows the others.
    """
    above = [Path(os.path.realpath(start)) for start in (folder.parent, folder)]
    seen = {_identity(path) for path in (above[0], *above[0].parents, *above[1].parents)}
    todo = [folder]
    while todo:
        here = todo.pop()
        identity = _identity(here)
        if identity in seen:
            continue
        seen.add(identity)
        folders, files = _listed(here)
        yield from files
        todo.extend(reversed(folders))


def _identity(folder: Path) -> tuple[int, int]:
    try:
        status = folder.stat()
    except OSError as error:
        _refuse(error)
    return status.st_dev, status.st_ino


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """Visible folders, with links to some, and everything else that is visible, each in the order of its names."""
    try:
        with os.scandir(folder) as entries:
            visible = sorted((entry.name, _is_folder(entry)) for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        _refuse(error)
    folders = [folder / name for name, is_folder in visible if is_folder]
    return folders, [folder / name for name, is_folder in visible if not is_folder]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP:  # a link to itself leads nowhere, like one to what is gone
            return False
        raise


def _folders(folder: Path) -> list[Path]:
    return _listed(folder)[0]


def _refuse(error: OSError) -> NoReturn:
    step = "check its permissions" if isinstance(error, PermissionError) else "mend it, or move it out of data.root"
    raise DataError(f"{_text(error.filename or 'a folder')}: cannot be listed ({error.strerror}); {step}.") from error


def _require_known_classes(found: Mapping[str, _Classes], names: list[str]) -> None:
    for split, classes in found.items():
        for extra in sorted(classes.files.keys() - set(names)):
            raise DataError(
                f"class {_quoted(extra)}: has images in {split} and none in train; "
                f"add a train folder of that name, or remove it from {split}."
            )


def _group(files: Mapping[str, list[Path]], names: list[str], root: Path) -> Group:
    listed = [(path, label) for label, name in enumerate(names) for path in files.get(name, [])]
    candidates = [FileCandidate(_name(path.relative_to(root).as_posix()), path) for path, _ in listed]
    return Group(candidates, np.array([label for _, label in listed], dtype=np.int64))


def _notes(root: Path, tops: Mapping[str, Path], found: Mapping[str, _Classes]) -> list[str]:
    num_ignored = sum(classes.num_ignored for classes in found.values())
    empty = [tops[split] / name for split, classes in found.items() for name in classes.without_images]
    others = [] if POOL in tops else [folder for folder in _folders(root) if folder not in tops.values()]
    notes = [f"Files passed over, without an image suffix or outside every class folder: {num_ignored:,}."] if num_ignored else []
    if empty:
        notes.append(f"Folders without images, which are not taken for classes: {_names(path.relative_to(root) for path in empty)}.")
    if others:
        notes.append(f"Folders beside train that were passed over: {_names(folder.relative_to(root) for folder in others)}.")
    return notes


def _names(paths: Iterable[Path]) -> str:
    return ", ".join(_quoted(path.name if path.is_absolute() else path) for path in paths)


def _quoted(path: Path | str) -> str:
    return f"'{_text(path)}'"


def _text(path: Path | str) -> str:
    """A name for messages: on one line, without control characters, its bytes that are not UTF-8 as escapes."""
    text = one_line(os.fsencode(path).decode("utf-8", "backslashreplace"))
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN // 2]}…{text[-_MAX_SHOWN // 2 :]}"


def _name(text: str) -> str:
    r"""A name for rows: `\xff` for a byte that is not UTF-8 and `\\` for a backslash, so that different names stay different."""
    return os.fsencode(text.replace("\\", "\\\\")).decode("utf-8", "backslashreplace")
