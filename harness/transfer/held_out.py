"""Images dealt anew: a fold of train and val held out, for a fine-tune that is cross-fitted, or nothing, for one that is refitted. Torch-free.

Folds are those by which heads of the same seed are judged out of fold (`probe`). Shapes: N images of train and then val.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from harness.config import RefitOn
from harness.data.dataset import Dataset, ImageRef, Split, joined
from harness.measure.choice import deal, num_folds

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """What is trained on, and what is looked at meanwhile."""

    dataset: Dataset
    """For a fold, train is every other fold and val is this one; there is no test."""
    order_N: IntArray
    """Where the images of this train and then of this val are among those of train, val and test as they were."""
    images: Sequence[ImageRef]
    """Those that augmented views are made of, in that order."""


def folds_of(dataset: Dataset) -> int:
    """How many folds train and val are dealt into."""
    return num_folds(len(dataset.train), len(dataset.val), joined(dataset.train, dataset.val).groups)


def hold_out(dataset: Dataset, fold: int, seed: int) -> HeldOut:
    """Hold a fold out; `seed` deals the folds."""
    whole = joined(dataset.train, dataset.val)
    is_in_N = deal(whole.labels, folds_of(dataset), seed, whole.groups) == fold
    parts = [np.flatnonzero(is_part_N) for is_part_N in (~is_in_N, is_in_N)]
    train, val = map(whole.take, parts)
    return HeldOut(replace(dataset, train=train, val=val, test=Split([], whole.labels[:0])), np.concatenate(parts), whole.images)


def hold_nothing_out(dataset: Dataset, on: RefitOn) -> HeldOut:
    """Train on all that `on` names. Val are images of train too: what is said of them is worth nothing, and is asked for all the same."""
    train = joined(dataset.train, dataset.val, *([dataset.test] if on is RefitOn.all else []))
    val_N = np.arange(len(dataset.train), len(dataset.train) + len(dataset.val))
    whole = replace(dataset, train=train, test=Split([], train.labels[:0]))
    return HeldOut(whole, np.concatenate([np.arange(len(train)), val_N]), train.images)
