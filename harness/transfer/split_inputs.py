"""The batches of one split: activations that are cached at a boundary, or images that are decoded as they come.

Between the cache and the loop. Shapes: N images of the split, B images of a batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset

from harness.compute.thread_pool import ThreadPool
from harness.data.transforms import normalise
from harness.features.cached_activations import CachedActivations
from harness.features.layout import Activations
from harness.features.view import View

IntArray = npt.NDArray[np.int64]

Batch = tuple[Activations, Tensor]
"""Activations and class ids, both on the device."""


class SplitInputs(Protocol):
    """N labelled images at one boundary of a trunk, read in batches."""

    @property
    def boundary(self) -> int: ...

    @property
    def labels_N(self) -> IntArray: ...

    def batches(self, order_N: IntArray, batch_size: int, seed: int) -> Iterator[Batch]:
        """Yield the images in an order; `seed` decides what is drawn at random on the way."""


@dataclass(frozen=True, slots=True)
class CachedInputs:
    """Cached activations. With several augmented views of the same images, one is drawn per image."""

    views: Sequence[CachedActivations]
    boundary: int
    rows_N: IntArray
    labels_N: IntArray

    def batches(self, order_N: IntArray, batch_size: int, seed: int) -> Iterator[Batch]:
        runtime = self.views[0].pool.runtime
        view_N = np.random.default_rng(seed).integers(len(self.views), size=len(order_N))

        def cached() -> Iterator[tuple[Tensor, ...]]:
            for start in range(0, len(order_N), batch_size):
                chosen_B = order_N[start : start + batch_size]
                activations = self._raw(self.rows_N[chosen_B], view_N[start : start + batch_size])
                yield *activations, torch.from_numpy(self.labels_N[chosen_B])

        for *activations, labels_B in runtime.ahead(cached()):
            yield self.views[0].enter(self.boundary, tuple(activations)), runtime.send(labels_B)

    def _raw(self, rows_B: IntArray, view_B: IntArray) -> Activations:
        if len(self.views) == 1:
            return self.views[0].raw(self.boundary, rows_B)
        parts = [view.raw(self.boundary, rows_B[view_B == number]) for number, view in enumerate(self.views)]
        back_B = torch.from_numpy(np.argsort(np.argsort(view_B, kind="stable"), kind="stable"))
        return tuple(torch.cat(part)[back_B] for part in zip(*parts, strict=True))


@dataclass(frozen=True, slots=True)
class DecodedInputs:
    """Images that other processes decode meanwhile. With several augmented views of the same images, one is drawn per image."""

    pool: ThreadPool
    views: Sequence[View]
    rows_N: IntArray
    labels_N: IntArray
    boundary: int = 0

    def batches(self, order_N: IntArray, batch_size: int, seed: int) -> Iterator[Batch]:
        runtime, num_images = self.pool.runtime, len(self.views[0].images)
        view_N = np.random.default_rng(seed).integers(len(self.views), size=len(order_N))
        pixels: ConcatDataset[Any] = ConcatDataset([view.pixels() for view in self.views])
        decoded = runtime.load(pixels, batch_size, (view_N * num_images + self.rows_N[order_N]).tolist(), seed)
        for start, pixels_BHWC in zip(range(0, len(order_N), batch_size), decoded, strict=True):
            labels_B = torch.from_numpy(self.labels_N[order_N[start : start + batch_size]])
            sent_BCHW = runtime.send(pixels_BHWC.permute(0, 3, 1, 2))
            images_BCHW = normalise(sent_BCHW.permute(0, 2, 3, 1), self.views[0].preprocess)
            yield (images_BCHW,), runtime.send(labels_B)
