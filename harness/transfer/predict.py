"""Passes without learning: features of a trunk and log-probabilities of a network, over a whole split in order.

Shapes: N images, C classes, D features.
"""

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from harness.config import Device
from harness.progress import track
from harness.transfer.network import Network
from harness.transfer.runtime import Runtime

FloatArray = npt.NDArray[np.float32]
Samples = Dataset[Any]
"""Pairs of an input tensor and a class id."""

EVAL_BATCH_SIZE = 32


def batches(samples: Samples, runtime: Runtime, batch_size: int = EVAL_BATCH_SIZE, **options: Any) -> DataLoader[Any]:
    """A loader that decodes beside an accelerator; on a CPU the cores are busy computing, so it decodes in between."""
    workers = 0 if runtime.device is Device.cpu else min(8, max(1, (os.cpu_count() or 2) - 1))
    return DataLoader(samples, batch_size=batch_size, num_workers=workers, pin_memory=runtime.device is Device.cuda, **options)


@torch.inference_mode()
def extract_features(network: Network, samples: Samples, what: str) -> FloatArray:
    """Features of every image under the fixed trunk in eval mode, shape N x D."""
    network.eval()
    loader = batches(samples, network.runtime)
    parts = [network.features(network.runtime.send(images_BCHW)).cpu().numpy() for images_BCHW, _ in track(loader, what)]
    return np.concatenate(parts)


@torch.inference_mode()
def log_probabilities(module: nn.Module, samples: Samples, runtime: Runtime, what: str) -> FloatArray:
    """Log-probabilities of every sample, shape N x C, computed in float32 from the logits."""
    module.eval()
    parts = [
        torch.log_softmax(module(runtime.send(inputs)).float(), dim=1).cpu().numpy() for inputs, _ in track(batches(samples, runtime), what)
    ]
    return np.concatenate(parts)
