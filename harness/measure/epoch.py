"""One point of the learning curves: what an epoch of training came to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One point of the learning curves."""

    epoch: int
    """0 is the head's starting point, before any step; counts on through a second phase."""
    phase: int
    """1, or 2 after the release of more layers."""
    lr: float | None
    train_loss: float | None
    """Mean over the epoch's own training batches (dropout and augmentation on); at epoch 0 None."""
    train_accuracy: float | None
    val_loss: float
    """At temperature 1."""
    val_accuracy: float
    val_score: float
    """The study's primary metric on val: what epochs are chosen by."""
