"""Few images: doubt does not vanish because nothing varies among them, and every statement about it says the same."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from harness.config import Metric
from harness.reporting.answer import tied_set as tied_words
from harness.reporting.grounds import rests_on
from harness.select.comparison import score_interval, tied_set
from harness.select.evidence import Evidence
from harness.select.ranking import rank
from harness.select.resamples import Resamples
from harness.select.scores import Runs
from harness.study.store import Study
from tests.unit.select.planted import QUICK, add, planted


def two(num_right: int, num_images: int) -> Evidence:
    """One that is right on the first images, and one that is right on the others."""
    labels_N = np.arange(num_images) % 2
    is_right_N = np.arange(num_images) < num_right
    predicted_JN = np.stack([np.where(is_right_N, labels_N, 1 - labels_N), np.where(is_right_N, 1 - labels_N, labels_N)])
    return Evidence.of(Runs(predicted_JN, np.full(predicted_JN.shape, -0.1), labels_N, 2), Metric.accuracy, [1, 1])


@pytest.mark.parametrize("num_images", [1, 2, 3, 4, 5])
def test_no_few_images_separate_two(num_images: int) -> None:
    """All of them speak for one candidate, and the exact sign test still finds chance likely enough."""
    found = Resamples.from_evidence(two(num_images, num_images), Metric.accuracy, 2000)
    assert binomtest(num_images, num_images).pvalue > 0.05
    assert tied_set(found.scores_K, found.draws_RK, 0.95).all()
    behind = found.difference(0, 1, 0.95)
    assert behind.interval.low < 0 < behind.interval.high


def test_a_dozen_images_do() -> None:
    """Where the exact test is sure, so is the set, and the interval says the same."""
    found = Resamples.from_evidence(two(12, 12), Metric.accuracy, 2000)
    assert tied_set(found.scores_K, found.draws_RK, 0.95).tolist() == [True, False]
    assert found.difference(0, 1, 0.95).interval.low > 0


@pytest.mark.parametrize("num_images", [1, 6, 28, 200])
@pytest.mark.parametrize("num_wrong", [0, 1, 4])
def test_scores_near_the_edge_have_exact_intervals(num_images: int, num_wrong: int) -> None:
    """As wide as Wilson's at least, at 100 % and just below, at 0 % and just above."""
    if num_wrong > num_images:
        return
    for num_right in (num_images - num_wrong, num_wrong):
        score = num_right / num_images
        exact = binomtest(num_right, num_images).proportion_ci(0.95, method="wilson")
        found = score_interval(np.full(500, score), Metric.accuracy, 0.95, score=score, num_equal=num_images)
        assert found.low <= exact.low + 1e-9
        assert found.high >= exact.high - 1e-9


def test_one_val_image_in_words(tmp_path: Path) -> None:
    """It separates nobody, and is one image."""
    study = Study(tmp_path / "s")
    add(study, "right", planted([], 1))
    add(study, "wrong", planted([0], 1))
    ranking = rank(study, QUICK)
    assert tied_words(ranking).startswith("2 candidates cannot be excluded as best")
    assert rests_on(ranking) == "The comparison rests on 1 labelled val image, which every candidate was judged on."
    assert ranking.entries[0].interval.low < 0.5
    assert ranking.entries[0].prob_best is not None
    assert ranking.entries[0].prob_best < 0.95
