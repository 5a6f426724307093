"""Predicted seconds of a part of a search: from the measured feature pass, refitted with every part that was measured since.

Stands before the staged search, whose executor asks here before anything is trained. A *leg* is what runs in one go: a probe, or a
candidate brought from one rung to the next. Everything is in seconds; every prediction has a low and a high end.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

FACTOR = 3.7
"""What a training step costs when nothing is frozen, over the same images' pass without gradients: forward, backward (twice the
multiply-adds), and what surrounds them. Measured over models of many families, the formula is off by a tenth in the median."""

DEFAULT_SPREAD, OWN_SPREAD = 1.5, 1.15
"""High end over value, and value over low end, until enough was measured: of a trial that never ran, and of one that did."""

MIN_RATIOS = 5
"""Measured legs from which on their own ratios say how far a prediction may be off."""

RANGE = (0.05, 0.95)
"""Quantiles of those ratios that become low and high."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """Seconds, with the range that they are expected in; low <= value <= high."""

    value_s: float
    low_s: float
    high_s: float

    def __add__(self, other: "Prediction") -> "Prediction":
        """Low and high ends add up: one machine makes all legs slow together."""
        return Prediction(self.value_s + other.value_s, self.low_s + other.low_s, self.high_s + other.high_s)


NOTHING = Prediction(0.0, 0.0, 0.0)


def total(predictions: Iterable[Prediction]) -> Prediction:
    """All of them one after the other."""
    return sum(predictions, NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One leg, before it has run.

    Its seconds are `constant_s + FACTOR / 3 x forward_s x num_images x epochs x (passed_frac + 2 trained_frac)`: every image goes forward
    through the layers that are not kept, and twice as much work goes backward through those that are trained. Training from images with
    a frozen front has passed_frac = 1 and reads (1 + 2u) / 3; behind a kept front passed_frac = trained_frac = u, as the front's one
    pass is paid by the probe; nothing frozen has both at 1 and reads FACTOR.
    """

    kind: str
    """Legs of one kind err alike and are refitted together: `probe`, `train`."""
    forward_s: float
    """One image through the whole backbone without gradients."""
    num_images: int
    epochs: float
    """Passes over the images; learning rates that are tried side by side count each."""
    passed_frac: float
    """Share of the multiply-adds that every image goes through forward."""
    trained_frac: float
    """Share of the multiply-adds that gradients go back through; 0 for a probe."""
    constant_s: float = 0.0
    """Paid once a leg, whatever its epochs: starting, building, predicting, timing."""

    @property
    def epochs_s(self) -> float:
        """The part that grows with the epochs."""
        return FACTOR / 3 * self.forward_s * self.num_images * self.epochs * (self.passed_frac + 2 * self.trained_frac)

    @property
    def seconds(self) -> float:
        """What the formula says, before any refit."""
        return self.constant_s + self.epochs_s


@dataclass(frozen=True, slots=True)
class Measured:
    """One leg that has run."""

    trial: str
    work: Work
    taken_s: float
    own_ratio: float | None
    """Time taken over what the trial's own earlier legs predicted; None for its first leg."""


@dataclass(frozen=True, slots=True)
class CostModel:
    """What was measured so far, and what it says about the rest.

    A trial that ran before is predicted by its own seconds per epoch. Any other takes the median ratio of measured to formula over
    first legs of its kind. The range is the central nine tenths of the ratios seen, around their median, or a stated default while
    they are few.
    """

    measured: tuple[Measured, ...] = ()

    def observe(self, trial: str, work: Work, taken_s: float) -> "CostModel":
        """The same model after one more leg; this one stays as it is."""
        own_s = self._own_s(trial, work)
        ratio = None if own_s is None else _ratio(taken_s, own_s)
        return replace(self, measured=(*self.measured, Measured(trial, work, taken_s, ratio)))

    def predict(self, trial: str, work: Work) -> Prediction:
        """Seconds of one leg."""
        own_s = self._own_s(trial, work)
        if own_s is not None:
            return _spread(own_s, [leg.own_ratio for leg in self.measured if leg.own_ratio is not None], OWN_SPREAD)
        same = [_ratio(leg.taken_s, leg.work.seconds) for leg in self.measured if leg.own_ratio is None and leg.work.kind == work.kind]
        return _spread(work.seconds * (float(np.median(same)) if same else 1.0), same, DEFAULT_SPREAD)

    def _own_s(self, trial: str, work: Work) -> float | None:
        """From the trial's own legs of this kind: their time without constants, by the work in them."""
        own = [leg for leg in self.measured if leg.trial == trial and leg.work.kind == work.kind]
        formula_s = sum(leg.work.epochs_s for leg in own)
        if formula_s <= 0:
            return None
        taken_s = sum(max(leg.taken_s - leg.work.constant_s, 0.0) for leg in own)
        return work.constant_s + work.epochs_s * taken_s / formula_s


def _ratio(taken_s: float, predicted_s: float) -> float:
    return taken_s / predicted_s if predicted_s > 0 else 1.0


def _spread(value_s: float, ratios: Sequence[float], default: float) -> Prediction:
    """The value with a range as wide as the ratios are around their median."""
    median = float(np.median(ratios)) if ratios else 1.0
    if len(ratios) < MIN_RATIOS or median <= 0 or not math.isfinite(median):
        return Prediction(value_s, value_s / default, value_s * default)
    low, high = np.quantile(ratios, RANGE) / median
    return Prediction(value_s, value_s * float(low), value_s * float(high))
