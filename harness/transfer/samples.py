"""Where training and prediction read their batches: rows that were kept at a boundary, or images that are decoded as they come.

Between the banks and the loop. Shapes: N samples, B samples of a batch.
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
from harness.features.bank import Bank
from harness.features.rows import Crossing
from harness.features.view import View

IntArray = npt.NDArray[np.int64]

Batch = tuple[Crossing, Tensor]
"""What crosses a boundary and class ids, both on the device."""


class Samples(Protocol):
    """N labelled samples at one boundary of a trunk."""

    @property
    def boundary(self) -> int: ...

    @property
    def labels_N(self) -> IntArray: ...

    def batches(self, order_N: IntArray, batch_size: int, seed: int) -> Iterator[Batch]:
        """Samples in an order; `seed` decides what is drawn at random on the way."""


@dataclass(frozen=True, slots=True)
class KeptSamples:
    """Rows that need no decoding and no pass. With several banks, each a view of the same images, one is drawn per sample."""

    banks: Sequence[Bank]
    boundary: int
    rows_N: IntArray
    labels_N: IntArray

    def batches(self, order_N: IntArray, batch_size: int, seed: int) -> Iterator[Batch]:
        runtime = self.banks[0].pool.runtime
        view_N = np.random.default_rng(seed).integers(len(self.banks), size=len(order_N))
        for start in range(0, len(order_N), batch_size):
            chosen_B = order_N[start : start + batch_size]
            crossing = self._read(self.rows_N[chosen_B], view_N[start : start + batch_size])
            yield crossing, runtime.send(torch.from_numpy(self.labels_N[chosen_B]))

    def _read(self, rows_B: IntArray, view_B: IntArray) -> Crossing:
        if len(self.banks) == 1:
            return self.banks[0].read(self.boundary, rows_B)
        parts = [bank.read(self.boundary, rows_B[view_B == view]) for view, bank in enumerate(self.banks)]
        back_B = torch.from_numpy(np.argsort(np.argsort(view_B, kind="stable"), kind="stable"))
        return tuple(torch.cat(part)[back_B.to(part[0].device)] for part in zip(*parts, strict=True))


@dataclass(frozen=True, slots=True)
class DecodedSamples:
    """Images that other processes decode meanwhile. With several views of the same images, one is drawn per sample."""

    pool: ThreadPool
    views: Sequence[View]
    rows_N: IntArray
    labels_N: IntArray
    boundary: int = 0

    def batches(self, order_N: IntArray, batch_size: int, seed: int) -> Iterator[Batch]:
        runtime, num_images = self.pool.runtime, len(self.views[0].images)
        view_N = np.random.default_rng(seed).integers(len(self.views), size=len(order_N))
        looks: ConcatDataset[Any] = ConcatDataset([view.pixels() for view in self.views])
        decoded = runtime.load(looks, batch_size, (view_N * num_images + self.rows_N[order_N]).tolist(), seed)
        for start, pixels_BHWC in zip(range(0, len(order_N), batch_size), decoded, strict=True):
            labels_B = torch.from_numpy(self.labels_N[order_N[start : start + batch_size]])
            sent_BCHW = runtime.send(pixels_BHWC.permute(0, 3, 1, 2))
            images_BCHW = normalise(sent_BCHW.permute(0, 2, 3, 1), self.views[0].preprocess)
            yield (images_BCHW,), runtime.send(labels_B)
