"""The learning curves of a job, and a copy of the weights of its best epoch so far."""

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from harness.backbones.tensors import tensors_of
from harness.errors import DivergedError
from harness.study.row import Epoch
from harness.transfer.heads import HeadFit

FloatArray = npt.NDArray[np.float32]


class Keeper:
    """Chooses the epoch with the lowest val log loss: a proper score, steadier than accuracy on few images."""

    def __init__(self, network: nn.Module, fixed: AbstractSet[str]) -> None:
        self.curve: list[Epoch] = []
        self.chosen_epoch = -1
        self._network = network
        self._fixed = fixed  # tensors that no phase changes need no copy
        self._best_loss = math.inf
        self._best: dict[str, Tensor] = {}
        self.val_log_probs_NC: FloatArray | None = None
        """Of the chosen epoch."""

    def add(self, point: Epoch, val_log_probs_NC: FloatArray) -> None:
        """Take one point of the curve; keep the present weights if it is the best. Raises DivergedError when val loss is not finite."""
        if not math.isfinite(point.val_loss):
            raise DivergedError(f"val log loss is {point.val_loss} after epoch {point.epoch}; try a lower train.lr.")
        self.curve.append(point)
        if point.val_loss < self._best_loss:
            self._best_loss, self.chosen_epoch, self.val_log_probs_NC = point.val_loss, point.epoch, val_log_probs_NC
            self._best = self._copies()

    def adopt(self, head: HeadFit) -> None:
        """Take the points of a head that was trained on kept features, and its weights where they are the best so far.

        Raises:
            DivergedError: the head's loss stopped being finite.
        """
        self.curve += head.curve
        if head.error is not None:
            raise DivergedError(head.error)
        found = head.curve[head.best_look] if head.curve else None
        if found is not None and found.val_loss < self._best_loss:
            self._best_loss, self.chosen_epoch = found.val_loss, found.epoch
            self.val_log_probs_NC = head.looks[head.best_look].log_probs_NC.astype(np.float32)
            self._best = self._copies()
            self._best |= {f"head.{name}": tensor for name, tensor in head.best.items()}

    def put_back(self) -> None:
        """Give the network the weights of the chosen epoch again."""
        self._fill(self._best)

    def snapshot(self) -> dict[str, Any]:
        """The network as it is now and what is kept so far: copies, nothing but tensors, numbers and text."""
        log_probs_NC = self.val_log_probs_NC
        return {
            "now": self._copies(),
            "curve": [asdict(point) for point in self.curve],
            "chosen_epoch": self.chosen_epoch,
            "best_loss": self._best_loss,
            "best": self._best,  # only ever replaced as a whole
            "val_log_probs": None if log_probs_NC is None else torch.from_numpy(log_probs_NC),
        }

    def go_back(self, snapshot: dict[str, Any]) -> None:
        """Make the network and what is kept what they were when the snapshot was taken."""
        log_probs_NC = snapshot["val_log_probs"]
        self.curve = [Epoch(**point) for point in snapshot["curve"]]
        self.chosen_epoch, self._best_loss, self._best = snapshot["chosen_epoch"], snapshot["best_loss"], snapshot["best"]
        self.val_log_probs_NC = None if log_probs_NC is None else log_probs_NC.numpy()
        self._fill(snapshot["now"])

    def _fill(self, tensors: Mapping[str, Tensor]) -> None:
        changing = self._changing()
        with torch.no_grad():
            for name, tensor in tensors.items():
                changing[name].copy_(tensor)

    def _copies(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self._changing().items()}

    def _changing(self) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in tensors_of(self._network).items() if name not in self._fixed}
