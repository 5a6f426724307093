"""Log-probabilities of a fitted network over a whole split, in the split's order.

Shapes: N images, C classes.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from harness.progress import track
from harness.transfer.samples import Samples

FloatArray = npt.NDArray[np.float32]

BATCH_SIZE = 32


@torch.inference_mode()
def log_probabilities(tail: nn.Module, samples: Samples, what: str) -> FloatArray:
    """Log-probabilities of every sample, shape N x C, computed in float32 from the logits; `tail` takes the samples' boundary."""
    tail.eval()
    num_images = len(samples.labels_N)
    batches = track(samples.batches(np.arange(num_images), BATCH_SIZE, seed=0), what, -(-num_images // BATCH_SIZE))
    return np.concatenate([torch.log_softmax(tail(*crossing).float(), dim=1).cpu().numpy() for crossing, _ in batches])
