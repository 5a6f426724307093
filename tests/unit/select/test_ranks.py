"""Rank intervals: equal to the definition, around the point ranks, and right about the truth."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.select.comparison import Chance, FloatArray, tied_set
from harness.select.ranks import Leads, rank_intervals


def intervals(scores_K: FloatArray, draws_RK: FloatArray, confidence: float = 0.95) -> list[tuple[int, int]]:
    """Both ends for every candidate."""
    chance = Chance.of(draws_RK, confidence)
    found = rank_intervals(scores_K, Leads.of(chance), chance.tied_set(scores_K))
    return [(each.low, each.high) for each in found]


def accuracy_draws(is_right_KN: FloatArray, num_draws: int, rng: np.random.Generator) -> FloatArray:
    """A plain bootstrap of mean accuracy, images in common."""
    weights_RN = rng.multinomial(is_right_KN.shape[1], np.full(is_right_KN.shape[1], 1 / is_right_KN.shape[1]), num_draws)
    return np.asarray(weights_RN @ is_right_KN.T / is_right_KN.shape[1])


def literally(scores_K: FloatArray, draws_RK: FloatArray, enough: int) -> list[tuple[int, int]]:
    """All pairs, one after the other, in double precision."""
    centred_RK = draws_RK - draws_RK.mean(axis=0)
    num = len(scores_K)
    spread = {(i, j): (centred_RK[:, j] - centred_RK[:, i]).std() for i in range(num) for j in range(num) if i != j}
    leads_R = np.max([(centred_RK[:, j] - centred_RK[:, i]) / se for (i, j), se in spread.items()], axis=0)
    critical = np.sort(leads_R)[-enough]
    is_ahead = {(i, j): (scores_K[j] - scores_K[i]) / se > critical for (i, j), se in spread.items()}
    for i in np.flatnonzero(tied_set(scores_K, draws_RK, 0.95)):
        is_ahead |= {(int(i), j): False for j in range(num) if j != i}
    return [
        (1 + sum(is_ahead[i, j] for j in range(num) if j != i), num - sum(is_ahead[j, i] for j in range(num) if j != i)) for i in range(num)
    ]


@pytest.mark.parametrize("num_candidates", [2, 7, 70, 150])
def test_equals_the_definition(num_candidates: int) -> None:
    """Blocks and single precision give what comparing all pairs one by one gives."""
    rng = np.random.default_rng(num_candidates)
    is_right_KN = (rng.random(300) + rng.normal(0, 0.1, (num_candidates, 300)) < rng.uniform(0.5, 0.9, (num_candidates, 1))).astype(float)
    scores_K, draws_RK = is_right_KN.mean(axis=1), accuracy_draws(is_right_KN, 400, rng)
    found = intervals(scores_K, draws_RK)
    assert found == literally(scores_K, draws_RK, 20)
    assert any(low > 1 for low, _ in found)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
@example(236678, 2)
def test_holds_the_point_rank_and_agrees_with_the_tied_set(seed: int, num_candidates: int) -> None:
    """Every place by score lies in its interval, and whoever is tied with the best may be first."""
    rng = np.random.default_rng(seed)
    is_right_KN = (rng.random((num_candidates, 40)) < rng.random((num_candidates, 1))).astype(float)
    scores_K, draws_RK = is_right_KN.mean(axis=1), accuracy_draws(is_right_KN, 200, rng)
    found = intervals(scores_K, draws_RK)
    for place, k in enumerate(np.argsort(-scores_K, kind="stable"), start=1):
        assert found[k][0] <= place <= found[k][1]
    for (low, _), is_tied in zip(found, tied_set(scores_K, draws_RK, 0.95), strict=True):
        assert low == 1 or not is_tied


def test_equals_share_all_places() -> None:
    """Candidates that answer alike cannot be put in any order."""
    draws_R = np.random.default_rng(0).normal(0.8, 0.02, (200, 1))
    assert intervals(np.full(3, 0.8), np.repeat(draws_R, 3, axis=1)) == [(1, 3)] * 3


def test_far_apart_is_a_rank_each() -> None:
    """Leads of thirty standard errors leave one place to each; a lead that never varies is as sure."""
    noise_R = np.random.default_rng(1).normal(0, 0.01, (300, 4))
    noise_R[:, 3] = noise_R[:, 2]
    scores_K = np.array([0.2, 0.9, 0.6, 0.599])
    assert intervals(scores_K, scores_K + noise_R) == [(4, 4), (1, 1), (2, 2), (3, 3)]


def test_no_candidates_have_no_ranks() -> None:
    """No candidate within the limits is no error."""
    assert intervals(np.empty(0), np.empty((200, 0))) == []


def test_all_true_ranks_are_covered_at_once() -> None:
    """Over repeated draws of the images, every true rank is inside its interval in nine of ten studies at least, and not for want of saying anything."""
    rng = np.random.default_rng(2)
    shares, covered, width = (0.86, 0.84, 0.8, 0.7, 0.55), 0, 0
    for _ in range(150):
        hard_N = rng.random(200)
        is_right_KN = np.stack([hard_N + rng.normal(0, 0.08, 200) < share for share in shares]).astype(float)
        found = intervals(is_right_KN.mean(axis=1), accuracy_draws(is_right_KN, 300, rng))
        covered += all(low <= place <= high for place, (low, high) in enumerate(found, start=1))
        width += sum(high - low for low, high in found)
    assert covered / 150 >= 0.9
    assert width / 150 <= 6
