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
    hub = "hub"  # the hub: not on this machine when the sweep began
    random = "random"  # asked for with weights=random
    code = "code"  # what the user's Python function returned


class Kind(StrEnum):
    """What a network of the user's own is made from."""

    folder = "local-dir"  # config.json and a checkpoint in it, as timm writes them
    hub = "hf-hub"  # the same in a repository of the model hub
    python = "python"  # a function that returns a module


@dataclass(frozen=True, slots=True)
class Own:
    """A network that no library has by name."""

    kind: Kind
    place: str
    """The absolute folder, `ORG/NAME` or `ORG/NAME@REVISION`, or `package.module:function`."""
    build: str
    """Hash of what builds it, its weights aside: the configuration, or the source code."""
    config: str = ""
    """JSON of a folder or repository: `pretrained_cfg` and `model_args` as timm has them."""


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
    """`timm`, `torchvision` or `python`."""
    own: Own | None = None
    """What a network of the user's is made from; None: `library` has it by name."""
    blocks: str | None = None
    """Modules that the user gave as freeze steps (`blocks.given_steps`); None: they are found."""

    @property
    def identity(self) -> str:
        """The architecture as rows and hashes name it: what one name of the user's stands for may be another network tomorrow."""
        return self.model if self.own is None else f"{self.model}#{self.own.build}"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of the model hub at a commit, for machines that lack it."""

    repo: str
    revision: str | None
    """That was asked for; None: the default branch."""
    commit: str
    """What the revision was when the hub was asked."""
    filename: str
    size_bytes: int | None
    """None: the hub did not say."""

    @property
    def branch(self) -> str | None:
        """What else its cache is to call the commit, so that the file is found where the hub cannot be asked; None: nothing."""
        name = self.revision or "main"
        return None if name == self.commit else name


@dataclass(frozen=True, slots=True)
class Weights:
    """Where a backbone's parameters come from. `sha256` is None for random weights only."""

    source: WeightsSource
    path: Path | None
    """None: there is no file, or nobody has fetched it yet."""
    tag: str
    """Pretrained tag, file name, or `random`."""
    sha256: str | None
    licence: str | None
    imagenet_top1_frac: float | None
    remote: HubFile | None = None
    """Where a machine that lacks the file gets it; None: not from a commit of the hub."""


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
    notes: tuple[str, ...] = ()
    """What was found or taken for granted where nobody has said it, a clause each."""


class BackboneLoader(Protocol):
    """The seam between the harness and model libraries."""

    def __call__(self, spec: BackboneSpec, weights: Weights, *, image_size: int | None, features: Features, seed: int) -> Backbone:
        """Build the trunk and fill it. `seed` decides random weights. Raises BackboneError when weights do not fit."""
