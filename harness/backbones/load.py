"""An exact name and its weights become a trunk with blocks and preprocessing: the seam to model libraries.

Last step of this package; `load_backbone` is the `BackboneLoader` that jobs use.
"""

import numpy as np
import torch
from torch import Tensor, nn

from harness.backbones.backbone import Backbone, BackboneSpec, Block, SourceHead, Weights, WeightsSource
from harness.backbones.blocks import Matcher, Steps, find_blocks, given_steps, in_run_order
from harness.backbones.checkpoint import require_finite
from harness.backbones.filled import FilledTrunk
from harness.backbones.from_python import build_python
from harness.backbones.from_timm import build_timm
from harness.backbones.from_torchvision import build_torchvision
from harness.backbones.quiet import quiet
from harness.backbones.weights import fetched
from harness.config import Features
from harness.errors import BackboneError, is_out_of_memory

_BUILDERS = {"timm": build_timm, "torchvision": build_torchvision, "python": build_python}

_MISFITS = (RuntimeError, AssertionError, ValueError, LookupError, TypeError, AttributeError, ZeroDivisionError)
"""What architectures raise on an input size they cannot take, and timm's checkpoint filters on another model's file."""


def load_backbone(spec: BackboneSpec, weights: Weights, *, image_size: int | None, features: Features, seed: int) -> Backbone:
    """Build the trunk of `spec`, fill it from `weights`, and cut it into blocks.

    Args:
        spec: what to build.
        weights: what to fill it with; every parameter and buffer comes from that file. It is fetched if it is still on the hub.
        image_size: side of the square input in pixels; None: the one the weights were trained with.
        features: the vector that the model's own classifier saw, or the last feature map, flattened.
        seed: decides random weights. The global random state is left as it was.

    Returns:
        The trunk in eval mode, float32, on the CPU.

    Raises:
        BackboneError: the weights cannot be had, do not fit or are not all finite, or the architecture cannot take this image size.
    """
    weights = fetched(spec, weights)
    size = f"{image_size} pixels" if image_size else "its own image size"
    with quiet(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        try:
            built = _BUILDERS[spec.library](spec, weights, image_size=image_size, features=features)
            num_features = _num_features(built.trunk, built.preprocess.image_size)
            blocks = _blocks(spec, built)
        except _MISFITS as error:
            if is_out_of_memory(error):
                raise
            words = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
            raise BackboneError(
                f"backbone={spec.requested}: {spec.model} does not work at {size} with weights {weights.tag} ({words}); "
                f"give another data.image_size, or null, or other weights."
            ) from error
    if weights.path is not None:
        require_finite(weights.path, {**built.trunk.state_dict(), **_classifier(built.source_head)})
    return Backbone(
        spec=spec,
        weights=weights,
        trunk=built.trunk,
        num_features=num_features,
        blocks=blocks,
        preprocess=built.preprocess,
        source_head=built.source_head if built.source_head and built.source_head.weight_SD.shape[1] == num_features else None,
        notes=built.notes,
    )


def outline_backbone(spec: BackboneSpec, *, image_size: int | None, features: Features) -> Backbone:
    """The shapes of a backbone, at once: its tensors hold no numbers (torch's meta device).

    Raises:
        BackboneError: this architecture cannot be built without numbers, or not at this size.
    """
    weights = Weights(WeightsSource.random, None, "random", None, None, None)
    with quiet(), torch.device("meta"):
        try:
            built = _BUILDERS[spec.library](spec, weights, image_size=image_size, features=features)
            num_features = _num_features(built.trunk, built.preprocess.image_size)
            blocks = _blocks(spec, built)
        except _MISFITS as error:
            raise BackboneError(f"backbone={spec.requested}: {spec.model} has no outline ({error}).") from error
    return Backbone(spec, weights, built.trunk, num_features, blocks, built.preprocess)


def _classifier(head: SourceHead | None) -> dict[str, Tensor]:
    return {} if head is None else {"its classifier": torch.from_numpy(np.concatenate([head.weight_SD.ravel(), head.bias_S]))}


def _blocks(spec: BackboneSpec, built: FilledTrunk) -> tuple[Block, ...]:
    return find_blocks(built.trunk, matcher_for(spec, built), prefix=built.prefix)


@torch.no_grad()
def matcher_for(spec: BackboneSpec, built: FilledTrunk) -> Matcher:
    """The rules for freeze steps: the modules that the user gave, else those of the architecture."""
    size, root = built.preprocess.image_size, built.trunk.get_submodule(built.prefix.removesuffix("."))
    try:
        matcher = built.matcher if spec.blocks is None else given_steps(root, spec.blocks)
    except BackboneError as error:
        raise BackboneError(f"backbone={spec.requested}: {error}") from error
    return in_run_order(root, matcher, lambda: built.trunk(torch.zeros(1, 3, size, size))) if isinstance(matcher, Steps) else matcher


@torch.no_grad()
def _num_features(trunk: nn.Module, image_size: int) -> int:
    """Length D of what `trunk` makes of one image."""
    features_BD = trunk.eval()(torch.zeros(1, 3, image_size, image_size))
    if not isinstance(features_BD, Tensor) or features_BD.ndim != 2:
        raise TypeError("its output is not one vector per image")
    return int(features_BD.shape[1])
