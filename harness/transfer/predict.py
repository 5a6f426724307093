"""Log-probabilities of a network over a whole split, in the split's order.

Shapes: N images, C classes.
"""

import numpy as np
import numpy.typing as npt
import torch

from harness.compute.thread_pool import ThreadPool
from harness.features.cut import CutTrunk
from harness.process.progress import track
from harness.transfer.network import Network, Tail
from harness.transfer.objective import Loss
from harness.transfer.split_inputs import Batch, SplitInputs

FloatArray = npt.NDArray[np.float32]


def log_probabilities(network: Network, trunk: CutTrunk, inputs: SplitInputs, loss: Loss, *, pool: ThreadPool, what: str) -> FloatArray:
    """Return the log-probabilities of every image, shape N x C, computed in float32 from the logits.

    Args:
        network: computes from the boundary of the inputs on.
        trunk: where it is cut.
        inputs: of the split.
        loss: that the network was trained by.
        pool: who computes.
        what: to call it in the progress display.
    """
    tail = Tail(network, trunk, inputs.boundary).eval()
    num_images = len(inputs.labels_N)

    @torch.inference_mode()  # holds for the thread that computes
    def compute(batch: Batch) -> FloatArray:
        return loss.log_probs(tail(*batch[0]).float()).cpu().numpy()

    batches = inputs.batches(np.arange(num_images), pool.piece, seed=0)
    return np.concatenate(list(track(pool.map(compute, batches), what, -(-num_images // pool.piece), num_images)))
