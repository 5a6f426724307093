"""A model file and its base weights become a network again, and nothing else does: the whole must have the hash that its job gave it."""

import numpy as np
import torch
from torch import nn

from harness.backbones.backbone import BackboneLoader, BackboneSpec, Weights, WeightsSource
from harness.backbones.catalog import resolve_again
from harness.backbones.load import load_backbone
from harness.backbones.tensors import network_digest
from harness.backbones.weights import find_weights
from harness.compute.runtime import Runtime
from harness.config import Features, Head, HeadInit, TrainConfig
from harness.errors import BackboneError
from harness.models.model import Model
from harness.study.model_file import ModelFile, ModelHeader
from harness.transfer.network import Network, new_head


def load_model(file: ModelFile, runtime: Runtime, *, load: BackboneLoader = load_backbone) -> Model:
    """Put a kept model together.

    Args:
        file: of a study, or exported.
        runtime: where it is to compute.
        load: the seam to model libraries.

    Raises:
        BackboneError: the base weights are not here, or are others than those that the model was trained from.
    """
    header = file.header
    spec = resolve_again(header.backbone, header.model)
    weights = _base(spec, header)
    backbone = load(spec, weights, image_size=header.image_size, features=Features(header.features), seed=header.seed)
    network = Network(backbone.trunk, head_of(backbone.num_features, header), runtime)
    _fill(network, file)
    if network_digest(network) != header.model_blake2b:
        raise BackboneError(
            f"{header.backbone}: base weights and kept tensors together are not the network that job {header.job_id} trained; "
            f"another version of timm or torch may build it otherwise (then: timm {header.timm_version}, torch {header.torch_version})."
        )
    runtime.place(network.eval())
    return Model(header, network)


def _base(spec: BackboneSpec, header: ModelHeader) -> Weights:
    """The weights that the blocks in front come from, held against their hash."""
    if header.weights_source == WeightsSource.random:
        return find_weights(spec, "random")
    asked = header.weights_path or "pretrained"
    try:
        weights = find_weights(spec, asked)
    except BackboneError as error:
        raise BackboneError(f"{error} The model needs them below the blocks that it was trained in.") from error
    if weights.sha256 != header.weights_sha256:
        where = weights.path or asked
        raise BackboneError(
            f"{header.backbone}: {where} holds other weights (sha256 {str(weights.sha256)[:12]}...) than the model was trained from "
            f"({str(header.weights_sha256)[:12]}...); bring back that file."
        )
    return weights


def head_of(num_features: int, header: ModelHeader) -> nn.Module:
    """The untrained head that a header describes."""
    cfg = TrainConfig(head=Head(header.head), head_hidden=header.head_hidden, head_init=HeadInit.random)
    return new_head(num_features, len(header.class_names), cfg, seed=0)


def _fill(network: Network, file: ModelFile) -> None:
    """Lay the kept tensors over the base. Raises BackboneError: they are those of another architecture."""
    own = dict(network.named_parameters()) | dict(network.named_buffers())
    if wrong := [name for name, tensor in file.tensors.items() if name not in own or own[name].shape != tensor.shape]:
        raise BackboneError(f"{file.header.backbone}: has no tensor {wrong[0]} of that shape; another version of its library built it.")
    with torch.no_grad():
        for name, tensor in file.tensors.items():
            own[name].copy_(torch.from_numpy(np.array(tensor)))
