"""The solved head against scikit-learn's logistic regression."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from harness.transfer.solve import STRENGTHS, Solution, solve

Arrays = tuple[np.ndarray, np.ndarray]


def _data(num_images: int, num_features: int, num_classes: int, seed: int) -> Arrays:
    generator = np.random.default_rng(seed)
    labels = np.arange(num_images, dtype=np.int64) % num_classes
    centres = np.random.default_rng(9).normal(size=(num_classes, num_features))
    features = generator.normal(size=(num_images, num_features)) + 0.7 * centres[labels]
    return (3 * features + 1).astype(np.float32), labels


def _oracle(features: np.ndarray, labels: np.ndarray, val: np.ndarray, strength: float, class_weights: np.ndarray) -> np.ndarray:
    """scikit-learn's log-probabilities on val. For two classes it has one vector where the softmax has two of half its length."""
    mean, scale = features.mean(axis=0), features.std(axis=0)
    doubled = 2 * strength if len(class_weights) == 2 else strength
    model = LogisticRegression(C=doubled, max_iter=3000, tol=1e-8, class_weight=dict(enumerate(class_weights)))
    return np.asarray(model.fit((features - mean) / scale, labels).predict_log_proba((val - mean) / scale))


@pytest.mark.parametrize("num_features", [5, 90])
@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_solution_is_scikit_learns(num_features: int, num_classes: int, weighted: bool) -> None:
    """With fewer and with more features than images, two classes and more, the best of its solutions is ours."""
    features, labels = _data(60, num_features, num_classes, seed=0)
    val, val_labels = _data(40, num_features, num_classes, seed=1)
    weights = np.linspace(0.5, 2, num_classes) if weighted else np.ones(num_classes)
    found = solve(features, labels, val, val_labels, weights)
    ours = log_softmax(val @ found.weight_CD.T + found.bias_C, axis=1)
    oracles = [_oracle(features, labels, val, strength, weights) for strength in STRENGTHS]
    best = min(oracles, key=lambda log_probs: -log_probs[np.arange(40), val_labels].mean())
    np.testing.assert_allclose(np.exp(ours), np.exp(best), atol=5e-3)


def test_a_feature_that_never_changes_is_harmless() -> None:
    """A constant column has no scale; its weight is zero and the rest is solved as without it."""
    features, labels = _data(60, 5, 3, seed=0)
    with_constant = np.concatenate([features, np.full((60, 1), 7, dtype=np.float32)], axis=1)
    ones = np.ones(3)
    plain, padded = solve(features, labels, features, labels, ones), solve(with_constant, labels, with_constant, labels, ones)
    np.testing.assert_allclose(padded.weight_CD[:, -1], 0)
    np.testing.assert_allclose(padded.weight_CD[:, :-1], plain.weight_CD, atol=1e-4)


def test_the_log_loss_of_a_solution() -> None:
    """A classifier that says nothing costs log C per image."""
    features, labels = _data(12, 5, 3, seed=0)
    assert Solution(np.zeros((3, 5)), np.zeros(3)).log_loss(features, labels) == pytest.approx(np.log(3))
