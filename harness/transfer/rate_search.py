"""Which learning rate to try next, and which is best: a few that every candidate tries, and more where the best lies on their edge.

Asked by `run`, told what each came to. A best rate on the edge says that a better one may lie beyond: the grid is widened there, by the
step that it ends with, once or twice.
"""

import math
from collections.abc import Mapping, Sequence

MAX_WIDENINGS = 2


class RateSearch:
    """Learning rates of one candidate."""

    def __init__(self, rates: Sequence[float], tried: Mapping[float, float | None] | None = None) -> None:
        """Rates ascending, one at least; `tried`: what some of them came to before."""
        self._losses = dict(tried or {})
        self._waiting = [lr for lr in rates if lr not in self._losses]
        self._asked = set(self._losses)
        self._num_widened = 0

    def next(self) -> float | None:
        """The next one to try; None when there is none, or none before those that are being tried are told."""
        is_told = self._asked <= self._losses.keys()
        if not self._waiting and is_told and self._num_widened < MAX_WIDENINGS and (beyond := self._beyond()) is not None:
            self._num_widened += 1
            self._waiting.append(beyond)
        if not self._waiting:
            return None
        self._asked.add(self._waiting[0])
        return self._waiting.pop(0)

    def tell(self, lr: float, loss: float | None) -> None:
        """What a rate came to: its calibrated log loss on val; None: it diverged."""
        self._losses[lr] = loss

    @property
    def best(self) -> float:
        """The best so far; of equals the lowest, which changes the pretrained weights least."""
        return min(self._losses, key=lambda lr: (math.inf if (loss := self._losses[lr]) is None else loss, lr))

    @property
    def losses(self) -> dict[float, float | None]:
        """Rate -> calibrated log loss on val (nats), ascending by rate; None: it diverged."""
        return dict(sorted(self._losses.items()))

    def _beyond(self) -> float | None:
        """A rate past the edge that the best lies on; None: it lies on none, or rates there diverge."""
        tried = sorted(self._losses)
        if len(tried) < 2 or self._losses[self.best] is None:
            return None
        if self.best == tried[-1]:
            return _rounded(tried[-1] ** 2 / tried[-2])
        return _rounded(tried[0] ** 2 / tried[1]) if self.best == tried[0] else None


def _rounded(lr: float) -> float:
    return float(f"{lr:.3g}")
