"""A data set written and read again is the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.config import DataConfig
from harness.data.dataset import Dataset, Split
from harness.data.file_images import packed
from harness.data.images import FileImage, Piece
from harness.data.load import load_dataset
from harness.data.stored import read_dataset, write_dataset
from harness.errors import TableError


def same(one: Dataset, other: Dataset) -> bool:
    """In every field, images by value."""
    for name in ("train", "val", "test"):
        mine, theirs = getattr(one, name), getattr(other, name)
        if list(mine.images) != list(theirs.images):
            return False
        for field in ("labels", "groups", "weights"):
            left, right = getattr(mine, field), getattr(theirs, field)
            if (left is None) != (right is None) or (left is not None and (left.dtype != right.dtype or not np.array_equal(left, right))):
                return False
    rest = ("name", "class_names", "fingerprint", "profile", "facts")
    return all(getattr(one, name) == getattr(other, name) for name in rest)


@pytest.fixture
def digits(tmp_path: Path) -> Dataset:
    """Pictures in memory, audited."""
    return load_dataset(DataConfig("digits", "digits", max_images=60), tmp_path)


def again(folder: Path, dataset: Dataset) -> Dataset:
    """Through a file."""
    write_dataset(folder / "data.parquet", dataset)
    return read_dataset(folder / "data.parquet")


def test_pictures_in_memory(tmp_path: Path, digits: Dataset) -> None:
    """With their pixels and facts."""
    found = again(tmp_path, digits)
    assert same(found, digits)
    assert len(found.facts) == 60
    assert np.array_equal(np.asarray(found.val.images[0].open()), np.asarray(digits.val.images[0].open()))


def files(num: int, start: int, *, pieces: bool) -> list[FileImage]:
    """Nobody opens them."""
    names = [f"ß {number}\n.png" for number in range(start, start + num)]
    return [
        FileImage(name, f"{k:032x}/4095", Path("/data") / name, Piece(512 * k, 100, ".png") if pieces else None)
        for k, name in enumerate(names)
    ]


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("is_several", [False, True])
def test_files_with_groups_and_weights(tmp_path: Path, digits: Dataset, pieces: bool, is_several: bool) -> None:
    """Whole files and pieces of tars, one label an image or several; a test split without images."""

    def split(num: int, start: int) -> Split:
        labels = np.arange(num) % 10
        many = (np.arange(num)[:, None] % np.arange(1, 11) == 0).astype(np.int64)
        images = packed(files(num, start, pieces=pieces)) if num else ()
        return Split(images, many if is_several else labels, np.arange(num) // 2, np.linspace(0.0, 2.0, num))

    dataset = replace(digits, train=split(7, 0), val=split(5, 100), test=split(0, 0), facts={})
    assert same(again(tmp_path, dataset), dataset)


def test_a_damaged_file_is_named(tmp_path: Path, digits: Dataset) -> None:
    """A bit that has changed, a missing file, and something else in its place."""
    path = tmp_path / "data.parquet"
    write_dataset(path, digits)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    for wrong in (bytes(content), b"", b"no table"):
        path.write_bytes(wrong)
        with pytest.raises(TableError, match=r"data\.parquet: cannot be read .* run the same sweep again"):
            read_dataset(path)
    path.unlink()
    with pytest.raises(TableError, match="cannot be read"):
        read_dataset(path)
