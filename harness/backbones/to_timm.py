"""A trunk and a linear head become timm's own model again, with the configuration by which timm builds it: `timm.create_model("local-dir:FOLDER")`.

The way back from `load`. Shapes: C classes, D features.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from harness.backbones.backbone import BackboneSpec
from harness.backbones.catalog import model_args, timm_config
from harness.backbones.quiet import quiet
from harness.data.preprocess import Preprocess

TOLERANCE = 1e-4
"""Largest difference of a logit, relative to the largest one, that other arithmetic explains; a different model differs by far more."""
Config = dict[str, Any]
"""What timm reads from `config.json`."""


class NotInTimmError(Exception):
    """timm has no architecture that computes the same; the message says what it lacks, as a clause."""


def as_timm(trunk: nn.Module, head: nn.Module, config: Config) -> nn.Module:
    """Put the tensors of a trunk and its head into timm's model with C classes, and see that it computes what they do.

    Args:
        trunk: as `load_backbone` built it.
        head: behind it, C classes.
        config: what timm is to build (`timm_config_of`).

    Returns:
        timm's model, on the processor, in eval mode.

    Raises:
        NotInTimmError: it would be another one.
    """
    if not isinstance(head, nn.Linear):
        raise NotInTimmError("its head has a hidden layer, and timm's classifiers are one linear layer")
    network = build(config)
    _fill(network, _classifiers(config), trunk, head)
    _require_same(network, nn.Sequential(trunk, head), config["pretrained_cfg"]["input_size"])
    return network


def build(config: Config) -> nn.Module:
    """The architecture of a `config.json` with its classes, at random start, in eval mode."""
    options = {"num_classes": config["num_classes"], **config.get("model_args", {})}
    with quiet(), torch.random.fork_rng(devices=[]):
        network: nn.Module = timm.create_model(config["architecture"], pretrained=False, **options)
    return network.eval()


def load_folder(folder: Path) -> nn.Module:
    """The model as any user of timm loads it, in eval mode."""
    with quiet():
        network: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return network.eval()


def timm_config_of(spec: BackboneSpec, preprocess: Preprocess, class_names: Sequence[str], licence: str | None) -> Config:
    """The content of `config.json`; a size of the input that is not the architecture's own is among the arguments that build it.

    Args:
        spec: of the trunk.
        preprocess: of the images that it takes.
        class_names: in the order of the head's rows.
        licence: of the base weights.

    Raises:
        NotInTimmError: the architecture is not timm's.
    """
    if spec.library != "timm":
        whose = "torchvision's" if spec.library == "torchvision" else "your own code"
        raise NotInTimmError(f"{spec.model} is {whose}, and timm has no such architecture")
    published, size = timm_config(spec), preprocess.image_size
    own: Config = published.to_dict(remove_source=True, remove_null=True)
    is_own_size = published.input_size[-1] == size
    for name in (
        "tag",
        "license",
        "test_input_size",
        "test_crop_pct",
        "label_offset",
        "label_names",
        "label_descriptions",
        "architecture",
        "origin_url",
    ):
        own.pop(name, None)
    if not is_own_size:
        own.pop("pool_size", None)
    described: Config = {
        "custom_load": False,
        "input_size": [3, size, size],
        "interpolation": preprocess.interpolation,
        "crop_pct": preprocess.crop_frac,
        "crop_mode": preprocess.crop_mode,
        "mean": list(preprocess.mean),
        "std": list(preprocess.std),
        "num_classes": len(class_names),
    }
    if licence:
        described["license"] = licence
    args = model_args(spec) | ({"img_size": size} if published.fixed_input_size and not is_own_size else {})
    return {
        "architecture": spec.model,
        "num_classes": len(class_names),
        "label_names": list(class_names),
        **({"model_args": args} if args else {}),
        "pretrained_cfg": own | described,
    }


def _classifiers(config: Config) -> list[str]:
    """Names of the classifier, of which distilled models have several whose mean counts."""
    names = config["pretrained_cfg"].get("classifier") or ()
    found = [names] if isinstance(names, str) else list(names)
    if not found:
        raise NotInTimmError(f"timm does not say which layer of {config['architecture']} is the classifier")
    return found


@torch.no_grad()
def _fill(network: nn.Module, classifiers: Sequence[str], trunk: nn.Module, head: nn.Linear) -> None:
    own, given = network.state_dict(keep_vars=True), trunk.state_dict()
    places = {f"{name}.{part}": getattr(head, part) for name in classifiers for part in ("weight", "bias")}
    tensors: dict[str, Tensor] = {**given, **places}
    wrong = [name for name, place in own.items() if name not in tensors or tensors[name].numel() != place.numel()]
    if wrong := [*wrong, *(name for name in tensors if name not in own)]:
        raise NotInTimmError(f"timm's model with a classifier has other tensors than the one without ({wrong[0]})")
    for name, place in own.items():
        place.copy_(tensors[name].reshape(place.shape))  # a classifier may be a convolution of one pixel


@torch.inference_mode()
def _require_same(network: nn.Module, ours: nn.Module, input_size: Sequence[int]) -> None:
    images_BCHW = torch.randn(2, *input_size, generator=torch.Generator().manual_seed(0))
    logits_BC, own_BC = network(images_BCHW), ours(images_BCHW)
    if logits_BC.shape != own_BC.shape or float((logits_BC - own_BC).abs().max()) > TOLERANCE * max(1.0, float(own_BC.abs().max())):
        raise NotInTimmError("timm's model computes something else between trunk and classifier")
