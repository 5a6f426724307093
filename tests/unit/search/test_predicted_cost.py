"""Seconds of a leg before it runs: the formula, the refit, the range."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.search.predicted_cost import (
    DEFAULT_SPREAD,
    FACTOR,
    MIN_RATIOS,
    NOTHING,
    OWN_SPREAD,
    CostModel,
    Prediction,
    Work,
    total,
)


def work(kind: str = "train", *, epochs: float = 3.0, passed: float = 1.0, trained: float = 1.0, constant_s: float = 0.0) -> Work:
    """A leg over 100 images that take 10 ms each without gradients."""
    return Work(kind=kind, forward_s=0.01, num_images=100, epochs=epochs, passed_frac=passed, trained_frac=trained, constant_s=constant_s)


def after(ratios: list[float]) -> CostModel:
    """A model that saw one leg each of other trials, so many times what the formula said."""
    model = CostModel()
    for number, ratio in enumerate(ratios):
        model = model.observe(f"other {number}", work(), work().seconds * ratio)
    return model


def test_formula_without_frozen_layers_is_the_factor() -> None:
    """All passes forward and backward: factor x seconds of a pass x epochs, and what is paid once."""
    assert work(constant_s=2.0).seconds == pytest.approx(FACTOR * 0.01 * 100 * 3 + 2.0)


def test_formula_of_a_frozen_front_is_that_of_the_literature() -> None:
    """From images, with a share u trained, training costs (1 + 2u) / 3 of full depth."""
    assert work(trained=0.25).seconds == pytest.approx(work().seconds * (1 + 2 * 0.25) / 3)


def test_formula_behind_a_kept_front_is_in_proportion_to_what_is_left() -> None:
    """Where the front's rows are kept, neither direction goes through it."""
    assert work(passed=0.25, trained=0.25).seconds == pytest.approx(work().seconds * 0.25)


def test_first_prediction_is_the_formula_with_the_stated_range() -> None:
    """Before anything was measured the range is a default."""
    found, expected_s = CostModel().predict("a", work()), work().seconds
    assert found == Prediction(expected_s, expected_s / DEFAULT_SPREAD, expected_s * DEFAULT_SPREAD)


def test_other_trials_take_the_median_ratio() -> None:
    """One leg that took ten times too long moves nobody's prediction tenfold."""
    assert after([2.0, 2.2, 20.0]).predict("a", work()).value_s == pytest.approx(work().seconds * 2.2)


def test_kinds_are_refitted_apart() -> None:
    """Probes that ran faster than the formula say nothing of how training errs."""
    model = CostModel().observe("a", work("probe"), work("probe").seconds / 2)
    assert model.predict("b", work("train")).value_s == pytest.approx(work().seconds)
    assert model.predict("b", work("probe")).value_s == pytest.approx(work().seconds / 2)
    assert model.predict("a", work("train")).value_s == pytest.approx(work().seconds)


def test_a_trial_that_ran_is_predicted_by_its_own_seconds_per_epoch() -> None:
    """What is paid once is not multiplied by the epochs, whatever others took."""
    model = after([1.0] * 9).observe("a", work(epochs=1, constant_s=2.0), 2.0 + 7.0)
    found = model.predict("a", work(epochs=6, constant_s=3.0))
    assert (found.value_s, found.low_s, found.high_s) == pytest.approx((45.0, 45.0 / OWN_SPREAD, 45.0 * OWN_SPREAD))


def test_later_legs_of_one_trial_do_not_count_for_others() -> None:
    """Only first legs are compared with the formula, so that one trial with many legs has one vote."""
    model = after([2.0, 3.0]).observe("slow", work(), work().seconds * 9)
    for _ in range(5):
        model = model.observe("slow", work(), work().seconds * 9)
    assert model.predict("a", work()).value_s == pytest.approx(work().seconds * 3)


def test_range_is_that_of_the_ratios_once_there_are_enough() -> None:
    """Nine tenths of what was measured lie in it, around the median."""
    ratios = [0.9, 0.95, 1.0, 1.05, 1.2]
    assert len(ratios) == MIN_RATIOS
    found, few = after(ratios).predict("a", work()), after(ratios[:-1]).predict("a", work())
    assert few.high_s == pytest.approx(few.value_s * DEFAULT_SPREAD)
    assert found.low_s / found.value_s == pytest.approx(0.91)
    assert found.high_s / found.value_s == pytest.approx(1.17)


def test_own_range_is_that_of_own_errors_once_there_are_enough() -> None:
    """How far trials' later legs were off their own first ones is a range of its own."""
    model = after([1.0] * 6)
    for number in range(6):
        model = model.observe(f"other {number}", work(), work().seconds * (0.98 if number % 2 else 1.02))
    found = model.predict("other 0", work())
    assert 0.95 < found.low_s / found.value_s < found.high_s / found.value_s < 1.05


def test_observing_leaves_the_model_as_it_was() -> None:
    """A model is a value."""
    before = after([2.0])
    before.observe("a", work(), 1000.0)
    assert before == after([2.0])


def test_a_leg_faster_than_its_constants_is_no_negative_time() -> None:
    """A trial that ended before its constants were up is predicted to take those alone."""
    model = CostModel().observe("a", work(constant_s=5.0), 1.0)
    assert model.predict("a", work(constant_s=5.0)).value_s == pytest.approx(5.0)


@given(st.lists(st.floats(0.1, 10.0), max_size=12), st.floats(0.0, 30.0), st.floats(0.05, 1.0))
def test_value_lies_in_its_range(ratios: list[float], constant_s: float, trained: float) -> None:
    """Low, value and high are in order, whatever was measured, of a new trial and of one that ran."""
    model = after(ratios).observe("own", work(trained=trained, constant_s=constant_s), 12.0)
    for name in ("new", "own"):
        found = model.predict(name, work(epochs=6, trained=trained, constant_s=constant_s))
        assert 0 <= found.low_s <= found.value_s * (1 + 1e-9)
        assert found.value_s <= found.high_s * (1 + 1e-9)


@given(st.floats(0.1, 10.0), st.integers(MIN_RATIOS, 12))
def test_a_formula_that_is_off_by_one_factor_is_put_right(factor: float, num: int) -> None:
    """When every leg takes the same multiple, the next is predicted to, without doubt."""
    found, expected_s = after([factor] * num).predict("a", work()), work().seconds * factor
    assert (found.low_s, found.value_s, found.high_s) == pytest.approx((expected_s,) * 3)


def test_predictions_add_end_by_end() -> None:
    """The whole has the sum of the lows, of the values and of the highs; of nothing it is nothing."""
    assert total([Prediction(2, 1, 3), Prediction(20, 10, 30)]) == Prediction(22, 11, 33)
    assert total([]) == NOTHING
