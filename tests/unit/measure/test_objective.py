"""The objective of single labels: probabilities, decisions and losses that agree with each other."""

import numpy as np
import pytest

from harness.config import Metric
from harness.measure.objective import SingleLabel
from harness.measure.quality import quality

LOGITS = np.array([[2.0, 1.0, 0.0], [0.0, 0.4, 0.3], [1.0, 1.0, 3.0], [0.5, 0.0, 0.4]])
LABELS = np.array([0, 1, 2, 2])
OBJECTIVE = SingleLabel(np.array([0.8, 0.1, 0.1]))


@pytest.mark.parametrize("temperature", [1.0, 2.5, np.array([1.0, 2.0, 0.5, 4.0])])
def test_log_probs_are_those_of_a_softmax_at_a_temperature(temperature: float | np.ndarray) -> None:
    """One temperature for all images or one for each; probabilities sum to one."""
    heat = np.broadcast_to(np.asarray(temperature).reshape(-1, 1), (4, 1))
    found = OBJECTIVE.log_probs(LOGITS, temperature)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(found - found[:, :1], (LOGITS - LOGITS[:, :1]) / heat, atol=1e-6)


def test_decisions_divide_learnt_class_shares_out_where_the_metric_asks() -> None:
    """Under balanced accuracy the frequent class is called only where it is likelier than its share."""
    log_probs = OBJECTIVE.log_probs(LOGITS)
    assert OBJECTIVE.decide(log_probs, Metric.accuracy).tolist() == [0, 1, 2, 0]
    assert OBJECTIVE.decide(log_probs, Metric.balanced_accuracy).tolist() == [1, 1, 2, 2]
    assert OBJECTIVE.score(log_probs, LABELS, Metric.accuracy) == 0.75
    assert OBJECTIVE.score(log_probs, LABELS, Metric.balanced_accuracy) == pytest.approx(2 / 3)


def test_losses_at_each_temperature_are_those_of_calibrated_probabilities() -> None:
    """Column by column; at temperature 1 their mean is the log loss that every row states."""
    log_probs = OBJECTIVE.log_probs(LOGITS)
    losses = OBJECTIVE.losses(log_probs, LABELS, (0.5, 1.0, 3.0))
    for column, temperature in zip(losses.T, (0.5, 1.0, 3.0), strict=True):
        wanted = -OBJECTIVE.true_log_probs(OBJECTIVE.log_probs(log_probs, temperature), LABELS)
        np.testing.assert_allclose(column, wanted, atol=1e-6)
    assert OBJECTIVE.log_loss(log_probs, LABELS) == pytest.approx(losses[:, 1].mean())
    assert OBJECTIVE.log_loss(log_probs, LABELS) == quality(log_probs, LABELS)[0]["log_loss"]
