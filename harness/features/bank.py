"""What a job reads instead of computing it: rows of all images of a view at some boundaries of a trunk.

Filled by `provide`, read by training. Boundary 0 is the image as the trunk sees it, before normalisation.
Shapes: N images, B images of a batch, D features.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from harness.compute.thread_pool import ThreadPool
from harness.data.transforms import normalise
from harness.features.cut import CutTrunk
from harness.features.rows import Crossing, Layout
from harness.features.store import Entry
from harness.features.view import View

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class InMemory:
    """Rows that the store had no room for, or did not take."""

    values_NE: npt.NDArray[Any]
    about: dict[str, Any]

    def read(self, rows: IntArray | slice) -> npt.NDArray[Any]:
        return self.values_NE[rows].copy()


@dataclass(slots=True)
class Effort:
    """What it took to provide rows."""

    num_passed: int = 0
    """Images that went through fixed layers in this job; 0: everything was kept."""
    wait_frac: float | None = None
    """Share of this job's pass spent waiting for decoded images; None: no pass, or none that decodes."""
    predicted_mib: float = 0.0
    """What this job adds to the store, known before its pass."""
    note: str | None = None
    """What kept a pass from a faster mode, or its rows from the store."""


class Bank:
    """Rows of the images of one view."""

    def __init__(self, view: View, trunk: CutTrunk, pool: ThreadPool) -> None:
        self.view = view
        self.trunk = trunk
        self.pool = pool
        self.effort = Effort()
        self._rows: dict[int, tuple[Layout, Entry | InMemory]] = {}

    def hold(self, boundary: int, rows: Entry | InMemory) -> None:
        """Take finished rows."""
        self._rows[boundary] = (Layout.from_json(rows.about["layout"]), rows)

    def __contains__(self, boundary: int) -> bool:
        return boundary in self._rows

    def nearest(self, boundary: int) -> int:
        """The last boundary with rows that is not behind `boundary`; 0 also where nothing is kept: then images are decoded."""
        return max((kept for kept in self._rows if kept <= boundary), default=0)

    def about(self, boundary: int) -> dict[str, Any]:
        """Of kept rows: `seconds` that computing them from the image files took, whenever that was, and the `mode`."""
        return self._rows[boundary][1].about

    def read(self, boundary: int, rows: IntArray | slice) -> Crossing:
        """What crosses a kept boundary for some images, on the device; images come normalised."""
        return self.enter(boundary, self.raw(boundary, rows))

    def raw(self, boundary: int, rows: IntArray | slice) -> Crossing:
        """As `read`, but as it was kept."""
        layout, kept = self._rows[boundary]
        return layout.unpack(kept.read(rows))

    def enter(self, boundary: int, crossing: Crossing) -> Crossing:
        """Kept or decoded values as the trunk takes them, on the device."""
        sent = tuple(self.pool.runtime.send(part) for part in crossing)
        return sent if boundary else (self._normalised(sent[0]),)

    def _normalised(self, pixels_BCHW: Tensor) -> Tensor:
        return normalise(pixels_BCHW.permute(0, 2, 3, 1), self.view.preprocess)

    def final(self) -> FloatArray:
        """What the head sees of all images, float32, shape N x D."""
        layout, kept = self._rows[self.trunk.last]
        (features_ND,) = layout.unpack(kept.read(slice(None)))
        return np.asarray(features_ND.float().numpy())
