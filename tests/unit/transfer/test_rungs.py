"""Lengths of trainings: the short one, and until when a held learning rate is held."""

import pytest

from harness.config import Schedule, TrainConfig
from harness.transfer.loop import lr_factor
from harness.transfer.rungs import held_epochs, short_epochs


@pytest.mark.parametrize(("epochs", "expected"), [(0, 0), (1, 1), (2, 1), (3, 1), (9, 3), (10, 4), (20, 7)])
def test_a_short_training_is_a_third(epochs: int, expected: int) -> None:
    """Rounded up."""
    assert short_epochs(epochs) == expected


@pytest.mark.parametrize("epochs", [1, 2, 3, 9, 10])
def test_a_held_rate_falls_after_a_third(epochs: int) -> None:
    """From the end of the warm-up to a third of the epochs the factor is one; then it falls, and ends near zero."""
    factor = lr_factor(TrainConfig(schedule=Schedule.held, warmup_frac=0.1), epochs=epochs, epoch_steps=20)
    warmup, falls_from = 2 * epochs, 20 * held_epochs(epochs)
    assert {factor(step) for step in range(warmup, falls_from)} <= {1.0}
    falling = [factor(step) for step in range(max(warmup, falls_from), 20 * epochs)]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] < 0.05
