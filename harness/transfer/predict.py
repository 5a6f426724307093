"""Log-probabilities of a fitted network over a whole split, in the split's order.

Shapes: N images, C classes.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from harness.compute.thread_pool import ThreadPool
from harness.process.progress import track
from harness.transfer.samples import Batch, Samples

FloatArray = npt.NDArray[np.float32]


def log_probabilities(tail: nn.Module, samples: Samples, pool: ThreadPool, what: str) -> FloatArray:
    """Log-probabilities of every sample, shape N x C, computed in float32 from the logits; `tail` takes the samples' boundary."""
    tail.eval()
    num_images = len(samples.labels_N)

    @torch.inference_mode()  # holds for the thread that computes
    def compute(batch: Batch) -> FloatArray:
        return torch.log_softmax(tail(*batch[0]).float(), dim=1).cpu().numpy()

    batches = samples.batches(np.arange(num_images), pool.piece, seed=0)
    return np.concatenate(list(track(pool.map(compute, batches), what, -(-num_images // pool.piece))))
