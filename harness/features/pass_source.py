"""What a pass through frozen layers reads: activations that are cached at an earlier boundary, or images.

Below `provide`. Shapes: B images of a batch, S pixels a side.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from harness.config import Device
from harness.data.transforms import PixelDataset
from harness.features.cached_activations import CachedActivations
from harness.features.layout import Activations

Piece = Callable[[], npt.NDArray[np.uint8] | Activations]
"""A few images of a pass: a call gives their cached activations where the pass starts or, decoded, pixels (B, S, S, 3)."""


class PassSource:
    """What a pass reads: cached activations or images.

    On a processor whoever computes a piece decodes it first, so that no core ever waits. Beside an accelerator other
    processes decode meanwhile, and where images change at random too, since that takes global generators of its own.
    """

    def __init__(self, cached: CachedActivations, start: int) -> None:
        self.cached = cached
        self.start = start
        self.decodes = start not in cached
        self.num_images = len(cached.view.images)
        self._pieces = iter(self._decoded() if self.decodes else self._cached())
        self.first = next(self._pieces)

    def __iter__(self) -> Iterator[Piece]:
        yield self.first
        yield from self._pieces

    def _cached(self) -> Iterator[Piece]:
        size, runtime = self.cached.pool.piece, self.cached.pool.runtime
        starts = range(0, self.num_images, size)
        for rows in runtime.ahead(self.cached.raw(self.start, slice(start, start + size)) for start in starts):
            yield partial(lambda found: found, rows)

    def _decoded(self) -> Iterator[Piece]:
        size, pixels, runtime = self.cached.pool.piece, self.cached.view.pixels(), self.cached.pool.runtime
        if runtime.device is Device.cpu and self.cached.view.number is None:
            for start in range(0, self.num_images, size):
                yield partial(_decode, pixels, range(start, min(start + size, self.num_images)))
        else:
            for pixels_BHWC in runtime.load(pixels, size):
                yield partial(lambda found: found, pixels_BHWC.numpy())

    def some(self, rows_B: npt.NDArray[np.int64]) -> Activations:
        """The activations of chosen images, on the device; of views whose images do not change at random."""
        if not self.decodes:
            return self.cached.read(self.start, rows_B)
        return self.enter(partial(_decode, self.cached.view.pixels(), rows_B.tolist()))[0]

    def enter(self, piece: Piece) -> tuple[Activations, npt.NDArray[np.uint8] | None]:
        """The activations on the device, and the rows of pixels where they are new."""
        found = piece()
        if isinstance(found, tuple):
            return self.cached.enter(self.start, found), None
        pixels_BHWC = torch.from_numpy(found)
        return self.cached.enter(0, (pixels_BHWC.permute(0, 3, 1, 2),)), found.reshape(len(found), -1)


def _decode(pixels: PixelDataset, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
    return np.stack([pixels[index] for index in indices])
