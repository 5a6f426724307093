"""Parameters and multiply-adds of an architecture as published, computed without allocating it. For the listing."""

from contextlib import nullcontext
from dataclasses import dataclass

import timm
import torch
from timm.models import PretrainedCfg
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from harness.backbones.backbone import BackboneSpec
from harness.backbones.catalog import model_args, timm_config, torchvision_weights
from harness.backbones.from_python import make
from harness.backbones.from_torchvision import whole_model
from harness.backbones.quiet import quiet


@dataclass(frozen=True, slots=True)
class Complexity:
    """Of the whole model, its ImageNet classifier included."""

    params_m: float
    gmacs: float | None
    """Multiply-adds of convolutions, linear layers and attention for one image (10^9); None where they cannot be counted."""
    image_size: str
    """Height x width in pixels."""


def complexity(spec: BackboneSpec) -> Complexity:
    """Count on the meta device, where tensors have shapes and no content; a function of the user's builds a network that has some."""
    with quiet(), nullcontext() if spec.library == "python" else torch.device("meta"), torch.no_grad():
        model, size = _whole(spec)
        params_m = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        counter = FlopCounterMode(display=False)
        try:
            with counter:
                model.eval().requires_grad_(requires_grad=False)(torch.empty(1, *size))
            gmacs = counter.get_total_flops() / 2e9
        except (RuntimeError, NotImplementedError, ValueError, TypeError):  # reads a tensor's content while it runs
            gmacs = None
    return Complexity(params_m=params_m, gmacs=gmacs, image_size=f"{size[1]}x{size[2]}")


def _whole(spec: BackboneSpec) -> tuple[nn.Module, tuple[int, ...]]:
    """The model with its classifier, and the size of an image (C, H, W)."""
    if spec.library == "torchvision":
        return whole_model(spec), (3, *torchvision_weights(spec).transforms().crop_size * 2)
    if spec.library == "python":
        model, stated = make(spec, is_pretrained=False)
        return model, tuple(PretrainedCfg(**stated).input_size)
    return timm.create_model(spec.model, pretrained=False, **model_args(spec)), tuple(timm_config(spec).input_size)
