"""The learning curves of a job, what each of its epochs says about val, and a copy of the weights of the best one so far."""

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
from harness.measure.choice import Choice, Evaluation, Selector, Value
from harness.study.row import Epoch
from harness.transfer.heads import HeadFit

FloatArray = npt.NDArray[np.float32]


class Checkpoints:
    """Keeps the epoch with the highest primary metric on val; of epochs that agree in it, the one with the lowest calibrated log loss."""

    def __init__(self, network: nn.Module, fixed: AbstractSet[str], selector: Selector) -> None:
        self.curve: list[Epoch] = []
        self._network = network
        self._fixed = fixed  # tensors that no phase changes need no copy
        self._selector = selector
        self._evaluations: list[Evaluation] = []
        self._best: dict[str, Tensor] = {}

    def add(self, log_probs_NC: FloatArray, **point: Any) -> None:
        """Take one epoch; keep the present weights if it is the best. Raises DivergedError when val log loss is not finite."""
        labels_N = self._selector.labels_N
        loss = float(-log_probs_NC.astype(np.float64)[np.arange(len(labels_N)), labels_N].mean())
        if not math.isfinite(loss):
            raise DivergedError(f"val log loss is {loss} after epoch {point['epoch']}; try a lower train.lr.")
        found = self._selector.evaluate(log_probs_NC)
        accuracy = float((log_probs_NC.argmax(axis=1) == labels_N).mean())
        self.curve.append(Epoch(**point, val_loss=loss, val_accuracy=accuracy, val_score=found.value[0]))
        if not self._evaluations or found.value > self.best_value():
            self._best = self._copies()
        self._evaluations.append(found)

    def adopt(self, head: HeadFit) -> None:
        """Take the epochs of a head that was trained on cached features, and its weights where they are the best so far.

        Raises:
            DivergedError: the head's loss stopped being finite.
        """
        self.curve += head.curve
        if head.error is not None:
            raise DivergedError(head.error)
        values = [each.value for each in head.evaluations]
        if values and (not self._evaluations or max(values) > self.best_value()):
            self._best = self._copies() | {f"head.{name}": tensor for name, tensor in head.best.items()}
        self._evaluations += head.evaluations

    def best_value(self, since: int = 0) -> Value:
        """The highest from one epoch on, by its position in the curve."""
        return max(each.value for each in self._evaluations[since:])

    def choose(self) -> Choice:
        """The best epoch, and what val says about a choice like it."""
        return self._selector.choose(self._evaluations)

    def put_back(self) -> None:
        """Give the network the weights of the best epoch again."""
        self._fill(self._best)

    def snapshot(self) -> dict[str, Any]:
        """The network as it is now and what is kept so far: copies, nothing but tensors, numbers and text."""
        return {
            "now": self._copies(),
            "curve": [asdict(point) for point in self.curve],
            "best": self._best,  # only ever replaced as a whole
            "val_log_probs": [torch.from_numpy(each.log_probs_NC) for each in self._evaluations],
        }

    def go_back(self, snapshot: dict[str, Any]) -> None:
        """Make the network and what is kept what they were when the snapshot was taken."""
        self.curve, self._best = [Epoch(**point) for point in snapshot["curve"]], snapshot["best"]
        self._evaluations = [self._selector.evaluate(log_probs_NC.numpy()) for log_probs_NC in snapshot["val_log_probs"]]
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
