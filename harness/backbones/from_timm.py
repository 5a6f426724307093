"""timm architectures as trunks. timm's own builder fills them, so that its checkpoint filters and the resizing of
position embeddings apply; what it loads is recorded and checked. Used by `load` only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import timm
import torch
from timm.data.config import resolve_data_config
from torch import Tensor, nn

from harness.backbones.backbone import BackboneSpec, Weights, WeightsSource
from harness.backbones.blocks import Matcher, matcher_of
from harness.backbones.catalog import model_args, timm_config
from harness.backbones.checkpoint import read_state_dict, rename_by_position
from harness.backbones.filled import FilledTrunk, find_source_head
from harness.backbones.fit import bare, fits, is_beside, misfit, require_fit
from harness.config import Features
from harness.data.preprocess import Preprocess
from harness.errors import BackboneError

_TRAINING_HEADS = ("AuxLogits.",)
"""Tensors in published checkpoints that serve training only (inception_v3)."""


class FeatureMap(nn.Module):
    """The last feature map of a timm model, flattened: `trunk(images_BCHW) -> features_BD`. Tokens are flattened too."""

    prefix = "body."

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images_BCHW: Tensor) -> Tensor:
        forward_features: Any = self.body.forward_features
        features: Tensor = forward_features(images_BCHW)
        return features.flatten(1)


def build_timm(spec: BackboneSpec, weights: Weights, *, image_size: int | None, features: Features) -> FilledTrunk:
    """Build and fill; see `load_backbone`."""
    config = timm_config(spec)
    options: dict[str, Any] = {"num_classes": 0, **model_args(spec)}
    if image_size and config.fixed_input_size:
        options["img_size"] = image_size
    state = _read(spec, weights, weights.path) if weights.path else {}
    model = _create(spec, weights, options, state)
    matcher: Matcher = matcher_of(model, spec.family)
    preprocess = preprocess_of(spec, config, image_size)
    if features is Features.map:
        return FilledTrunk(_feature_map(model, preprocess.image_size), preprocess, matcher, FeatureMap.prefix)
    return FilledTrunk(model, preprocess, matcher, source_head=find_source_head(state, config.classifier))


def _create(spec: BackboneSpec, weights: Weights, options: dict[str, Any], state: dict[str, Tensor]) -> nn.Module:
    name = f"{spec.model}.{spec.tag}" if spec.tag else spec.model
    if spec.own is not None:
        options["pretrained_cfg"] = timm_config(spec)
    if weights.path is None:
        model: nn.Module = timm.create_model(name, pretrained=False, **options)
        return model
    with _recorded_loading() as loading:
        model = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, **options)
    if not loading.happened:
        raise BackboneError(f"backbone={spec.requested}: timm built {name} without loading the given tensors; give another backbone.")
    unknown = _unknown(spec, weights, loading.unexpected)
    require_fit(weights.path, state, missing=loading.missing, mismatched=loading.mismatched, unexpected=unknown)
    return model


def _read(spec: BackboneSpec, weights: Weights, path: Path) -> dict[str, Tensor]:
    state, whole = read_state_dict(path, weights.sha256), _whole_model(spec)
    return rename_by_position(state, whole, path) if weights.source is WeightsSource.bundled else bare(state, whole)


def _whole_model(spec: BackboneSpec) -> dict[str, Tensor]:
    """Names and shapes with the ImageNet classifier; costs no memory."""
    with torch.device("meta"):
        state: dict[str, Tensor] = timm.create_model(spec.model, pretrained=False, **model_args(spec)).state_dict()
    return state


def _unknown(spec: BackboneSpec, weights: Weights, unexpected: list[str]) -> list[str]:
    """Tensors of a user's file that belong to another model. Published files are this model's, whatever else they carry."""
    if weights.source is not WeightsSource.file or not unexpected:
        return []
    whole = _whole_model(spec)
    heads = (*_TRAINING_HEADS, *(f"{name}." for name in _classifiers(spec)))
    return [name for name in unexpected if name not in whole and not is_beside(name) and not name.startswith(heads)]


def _classifiers(spec: BackboneSpec) -> tuple[str, ...]:
    """Names of the architecture's own classifiers; what a file has under them may have any form."""
    names = timm_config(spec).classifier or ()
    return (names,) if isinstance(names, str) else tuple(names)


@dataclass(slots=True)
class _Loading:
    happened: bool = False
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: dict[str, str] = field(default_factory=dict)


@contextmanager
def _recorded_loading() -> Iterator[_Loading]:
    """Note what does not fit while timm loads, since it only logs that; everything that fits is loaded, whatever `strict` says."""
    loading = _Loading()
    load = nn.Module.load_state_dict

    def record(model: nn.Module, state: dict[str, Tensor], strict: bool = True, assign: bool = False) -> Any:  # noqa: ARG001 (the signature is torch's)
        own = model.state_dict()
        loading.happened = True
        loading.mismatched = {
            name: misfit(tensor, own[name]) for name, tensor in state.items() if name in own and not fits(tensor, own[name])
        }
        fitting = type(state)((name, tensor) for name, tensor in state.items() if name not in loading.mismatched)
        result = load(model, fitting, strict=False, assign=assign)
        loading.missing = [name for name in result.missing_keys if name not in loading.mismatched]
        loading.unexpected = list(result.unexpected_keys)
        return result

    with patch.object(nn.Module, "load_state_dict", record):
        yield loading


def preprocess_of(spec: BackboneSpec, config: Any, image_size: int | None) -> Preprocess:
    """How images come in, by a `PretrainedCfg`. Raises BackboneError: no square RGB images."""
    resolve: Any = resolve_data_config
    data = resolve(pretrained_cfg=config.to_dict())
    channels, height, width = data["input_size"]
    if channels != 3 or height != width:
        raise BackboneError(f"backbone={spec.requested}: takes {channels}x{height}x{width} images; only square RGB input is supported.")
    return Preprocess(
        image_size=image_size or height,
        interpolation=data["interpolation"],
        crop_frac=data["crop_pct"],
        crop_mode=data["crop_mode"],
        mean=tuple(data["mean"]),
        std=tuple(data["std"]),
    )


def _feature_map(model: nn.Module, image_size: int) -> FeatureMap:
    """Wrap `model` and drop the modules behind its last feature map, so that the trunk owns only what it runs."""
    trunk = FeatureMap(model.eval())
    trunk(torch.zeros(1, 3, image_size, image_size)).sum().backward()
    for name, module in list(model.named_modules()):
        own = list(module.parameters())
        if name and own and all(parameter.grad is None for parameter in own):
            model.set_submodule(name, nn.Identity())
    trunk.zero_grad(set_to_none=True)
    return trunk
