"""A model as files that other programs load: timm's folder, ONNX, a torch.export program; each held against the model itself.

What is exported is complete: the temperature lies in the head, so the softmax of the logits is the calibrated probability; `label` is decided as in
the study. Shapes: B images, C classes.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from harness.backbones.backbone import BackboneSpec
from harness.backbones.catalog import resolve, timm_config
from harness.backbones.quiet import quiet
from harness.config import Metric
from harness.data.transforms import describe, eval_transform
from harness.errors import BackboneError, ConfigError
from harness.files import atomic_write
from harness.models.model import Model

TOLERANCE = 1e-4
"""Largest difference of a logit that rounding explains."""


class Deployed(nn.Module):
    """`deployed(images_BCHW) -> probabilities_BC, label_B`, from normalised images."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.trunk, self.head = model.network.trunk, model.network.head
        self.temperature = model.header.temperature
        prior_C = np.array(model.header.class_prior) if model.header.metric == Metric.balanced_accuracy.value else np.ones(len(model.class_names))
        self.register_buffer("log_prior_C", torch.from_numpy(np.log(prior_C)).float())

    def forward(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        log_probs_BC = torch.log_softmax(self.head(self.trunk(images_BCHW)) / self.temperature, dim=1)
        label_B = (log_probs_BC - self.get_buffer("log_prior_C")).argmax(dim=1)
        return log_probs_BC.exp(), label_B
