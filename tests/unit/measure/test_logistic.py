"""The solved head and the out-of-fold probe against scikit-learn's logistic regression."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from harness.measure.logistic import STRENGTHS, Solution, cross_fit, solve

Arrays = tuple[np.ndarray, np.ndarray]


def _data(num_images: int, num_features: int, num_classes: int, seed: int) -> Arrays:
    generator = np.random.default_rng(seed)
    labels = np.arange(num_images, dtype=np.int64) % num_classes
    centres = np.random.default_rng(9).normal(size=(num_classes, num_features))
    features = generator.normal(size=(num_images, num_features)) + 0.7 * centres[labels]
    return (3 * features + 1).astype(np.float32), labels


def _scale(features: np.ndarray) -> np.ndarray:
    """What each feature is divided by: its deviation, the median one at least."""
    deviations = features.std(axis=0)
    return np.asarray(np.maximum(deviations, np.median(deviations)))


def _oracle(features: np.ndarray, labels: np.ndarray, val: np.ndarray, strength: float, class_weights: np.ndarray) -> np.ndarray:
    """scikit-learn's log-probabilities on val. For two classes it has one vector where the softmax has two of half its length."""
    mean, scale = features.mean(axis=0), _scale(features)
    doubled = 2 * strength if len(class_weights) == 2 else strength
    model = LogisticRegression(C=doubled, max_iter=3000, tol=1e-8, class_weight=dict(enumerate(class_weights)))
    return np.asarray(model.fit((features - mean) / scale, labels).predict_log_proba((val - mean) / scale))


@pytest.mark.parametrize("num_features", [5, 90])
@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("strength", [1e-3, 0.1])
def test_the_solution_is_scikit_learns(num_features: int, num_classes: int, weighted: bool, strength: float) -> None:
    """With fewer and with more features than images, two classes and more, at a strong and at a weak penalty."""
    features, labels = _data(60, num_features, num_classes, seed=0)
    others, _ = _data(40, num_features, num_classes, seed=1)
    weights = np.linspace(0.5, 2, num_classes) if weighted else np.ones(num_classes)
    found = solve(features, labels, weights, strength)
    expected = _oracle(features, labels, others, strength, weights)
    np.testing.assert_allclose(np.exp(found.log_probs(others)), np.exp(expected), atol=5e-3)


def test_a_feature_that_never_changes_is_harmless() -> None:
    """A constant column has no scale; its weight is zero and the rest is solved as without it."""
    features, labels = _data(60, 5, 3, seed=0)
    with_constant = np.concatenate([features, np.full((60, 1), 7, dtype=np.float32)], axis=1)
    plain, padded = (solve(each, labels, np.ones(3), 0.1) for each in (features, with_constant))
    np.testing.assert_allclose(padded.weight_CD[:, -1], 0)
    np.testing.assert_allclose(padded.weight_CD[:, :-1], plain.weight_CD, atol=1e-4)


def test_a_channel_that_is_all_but_dead_does_not_decide() -> None:
    """A feature that hardly varied in training and varies elsewhere moves predictions by little: it is not blown up to a deviation of one."""
    features, labels = _data(60, 5, 3, seed=0)
    dead = np.random.default_rng(3).normal(size=(60, 1)).astype(np.float32) * 1e-5
    found = solve(np.concatenate([features, dead], axis=1), labels, np.ones(3), 0.1)
    awake = np.concatenate([features, np.full((60, 1), 0.1, dtype=np.float32)], axis=1)
    plain = solve(features, labels, np.ones(3), 0.1).log_probs(features)
    np.testing.assert_allclose(np.exp(found.log_probs(awake)), np.exp(plain), atol=0.05)


def test_the_log_loss_of_a_solution() -> None:
    """A classifier that says nothing costs log C per image."""
    features, labels = _data(12, 5, 3, seed=0)
    assert Solution(np.zeros((3, 5)), np.zeros(3)).log_loss(features, labels) == pytest.approx(np.log(3))


@pytest.mark.parametrize("num_features", [5, 90])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_fold_is_predicted_by_heads_that_never_saw_it(num_features: int, weighted: bool) -> None:
    """With fewer and with more features than images, out-of-fold probabilities of each strength are scikit-learn's, trained on the other folds."""
    features, labels = _data(60, num_features, 3, seed=0)
    weights, folds = np.linspace(0.5, 2, 3) if weighted else np.ones(3), np.arange(60) // 3 % 5
    scaled = (features - features.mean(axis=0)) / _scale(features)
    found = cross_fit(features, labels, folds, weights)
    for strength, log_probs in zip(found.strengths, found.log_probs_SNC, strict=True):
        for fold in range(5):
            rest, held = folds != fold, folds == fold
            model = LogisticRegression(C=strength, max_iter=3000, class_weight=dict(enumerate(weights))).fit(scaled[rest], labels[rest])
            np.testing.assert_allclose(np.exp(log_probs[held]), model.predict_proba(scaled[held]), atol=0.03)


def test_weaker_penalties_are_tried_until_they_overfit_twice() -> None:
    """On noise the strongest penalty is best and the path ends two strengths later; on a clear signal it goes on."""
    noise = np.random.default_rng(0).normal(size=(60, 30))
    labels, folds = np.arange(60) % 3, np.arange(60) // 3 % 5
    assert cross_fit(noise, labels, folds, np.ones(3)).strengths == list(STRENGTHS[:3])
    assert len(cross_fit(np.eye(3)[labels] + 0.1 * noise[:, :3], labels, folds, np.ones(3)).strengths) > 8


@pytest.mark.parametrize("num_features", [5, 90])
@pytest.mark.parametrize("several", [False, True])
def test_a_weight_is_as_many_equal_images(num_features: int, several: bool) -> None:
    """Whole weights are repetitions and 0 is leaving out: one head, and, where copies share a fold, one set of out-of-fold predictions."""
    features, classes = _data(60, num_features, 3, seed=0)
    labels = np.eye(3, dtype=np.int64)[classes] | np.eye(3, dtype=np.int64)[::-1][classes] if several else classes
    weights_N, folds = np.arange(60) // 3 % 4, np.arange(60) % 5
    places = np.repeat(np.arange(60), weights_N)
    ones = np.ones(3)
    found, wanted = solve(features, labels, ones, 0.1, weights_N.astype(float)), solve(features[places], labels[places], ones, 0.1)
    np.testing.assert_allclose(found.weight_CD, wanted.weight_CD, atol=2e-4)
    np.testing.assert_allclose(found.bias_C, wanted.bias_C, atol=2e-4)
    assert not np.allclose(found.weight_CD, solve(features, labels, ones, 0.1).weight_CD, atol=2e-3)
    one, other = (
        cross_fit(features, labels, folds, ones, weights_N.astype(float)),
        cross_fit(features[places], labels[places], folds[places], ones),
    )
    for one_NC, other_NC in zip(one.log_probs_SNC[:8], other.log_probs_SNC[:8], strict=True):
        np.testing.assert_allclose(one_NC[places], other_NC, atol=2e-2)


def test_an_image_of_weight_0_is_as_good_as_none() -> None:
    """To the last bit, whatever it holds."""
    features, labels = _data(40, 90, 3, seed=0)
    odd = np.concatenate([features, 1e6 * features[:7]])
    weights_N = np.append(np.linspace(0.2, 2, 40), np.zeros(7))
    found, wanted = (
        solve(odd, np.append(labels, labels[:7]), np.ones(3), 0.1, weights_N),
        solve(features, labels, np.ones(3), 0.1, weights_N[:40]),
    )
    np.testing.assert_array_equal(found.weight_CD, wanted.weight_CD)


def test_weights_of_one_are_none() -> None:
    """The same head and predictions as without."""
    features, labels = _data(60, 5, 3, seed=0)
    np.testing.assert_allclose(
        solve(features, labels, np.ones(3), 0.1, np.ones(60)).weight_CD, solve(features, labels, np.ones(3), 0.1).weight_CD, atol=1e-6
    )
