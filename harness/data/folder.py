"""Listing a folder of images: `root/class/` or `root/{train,val,test}/class/`. Nothing but names, folders and first bytes is believed."""

import stat
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.config import Layout
from harness.data.kinds import is_image
from harness.data.layout import LAYOUTS, Reading, read_layout
from harness.data.listing import POOL, FileCandidate, Listing, Part
from harness.data.shown import names, quoted, row_name, text
from harness.data.tree import Tree, leads_somewhere
from harness.errors import DataError
from harness.text.counts import counted


@dataclass(frozen=True, slots=True)
class _Classes:
    """Class name -> image files below one folder, and what was passed over there."""

    files: dict[str, list[Path]]
    no_images: list[Path]
    loose: list[Path]
    """Images outside of every class folder."""
    empty: list[Path]
    """Folders without images."""


def list_folder(root: Path, own: Sequence[Path] = (), layout: Layout = Layout.auto) -> Listing:
    """Every image below `root`, and in sentences whatever else lies there.

    Hidden files and folders are passed over; symbolic links are followed, but none upwards and each folder once.

    Args:
        root: the folder.
        own: folders that the harness writes to; they are left out wherever they lie.
        layout: how to read the folders in it.

    Raises:
        DataError: no such folder, no class folders, no images, a folder that cannot be listed, or a layout that can be read in two ways.
    """
    _require_folder(root)
    _require_apart(root, own)
    tree = Tree.without(own)
    reading = read_layout(tree, root, layout)
    found = {name: _classes(tree, top) for name, top in reading.tops.items()}
    unlabelled = [split for split in ("val", "test") if split in found and _has_no_labels(found[split], found["train"])]
    used = {split: classes for split, classes in found.items() if split not in unlabelled}
    for split, classes in used.items():
        if not classes.files:
            raise DataError(f"{text(reading.tops[split])}: holds no class folders with images in them; the layout is {LAYOUTS}.")
    class_names = sorted(used["train" if "train" in used else POOL].files)
    _require_known_classes(used, class_names)
    parts = {split: _part(classes.files, class_names, root) for split, classes in used.items()}
    left_out = [*(_unlabelled(split, found[split]) for split in unlabelled), *_left_out(root, tree, reading, used)]
    return Listing(tuple(map(row_name, class_names)), parts, root, [*reading.remarks, *_nested(reading, used)], left_out)


def _require_folder(root: Path) -> None:
    try:
        if stat.S_ISDIR(root.stat().st_mode):
            return
        what = "is a file"
    except ValueError as error:  # a NUL, or half a character
        raise DataError(f"data.root={str(root)!a}: no folder can have this name; give one laid out as {LAYOUTS}.") from error
    except (FileNotFoundError, NotADirectoryError):
        what = "does not exist"
    except OSError as error:
        what = f"cannot be opened ({error.strerror})"
    raise DataError(f"data.root={text(root)}: {what}; give a folder laid out as {LAYOUTS}.")


def _require_apart(root: Path, own: Iterable[Path]) -> None:
    """What the harness writes can be left out by location only where nothing else lies."""
    for folder in own:
        try:
            is_root = folder.samefile(root)
            holds_images = any(path.is_file() and is_image(path) for path in folder.iterdir())
        except OSError:  # it is made later
            continue
        if is_root or (holds_images and root.resolve() in folder.resolve().parents):
            what = "is data.root itself" if is_root else "holds images and lies in data.root"
            raise DataError(f"{text(folder)}: {what}; give results_dir and cache_dir folders of their own.")


def _classes(tree: Tree, top: Path) -> _Classes:
    folders, beside = tree.listed(top)
    _require_targets(beside)
    found = _Classes({}, [path for path in beside if not is_image(path)], [path for path in beside if is_image(path)], [])
    for folder in folders:
        below = {path: is_image(path) for path in tree.walk(folder)}
        found.no_images.extend(path for path, is_one in below.items() if not is_one)
        if any(below.values()):
            found.files[folder.name] = [path for path, is_one in below.items() if is_one]
        else:
            found.empty.append(folder)
    return found


def _require_targets(beside: Iterable[Path]) -> None:
    """A class on a disk that is not mounted must not be left out of the task without a word."""
    for path in beside:
        if path.is_symlink() and not leads_somewhere(path):
            raise DataError(
                f"{text(path)}: is a link that leads nowhere and may stand for a class; restore its target, or remove the link."
            )


def _has_no_labels(split: _Classes, train: _Classes) -> bool:
    """Whether a val or test folder holds images and no class of train: directly, or in the one folder that some tools ask for."""
    if split.files.keys() & train.files.keys() or len(split.files) > 1:
        return False
    return bool(split.files or split.loose)


def _unlabelled(split: str, classes: _Classes) -> str:
    count = len(classes.loose) + sum(map(len, classes.files.values()))
    where = f" ({names(classes.files)} is no class of train)" if classes.files else ""
    return f"{split} has no labels: its {counted(count, 'image')} not used{where}; {split} is made as where none is given."


def _require_known_classes(found: Mapping[str, _Classes], class_names: Sequence[str]) -> None:
    for split, classes in found.items():
        for extra in sorted(classes.files.keys() - set(class_names)):
            raise DataError(
                f"class {quoted(extra)}: has images in {split} and none in train; "
                f"add a train folder of that name, or remove it from {split}."
            )


def _part(files: Mapping[str, list[Path]], class_names: Sequence[str], root: Path) -> Part:
    listed = [(path, label) for label, name in enumerate(class_names) for path in files.get(name, [])]
    candidates = [FileCandidate(row_name(path.relative_to(root).as_posix()), path) for path, _ in listed]
    return Part(candidates, np.array([label for _, label in listed], dtype=np.int64))


def _nested(reading: Reading, found: Mapping[str, _Classes]) -> list[str]:
    """Folders below class folders: their own names play no part, which a reader may not have meant."""
    inner: dict[str, None] = {}
    is_mixed = False
    for split, classes in found.items():
        for name, files in classes.files.items():
            parts = [path.relative_to(reading.tops[split] / name).parts for path in files]
            inside = sorted({each[0] for each in parts if len(each) > 1})
            inner |= dict.fromkeys(f"{name}/{each}" for each in inside)
            is_mixed |= len(inside) < 2 or any(len(each) == 1 for each in parts)
    if not inner:
        return []
    doubt = "" if is_mixed else "; if they are several data sets, give one of them as data.root"
    return [f"Folders inside class folders, whose images count to the class: {names(inner)}{doubt}."]


def _left_out(root: Path, tree: Tree, reading: Reading, found: Mapping[str, _Classes]) -> list[str]:
    def below(paths: Iterable[Path]) -> str:
        return names(path.relative_to(root) for path in paths)

    no_images = [path for classes in found.values() for path in classes.no_images]
    loose = [path for classes in found.values() for path in classes.loose]
    empty = [path for classes in found.values() for path in classes.empty]
    kinds = Counter(path.suffix.lower() or "without suffix" for path in no_images)
    files = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    told = {
        f"Files that are no images: {files}; {below(no_images)}": no_images,
        f"Images outside of every class folder: {len(loose):,}; {below(loose)}": loose,
        f"Folders without images, which are not taken for classes: {below(empty)}": empty,
        f"Folders beside the splits: {below(reading.beside)}": reading.beside,
        f"Folders that hold what the harness wrote: {below(tree.written)}": tree.written,
        f"Folders of the system: {below(tree.system)}": tree.system,
    }
    return [f"{sentence}." for sentence, paths in told.items() if paths]
