"""A moving average over the weights of all steps, evaluated and kept in place of the last ones.

Of the loop. Early steps count for less than the decay says, so that the start is soon forgotten in a training of a few hundred steps.
Source: Polyak & Juditsky, 1992; the warm-up of the decay is that of TensorFlow's `ExponentialMovingAverage`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor


class WeightAverage:
    """Of tensors that training moves; whole numbers, such as a count of batches, are what they are after the last step."""

    def __init__(self, tensors: Mapping[str, Tensor], decay: float) -> None:
        """`tensors`: those of a network, by name; they are read after each step and written when the average is shown."""
        self._tensors = tensors
        self._decay = decay
        self._num_steps = 0
        self.averages = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the tensors after a step."""
        self._num_steps += 1
        decay = min(self._decay, (1 + self._num_steps) / (10 + self._num_steps))
        for name, tensor in self._tensors.items():
            if tensor.is_floating_point():
                self.averages[name].lerp_(tensor.detach(), 1 - decay)
            else:
                self.averages[name].copy_(tensor)

    def state(self) -> dict[str, Any]:
        """What changes from step to step; tensors are not copied."""
        return {"averages": self.averages, "num_steps": self._num_steps}

    def go_back(self, state: Mapping[str, Any]) -> None:
        """Be what it was when the state was taken."""
        self._num_steps = state["num_steps"]
        for name, average in self.averages.items():
            average.copy_(state["averages"][name])

    @contextmanager
    def shown(self) -> Iterator[None]:
        """The network has the averages for as long as this lasts."""
        moving = {name: tensor.detach().clone() for name, tensor in self._tensors.items()}
        self.keep()
        try:
            yield
        finally:
            self._write(moving)

    def keep(self) -> None:
        """Give the network the averages."""
        self._write(self.averages)

    @torch.no_grad()
    def _write(self, values: Mapping[str, Tensor]) -> None:
        for name, tensor in self._tensors.items():
            tensor.copy_(values[name])
