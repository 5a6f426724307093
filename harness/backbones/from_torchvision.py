"""torchvision's AlexNet, GoogLeNet, ShuffleNet and SqueezeNet as trunks: chains of their own modules, names unchanged.

Used by `load` only.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchvision.models import get_model

from harness.backbones.backbone import BackboneSpec, Weights
from harness.backbones.blocks import matcher_of
from harness.backbones.catalog import torchvision_weights
from harness.backbones.checkpoint import read_state_dict
from harness.backbones.filled import FilledTrunk, find_source_head
from harness.backbones.fit import bare, fits, is_beside, misfit, require_fit
from harness.config import Features
from harness.data.preprocess import Preprocess

Parts = Mapping[str, nn.Module]

_BEHIND_THE_MAP = frozenset({"avgpool", "classifier", "fc"})
"""Children that come after the last feature map."""

_TRAINING_HEADS = ("aux1.", "aux2.")
"""Tensors in published checkpoints that serve training only (googlenet)."""

_NECKS: Mapping[str, Callable[[Any], Parts]] = {
    "alexnet": lambda model: {"avgpool": model.avgpool, "flatten": nn.Flatten(), "classifier": model.classifier[:-1]},
    "googlenet": lambda model: {"avgpool": model.avgpool, "flatten": nn.Flatten(), "dropout": model.dropout},
    # These two pool in their own forward; SqueezeNet's classifier is a convolution before the pooling.
    "shufflenet": lambda _: {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()},
    "squeezenet": lambda _: {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten()},
}
"""Family -> what leads from the last feature map to the vector that the classifier's last linear layer sees."""


_CLASSIFIERS = {"alexnet": "classifier.6", "googlenet": "fc", "shufflenet": "fc"}
"""Family -> the linear layer behind the neck."""


def build_torchvision(spec: BackboneSpec, weights: Weights, *, image_size: int | None, features: Features) -> FilledTrunk:
    """Build and fill; see `load_backbone`."""
    model = whole_model(spec)
    neck = _NECKS[spec.family](model) if features is Features.pooled else {"flatten": nn.Flatten()}
    body = takewhile(lambda child: child[0] not in _BEHIND_THE_MAP, model.named_children())
    trunk = nn.Sequential(OrderedDict([*body, *neck.items()]))
    state = {} if weights.path is None else _fill(trunk, model, weights, weights.path)
    head = find_source_head(state, _CLASSIFIERS.get(spec.family)) if features is Features.pooled else None
    return FilledTrunk(trunk, _preprocess(spec, image_size), matcher_of(trunk, spec.family), source_head=head)


def whole_model(spec: BackboneSpec) -> nn.Module:
    """The architecture with its ImageNet classifier and without training heads, at random start."""
    options = {"init_weights": True, "aux_logits": False} if spec.family == "googlenet" else {}
    model: nn.Module = get_model(spec.model, weights=None, **options)
    return model


def _fill(trunk: nn.Module, whole: nn.Module, weights: Weights, path: Path) -> dict[str, Tensor]:
    """Fill the trunk from the file; returns all that the file holds."""
    own, classifier = trunk.state_dict(), whole.state_dict()
    state = bare(read_state_dict(path, weights.sha256), classifier)
    require_fit(
        path,
        state,
        missing=[name for name in own if name not in state],
        mismatched={name: misfit(state[name], place) for name, place in own.items() if name in state and not fits(state[name], place)},
        unexpected=[name for name in state if name not in classifier and not is_beside(name) and not name.startswith(_TRAINING_HEADS)],
    )
    trunk.load_state_dict({name: tensor for name, tensor in state.items() if name in own}, strict=False)
    return state


def _preprocess(spec: BackboneSpec, image_size: int | None) -> Preprocess:
    preset = torchvision_weights(spec).transforms()
    crop, resize = preset.crop_size[0], preset.resize_size[0]
    # GoogLeNet's weights come from TensorFlow: torchvision undoes its usual normalisation inside the model, we never apply it.
    is_googlenet = spec.family == "googlenet"
    return Preprocess(
        image_size=image_size or crop,
        interpolation=preset.interpolation.value,
        crop_frac=crop / resize,
        crop_mode="center",
        mean=(0.5, 0.5, 0.5) if is_googlenet else tuple(preset.mean),
        std=(0.5, 0.5, 0.5) if is_googlenet else tuple(preset.std),
    )
