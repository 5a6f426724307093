"""How many more images: by hand, and enough in simulation for the tied set to separate the two as often as promised."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.select.comparison import tied_set
from harness.select.ranking import rank
from harness.select.sample_size import MAX_GROWTH, images_to_separate
from harness.study.store import Study
from tests.unit.select.planted import QUICK, add, decision, planted


def test_by_hand() -> None:
    """One standard error apart, it takes (1.645 + 0.842)^2 = 6.18 times the images; the sign does not matter."""
    for difference in (0.02, -0.02):
        assert images_to_separate(difference, (0.02, 0.02), 100, 1.6449) == (519, None)


def test_seeds_do_not_shrink_with_images() -> None:
    """What comes from seeds stays: more images must make up for it, and where they cannot the reason says so."""
    without, _ = images_to_separate(0.04, (0.02, 0.02), 100, 1.6449)
    more, _ = images_to_separate(0.04, (0.02, np.sqrt(0.0005)), 100, 1.6449)
    assert without == 55
    assert more == 152  # 0.0004 / (0.04^2 / 6.183 - 0.0001) = 2.52 times
    number, reason = images_to_separate(0.04, (0.02, 0.03), 100, 1.6449)
    assert number is None
    assert reason is not None
    assert "seeds" in reason


@pytest.mark.parametrize(("difference", "words"), [(0.0, "the same"), (1e-5, f"{MAX_GROWTH} times")])
def test_no_number_where_none_is_honest(difference: float, words: str) -> None:
    """Equal scores, or a difference that is hardly there: a sentence instead of an absurd number."""
    number, reason = images_to_separate(difference, (0.02, 0.02), 100, 1.6449)
    assert number is None
    assert reason is not None
    assert words in reason


def test_power_is_kept() -> None:
    """If the difference is what it seems, that many images separate two candidates four times in five, by the set as by the interval."""
    rng = np.random.default_rng(0)
    true_difference, spread, num_images = 0.03, 0.3, 200
    standard_error = spread / np.sqrt(num_images)
    more, _ = images_to_separate(true_difference, (standard_error, standard_error), num_images, 1.96)
    assert more is not None
    separated = 0
    for _ in range(400):
        ahead_N = rng.normal(true_difference, spread, num_images + more)
        draws_R = ahead_N.mean() + rng.normal(0, ahead_N.std() / np.sqrt(len(ahead_N)), 600)
        separated += not tied_set(np.array([0.0, ahead_N.mean()]), np.stack([np.zeros(600), draws_R], axis=1), 0.95)[0]
    assert 0.72 <= separated / 400 <= 0.88


def test_study_without_a_clear_winner(tmp_path: Path) -> None:
    """The recommended and the best other tied one, by name, with the images there are and those that are missing; more than a few."""
    study = Study(tmp_path / "s")
    add(study, "slow", planted(range(180), num_images=2000), latency_ms_p50=90.0)
    add(study, "fast", planted(range(60, 252), num_images=2000), latency_ms_p50=10.0)
    add(study, "third", planted(range(30, 225), num_images=2000), latency_ms_p50=95.0)
    (found,) = decision(rank(study, QUICK)).separations
    assert (found.first, found.second, found.num_images) == ("fast · all", "slow · all", 2000)
    assert found.difference.value == pytest.approx(-12 / 2000)
    assert found.num_more is not None
    assert 4000 < found.num_more < 40_000


def test_two_candidates_ask_for_a_two_sided_lead(tmp_path: Path) -> None:
    """Separated they are when the interval of their difference leaves zero, at 1.96 standard errors, not at 1.64."""
    study = Study(tmp_path / "s")
    add(study, "one", planted(range(180), num_images=2000))
    add(study, "two", planted(range(60, 252), num_images=2000))
    (found,) = decision(rank(study, replace(QUICK, num_resamples=4000))).separations
    se = (132 - 12**2 / 2000) ** 0.5 / 2000
    wanted, _ = images_to_separate(12 / 2000, (se, se), 2000, 1.96)
    assert found.num_more == pytest.approx(wanted, rel=0.06)


def test_clear_winner_needs_no_more_images(tmp_path: Path) -> None:
    """Alone in the tied set: there is nothing to separate. Equal answers: a sentence."""
    study = Study(tmp_path / "s")
    add(study, "best", planted(range(5)), latency_ms_p50=90.0)
    add(study, "poor", planted(range(80)), latency_ms_p50=20.0)
    assert decision(rank(study, QUICK)).separations == ()
    add(study, "same", planted(range(5)), latency_ms_p50=80.0)
    (found,) = decision(rank(study, QUICK)).separations
    assert found.num_more is None
    assert found.reason is not None
