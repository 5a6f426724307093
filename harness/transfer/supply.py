"""Everything that a job reads of its images: one bank of all splits as they are, and one of train for each kept augmented view.

Between the freeze plan and training. N samples of a split lie in each bank in the split's order.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import nn

from harness.backbones.backbone import Backbone
from harness.compute.thread_pool import ThreadPool
from harness.config import Augment, HeadInit, Precision, TrainConfig
from harness.data.dataset import Dataset, Split
from harness.data.splits import SPLITS
from harness.features.address import block_digests, feature_address, pixel_address
from harness.features.bank import Bank
from harness.features.cut import CutTrunk, cut
from harness.features.provide import Judge, Shelf, Wish, fill
from harness.features.store import FeatureStore
from harness.features.view import View
from harness.transfer.agreement import judge_of
from harness.transfer.held_out import HeldOut
from harness.transfer.samples import DecodedSamples, KeptSamples, Samples

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Supply:
    """Rows of one data set under one trunk as it was loaded."""

    trunk: CutTrunk
    dataset: Dataset
    augment: Augment
    plain: Bank
    """Train, val and test, in this order, without augmentation."""
    views: tuple[Bank, ...]
    """Train, once for each augmented view that is kept; where a fold is held out, train and val as they were."""
    order_N: IntArray | None = None
    """Where a fold is held out: row in the banks of each image of train and then val (`held_out`). None: the splits as they lie there."""

    @property
    def pool(self) -> ThreadPool:
        return self.plain.pool

    @property
    def banks(self) -> tuple[Bank, ...]:
        return (self.plain, *self.views)

    def train(self, boundary: int) -> Samples:
        """What an epoch trains on: rows from the nearest kept boundary not behind `boundary`, or images."""
        if self.augment is Augment.none:
            return self.split("train", boundary)
        if self.views:
            return _samples(self.views, boundary, self.dataset.train, self._rows("train"))
        anew = View(self.dataset.train.images, self.plain.view.preprocess, self.augment)
        return DecodedSamples(self.pool, [anew], np.arange(len(self.dataset.train)), self.dataset.train.labels)

    def split(self, name: str, boundary: int) -> Samples:
        """A split as it is: rows from the nearest kept boundary not behind `boundary`, or images."""
        return _samples((self.plain,), boundary, getattr(self.dataset, name), self._rows(name))

    @property
    def has_features(self) -> bool:
        """Whether the rows behind the whole trunk are kept: no job asks for them that neither solves its head nor trains it alone."""
        return self.trunk.last in self.plain

    def features(self, name: str) -> FloatArray:
        """What the head sees of a split under the trunk as it was loaded, shape N x D."""
        return self.plain.final()[self._rows(name)]

    def augmented_features(self) -> FloatArray:
        """The same of train in every kept view, shape V x N x D."""
        return np.stack([bank.final()[self._rows("train")] for bank in self.views])

    def behind(self, samples: Samples, root: nn.Module | None = None) -> nn.Module:
        """The part of the trunk, or of a copy of it (`root`), that samples have not been through."""
        return self.trunk.segment(samples.boundary, self.trunk.last, root)

    def _rows(self, name: str) -> IntArray | slice:
        """Of a split in the banks."""
        first = sum(len(getattr(self.dataset, before)) for before in SPLITS[: SPLITS.index(name)])
        rows = slice(first, first + len(getattr(self.dataset, name)))
        return rows if self.order_N is None else self.order_N[rows]


def _samples(banks: Sequence[Bank], boundary: int, split: Split, rows: IntArray | slice) -> Samples:
    nearest = min(bank.nearest(boundary) for bank in banks)
    rows_N = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
    if all(nearest in bank for bank in banks):
        return KeptSamples(banks, nearest, rows_N, split.labels)
    return DecodedSamples(banks[0].pool, [bank.view for bank in banks], rows_N, split.labels)


def supply(
    backbone: Backbone,
    dataset: Dataset,
    cfg: TrainConfig,
    *,
    pool: ThreadPool,
    precision: Precision,
    store: FeatureStore,
    frozen: AbstractSet[int],
    passing: AbstractSet[int],
    fold: HeldOut | None = None,
) -> Supply:
    """Find or compute what a job reads.

    Args:
        backbone: with a trunk as it was loaded, on the pool's device.
        dataset: whose splits are read.
        cfg: the recipe.
        pool: who computes.
        precision: what the user asked for. `auto` is float32 where this job or another of the sweep trains layers on what is computed here.
        store: where rows are looked for and kept.
        frozen: how many blocks are fixed, in each phase.
        passing: the same of other jobs in the sweep; a pass keeps rows for them on its way.
        fold: of the data set, to train on the others and judge on this one; the rows read are those of the whole data set.
    """
    trunk = cut(backbone)
    starts, on_the_way = ({trunk.nearest(k) for k in boundaries} for boundaries in (frozen, passing))
    if precision is Precision.auto and min(starts | on_the_way) < trunk.last:
        precision = Precision.float32  # hundreds of training steps magnify what another form of the network rounds differently
    is_solved, is_head_only = cfg.head_init is HeadInit.solved, trunk.last in starts
    digests = block_digests(backbone)
    images = [image for name in SPLITS for image in getattr(dataset, name).images]

    def filled(view: View, *, final: bool, judge: Judge | None) -> Bank:
        bank = Bank(view, trunk, pool)
        boundaries = {0, *starts, *on_the_way, trunk.last} - {0}
        addresses = {k: feature_address(view, digests, k, pool.runtime.device, precision) for k in boundaries} | {0: pixel_address(view)}
        fill(bank, Wish(starts - {trunk.last}, final, on_the_way, judge), Shelf(store, addresses), precision)
        return bank

    judge = judge_of(dataset)
    plain = filled(View(images, backbone.preprocess), final=is_solved or is_head_only, judge=judge)
    viewed = dataset.train.images if fold is None else [*dataset.train.images, *dataset.val.images]
    views = [View(viewed, backbone.preprocess, cfg.augment, number) for number in range(cfg.views if cfg.views > 1 else 0)]
    banks = tuple(filled(view, final=is_head_only, judge=None) for view in views)
    if fold is None:
        return Supply(trunk, dataset, cfg.augment, plain, banks)
    return Supply(trunk, fold.dataset, cfg.augment, plain, banks, fold.order_N)
