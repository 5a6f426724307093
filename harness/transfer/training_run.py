"""One phase of training under way. Every epoch draws from generators of its own: what it draws does not depend on what was trained before."""

from dataclasses import dataclass

import numpy as np
import torch

from harness.transfer.loop import Learner


@dataclass(slots=True)
class TrainingRun:
    """A phase of training at one learning rate."""

    learner: Learner
    lr: float
    seeds: tuple[int, ...]
    """What the draws of every epoch depend on."""
    num_epochs: int = 0
    """Epochs done."""

    def generator(self) -> np.random.Generator:
        """What the next epoch draws from; torch's own generator (dropout) is set too."""
        rng = np.random.default_rng([*self.seeds, self.num_epochs + 1])
        torch.manual_seed(int(rng.integers(2**63)))
        return rng
