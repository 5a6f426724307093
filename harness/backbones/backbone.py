"""The result of loading a backbone, and the seam through which tests pass a fake one."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from harness.config import Features
from harness.data.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import nn


FloatArray = npt.NDArray[np.floating]


class WeightsSource(StrEnum):
    """Where weights were found, in the order of looking."""

    file = "file"  # the path the user gave
    cache = "cache"  # the model hub's local cache
    bundled = "bundled"  # an installed package that carries them
    hub = "hub"  # downloaded in this sweep
    random = "random"  # asked for with weights=random


@dataclass(frozen=True, slots=True)
class BackboneSpec:
    """A name made exact. Picklable; building it needs no further look-up by name."""

    requested: str
    """What the user typed, or the name a glob matched."""
    model: str
    """Architecture, as its library names it."""
    tag: str | None
    """Pretrained tag after the dot of a timm name; torchvision's weights enum member (`IMAGENET1K_V1`)."""
    family: str
    library: str
    """`timm` or `torchvision`."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a backbone's parameters come from. `path` and `sha256` are None for random weights only."""

    source: WeightsSource
    path: Path | None
    tag: str
    """Pretrained tag, file name, or `random`."""
    sha256: str | None
    licence: str | None
    imagenet_top1_frac: float | None


@dataclass(frozen=True, slots=True)
class Block:
    """A step of the backbone in the sense of freeze depths."""

    name: str
    """Module name shown as the boundary when this block is the last frozen one."""
    tensors: tuple[str, ...]
    """Names of its parameters and buffers in the trunk."""


@dataclass(frozen=True, slots=True, eq=False)
class SourceHead:
    """A linear classifier of S source classes on the D features of a trunk."""

    weight_SD: FloatArray
    bias_S: FloatArray

    def probabilities(self, features_ND: FloatArray) -> FloatArray:
        """What the classifier makes of features, shape N x S, rows summing to one."""
        logits_NS = features_ND @ self.weight_SD.T + self.bias_S
        found_NS: FloatArray = np.exp(logits_NS - logits_NS.max(axis=1, keepdims=True))
        return np.asarray(found_NS / found_NS.sum(axis=1, keepdims=True))


@dataclass(frozen=True, slots=True)
class Backbone:
    """A model without classifier: `trunk(images_BCHW) -> features_BD`."""

    spec: BackboneSpec
    weights: Weights
    trunk: "nn.Module"
    num_features: int
    blocks: Sequence[Block]
    """From the input to the output; together they own every parameter and buffer of the trunk."""
    preprocess: Preprocess
    source_head: SourceHead | None = None
    """The classifier that the weights came with; None: they came without, or what it saw is not what the trunk yields."""


class BackboneLoader(Protocol):
    """The seam between the harness and model libraries."""

    def __call__(self, spec: BackboneSpec, weights: Weights, *, image_size: int | None, features: Features, seed: int) -> Backbone:
        """Build the trunk and fill it. `seed` decides random weights. Raises BackboneError when weights do not fit."""
