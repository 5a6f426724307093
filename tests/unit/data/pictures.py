"""Folders of small pictures, each different from all others."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.config import DataConfig, FolderConfig, Layout
from harness.data.dataset import Dataset
from harness.data.load import load_dataset
from harness.errors import DataError


def draw(path: Path, kind: str = "PNG") -> Path:
    """A picture that no other path has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32(str(path).encode("utf-8", "surrogateescape"))
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(path, format=kind)
    return path


def fill(root: Path, *folders: str, count: int = 6) -> Path:
    """So many pictures in each folder, named by its path below the root."""
    for folder in folders:
        for number in range(count):
            draw(root / folder / f"{number}.png")
    return root


def load(root: Path, layout: Layout = Layout.auto, results: Path | None = None, **options: object) -> Dataset:
    """The data set of a folder, as a sweep loads it."""
    cfg: DataConfig = FolderConfig(name="mine", source="folder", root=str(root), layout=layout, **options)  # type: ignore[arg-type]
    return load_dataset(cfg, root.parent / "cache", results)


def refusal(root: Path, layout: Layout = Layout.auto, results: Path | None = None) -> str:
    """Why there is none: one line."""
    with pytest.raises(DataError) as caught:
        load(root, layout, results)
    assert "\n" not in str(caught.value)
    return str(caught.value)
