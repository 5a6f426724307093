"""The corrected score: by hand, within its bounds, and closer to the truth than the score it corrects."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.corrected import corrected_score
from harness.select.comparison import FloatArray, interval

Study = tuple[FloatArray, FloatArray]


def study(rng: np.random.Generator, truth_K: FloatArray, num_resamples: int = 400) -> Study:
    """Scores around the truth and draws around the scores, errors of one size, half of their variance shared."""

    def error(num: int) -> FloatArray:
        return np.asarray(0.7 * rng.normal(size=(num, 1)) + 0.7 * rng.normal(size=(num, len(truth_K))))

    scores_K = truth_K + error(1)[0]
    return scores_K, scores_K + error(num_resamples)


@st.composite
def any_study(draw: st.DrawFn) -> Study:
    """Any number of candidates, from equal to far apart."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return study(rng, draw(st.floats(0, 5)) * rng.normal(size=draw(st.integers(1, 12))), num_resamples=60)


def test_of_two_with_equal_scores() -> None:
    """Two of four resamples put one of them 0.1 ahead of its score, so being first is worth 0.05 and being second the same."""
    draws_RK = np.array([[0.8, 0.6], [0.6, 0.8], [0.7, 0.7], [0.7, 0.7]])
    for chosen in (0, 1):
        assert corrected_score(np.array([0.7, 0.7]), draws_RK, chosen) == pytest.approx(0.65)


def test_a_lead_that_chance_explains_is_moved_together_first() -> None:
    """Around centres that differ as the truth probably does, one resample swaps the two; around the scores none would.

    The scores differ by variance 0.00336 and chance alone by 0.0017, so the centres are 0.7 +- 0.041 * sqrt(0.494), and the
    first place holds errors of 0.04, 0.04, 0.01 and -0.01.
    """
    scores_K = np.array([0.741, 0.659])
    draws_RK = scores_K + np.array([[0.04, -0.04], [-0.04, 0.04], [0.01, -0.01], [-0.01, 0.01]])
    assert corrected_score(scores_K, draws_RK, 0) == pytest.approx(0.721)
    assert corrected_score(scores_K, draws_RK, 1) == pytest.approx(0.659), "second place is unlucky, and nothing is added"


def test_no_lower_than_the_chosen_may_be() -> None:
    """Beside a candidate whose score jumps, being first is worth 0.05, more than the resamples of a steady one allow."""
    draws_RK = np.array([[0.701, 0.5], [0.699, 0.9], [0.701, 0.7], [0.699, 0.7]])
    assert corrected_score(np.array([0.7, 0.7]), draws_RK, 0) == pytest.approx(0.699)
    assert corrected_score(np.array([0.7, 0.7]), draws_RK, 1) == pytest.approx(0.7 - (0.001 + 0.2 + 0.001) / 4)


def test_equal_best_scores_come_in_one_order() -> None:
    """Who is close to the best must not depend on which of two equal bests is listed first, though one of them jumps."""
    scores_K = np.array([0.8, 0.8, 0.77])
    draws_RK = scores_K + np.random.default_rng(3).normal(size=(300, 3)) * np.array([0.01, 0.05, 0.01])
    swapped = corrected_score(scores_K[[1, 0, 2]], draws_RK[:, [1, 0, 2]], 0)
    assert corrected_score(scores_K, draws_RK, 1) == pytest.approx(swapped, abs=1e-12)


def test_a_candidate_far_behind_changes_nothing() -> None:
    """Only candidates that may be as good as the best are moved: a bad one must not make the others look truly different."""
    scores_K = np.array([0.741, 0.659, 0.1])
    draws_RK = scores_K + np.array([[0.04, -0.04, 0], [-0.04, 0.04, 0], [0.01, -0.01, 0], [-0.01, 0.01, 0]])
    assert corrected_score(scores_K, draws_RK, 0) == pytest.approx(0.721)


def test_one_candidate_is_not_corrected() -> None:
    """Nothing was picked."""
    draws_RK = np.random.default_rng(0).normal(0.8, 0.02, size=(500, 1))
    assert corrected_score(np.array([0.8]), draws_RK, 0) == pytest.approx(0.8, abs=1e-12)


def test_candidates_that_answer_alike_are_not_corrected() -> None:
    """Copies of one candidate leave nothing to be lucky with."""
    draws_RK = np.repeat(np.random.default_rng(0).normal(0.8, 0.02, size=(500, 1)), 4, axis=1)
    assert corrected_score(np.full(4, 0.8), draws_RK, 2) == pytest.approx(0.8, abs=1e-12)


@settings(max_examples=60)
@given(any_study(), st.data())
def test_never_above_the_score_nor_below_its_interval(found: Study, data: st.DataObject) -> None:
    """A correction only takes away, and no more than the resamples allow."""
    scores_K, draws_RK = found
    chosen = data.draw(st.integers(0, len(scores_K) - 1))
    corrected = corrected_score(scores_K, draws_RK, chosen)
    assert min(interval(draws_RK[:, chosen], 0.95).low, scores_K[chosen]) - 1e-12 <= corrected <= scores_K[chosen]


@settings(max_examples=60)
@given(any_study(), st.data())
def test_order_and_zero_point_do_not_matter(found: Study, data: st.DataObject) -> None:
    """Candidates listed otherwise, or scores that all carry a constant, give the same correction; equal scores included."""
    scores_K, draws_RK = found
    rounded_K = scores_K.round()
    draws_RK = draws_RK - scores_K + rounded_K
    order_K = np.array(data.draw(st.permutations(range(len(scores_K)))))
    place = data.draw(st.integers(0, len(scores_K) - 1))
    expected = corrected_score(rounded_K, draws_RK, int(order_K[place]))
    assert corrected_score(rounded_K[order_K], draws_RK[:, order_K], place) == pytest.approx(expected, abs=1e-9)
    assert corrected_score(rounded_K + 64, draws_RK + 64, int(order_K[place])) == pytest.approx(expected + 64, abs=1e-9)


@pytest.mark.parametrize(
    "truth_K",
    [np.zeros(20), np.linspace(4, 0, 20), np.concatenate([np.zeros(5), np.full(15, -8.0)])],
    ids=["all equal", "graded", "a group at the top"],
)
def test_of_the_best_by_score_most_of_the_curse_is_gone(truth_K: FloatArray) -> None:
    """The mean error is less than a third of that of the score itself, to either side."""
    rng, score_errors, errors = np.random.default_rng(1), [], []
    for _ in range(150):
        scores_K, draws_RK = study(rng, truth_K)
        best = int(scores_K.argmax())
        score_errors.append(scores_K[best] - truth_K[best])
        errors.append(corrected_score(scores_K, draws_RK, best) - truth_K[best])
    assert np.mean(score_errors) > 0.5
    assert abs(np.mean(errors)) < np.mean(score_errors) / 3


def test_a_clear_lead_is_left_alone() -> None:
    """Nothing was gained by picking a candidate that always wins, so nothing is taken away."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        scores_K, draws_RK = study(rng, np.concatenate([[12.0], np.zeros(19)]))
        assert corrected_score(scores_K, draws_RK, 0) == pytest.approx(scores_K[0], abs=1e-9)


def test_of_a_candidate_picked_for_its_cost_hardly_changed() -> None:
    """Among equal candidates one picked without looking at scores is corrected for its place only, not as if it were the maximum."""
    rng, errors, taken = np.random.default_rng(2), [], []
    for _ in range(150):
        scores_K, draws_RK = study(rng, np.zeros(20))
        corrected = corrected_score(scores_K, draws_RK, 0)
        errors.append(corrected)
        taken.append(scores_K[0] - corrected)
    assert abs(np.mean(errors)) < 0.4
    assert 0.1 < np.mean(taken) < 0.5
