"""Intervals of clustered images are those of a bootstrap over clusters."""

import numpy as np
import pytest

from harness.config import Metric
from harness.select.evidence import Evidence
from harness.select.resamples import Resamples
from harness.select.scores import IntArray, Runs
from harness.select.units import Units


def _clustered(num_groups: int, each: int, seed: int = 0) -> tuple[Runs, IntArray]:
    """Two runs that are right or wrong on whole patients."""
    rng = np.random.default_rng(seed)
    labels_N = np.repeat(np.arange(num_groups) % 2, each)
    is_right_JG = rng.random((2, num_groups)) < np.array([[0.8], [0.7]])
    predicted_JN = np.where(np.repeat(is_right_JG, each, axis=1), labels_N, 1 - labels_N)
    runs = Runs(predicted_JN, np.log(np.full(predicted_JN.shape, 0.5)), labels_N, 2)
    return runs, np.repeat(np.arange(num_groups), each)


def test_an_interval_is_that_of_resampled_groups() -> None:
    """As wide as a plain bootstrap of patients within their class, and more than twice as wide as if each image stood for itself."""
    runs, groups_N = _clustered(60, 8)
    evidence = Evidence.of(runs, Metric.accuracy, [1, 1], groups_N)
    drawn_RK = Resamples.from_evidence(evidence, Metric.accuracy, 4000).image_draws_RK
    rng, is_right_G = np.random.default_rng(1), (runs.predicted_JN[0] == runs.labels_N).reshape(60, 8).mean(axis=1)
    direct_R = [np.mean([rng.choice(is_right_G[label::2], 30).mean() for label in (0, 1)]) for _ in range(4000)]
    alone_RK = Resamples.from_evidence(Evidence.of(runs, Metric.accuracy, [1, 1]), Metric.accuracy, 4000).image_draws_RK
    assert drawn_RK[:, 0].std() == pytest.approx(np.std(direct_R), rel=0.15)
    assert drawn_RK[:, 0].std() > 2 * alone_RK[:, 0].std()
    assert evidence.design_effect == pytest.approx(8, rel=0.1)


def test_a_group_for_each_image_changes_nothing() -> None:
    """Then a unit is an image."""
    runs, _ = _clustered(60, 1)
    own, grouped = (Evidence.of(runs, Metric.balanced_accuracy, [1, 1], groups_N) for groups_N in (None, np.arange(60)[::-1].copy()))
    np.testing.assert_allclose(own.covariance_KK, grouped.covariance_KK, atol=1e-12)
    assert own.one_more_K == pytest.approx(grouped.one_more_K)
    assert grouped.design_effect == pytest.approx(1.0, abs=0.05)


def test_units_add_up_what_their_images_say() -> None:
    """Of groups of unequal size, with images of two classes in one of them."""
    units = Units.of(np.array([0, 1, 0, 1, 1]), np.array([7, 7, 3, 3, 3]))
    assert units.strata_U.tolist() == [0, 1]
    assert units.gathered(np.array([[1.0, 2.0, 3.0, 4.0, 5.0]])).tolist() == [[-3.0, 3.0]]
