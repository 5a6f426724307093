"""Random trees of names like splits, classes, groups and system folders: the documented reading or a refusal, never another task."""

import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.folder import list_folder
from harness.data.listing import POOL, Listing
from harness.errors import DataError
from tests.unit.fuzzing import examples

pytestmark = pytest.mark.slow

TRAIN, VAL, TEST = {"train", "training"}, {"val", "valid", "validation", "dev"}, {"test", "testing", "eval", "evaluation"}
SYSTEM = ["@eaDir", "__MACOSX", "$RECYCLE.BIN", "lost+found"]
NAMES = [
    *("train", "Training", "val", "DEV", "valid", "Test", "testing", "eval"),
    *("cat", "dog", "car", "birds", "Training_set", "part1", "part2", "images", "unknown", "extra"),
    *SYSTEM,
]
FILES = st.sampled_from([0, 0, 1, 3])
Tree = Mapping[str, object]
"""Folder name -> what is in it; `` -> how many images lie there directly."""


def _tree(depth: int) -> st.SearchStrategy[Tree]:
    inside: st.SearchStrategy[object] = _tree(depth - 1) if depth else st.fixed_dictionaries({"": FILES})
    folders = st.dictionaries(st.sampled_from(NAMES), inside, max_size=4)
    return st.builds(lambda folders, count: {**folders, "": count}, folders, FILES)


def _write(folder: Path, tree: Tree) -> None:
    folder.mkdir()
    for name, inside in tree.items():
        if name:
            assert isinstance(inside, dict)
            _write(folder / name, inside)
        elif isinstance(inside, int):
            for number in range(inside):
                (folder / f"{number}.png").touch()


def _folders(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.is_dir() and each.name not in SYSTEM]


def _images(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*.png") if not set(SYSTEM) & set(path.relative_to(folder).parts)}


def _classes(folder: Path) -> dict[str, set[Path]]:
    return {each.name: _images(each) for each in _folders(folder) if _images(each)}


def _is(folder: Path, *words: set[str]) -> bool:
    return any(folder.name.lower() in each for each in words)


def _read(listing: Listing, root: Path) -> dict[str, dict[str, set[Path]]]:
    """Split -> class -> files, as it was read."""
    read: dict[str, dict[str, set[Path]]] = {}
    for row in listing.rows():
        read.setdefault(row.given, {}).setdefault(listing.class_names[row.classes[0]], set()).add(root / row.candidate.id)
    return read


def _check_classes(root: Path, read: Mapping[str, set[Path]]) -> None:
    """`root/CLASS/**`: every folder with images is a class of all its images, and none may be a split."""
    assert read == _classes(root)
    inside = {name: set(_classes(root / name)) for name in read}
    assert not any(_is(root / name, VAL, TEST) for name in read)
    assert not any(_is(root / name, TRAIN) and inside[name] for name in read), "a train folder with folders in it is no class unasked"
    assert all(len(inside[one] & inside[other]) < 2 for one, other in itertools.combinations(read, 2))
    assert not any(
        any(_is(Path(each), TRAIN) for each in names) and any(_is(Path(each), VAL, TEST) for each in names) for names in inside.values()
    )


def _check_splits(root: Path, read: Mapping[str, Mapping[str, set[Path]]]) -> None:
    """`root/SPLIT/CLASS/**`: train is whole; val and test are whole, or have no class of train and are left out."""
    folders = {
        split: [each for each in _folders(root) if _is(each, words)] for split, words in (("train", TRAIN), ("val", VAL), ("test", TEST))
    }
    assert [len(each) for each in folders.values()] <= [1, 1, 1]
    (train,) = folders["train"]
    assert read["train"] == _classes(train)
    for split in ("val", "test"):
        for folder in folders[split]:
            found = _classes(folder)
            is_unlabelled = not set(found) & set(read["train"]) and len(found) < 2
            assert read.get(split) == (None if is_unlabelled else found)
    others = [each for each in _folders(root) if not _is(each, TRAIN, VAL, TEST) and _images(each)]
    partners = [set(_classes(each)) & set(read["train"]) for split in ("val", "test") for each in folders[split]]
    assert not others or any(partners), "beside other folders a train folder alone is a split for certain only with its like"


def _listed(root: Path) -> Listing | str:
    try:
        return list_folder(root)
    except DataError as error:
        return str(error)


@pytest.mark.timeout(3600)
@examples(250)
@given(tree=_tree(2))
def test_any_tree_is_read_as_documented_or_refused(tmp_path_factory: pytest.TempPathFactory, tree: Tree) -> None:
    """Labels are those of the folders, images are used once, and what is refused is one line."""
    root = tmp_path_factory.mktemp("fuzz") / "root"
    _write(root, tree)
    found = _listed(root)
    if isinstance(found, str):
        assert "\n" not in found
        assert str(root) in found or found.startswith("class "), found
    elif set(read := _read(found, root)) == {POOL}:
        _check_classes(root, read[POOL])
    else:
        _check_splits(root, read)
    shutil.rmtree(root.parent)
