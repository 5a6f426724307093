"""The learning curves of a job, what each of its epochs says about val, and the weights that may be kept."""

import math
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from harness.backbones.tensors import tensors_of
from harness.errors import DivergedError
from harness.measure.choice import Choice, Evaluation, Selector
from harness.measure.epoch import Epoch
from harness.transfer.heads import HeadFit
from harness.transfer.spec import Settled

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment of a training that it can go back to."""

    curve: list[Epoch]
    evaluations: list[Evaluation]
    best: dict[str, Tensor]
    now: dict[str, Tensor]


class Checkpoints:
    """Keeps the start and the last epoch, of which the better one on val is chosen.

    A learning rate that has fallen to zero has ended: to pick among the epochs on the way gains nothing on new images and makes val
    promise more. Where the rate is constant no epoch is the end, and any may be chosen.
    """

    def __init__(
        self, network: nn.Module, frozen: AbstractSet[str], selector: Selector, *, keeps_any: bool, settled: Settled | None = None
    ) -> None:
        self.curve: list[Epoch] = []
        self._network = network
        self._frozen = frozen  # tensors that no phase changes need no copy
        self._selector = selector
        self._keeps_any = keeps_any
        self._settled = settled
        self._evaluations: list[Evaluation] = []
        self._best: dict[str, Tensor] = {}
        """Weights of the best epoch so far; where only the ends are kept, of the start."""

    def add(self, log_probs_NC: FloatArray, **point: Any) -> None:
        """Take one epoch, which the network now is. Raises DivergedError when val log loss is not finite."""
        loss, accuracy = self._selector.log_loss_and_accuracy(log_probs_NC)
        if not math.isfinite(loss):
            raise DivergedError(f"val log loss is {loss} after epoch {point['epoch']}; try a lower train.lr.")
        found = self._selector.evaluate(log_probs_NC)
        self.curve.append(Epoch(**point, val_loss=loss, val_accuracy=accuracy, val_score=found.value[0]))
        if self._may_be_kept(point["epoch"], found):
            self._best = self._copies()
        self._evaluations.append(found)

    def _may_be_kept(self, epoch: int, found: Evaluation) -> bool:
        if self._settled is not None:
            return epoch == self._settled.epoch
        return epoch == 0 or (self._keeps_any and self._is_best(found))

    def adopt(self, head: HeadFit) -> None:
        """Take the epochs of a head that was trained on cached features; the network has its last weights.

        Raises:
            DivergedError: the head's loss stopped being finite.
        """
        self.curve += head.curve
        if head.error is not None:
            raise DivergedError(head.error)
        if self._settled is None and self._keeps_any and head.evaluations and self._is_best(head.evaluations[head.best_evaluation]):
            self._best = self._copies() | {f"head.{name}": tensor for name, tensor in head.best.items()}
        self._evaluations += head.evaluations

    @property
    def last_loss(self) -> float:
        """Calibrated log loss on val of the last epoch (nats)."""
        return -self._evaluations[-1].value[1]

    def choose(self) -> Choice:
        """The epoch to keep, by its position in the curve, and what val says about a choice like it."""
        if self._settled is not None:
            return self._given(self._settled)
        last = len(self.curve) - 1
        ends = [place for place in (0, last) if place == last or self.curve[place].epoch == 0]
        places = list(range(last + 1)) if self._keeps_any else sorted(set(ends))
        choice = self._selector.choose([self._evaluations[place] for place in places])
        return replace(choice, position=places[choice.position])

    def _given(self, settled: Settled) -> Choice:
        """The epoch that another job has chosen, at its temperature."""
        position = next(place for place, point in enumerate(self.curve) if point.epoch == settled.epoch)
        raw_NC = self._evaluations[position].log_probs_NC
        return Choice(position, settled.temperature, raw_NC, self._selector.objective.log_probs(raw_NC, settled.temperature))

    def put_back(self, position: int) -> None:
        """Give the network the weights of the chosen epoch again."""
        if self._keeps_any or position < len(self.curve) - 1:
            self._fill(self._best)

    def _is_best(self, found: Evaluation) -> bool:
        return all(found.value > other.value for other in self._evaluations)

    def snapshot(self) -> "Snapshot":
        """The network as it is now and what is kept so far."""
        return Snapshot(list(self.curve), list(self._evaluations), self._best, self._copies())  # `_best` is only ever replaced as a whole

    @property
    def changing(self) -> dict[str, Tensor]:
        """The tensors that training may change, by name; not copied."""
        return {name: tensor for name, tensor in tensors_of(self._network).items() if name not in self._frozen}

    @property
    def now(self) -> "Snapshot":
        """The same as `snapshot`, not copied: to be written before training goes on."""
        return Snapshot(self.curve, self._evaluations, self._best, {name: tensor.detach() for name, tensor in self.changing.items()})

    def go_back(self, snapshot: "Snapshot") -> None:
        """Make the network and what is kept what they were when the snapshot was taken."""
        self.curve, self._evaluations, self._best = list(snapshot.curve), list(snapshot.evaluations), snapshot.best
        self._fill(snapshot.now)

    def _fill(self, tensors: Mapping[str, Tensor]) -> None:
        changing = self.changing
        with torch.no_grad():
            for name, tensor in tensors.items():
                changing[name].copy_(tensor)

    def _copies(self) -> dict[str, Tensor]:
        return {name: tensor.detach().clone() for name, tensor in self.changing.items()}
