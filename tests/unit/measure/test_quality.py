"""Quality metrics against scikit-learn, and what is undefined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from harness.config import Metric
from harness.measure.quality import confusion, per_class, primary_metric, quality


def _predictions(seed: int, num_images: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(num_images, num_classes)) * 2
    labels = np.concatenate([np.arange(num_classes), generator.integers(0, num_classes, num_images - num_classes)])
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True), labels.astype(np.int64)


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(12, 80), st.integers(2, 8))
def test_metrics_equal_scikit_learns(seed: int, num_images: int, num_classes: int) -> None:
    """Every defined metric is the one scikit-learn computes from the predicted classes or probabilities."""
    log_probs, labels = _predictions(seed, num_images, num_classes)
    predicted = log_probs.argmax(axis=1)
    values, undefined = quality(log_probs, labels)
    assert values["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
    assert values["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(labels, predicted))
    assert values["f1_macro"] == pytest.approx(metrics.f1_score(labels, predicted, average="macro", zero_division=0))
    assert values["f1_weighted"] == pytest.approx(metrics.f1_score(labels, predicted, average="weighted", zero_division=0))
    assert values["log_loss"] == pytest.approx(metrics.log_loss(labels, np.exp(log_probs)))
    assert ("precision_macro" in undefined) == (len(set(predicted)) < num_classes)
    assert ("top5_accuracy" in undefined) == (num_classes < 6)
    assert all(values[name] is None for name in undefined)
    assert 0 <= (values["ece"] or 0) <= 1


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.integers(2, 8))
def test_per_class_results_follow_from_the_confusion_matrix(seed: int, num_classes: int) -> None:
    """Support sums to the images, and mean recall is the balanced accuracy."""
    log_probs, labels = _predictions(seed, 50, num_classes)
    predicted = log_probs.argmax(axis=1)
    results = per_class(predicted, labels, num_classes)
    assert sum(result.support for result in results) == 50 == confusion(predicted, labels, num_classes).sum()
    recalls = [result.recall for result in results if result.recall is not None]
    assert np.mean(recalls) == pytest.approx(quality(log_probs, labels)[0]["balanced_accuracy"])


def test_calibration_error_of_a_hand_worked_case() -> None:
    """Two images at confidence 0.8, one right: |0.8 - 0.5| = 0.3."""
    log_probs = np.log(np.array([[0.8, 0.2], [0.8, 0.2]]))
    assert quality(log_probs, np.array([0, 1]))[0]["ece"] == pytest.approx(0.3)


def test_a_class_without_images_leaves_class_means_empty_with_a_reason() -> None:
    """Balanced accuracy over a class that is not there does not exist; accuracy does."""
    log_probs = np.log(np.full((4, 3), 1 / 3))
    values, undefined = quality(log_probs, np.array([0, 0, 1, 1]))
    assert values["balanced_accuracy"] is None
    assert "no image of 1 class in this split" in undefined["balanced_accuracy"]
    assert values["accuracy"] == 0.5


def test_imbalance_changes_the_primary_metric() -> None:
    """From twice as many images on, accuracy would reward guessing the large class."""
    assert primary_metric([100, 51]) is Metric.accuracy
    assert primary_metric([100, 50]) is Metric.balanced_accuracy
