"""Parameters and multiply-adds of an architecture as published, computed without allocating it. For the listing."""

from dataclasses import dataclass

import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.backbones.backbone import BackboneSpec
from harness.backbones.catalog import model_args, timm_config, torchvision_weights
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
    """Count on the meta device, where tensors have shapes and no content."""
    with quiet(), torch.device("meta"), torch.no_grad():
        if spec.library == "timm":
            model, size = timm.create_model(spec.model, pretrained=False, **model_args(spec)), tuple(timm_config(spec).input_size)
        else:
            model, size = whole_model(spec), (3, *torchvision_weights(spec).transforms().crop_size * 2)
        params_m = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        counter = FlopCounterMode(display=False)
        try:
            with counter:
                model.eval()(torch.empty(1, *size))
            gmacs = counter.get_total_flops() / 2e9
        except (RuntimeError, NotImplementedError, ValueError, TypeError):  # reads a tensor's content while it runs
            gmacs = None
    return Complexity(params_m=params_m, gmacs=gmacs, image_size=f"{size[1]}x{size[2]}")
