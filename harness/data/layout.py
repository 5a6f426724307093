"""What the folders below `data.root` are: splits, classes, or neither for certain. Names suggest, the folders inside them decide.

Where two readings are possible and none is documented, nothing is guessed: the error says what was seen and what settles it.
"""

import itertools
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from harness.config import Layout
from harness.data.kinds import is_image
from harness.data.listing import POOL
from harness.data.shown import names, quoted, text
from harness.data.tree import Tree
from harness.errors import DataError

_WORDS = {"train": "train training", "val": "val valid validation dev", "test": "test testing eval evaluation"}
_SPLIT_OF = {word: split for split, words in _WORDS.items() for word in words.split()}
LAYOUTS = "ROOT/CLASS/*.jpg, or ROOT/train/CLASS/*.jpg with ROOT/val and ROOT/test beside it"
_AS_CLASSES = "type data.layout=classes if they are the classes"


@dataclass(frozen=True, slots=True)
class Reading:
    """Where the class folders are."""

    tops: Mapping[str, Path]
    """Split -> its folder, or `pool` -> root."""
    remarks: list[str] = field(default_factory=list)
    """What a reader must know to see whether this is what was meant."""
    beside: list[Path] = field(default_factory=list)
    """Folders with images that are neither."""


@dataclass(frozen=True, slots=True)
class _Top:
    """A folder directly in the root."""

    path: Path
    inside: tuple[str, ...]
    """Folders directly in it that hold images."""
    has_images: bool
    """Directly in it."""

    @property
    def split(self) -> str | None:
        return split_of(self.path)

    @property
    def is_empty(self) -> bool:
        return not self.inside and not self.has_images

    def shares(self, other: "_Top") -> Set[str]:
        return set(self.inside) & set(other.inside)


def split_of(folder: Path) -> str | None:
    """The split that a folder is named after."""
    return split_named(folder.name)


def split_named(word: str) -> str | None:
    """The split that a word stands for: `valid`, `dev` and the like are val."""
    return _SPLIT_OF.get(word.casefold())


def read_layout(tree: Tree, root: Path, layout: Layout) -> Reading:
    """How the folders are to be read.

    Raises:
        DataError: it could be read in two ways, or in none.
    """
    tops = [_inspect(tree, folder) for folder in tree.folders(root)]
    named = [top for top in tops if top.split]
    others = [top for top in tops if not top.split and not top.is_empty]
    if layout is Layout.classes:
        return _classes(tree, root)
    if layout is Layout.splits or _are_splits(named, others):
        return _splits(root, named, others)
    _require_clear(root, named, others)
    _require_right_level(tree, root, [top for top in tops if not top.is_empty])
    return _classes(tree, root)


def _inspect(tree: Tree, folder: Path) -> _Top:
    folders, files = tree.listed(folder)
    inside = tuple(each.name for each in folders if any(map(is_image, tree.walk(each))))
    return _Top(folder, inside, any(map(is_image, files)))


def _are_splits(named: Sequence[_Top], others: Sequence[_Top]) -> bool:
    """Whether split names are meant so: nothing else holds images, or a second split repeats the classes of train."""
    trains = [top for top in named if top.split == "train" and top.inside]
    if others:
        return any(train.shares(top) for train in trains for top in named if top.split != "train")
    return bool(trains) or len({top.split for top in named}) > 1 or any(top.split != "train" and not top.is_empty for top in named)


def _splits(root: Path, named: Sequence[_Top], others: Sequence[_Top]) -> Reading:
    splits = {top.split: top.path for top in named if top.split}
    if "train" not in splits:
        seen = names(top.path for top in named) or "no folder with the name of a split"
        raise DataError(f"{text(root)}: holds {seen} but no train; add train/CLASS there, or point data.root inside.")
    if len(named) > len(splits):
        raise DataError(f"{text(root)}: {names(top.path for top in named)} name a split twice; keep one folder for each.")
    renamed = [f"{quoted(path.name)} is {split}" for split, path in splits.items() if path.name != split]
    remarks = [f"Split folders: {', '.join(renamed)}."] if renamed else []
    return Reading(splits, remarks, [top.path for top in others])


def _require_clear(root: Path, named: Sequence[_Top], others: Sequence[_Top]) -> None:
    """No split may become a class: neither one with a split's name, nor those with unknown names, nor those inside a class."""
    full = [top for top in named if not top.is_empty]
    if full and (len(full) > 1 or full[0].split != "train" or full[0].inside):
        seen = f"holds {names(top.path for top in full)}, by name a split, beside {names(top.path for top in others)}"
        raise DataError(
            f"{text(root)}: {seen}; put the classes that are trained on into {text(root)}/train, or type data.layout=splits to leave out "
            f"what has no split's name, or data.layout=classes if every folder is a class."
        )
    for top in others:
        _require_no_splits_inside(top)
    for one, other in itertools.combinations(others, 2):
        if len(shared := one.shares(other)) > 1:
            raise DataError(
                f"{text(root)}: {quoted(one.path.name)} and {quoted(other.path.name)} hold folders of the same names ({names(sorted(shared))}), "
                f"as splits or several data sets do; name splits train, val and test, give one data set as data.root, or {_AS_CLASSES}."
            )


def _require_no_splits_inside(top: _Top) -> None:
    inner = {split_of(Path(name)) for name in top.inside} - {None}
    if "train" in inner and len(inner) > 1:
        raise DataError(
            f"{text(top.path)}: holds splits of its own ({names(top.inside)}); give data.root={text(top.path)} if it is a data set, "
            f"order the images as ROOT/train/CLASS if it is a class, or {_AS_CLASSES}, whatever lies in them."
        )


def _require_right_level(tree: Tree, root: Path, tops: Sequence[_Top]) -> None:
    if not tops and any(map(is_image, tree.listed(root)[1])):
        raise DataError(f"{text(root)}: holds images and no class folders{_parent_hint(tree, root)}; the layout is {LAYOUTS}.")
    if len(tops) == 1 and len(tops[0].inside) > 1:
        inside = f"which holds {names(tops[0].inside)}"
        raise DataError(f"{text(root)}: holds one folder with images, {inside}; give data.root={text(tops[0].path)} to go one level down.")


def _parent_hint(tree: Tree, root: Path) -> str:
    beside = [folder for folder in _neighbours(tree, root) if any(map(is_image, tree.listed(folder)[1]))]
    if len(beside) < 2:
        return ""
    return f"; it looks like one of the classes {names(beside)}: give data.root={text(root.parent)} to go one level up"


def _neighbours(tree: Tree, root: Path) -> list[Path]:
    """Folders beside the root, itself among them; none where the folder above may not be read."""
    with suppress(DataError):
        return Tree(tree.own).folders(root.parent)
    return []


def _classes(tree: Tree, root: Path) -> Reading:
    return Reading({POOL: root}, _unused_splits(tree, root))


def _unused_splits(tree: Tree, root: Path) -> list[str]:
    """What is said when the root is a split itself."""
    if split_of(root) is None:
        return []
    own = {folder.name for folder in tree.folders(root)}
    splits = [folder for folder in _neighbours(tree, root) if split_of(folder) not in (None, split_of(root))]
    used = [folder for folder in splits if own & {inner.name for inner in tree.folders(folder)}]
    return [f"Splits beside data.root that are not used: {names(used)}; data.root={text(root.parent)} takes them."] if used else []
