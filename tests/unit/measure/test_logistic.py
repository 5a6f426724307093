"""The solved head and the cross-validated probe against scikit-learn's logistic regression."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression

from harness.measure.logistic import STRENGTHS, Solution, cross_validated, path, solve

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


def test_a_path_is_the_solution_of_each_strength() -> None:
    """Along the path each solution is scikit-learn's for that strength, from the strongest penalty to the weakest."""
    features, labels = _data(60, 5, 3, seed=0)
    for strength, found in zip(STRENGTHS, path(features, labels, np.ones(3)), strict=True):
        expected = _oracle(features, labels, features, strength, np.ones(3))
        np.testing.assert_allclose(np.exp(found.log_probs(features)), np.exp(expected), atol=5e-3)


@pytest.mark.parametrize("num_features", [5, 90])
def test_the_strength_is_the_one_that_predicts_held_out_folds_best(num_features: int) -> None:
    """With fewer and with more features than images, scikit-learn's held-out losses have their minimum at the strength that is chosen."""
    features, labels = _data(60, num_features, 3, seed=0)
    folds = np.arange(60) // 3 % 5
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    losses = []
    for strength in STRENGTHS:
        models = [LogisticRegression(C=strength, max_iter=3000).fit(scaled[folds != fold], labels[folds != fold]) for fold in range(5)]
        held_out = [model.predict_log_proba(scaled[folds == fold]) for fold, model in enumerate(models)]
        losses.append(-sum(found[np.arange(len(found)), labels[folds == fold]].sum() for fold, found in enumerate(held_out)))
    strength, solution = cross_validated(features, labels, folds)
    assert strength == STRENGTHS[int(np.argmin(losses))]
    expected = _oracle(features, labels, features, strength, np.ones(3))
    np.testing.assert_allclose(np.exp(solution.log_probs(features)), np.exp(expected), atol=5e-3)


def test_an_image_of_no_fold_is_trained_on_but_never_held_out() -> None:
    """The only image of a class, its fold -1, has a place in the solution and no say in how strengths are judged."""
    features, labels = _data(60, 5, 3, seed=0)
    folds = np.arange(60) // 3 % 5
    without, _ = cross_validated(features, labels, folds)
    alone = np.full((1, 5), 500, dtype=np.float32)  # held out, it would cost most where the penalty is weak
    features, labels, folds = np.concatenate([features, alone]), np.append(labels, 3), np.append(folds, -1)
    strength, solution = cross_validated(features, labels, folds)
    expected = _oracle(features, labels, features, strength, np.ones(4))
    np.testing.assert_allclose(np.exp(solution.log_probs(features)), np.exp(expected), atol=5e-3)
    assert strength == without == STRENGTHS[-1]
