"""One phase of training under way: epoch after epoch, stopped at any of them and taken up again as if it had never stopped.

Every epoch draws from generators of its own, so that nothing but tensors has to be kept.
"""

import copy
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.study.disk import write_durably
from harness.transfer.checkpoints import Checkpoints
from harness.transfer.loop import Learner

_log = logging.getLogger("harness")
_KEYS = {"lr", "num_epochs", "optimizer", "schedule", "checkpoints"}

Snapshot = dict[str, Any]
"""Tensors, numbers and text only, so that it can be read back without running anything."""


@dataclass(slots=True)
class TrainingRun:
    """A phase of training at one learning rate, with what it takes to go on."""

    checkpoints: Checkpoints
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

    def snapshot(self) -> Snapshot:
        """Copies of everything that training changes."""
        return {
            "lr": self.lr,
            "num_epochs": self.num_epochs,
            "optimizer": copy.deepcopy(self.learner.optimizer.state_dict()),
            "schedule": self.learner.schedule.state_dict(),
            "checkpoints": self.checkpoints.snapshot(),
        }

    def go_on_from(self, snapshot: Snapshot) -> None:
        """Be where another run of the same phase and learning rate was."""
        self.num_epochs = snapshot["num_epochs"]
        self.learner.optimizer.load_state_dict(copy.deepcopy(snapshot["optimizer"]))
        self.learner.schedule.load_state_dict(snapshot["schedule"])
        self.checkpoints.go_back(snapshot["checkpoints"])


def save_snapshot(snapshot: Snapshot, path: Path) -> None:
    """Write a snapshot where `load_snapshot` finds it. Raises StoreError when the disk does not take it."""
    content = io.BytesIO()  # torch has errors of its own for a disk that is full
    torch.save(snapshot, content)
    write_durably(path, content.getvalue())


def load_snapshot(path: Path) -> Snapshot | None:
    """Read a snapshot without running anything in it; None when there is none, or one that cannot be read or would run code.

    Whoever gets None trains from the start and comes to the same numbers.
    """
    if not path.exists():
        return None
    try:
        found: Snapshot = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001  damaged files make it raise nearly anything
        _log.warning("%s: is damaged or would run code (%s); trained from the start instead.", path, type(error).__name__)
        return None
    if not isinstance(found, dict) or not found.keys() >= _KEYS:
        _log.warning("%s: is no snapshot; trained from the start instead.", path)
        return None
    return found
