"""The data sets of `benchmarks.finetune`: as the harness is told of them, and as files for those that know nothing of it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.pictures import emoji_folder
from benchmarks.side_by_side import BenchmarkError
from harness.config import DataConfig, ElpvConfig
from harness.data.dataset import Dataset, Split

CACHE = Path("~/.cache/model-selection-harness/benchmarks")


@dataclass(frozen=True, slots=True)
class Case:
    """A data set, split in one way."""

    cfg: DataConfig
    flips: bool = True
    """Whether a mirrored image is still one of its class."""

    def overrides(self) -> list[str]:
        """How a sweep is told to use it."""
        cfg = self.cfg
        root = [f"data.root={cfg.root}"] if cfg.root else []
        size = [f"data.max_images={cfg.max_images}", f"data.image_size={cfg.image_size}", f"data.split_seed={cfg.split_seed}"]
        return [f"data={cfg.source}", f"data.name={cfg.name}", *root, *size]


def case_of(name: str, num_images: int, size: int, split_seed: int) -> Case:
    """A data set by name, its pictures fetched where that is needed.

    Args:
        name: emoji, elpv or digits.
        num_images: at most so many are used.
        size: side of the input (pixels).
        split_seed: decides the split, and which images are used.

    Raises:
        BenchmarkError: there is none of this name, or its pictures cannot be fetched.
    """
    numbers: dict[str, Any] = {"max_images": num_images, "image_size": size, "split_seed": split_seed}
    if name == "emoji":
        return Case(DataConfig(name=name, source="folder", root=str(emoji_folder(CACHE.expanduser())), **numbers))
    if name == "elpv":
        return Case(ElpvConfig(name=name, source=name, **numbers))
    if name == "digits":
        return Case(DataConfig(name=name, source=name, **numbers), flips=False)
    raise BenchmarkError(f"--data {name}: not a data set here; give some of emoji, elpv, digits.")


def write_split(data: Dataset, folder: Path) -> Path:
    """Every picture as the harness decodes it, as a file in `folder`, and the list of them, whose path is returned."""
    content: dict[str, Any] = {"class_names": data.class_names}
    content |= {name: _write_images(getattr(data, name), folder / name) for name in ("train", "val", "test")}
    path = folder / "split.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def _write_images(split: Split, folder: Path) -> list[tuple[str, int]]:
    folder.mkdir()
    samples = []
    for number, (image, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
        path = folder / f"{number}.png"
        image.open().save(path)
        samples.append((str(path), label))
    return samples
