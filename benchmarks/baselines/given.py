"""What `plain_tune` and `fastai_tune` are given, and what they give back: the same for both."""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MIN_EPOCHS, MIN_STEPS = 10, 100
"""Recipes that train every layer want as many, however little time the other side took."""

SPARE = 1.1
"""How much more time is planned for than was asked for: the epoch that is timed is the first one, which is slower than others."""


@dataclass(frozen=True, slots=True)
class Given:
    """The arguments."""

    backbone: str
    weights: Path
    """Its state dict, saved by `torch.save`: stands in for the download of pretrained weights."""
    classes: tuple[str, ...]
    images: dict[str, list[tuple[str, int]]]
    """Name of a split -> paths and class ids."""
    size: int
    """Side of the input (pixels)."""
    flips: bool
    """Whether a mirrored image is still one of its class."""
    seconds: float
    """Training takes at least this long."""
    out: Path

    def num_epochs(self, epoch_s: float, epoch_steps: int) -> int:
        """Epochs, fixed before training, that take no less than the time given when one takes `epoch_s` and `epoch_steps`."""
        return max(MIN_EPOCHS, math.ceil(MIN_STEPS / epoch_steps), math.ceil(SPARE * self.seconds / epoch_s))


def read_arguments() -> Given:
    """Read the command line and the list of images that it names."""
    parser = argparse.ArgumentParser(description="Fine-tune all layers of a pretrained timm network; see the module's text.")
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--weights", type=Path, required=True, help="its state dict, saved by torch.save")
    parser.add_argument("--split", type=Path, required=True, help="JSON: class_names, and train, val and test as lists of [path, class id]")
    parser.add_argument("--size", type=int, required=True, help="side of the input (pixels)")
    parser.add_argument("--no-flips", action="store_true", help="a mirrored image is none of its class")
    parser.add_argument("--seconds", type=float, default=0.0, help="train at least this long")
    parser.add_argument("--out", type=Path, required=True, help="where the class ids predicted for test go (.npy)")
    args = parser.parse_args()
    split = json.loads(args.split.read_text(encoding="utf-8"))
    images = {name: split[name] for name in ("train", "val", "test")}
    return Given(args.backbone, args.weights, tuple(split["class_names"]), images, args.size, not args.no_flips, args.seconds, args.out)


def seconds(work: Callable[[], object]) -> float:
    """How long a piece of work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def give_back(given: Given, predicted_N: npt.NDArray[np.integer[Any]], epochs: int, train_s: float) -> None:
    """Write the predictions on test; end with one line of JSON."""
    np.save(given.out, predicted_N.astype(np.int64))
    print(json.dumps({"epochs": epochs, "train_s": train_s}))
