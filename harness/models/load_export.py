"""An exported folder becomes a model again: without its study, its base weights, or the model hub."""

import json
from collections import OrderedDict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from harness.backbones.backbone import Kind, Weights, WeightsSource
from harness.backbones.catalog import resolve_again
from harness.backbones.load import load_backbone
from harness.backbones.spellings import own_place
from harness.backbones.to_timm import build
from harness.compute.runtime import Runtime
from harness.config import Features
from harness.errors import BackboneError, TableError
from harness.files import why
from harness.models.exported import CONFIG, MODEL, header_of, read, require_unchanged
from harness.models.load import head_of
from harness.models.model import Model
from harness.study.model_file import ModelHeader
from harness.transfer.network import Network


def load_export(folder: Path, runtime: Runtime) -> Model:
    """The model of an exported folder, ready to predict.

    Args:
        folder: that `python -m harness.export` wrote.
        runtime: where it is to compute.

    Raises:
        TableError: the folder is no export, or a file of it is missing or has changed.
        BackboneError: the libraries here build another architecture.
    """
    record = read(folder)
    header = header_of(record, folder)
    for name in (MODEL, CONFIG) if CONFIG in record["sha256"] else (MODEL,):
        require_unchanged(record, folder, name)
    try:
        state = load_file(folder / MODEL)
        is_timm = CONFIG in record["sha256"]
        network = build(json.loads((folder / CONFIG).read_bytes())) if is_timm else _chain(header)
    except (OSError, ValueError, SafetensorError) as error:
        raise TableError(f"{folder}: cannot be read ({why(error)}); export the model again.") from error
    _fill(network, state, header)
    trunk, head = (network, nn.Identity()) if is_timm else (network.get_submodule("trunk"), network.get_submodule("head"))
    whole = Network(trunk, head, runtime)
    runtime.place(whole.eval())
    return Model(header, whole)


def _chain(header: ModelHeader) -> nn.Module:
    """Trunk and head of a model that timm cannot hold, at random start."""
    if (own := own_place(header.backbone)) and own[0] is Kind.python:  # a folder from anywhere may name anything
        raise BackboneError(
            f"{header.backbone}: an exported folder names no code that is run; use its model.onnx or model.pt2, or `python -m harness.predict "
            f"study=...` with the study that it came from."
        )
    spec = resolve_again(header.backbone, header.model)
    none = Weights(WeightsSource.random, None, "random", None, header.licence, None)
    backbone = load_backbone(spec, none, image_size=header.image_size, features=Features(header.features), seed=0)
    return nn.Sequential(OrderedDict(trunk=backbone.trunk, head=head_of(backbone.num_features, header)))


def _fill(network: nn.Module, state: dict[str, Tensor], header: ModelHeader) -> None:
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise BackboneError(
            f"{header.backbone}: the exported tensors do not fit the architecture that the libraries here build "
            f"(then: timm {header.timm_version}, torch {header.torch_version})."
        ) from error
