"""Everything that a job reads of its images: cached activations of all splits as they are, and of train in each cached augmented view.

Between the freeze plan and training. Hands out values and no part of a network. N images of a split lie in each view in the split's order.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.backbones.backbone import Backbone
from harness.compute.thread_pool import ThreadPool
from harness.config import Augment, HeadInit, Precision, TrainConfig
from harness.data.dataset import Dataset, Split
from harness.data.splits import SPLITS
from harness.features.address import block_digests, feature_address, pixel_address
from harness.features.cached_activations import CachedActivations, ViewCache
from harness.features.cut import CutTrunk
from harness.features.provide import Request, fill
from harness.features.store import FeatureStore
from harness.features.trial import Judge
from harness.features.view import View
from harness.transfer.agreement import judge_of
from harness.transfer.held_out import HeldOut
from harness.transfer.split_inputs import CachedInputs, DecodedInputs, SplitInputs

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is cached of one data set under one backbone as it was loaded."""

    dataset: Dataset
    augment: Augment
    plain: CachedActivations
    """Of train, val and test, in this order, without augmentation."""
    views: tuple[CachedActivations, ...]
    """Of train, once for each augmented view that is cached; where images are dealt anew, of those that take part (`held_out`)."""
    order_N: IntArray | None = None
    """Where images are dealt anew: row in the views of each image of train and then val. None: the splits as they lie there."""
    mixes: bool = False
    """Whether images of a batch are mixed with each other, before any layer sees them."""

    @property
    def pool(self) -> ThreadPool:
        return self.plain.pool

    @property
    def all_views(self) -> tuple[CachedActivations, ...]:
        return (self.plain, *self.views)

    def train(self, boundary: int) -> SplitInputs:
        """Return what an epoch trains on: activations at the nearest cached boundary not behind `boundary`, or images."""
        if self.augment is Augment.none:
            return self.split("train", 0 if self.mixes else boundary)
        if self.views:
            return _split_inputs(self.views, boundary, self.dataset.train, self._rows("train"))
        anew = View(self.dataset.train.images, self.plain.view.preprocess, self.augment)
        return DecodedInputs(self.pool, [anew], np.arange(len(self.dataset.train)), self.dataset.train.labels)

    def split(self, name: str, boundary: int) -> SplitInputs:
        """Return a split as it is: activations at the nearest cached boundary not behind `boundary`, or images."""
        return _split_inputs((self.plain,), boundary, getattr(self.dataset, name), self._rows(name))

    @property
    def has_features(self) -> bool:
        """Whether what the head sees is there: no job asks for it that neither solves its head nor trains it alone."""
        return self.plain.last in self.plain

    def features(self, name: str) -> FloatArray:
        """Return what the head sees of a split under the backbone as it was loaded, shape N x D."""
        return self.plain.final()[self._rows(name)]

    def augmented_features(self) -> FloatArray:
        """Return the same of train in every cached augmented view, shape V x N x D."""
        return np.stack([view.final()[self._rows("train")] for view in self.views])

    def _rows(self, name: str) -> IntArray | slice:
        """Return where a split lies in the views."""
        first = sum(len(getattr(self.dataset, before)) for before in SPLITS[: SPLITS.index(name)])
        rows = slice(first, first + len(getattr(self.dataset, name)))
        return rows if self.order_N is None else self.order_N[rows]


def _split_inputs(views: Sequence[CachedActivations], boundary: int, split: Split, rows: IntArray | slice) -> SplitInputs:
    nearest = min(view.nearest(boundary) for view in views)
    rows_N = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
    if all(nearest in view for view in views):
        return CachedInputs(views, nearest, rows_N, split.labels)
    return DecodedInputs(views[0].pool, [view.view for view in views], rows_N, split.labels)


def provide_inputs(
    backbone: Backbone,
    trunk: CutTrunk,
    dataset: Dataset,
    cfg: TrainConfig,
    *,
    pool: ThreadPool,
    precision: Precision,
    store: FeatureStore,
    starts: AbstractSet[int],
    passing: AbstractSet[int],
    fold: HeldOut | None = None,
) -> Inputs:
    """Find or compute what a job reads.

    Args:
        backbone: as it was loaded, on the pool's device.
        trunk: its trunk, cut.
        dataset: whose splits are read.
        cfg: the recipe.
        pool: who computes.
        precision: what the user asked for, never `mixed`. `auto` is float32 where this job or another of the sweep trains layers on what is computed here.
        store: where activations are looked for and cached.
        starts: `first_changed_block` of each phase: where its training starts from cached activations.
        passing: the same of other jobs in the sweep; a pass caches activations for them on its way.
        fold: the images dealt anew, to train on its train and judge on its val; what is read is that of the whole data set.
    """
    starts, on_the_way = ({trunk.nearest(k) for k in boundaries} for boundaries in (starts, passing))
    if precision is Precision.auto and min(starts | on_the_way) < trunk.last:
        precision = Precision.float32  # hundreds of training steps magnify what another form of the network rounds differently
    is_closed_form, is_head_only = cfg.head_init is HeadInit.closed_form, trunk.last in starts
    digests = block_digests(backbone)
    images = [image for name in SPLITS for image in getattr(dataset, name).images]

    def filled(view: View, *, final: bool, judge: Judge | None) -> CachedActivations:
        cached = CachedActivations(view, trunk.last, pool)
        boundaries = {0, *starts, *on_the_way, trunk.last} - {0}
        addresses = {k: feature_address(view, digests, k, pool.runtime.device, precision) for k in boundaries} | {0: pixel_address(view)}
        fill(cached, trunk, Request(starts - {trunk.last}, final, on_the_way, judge), ViewCache(store, addresses), precision)
        return cached

    judge = judge_of(dataset)
    plain = filled(View(images, backbone.preprocess), final=is_closed_form or is_head_only, judge=judge)
    viewed = dataset.train.images if fold is None else fold.images
    augmented = [View(viewed, backbone.preprocess, cfg.augment, number) for number in range(cfg.views if cfg.views > 1 else 0)]
    views = tuple(filled(view, final=is_head_only, judge=None) for view in augmented)
    if fold is None:
        return Inputs(dataset, cfg.augment, plain, views, mixes=cfg.mixes)
    return Inputs(fold.dataset, cfg.augment, plain, views, fold.order_N, cfg.mixes)
