"""Rungs: when jobs are compared, and until when a held learning rate is held."""

import pytest

from harness.config import Schedule, TrainConfig
from harness.transfer.loop import lr_factor
from harness.transfer.rungs import held_epochs, rungs


@pytest.mark.parametrize(
    ("epochs", "expected"), [(0, (0,)), (1, (1,)), (2, (1, 2)), (3, (1, 3)), (9, (1, 3, 9)), (10, (2, 4, 10)), (30, (4, 10, 30))]
)
def test_rungs_are_thirds_of_thirds(epochs: int, expected: tuple[int, ...]) -> None:
    """The last rung is the whole training; each before it is a third of the next, rounded up."""
    assert rungs(epochs) == expected


@pytest.mark.parametrize("epochs", [1, 2, 3, 9, 10])
def test_a_held_rate_falls_only_in_the_last_rung(epochs: int) -> None:
    """From the end of the warm-up to the last but one rung the factor is one; then it falls, and ends near zero."""
    factor = lr_factor(TrainConfig(schedule=Schedule.held, warmup_frac=0.1), epochs=epochs, epoch_steps=20)
    warmup, falls_from = 2 * epochs, 20 * held_epochs(epochs)
    assert {factor(step) for step in range(warmup, falls_from)} <= {1.0}
    falling = [factor(step) for step in range(max(warmup, falls_from), 20 * epochs)]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] < 0.05
