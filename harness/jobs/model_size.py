"""How large the kept model of a job will be, told from the architecture alone before anything runs."""

import torch

from harness.backbones.backbone import Backbone, BackboneSpec
from harness.backbones.load import outline_backbone
from harness.config import SweepConfig
from harness.errors import BackboneError
from harness.transfer.depth import FreezeDepth
from harness.transfer.network import new_head
from harness.transfer.spec import as_loaded, phases_of

_MIB = 2**20
_HEADER_BYTES, _TENSOR_BYTES = 8192, 160
"""About what the header of a file takes, and the entry of each tensor in it."""


def outline(cfg: SweepConfig, spec: BackboneSpec) -> Backbone | None:
    """The shapes of a backbone; None where its library cannot build it without numbers."""
    try:
        return outline_backbone(spec, image_size=cfg.data.image_size, features=cfg.train.features)
    except BackboneError:
        return None


def model_mib(cfg: SweepConfig, backbone: Backbone | None, depth: FreezeDepth, num_classes: int) -> float | None:
    """MiB of the tensors that training may change, head included; None where nobody can tell before the job runs.

    Args:
        cfg: of the job.
        backbone: its outline.
        depth: its freeze depth.
        num_classes: of its data.
    """
    if backbone is None or (depth.num_free or 0) > len(backbone.blocks):
        return None
    unchanged = as_loaded(backbone, phases_of(backbone, depth, cfg.train, cfg.adapter))
    tensors = dict(backbone.trunk.named_parameters()) | dict(backbone.trunk.named_buffers())
    with torch.device("meta"):
        head = new_head(backbone.num_features, num_classes, cfg.train, seed=0)
    changed = [tensor for name, tensor in tensors.items() if name not in unchanged]
    tensors_bytes = sum(tensor.numel() * tensor.element_size() for tensor in (*changed, *head.parameters()))
    return (tensors_bytes + _HEADER_BYTES + _TENSOR_BYTES * len(changed)) / _MIB
