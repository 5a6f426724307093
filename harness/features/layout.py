"""Activations as one flat row per image, and back again.

Between the passes, which write rows, and the store, which knows nothing of tensors. Shapes: B images, E values of a row.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from harness.features.entry import RowType

Activations = tuple[Tensor, ...]
"""The values between two blocks; every tensor has the images in its first dimension."""

_STORED = {torch.float32: "float32", torch.bfloat16: "uint16", torch.float16: "float16", torch.uint8: "uint8"}
"""numpy has no bfloat16: its bits are kept."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Shapes of the parts of a row, without the images' dimension, and the one type they are stored in."""

    shapes: tuple[tuple[int, ...], ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, activations: Activations) -> "Layout | None":
        """Return the layout of activations, or None where they hold something that is not cached (whole numbers)."""
        dtypes = {part.dtype for part in activations}
        if not dtypes <= _STORED.keys():
            return None
        # float32 holds bfloat16 and float16 exactly.
        return cls(tuple(tuple(part.shape[1:]) for part in activations), dtypes.pop() if len(dtypes) == 1 else torch.float32)

    @property
    def row(self) -> RowType:
        return RowType(_STORED[self.dtype], sum(math.prod(shape) for shape in self.shapes))

    def pack(self, activations: Activations) -> npt.NDArray[Any]:
        """The rows of a batch, shape B x E, on the CPU. Feature maps lie channels-last, as convolutions leave them."""
        flat = [_channels_behind(part).to(self.dtype).reshape(len(part), -1) for part in activations]
        rows_BE = (flat[0] if len(flat) == 1 else torch.cat(flat, dim=1)).cpu()
        return (rows_BE.view(torch.uint16) if self.dtype is torch.bfloat16 else rows_BE).numpy()

    def unpack(self, rows_BE: npt.NDArray[Any]) -> Activations:
        """The inverse of `pack`; what was stored comes back as it was."""
        rows = torch.from_numpy(rows_BE)
        values_BE = rows.view(torch.bfloat16) if self.dtype is torch.bfloat16 else rows
        parts = torch.split(values_BE, [math.prod(shape) for shape in self.shapes], dim=1)
        return tuple(_channels_first(part, shape) for part, shape in zip(parts, self.shapes, strict=True))

    def to_json(self) -> dict[str, Any]:
        return {"shapes": [list(shape) for shape in self.shapes], "dtype": str(self.dtype).removeprefix("torch.")}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Layout":
        return cls(tuple(tuple(shape) for shape in record["shapes"]), getattr(torch, record["dtype"]))


def _channels_behind(part: Tensor) -> Tensor:
    return part.permute(0, 2, 3, 1) if part.ndim == 4 else part


def _channels_first(rows_BE: Tensor, shape: Sequence[int]) -> Tensor:
    if len(shape) != 3:
        return rows_BE.reshape(len(rows_BE), *shape)
    channels, height, width = shape
    return rows_BE.reshape(len(rows_BE), height, width, channels).permute(0, 3, 1, 2)
