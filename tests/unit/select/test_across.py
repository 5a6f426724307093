"""Several studies side by side: which candidates are the same, mean ranks and their intervals, agreement."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau, rankdata

from harness.config import Metric
from harness.errors import ConfigError, TableError
from harness.select.across import Asked, Comparison, compare, kendall_tau, ranks
from harness.select.comparison import FloatArray
from harness.select.posterior import Posterior
from harness.select.prior import OwnRanks
from harness.select.ranking import rank
from harness.study.store import Study
from tests.unit.select.planted import QUICK, add, imbalanced, planted

NUM_DRAWS = 20_000


def write(root: Path, num_wrong: Mapping[str, int], **changes: Any) -> Study:
    """A study in which each backbone errs on so many of 200 images, others for each."""
    study = Study(root)
    for backbone, number in num_wrong.items():
        wrong = np.random.default_rng([*backbone.encode(), *root.name.encode()]).permutation(200)[:number]
        add(study, backbone, planted(wrong), gmacs=None, **changes)
    return study


def compared(*studies: Study, **changes: Any) -> Comparison:
    """By accuracy."""
    return compare([Asked(study, replace(QUICK, **changes)) for study in studies])


def drawn(belief: Posterior, rng: np.random.Generator) -> FloatArray:
    """Of the mixture, without the program's own draws."""
    which = rng.choice(len(belief.weights_G), NUM_DRAWS, p=belief.weights_G)
    draws = np.empty((NUM_DRAWS, belief.mean_GD.shape[1]))
    for g in np.unique(which):
        rows = np.flatnonzero(which == g)
        draws[rows] = rng.multivariate_normal(belief.mean_GD[g], belief.covariance_GDD[g], len(rows), method="svd")
    return draws[:, belief.distinct_K]


def draws_by_label(found: Comparison) -> list[dict[str, FloatArray]]:
    """Study by study, independently."""
    rng = np.random.default_rng(5)
    draws = [drawn(study.contest.belief, rng) for study in found.studies]
    return [
        {candidate.label: draws_RK[:, k] for k, candidate in enumerate(study.contest.pool.candidates)}
        for study, draws_RK in zip(found.studies, draws, strict=True)
    ]


def test_ranks_and_tau_are_what_they_should_be() -> None:
    """Ranks as one counts them, tau as scipy has it, row by row, ties included; the same for all has no tau."""
    rng = np.random.default_rng(3)
    first_RK, second_RK = (rng.integers(0, 5, (200, 7)).astype(float) for _ in range(2))
    counted = [[1 + sum(row > value) + (sum(row == value) - 1) / 2 for value in row] for row in first_RK]
    np.testing.assert_array_equal(ranks(first_RK), counted)
    expected = [kendalltau(one, other).statistic for one, other in zip(first_RK, second_RK, strict=True)]
    np.testing.assert_allclose(kendall_tau(first_RK, second_RK), expected, atol=1e-12)
    assert np.isnan(kendall_tau(np.ones((1, 4)), second_RK[:1, :4])).all()


def test_mean_ranks_are_those_of_independent_draws(tmp_path: Path) -> None:
    """Means, intervals, probabilities and tau agree with draws of the same posteriors by other means, ranked by scipy."""
    one = write(tmp_path / "one", {"a": 40, "b": 44, "c": 60, "d": 61})
    two = write(tmp_path / "two", {"a": 30, "b": 22, "c": 50, "d": 36}, data_fingerprint="f2")
    found = compared(one, two)
    draws = draws_by_label(found)
    labels = [each.label for each in found.ranked]
    ranks_SRK = np.stack([rankdata(-np.stack([own[label] for label in labels], axis=1), axis=1) for own in draws])
    mean_RK = ranks_SRK.mean(axis=0)
    best_RK = mean_RK == mean_RK.min(axis=1, keepdims=True)
    prob_K = (best_RK / best_RK.sum(axis=1, keepdims=True)).mean(axis=0)
    assert sorted(labels) == ["a · all", "b · all", "c · all", "d · all"]
    for k, each in enumerate(found.ranked):
        assert each.interval is not None
        assert each.mean_rank == pytest.approx(mean_RK[:, k].mean(), abs=0.05)
        assert (each.interval.low, each.interval.high) == pytest.approx(tuple(np.quantile(mean_RK[:, k], [0.025, 0.975])), abs=0.51)
        assert each.prob_best == pytest.approx(prob_K[k], abs=0.03)
        for s, cell in enumerate(each.cells):
            assert cell is not None
            assert cell.mean_rank == pytest.approx(ranks_SRK[s, :, k].mean(), abs=0.05)
            assert cell.expected == pytest.approx(draws[s][each.label].mean(), abs=0.002)
    assert [each.mean_rank for each in found.ranked] == sorted(each.mean_rank for each in found.ranked if each.mean_rank is not None)
    (agreement,) = found.agreements
    in_draws = [
        kendalltau([own[label][r] for label in labels], [draws[1][label][r] for label in labels]).statistic
        for own in draws[:1]
        for r in range(2000)
    ]
    assert agreement.interval is not None
    assert agreement.tau == pytest.approx(
        kendalltau(*([cell.expected for each in found.ranked if (cell := each.cells[s])] for s in (0, 1))).statistic
    )
    assert (agreement.interval.low, agreement.interval.high) == pytest.approx(tuple(np.quantile(in_draws, [0.025, 0.975])), abs=0.34)


def test_equal_studies_are_drawn_independently(tmp_path: Path) -> None:
    """A copy tells as much as another data set: the mean of two ranks varies less than one, which equal draws would not show."""
    scores = {"a": 40, "b": 42, "c": 44}
    one, copy = (Study(tmp_path / name) for name in ("one", "copy"))
    for study in (one, copy):
        for backbone, number in scores.items():
            add(study, backbone, planted(np.random.default_rng([*backbone.encode()]).permutation(200)[:number]))
    (agreement,) = compared(one, copy).agreements
    assert agreement.tau == pytest.approx(1.0)
    assert agreement.interval is not None
    assert agreement.interval.low < 0 < agreement.interval.high


def test_a_study_hears_nothing_of_the_others(tmp_path: Path) -> None:
    """Expected scores are those of a study by itself: that a backbone led elsewhere, which its own report knows, would count twice."""
    one = write(tmp_path / "one", {"a": 40, "b": 44}, dataset="first", data_fingerprint="f1")
    two = write(tmp_path / "two", {"a": 5, "b": 90}, dataset="second", data_fingerprint="f2")
    alone = {entry.label: entry.expected for entry in rank(one, QUICK, OwnRanks({})).entries}
    assert {each.label: each.cells[0].expected for each in compared(one, two).ranked if each.cells[0]} == alone
    assert {entry.label: entry.expected for entry in rank(one, QUICK).entries} != alone


def test_only_candidates_of_every_study_have_mean_ranks(tmp_path: Path) -> None:
    """Others are named with the reason: missing somewhere, outside a limit, or in one study only; their scores are shown all the same."""
    one = write(tmp_path / "one", {"a": 40, "b": 60, "c": 20, "only": 10})
    two = write(tmp_path / "two", {"a": 40, "b": 60, "c": 20}, data_fingerprint="f2")
    three = write(tmp_path / "three", {"a": 40, "b": 60, "slow": 30}, data_fingerprint="f3")
    add(two, "slow", planted(range(30)), latency_ms_p50=90.0, data_fingerprint="f2")
    found = compared(one, two, three, max_latency_ms=50)
    left_out = {each.label: each.left_out for each in found.candidates if each.mean_rank is None}
    assert [each.label for each in found.ranked] == ["a · all", "b · all"]
    assert left_out["c · all"] == "missing in three"
    assert left_out["slow · all"].startswith("missing in one; outside the limits of two (latency 90")
    assert found.only_in == {"one": ("only · all",)}
    (other,) = [each for each in found.candidates if each.label == "c · all"]
    assert [cell and round(cell.expected, 1) for cell in other.cells] == [0.9, 0.9, None]
    assert {cell.mean_rank for cell in other.cells if cell} == {None}
    assert [(each.studies, each.num_candidates) for each in found.agreements] == [
        (("one", "two"), 3),
        (("one", "three"), 2),
        (("two", "three"), 3),
    ]


def test_depths_that_ended_in_one_model_share_a_rank(tmp_path: Path) -> None:
    """In the study where they did; where they did in all studies they are one candidate."""
    one, two = Study(tmp_path / "one"), Study(tmp_path / "two")
    for study in (one, two):
        for freeze in ("all", "0.5", "none"):
            is_same = freeze != "none" or study is one
            add(study, "a", planted(range(20 if is_same else 60)), freeze=freeze, model_blake2b="m" if is_same else "other")
    found = compared(one, two)
    assert [each.label for each in found.ranked] == ["a · all (= 0.5)", "a · none"]
    assert [each.cells[0] and each.cells[0].mean_rank for each in found.ranked] == [1.5, 1.5]


def test_recipes_count_where_a_study_has_several(tmp_path: Path) -> None:
    """One recipe in each study: compared whatever it is. Two in one of them: only the equal one is the same candidate."""
    one, two = Study(tmp_path / "one"), Study(tmp_path / "two")
    for backbone in "ab":
        add(one, backbone, planted(range(30)), recipe="short", recipe_hash="r1")
        add(two, backbone, planted(range(30)), recipe="long", recipe_hash="r2")
    assert [each.label for each in compared(one, two).ranked] == ["a · all", "b · all"]
    add(two, "a", planted(range(40)), recipe="short", recipe_hash="r1", seed=1)
    found = compared(one, two)
    assert sorted(each.label for each in found.ranked) == ["a · all · short", "b · all"]
    assert found.only_in == {"two": ("a · all · long",)}


def test_metrics_may_differ(tmp_path: Path) -> None:
    """Ranks compare where scores do not, and lower log loss is a better rank; its interval holds what is expected."""
    one, two = Study(tmp_path / "one"), Study(tmp_path / "two")
    for backbone, skill in {"good": 0.95, "bad": 0.5}.items():
        imbalanced(one, backbone, skill)
        imbalanced(two, backbone, skill, data_fingerprint="f2")
    found = compare([Asked(one, replace(QUICK, metric=Metric.accuracy)), Asked(two, replace(QUICK, metric=Metric.log_loss))])
    assert found.metrics == (Metric.accuracy, Metric.log_loss)
    best, worst = found.ranked
    assert (best.label, worst.label) == ("good · all", "bad · all")
    for s in (0, 1):
        cell, other = best.cells[s], worst.cells[s]
        assert cell is not None
        assert other is not None
        assert cell.interval.low < cell.expected < cell.interval.high
        assert (cell.expected > other.expected) == (s == 0)
        assert cell.mean_rank is not None
        assert cell.mean_rank < 1.2


def test_no_test_predictions_are_opened(tmp_path: Path) -> None:
    """Neither of the studies notes an opening."""
    studies = [Study(tmp_path / name) for name in ("one", "two")]
    for study in studies:
        for backbone in "ab":
            add(study, backbone, planted(range(30)), planted(range(10), 60, "t"))
    compared(*studies)
    assert [study.opened() for study in studies] == [set(), set()]


@pytest.mark.parametrize(
    ("names", "error", "said"),
    [
        (["one"], ConfigError, "two studies or more"),
        (["one", "two", "one"], ConfigError, "two of them are one; give each study once"),
        (["one", "other"], TableError, "study=one,other: no candidate is in two of them"),
        (["one", "failed"], TableError, "study=failed: no job has ended well"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path: Path, names: Sequence[str], error: type[Exception], said: str) -> None:
    """One line each."""
    studies = {name: write(tmp_path / name, {"a": 40, "b": 60}) for name in ("one", "two")}
    studies["other"] = write(tmp_path / "other", {"c": 40})
    studies["failed"] = write(tmp_path / "failed", {"a": 40}, status="failed")
    with pytest.raises(error, match=said):
        compared(*(studies[name] for name in names))
