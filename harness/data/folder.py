"""Listing a folder of images: `root/class/` or `root/{train,val,test}/class/`. No file is opened here."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from harness.data.images import SUFFIXES
from harness.data.listing import POOL, FileCandidate, Group, Listing
from harness.errors import DataError

_SPLIT_OF_FOLDER = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_LAYOUTS = "ROOT/CLASS/*.jpg, or ROOT/train/CLASS/*.jpg with ROOT/val and ROOT/test beside it"


@dataclass(frozen=True, slots=True)
class _Classes:
    """Class name -> image files below one folder, and what was passed over there."""

    files: dict[str, list[Path]]
    num_ignored: int
    without_images: list[str]


def list_folder(root: Path) -> Listing:
    """Every image below `root` by its file name.

    Hidden files and folders are passed over; files without an image suffix are counted; symbolic links are followed, each folder once.

    Raises:
        DataError: no such folder, no class folders, no images, or a layout that can be read in two ways.
    """
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise DataError(f"data.root={_text(root)}: {what}; give a folder laid out as {_LAYOUTS}.")
    tops = _split_folders(root)
    found = {name: _classes(top) for name, top in tops.items()}
    for name, classes in found.items():
        if not classes.files:
            raise DataError(f"{_text(tops[name])}: holds no class folders with images in them; the layout is {_LAYOUTS}.")
    names = sorted(found["train" if "train" in found else POOL].files)
    _require_known_classes(found, names)
    groups = {name: _group(classes.files, names, root) for name, classes in found.items()}
    return Listing(tuple(_text(name) for name in names), groups, root, _notes(root, tops, found))


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
    num_ignored = sum(entry.is_file() for entry in _visible(top))
    without_images = []
    for folder in _folders(top):
        below = list(_walk(folder))
        images = [path for path in below if path.suffix.lower() in SUFFIXES]
        num_ignored += len(below) - len(images)
        if images:
            files[folder.name] = images
        else:
            without_images.append(folder.name)
    return _Classes(files, num_ignored, without_images)


def _walk(folder: Path) -> Iterator[Path]:
    """Visible files below `folder`, recursively. A folder that a link leads back to is not entered again, so loops end."""
    seen = set()
    for here, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real not in seen:
            yield from (Path(here, name) for name in sorted(files) if not name.startswith("."))
        seen.add(real)


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"{_text(error.filename)}: cannot be listed ({error.strerror}); check its permissions.") from error


def _require_known_classes(found: Mapping[str, _Classes], names: list[str]) -> None:
    for split, classes in found.items():
        for extra in sorted(classes.files.keys() - set(names)):
            raise DataError(
                f"class {_text(extra)!r}: has images in {split} and none in train; add a train folder of that name, or remove it from {split}."
            )


def _group(files: Mapping[str, list[Path]], names: list[str], root: Path) -> Group:
    listed = [(path, label) for label, name in enumerate(names) for path in files.get(name, [])]
    candidates = [FileCandidate(_text(path.relative_to(root).as_posix()), path) for path, _ in listed]
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
    return ", ".join(repr(_text(path.name if path.is_absolute() else path)) for path in paths)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in _visible(folder) if path.is_dir())


def _visible(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        return _refuse(error)


def _text(path: Path | str) -> str:
    """A name that can be printed and encoded, also where its bytes are not UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
