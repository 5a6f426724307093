"""Scores and draws of one split: seeds averaged, seeds and images told apart, signs turned back."""

from dataclasses import astuple

import numpy as np
import pytest

from harness.config import Metric
from harness.select.comparison import IntArray, Interval
from harness.select.resamples import Answers, Resamples


def answers(shares: tuple[float, ...], labels_N: IntArray, seed: int) -> Answers:
    """One candidate whose seeds label these shares right."""
    rng = np.random.default_rng(seed)
    right_SN = rng.random((len(shares), len(labels_N))) < np.array(shares)[:, None]
    predicted_SN: IntArray = np.where(right_SN, labels_N, 1 - labels_N)
    return predicted_SN, np.log(np.where(right_SN, 0.9, 0.1))


def test_variance_of_images_and_of_seeds_are_separate() -> None:
    """Seeds that disagree widen the draws of both, not those of the images alone, a single run's too; without a repeat the two are one."""
    labels_N = np.arange(300) % 2
    found = Resamples.of([answers((0.9, 0.7, 0.5), labels_N, 0), answers((0.8,), labels_N, 1)], labels_N, 2, Metric.accuracy, 800)
    for k in (0, 1):
        assert found.draws_RK[:, k].std() > 3 * found.image_draws_RK[:, k].std()
    once = Resamples.of([answers((0.9,), labels_N, 0), answers((0.5,), labels_N, 1)], labels_N, 2, Metric.accuracy, 300)
    np.testing.assert_array_equal(once.draws_RK, once.image_draws_RK)


def test_a_score_of_all_right_is_not_certain() -> None:
    """Of 90 images all right, the interval goes down to Wilson's 95.9 %; of none right, as far up."""
    labels_N = np.arange(90) % 2
    found = Resamples.of([answers((1.1,), labels_N, 0), answers((-0.1,), labels_N, 1)], labels_N, 2, Metric.accuracy, 500)
    assert astuple(found.interval(0, 0.95)) == pytest.approx((1 - 0.0409, 1.0), abs=1e-3)
    assert astuple(found.interval(1, 0.95)) == pytest.approx((0.0, 0.0409), abs=1e-3)


def test_scores_are_means_over_seeds() -> None:
    """Candidates with different numbers of seeds keep their own rows."""
    labels_N = np.arange(200) % 2
    given = [answers((0.9, 0.7), labels_N, 0), answers((0.6,), labels_N, 1), answers((0.5, 0.8, 0.7), labels_N, 2)]
    found = Resamples.of(given, labels_N, 2, Metric.accuracy, 200)
    assert found.scores_K.tolist() == pytest.approx([float((predicted_SN == labels_N).mean()) for predicted_SN, _ in given])
    assert found.image_draws_RK.mean(axis=0).tolist() == pytest.approx(found.scores_K.tolist(), abs=0.01)


def test_log_loss_turns_back() -> None:
    """Inside, higher is better; what is shown is the loss, its interval in ascending order, and a difference that is positive for the better."""
    labels_N = np.arange(200) % 2
    found = Resamples.of([answers((0.9,), labels_N, 0), answers((0.5,), labels_N, 1)], labels_N, 2, Metric.log_loss, 300)
    assert 0 < found.score(0) < found.score(1)
    shown = found.interval(0, 0.95)
    assert 0 < shown.low < found.score(0) < shown.high
    assert found.natural(Interval(-2.0, -1.0)) == Interval(1.0, 2.0)
    difference = found.difference(0, 1, 0.95)
    assert difference.value == pytest.approx(found.score(1) - found.score(0))
    assert 0 < difference.interval.low < difference.value < difference.interval.high


def test_standard_error_is_that_of_the_paired_difference() -> None:
    """On a mean over images: the spread of the per-image difference over the root of their number."""
    labels_N = np.arange(400) % 2
    given = [answers((0.9,), labels_N, 0), answers((0.7,), labels_N, 1)]
    found = Resamples.of(given, labels_N, 2, Metric.accuracy, 3000)
    ahead_N = (given[0][0][0] == labels_N).astype(float) - (given[1][0][0] == labels_N)
    image_se, total_se = found.standard_errors(0, 1)
    assert image_se == total_se == pytest.approx(ahead_N.std() / 20, rel=0.06)
