"""Choosing among checkpoints: what is kept, at which temperature, and that what is reported of it promises nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from harness.config import Metric
from harness.measure.choice import TEMPERATURES, Selector, best_temperature, deal
from harness.measure.objective import SingleLabel
from harness.measure.quality import decide, score

EQUAL = SingleLabel(np.full(3, 1 / 3))


def _log_probs(labels: np.ndarray, share_right: float, sureness: float, seed: int, num_classes: int = 3) -> np.ndarray:
    """Logits that point at the right class for a share of the images and at another for the rest."""
    rng = np.random.default_rng(seed)
    aim = np.where(rng.random(len(labels)) < share_right, labels, (labels + rng.integers(1, num_classes, len(labels))) % num_classes)
    return EQUAL.log_probs(sureness * np.eye(num_classes)[aim] + 0.1 * rng.normal(size=(len(labels), num_classes)), 1.0)


def test_a_checkpoint_that_is_right_more_often_is_kept_although_it_is_too_sure() -> None:
    """Raw log loss would keep the modest one of 60 %; the metric keeps the one of 80 %, whose probabilities a temperature mends."""
    labels = np.arange(300) % 3
    modest, sure = _log_probs(labels, 0.6, 1.0, seed=0), _log_probs(labels, 0.8, 12.0, seed=1)
    raw = [-found[np.arange(300), labels].mean() for found in (modest, sure)]
    assert raw[0] < raw[1]
    selector = Selector.of(labels, Metric.accuracy, EQUAL)
    choice = selector.choose([selector.evaluate(modest), selector.evaluate(sure)])
    assert choice.position == 1
    assert choice.temperature > 3
    assert -choice.log_probs_NC[np.arange(300), labels].mean() < min(raw)


def test_of_equally_right_checkpoints_the_better_calibrated_is_kept_and_of_equals_the_first() -> None:
    """The calibrated log loss breaks ties of the metric; equal evaluations leave the earlier epoch."""
    labels = np.arange(90) % 3
    blunt, sharp = _log_probs(labels, 1.0, 0.05, seed=0), _log_probs(labels, 1.0, 3.0, seed=0)
    right = [found for found in (blunt, sharp) if (found.argmax(axis=1) == labels).all()]
    selector = Selector.of(labels, Metric.accuracy, EQUAL)
    worse = EQUAL.log_probs(np.eye(3)[labels] * 2 + np.eye(3)[(labels + 1) % 3] * 1.9, 1.0)
    evaluations = [selector.evaluate(found) for found in (worse, right[-1], right[-1])]
    assert selector.choose(evaluations).position == 1


def test_what_is_reported_of_a_choice_promises_nothing() -> None:
    """The best of 30 useless checkpoints looks 10 points better than chance; cross-chosen it does not."""
    naive, honest = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        labels = rng.permutation(np.arange(60) % 2)
        selector = Selector.of(labels, Metric.accuracy, SingleLabel(np.full(2, 0.5)))
        evaluations = [selector.evaluate(EQUAL.log_probs(rng.normal(size=(60, 2)), 1.0)) for _ in range(30)]
        choice = selector.choose(evaluations)
        naive.append(evaluations[choice.position].value[0])
        honest.append((choice.raw_log_probs_NC.argmax(axis=1) == labels).mean())
    assert np.mean(naive) > 0.59
    assert np.mean(honest) == pytest.approx(0.5, abs=0.03)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.floats(0.5, 8.0))
def test_the_temperature_minimises_log_loss(seed: int, sureness: float) -> None:
    """Within one step of the grid of what scipy finds, and its loss within a thousandth."""
    labels = np.arange(120) % 3
    found = _log_probs(labels, 0.7, sureness, seed)
    temperature, loss = best_temperature(EQUAL.losses(found, labels, TEMPERATURES))
    exact = minimize_scalar(lambda heat: -EQUAL.log_probs(found, heat)[np.arange(120), labels].mean(), bounds=(0.25, 16), method="bounded")
    assert loss <= exact.fun * 1.001 + 1e-6
    assert TEMPERATURES[0] <= temperature <= TEMPERATURES[-1]


def test_balanced_accuracy_divides_the_prior_out() -> None:
    """An image whose rare class is likelier than its share is called rare, which accuracy would not do; recall of both classes gains."""
    prior = np.array([0.9, 0.1])
    log_probs = np.log(np.array([[0.8, 0.2], [0.95, 0.05], [0.3, 0.7]]))
    assert decide(log_probs, Metric.balanced_accuracy, prior).tolist() == [1, 0, 1]
    assert decide(log_probs, Metric.accuracy, prior).tolist() == [0, 0, 1]
    rng = np.random.default_rng(0)
    labels = (rng.random(4000) < 0.1).astype(np.int64)
    evidence = rng.normal(size=4000) + 1.5 * labels  # what a calibrated classifier knows of each image
    logit = 1.5 * evidence - 1.5**2 / 2 + np.log(prior[1] / prior[0])
    known = EQUAL.log_probs(np.stack([np.zeros(4000), logit], axis=1), 1.0)
    adjusted, plain = (
        score(decide(known, metric, prior), labels, Metric.balanced_accuracy) for metric in (Metric.balanced_accuracy, Metric.accuracy)
    )
    assert adjusted > plain + 0.1


@settings(max_examples=25)
@given(st.lists(st.integers(0, 4), min_size=6, max_size=60), st.integers(2, 6))
def test_folds_share_images_and_classes_evenly(labels: list[int], num_folds: int) -> None:
    """No two folds differ by more than one image; of any class none has more than one image over its even share, rounded up."""
    folds = deal(np.array(labels), num_folds)
    sizes = np.bincount(folds, minlength=num_folds)
    assert sizes.max() - sizes.min() <= 1
    for label in set(labels):
        of_class = np.bincount(folds[np.array(labels) == label], minlength=num_folds)
        assert of_class.max() <= -(-labels.count(label) // num_folds)
