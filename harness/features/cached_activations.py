"""Cached activations as a job reads them: of all images of a view, at some boundaries of a trunk.

Filled by `provide`, read by training. Boundary 0 is the image as the trunk sees it, before normalisation.
Shapes: N images, B images of a batch, D features, E values of a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from harness.compute.thread_pool import ThreadPool
from harness.data.transforms import normalise
from harness.features.entry import Entry, EntryWriter
from harness.features.layout import Activations, Layout
from harness.features.store import FeatureStore
from harness.features.view import View

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ViewCache:
    """Where the store has the activations of one view under one trunk."""

    store: FeatureStore
    addresses: Mapping[int, dict[str, Any]]
    """By boundary: of all that may be asked for, the last one and 0 among them."""

    def find(self, boundary: int) -> Entry | None:
        return self.store.find(self.addresses[boundary])

    def create(self, boundary: int, layout: Layout, num_images: int) -> EntryWriter:
        return self.store.create(self.addresses[boundary], layout.row, num_images)


@dataclass(frozen=True, slots=True)
class InMemory:
    """Activations that the store had no room for, or did not take."""

    values_NE: npt.NDArray[Any]
    about: dict[str, Any]

    def read(self, rows: IntArray | slice) -> npt.NDArray[Any]:
        return self.values_NE[rows].copy()


@dataclass(slots=True)
class Effort:
    """What it took to provide activations."""

    num_passed: int = 0
    """Images that went through frozen layers in this job; 0: all activations were cached."""
    wait_frac: float | None = None
    """Share of this job's pass spent waiting for decoded images; None: no pass, or none that decodes."""
    predicted_mib: float = 0.0
    """What this job adds to the store, known before its pass."""
    note: str | None = None
    """What ruled out a faster mode of the pass, or the store for its activations."""


class CachedActivations:
    """Of the images of one view; `last` is the boundary that the head sees."""

    def __init__(self, view: View, last: int, pool: ThreadPool) -> None:
        self.view = view
        self.last = last
        self.pool = pool
        self.effort = Effort()
        self._rows: dict[int, tuple[Layout, Entry | InMemory]] = {}

    def hold(self, boundary: int, rows: Entry | InMemory) -> None:
        """Take finished activations, row by row as `Layout` packs them."""
        self._rows[boundary] = (Layout.from_json(rows.about["layout"]), rows)

    def __contains__(self, boundary: int) -> bool:
        return boundary in self._rows

    def nearest(self, boundary: int) -> int:
        """Return the last cached boundary that is not behind `boundary`; 0 also where nothing is cached: then images are decoded."""
        return max((k for k in self._rows if k <= boundary), default=0)

    def about(self, boundary: int) -> dict[str, Any]:
        """Of cached activations: `seconds` that computing them from the image files took, whenever that was, and the `mode`."""
        return self._rows[boundary][1].about

    def read(self, boundary: int, rows: IntArray | slice) -> Activations:
        """Return the activations of some images at a cached boundary, on the device; images come normalised."""
        return self.enter(boundary, self.raw(boundary, rows))

    def raw(self, boundary: int, rows: IntArray | slice) -> Activations:
        """As `read`, but as they are cached."""
        layout, values = self._rows[boundary]
        return layout.unpack(values.read(rows))

    def enter(self, boundary: int, activations: Activations) -> Activations:
        """Return cached or decoded values as the trunk takes them, on the device."""
        sent = tuple(self.pool.runtime.send(part) for part in activations)
        return sent if boundary else (self._normalised(sent[0]),)

    def _normalised(self, pixels_BCHW: Tensor) -> Tensor:
        return normalise(pixels_BCHW.permute(0, 2, 3, 1), self.view.preprocess)

    def final(self) -> FloatArray:
        """Return what the head sees of all images, float32, shape N x D."""
        layout, values = self._rows[self.last]
        (features_ND,) = layout.unpack(values.read(slice(None)))
        return np.asarray(features_ND.float().numpy())
