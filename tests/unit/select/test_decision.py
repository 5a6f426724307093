"""The decision: what is recommended when latency has a price, and when a test score takes the recommendation away."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import RankConfig
from harness.errors import ConfigError
from harness.select.decision import Ground, Option, Picks, Terms, decide, doublings, veto
from harness.select.posterior import Known, Posterior, posterior


def believe(points: Sequence[float], error_points: float = 0.3) -> Posterior:
    """Scores of strangers around 80 %, measured with independent errors."""
    scores_K = 0.8 + np.array(points) / 100
    return posterior(scores_K, (error_points / 100) ** 2 * np.eye(len(points)), [Known(backbone=str(k)) for k in range(len(points))])


def offer(latency_ms: Sequence[float | None], train_cost: Sequence[float | None] | None = None) -> list[Option]:
    """Options named by their place."""
    costs = train_cost or [None] * len(latency_ms)
    return [
        Option(label=f"{k:02d}", latency_ms=value, train_cost=cost) for k, (value, cost) in enumerate(zip(latency_ms, costs, strict=True))
    ]


def chosen(decision: Picks) -> tuple[int, int, int]:
    """Positions of the three picks."""
    return decision.recommended.position, decision.budget.position, decision.fastest.position


def test_a_point_buys_two_doublings() -> None:
    """Two points better at four times the latency wins at half a point a doubling; at two points a doubling the fast one does."""
    belief, options = believe([0, -2]), offer([40, 10])
    dear, cheap = decide(belief, options), decide(belief, options, Terms(2.0))
    assert (chosen(dear), dear.ground) == ((0, 1, 1), Ground.utility)
    lead = 100 * float(belief.mean_K[0] - belief.mean_K[1])
    assert dear.break_even_points == pytest.approx(lead / 2)
    assert chosen(cheap) == (1, 1, 1)
    assert cheap.break_even_points == 2.0, "the budget pick wins already"


def test_break_even_is_where_the_budget_pick_wins() -> None:
    """A little below the price the recommended stays, a little above it the budget pick takes over."""
    belief, options = believe([0, -0.5, -1.5, -4]), offer([40, 20, 10, 5])
    found = decide(belief, options, Terms(0.0))
    assert found.recommended.position == 0
    for factor, winner in ((0.99, 0), (1.01, found.budget.position)):
        assert decide(belief, options, Terms(factor * found.break_even_points)).recommended.position == winner


def test_figures_of_a_pick_are_those_of_the_posterior() -> None:
    """Probability, loss and utility are read from the belief, utility less the price of latency."""
    belief = believe([0, -0.6, -3], error_points=1.0)
    found = decide(belief, offer([20, 10, 5])).recommended
    k = found.position
    assert found.prob_best == belief.prob_best_K[k]
    assert found.expected_loss == belief.expected_loss_K[k]
    assert found.prob_behind == belief.prob_behind_K(0.01)[k]
    assert found.utility == pytest.approx(belief.mean_K[k] - 0.005 * [2, 1, 0][k])


def test_of_two_equals_the_fast_one() -> None:
    """Equal scores, one twice as fast, whichever is listed first, at any price and at none."""
    for price in (0.0, 0.5):
        assert decide(believe([0, 0]), offer([20, 10]), Terms(price)).recommended.position == 1
        assert decide(believe([0, 0]), offer([10, 20]), Terms(price)).recommended.position == 0


def test_a_small_network_that_is_five_points_worse_on_90_images() -> None:
    """It is not recommended at the default price, though images are few and it is four times as fast."""
    error_KK = 0.85 * 0.15 / 90 * (0.5 + 0.5 * np.eye(3))
    known = [Known(backbone=name, family=name, log2_cost=cost) for name, cost in zip("abc", (2.0, 2.0, 0.0), strict=True)]
    found = decide(posterior(np.array([0.85, 0.845, 0.80]), error_KK, known), offer([16, 16, 4]))
    assert found.recommended.position == 0
    assert (found.budget.position, found.fastest.position) == (2, 2)
    assert found.break_even_points > 0.5


def test_within_a_limit_the_better_one() -> None:
    """At price 0, as within a limit that the user gave, 19.8 and 15.4 ms are alike."""
    assert decide(believe([0, -0.3]), offer([19.8, 15.4]), Terms(0.0)).recommended.position == 0


def worlds(prob: float, points: Sequence[Sequence[float]]) -> Posterior:
    """Two worlds in which all scores are certain, the first with this probability."""
    return Posterior(np.array([prob, 1 - prob]), 0.8 + np.array(points) / 100, np.zeros((2, 3, 3)), np.arange(3))


def test_a_mean_does_not_make_up_for_a_gamble() -> None:
    """The best mean is passed over where it is more than a point behind too probably and a steadier candidate is not; where all are, it stays."""
    options = offer([10, 10, 10])
    gamble = worlds(0.65, [[0.9, 0, -9], [-1.2, -0.1, -9]])
    assert gamble.mean_K[0] > gamble.mean_K[1]
    found = decide(gamble, options)
    assert (found.recommended.position, found.ground) == (1, Ground.guard)
    wild = decide(worlds(0.65, [[2, 0, -9], [-2, 0, -9]]), options)
    assert (wild.recommended.position, wild.ground) == (0, Ground.utility), "each is behind in a third of the worlds or more"


def test_points_given_up_for_latency_are_no_gamble() -> None:
    """A candidate that is surely two points worse is taken where the price of its rival's latency is more than that."""
    found = decide(believe([0, -2]), offer([80, 10]), Terms(1.0))
    assert (found.recommended.position, found.ground) == (1, Ground.utility)
    assert found.recommended.prob_behind > 0.9


def test_candidates_that_are_one_take_the_cheaper_to_train() -> None:
    """Same predictions, same latency: the frozen one, wherever it is listed; an unknown cost counts as dear."""
    error_KK = np.full((2, 2), 1e-4)
    known = [Known(backbone="a", frozen_frac=0.0), Known(backbone="a", frozen_frac=1.0)]
    belief = posterior(np.array([0.8, 0.8]), error_KK, known)
    assert decide(belief, offer([10, 10], [5.0, 1.0])).recommended.position == 1
    assert decide(belief, offer([10, 10], [1.0, 5.0])).recommended.position == 0
    assert decide(belief, offer([10, 10], [None, 5.0])).recommended.position == 1
    assert decide(belief, offer([10, 10.4], [5.0, 1.0])).recommended.position == 1, "latencies within 5 % are equal"


def test_latencies_are_grouped_from_the_lowest() -> None:
    """Within 5 % of the lowest of a group is in it; a chain of small steps does not make one group of all."""
    found_K = doublings([10.0, 10.4, 10.8, 20.0, None])
    assert found_K[:4].tolist() == pytest.approx([0, 0, np.log2(1.08), 1])
    assert np.isnan(found_K[4])
    assert np.isnan(doublings([None, float("nan")])).all()


@settings(max_examples=60)
@given(st.lists(st.floats(0.1, 1000) | st.none(), min_size=1, max_size=12), st.data())
def test_groups_do_not_depend_on_order(latency_ms: list[float | None], data: st.DataObject) -> None:
    """The same latencies listed otherwise are the same doublings."""
    order = data.draw(st.permutations(range(len(latency_ms))))
    np.testing.assert_array_equal(doublings([latency_ms[k] for k in order]), doublings(latency_ms)[order])


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.floats(0, 3), st.data())
def test_order_does_not_decide(seed: int, num: int, price: float, data: st.DataObject) -> None:
    """Candidates listed otherwise: the same three picks, equal scores and latencies included."""
    rng = np.random.default_rng(seed)
    points, latency_ms = rng.integers(-3, 1, num).astype(float), rng.integers(1, 5, num) * 10.0
    order = np.array(data.draw(st.permutations(range(num))))
    options = offer(latency_ms.tolist())
    found = decide(believe(points.tolist()), options, Terms(price))
    other = decide(believe(points[order].tolist()), [options[k] for k in order], Terms(price))
    assert tuple(order[list(chosen(other))]) == chosen(found)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 8))
def test_a_higher_price_never_buys_a_slower_one(seed: int, num: int) -> None:
    """Where the guard is silent, the latency of the recommended falls with the price, and the fastest pick stays."""
    rng = np.random.default_rng(seed)
    belief, options = believe(rng.normal(0, 1, num).tolist()), offer(rng.uniform(5, 80, num).tolist())
    found = [decide(belief, options, Terms(price)) for price in (0.0, 0.3, 1.0, 3.0)]
    latency = [options[each.recommended.position].latency_ms or 0.0 for each in found if each.ground is Ground.utility]
    assert latency == sorted(latency, reverse=True)
    assert len({each.fastest.position for each in found}) == 1


def test_an_unknown_latency_is_no_advantage() -> None:
    """It counts as twice the slowest known: a clear lead still wins, a small one does not, and it is never the budget or the fastest pick."""
    options = offer([None, 10, 20])
    ahead, level = decide(believe([2, 0, -3]), options), decide(believe([0.5, 0, -3]), options)
    assert (ahead.recommended.position, ahead.budget.position, ahead.fastest.position) == (0, 1, 1)
    assert (level.recommended.position, level.num_unknown) == (1, 1)
    assert decide(believe([0.5, 0, -3]), options, Terms(0.0)).recommended.position == 0, "without a price latency does not count"


def test_a_decision_without_latencies() -> None:
    """Then the score alone decides, and every pick is the same."""
    found = decide(believe([0, 1, -1]), offer([None, None, None]))
    assert (chosen(found), found.num_unknown) == ((1, 1, 1), 3)


def test_one_candidate() -> None:
    """It is every pick, and nothing is lost."""
    found = decide(believe([0]), offer([10]))
    assert chosen(found) == (0, 0, 0)
    assert (found.recommended.prob_best, found.recommended.expected_loss, found.break_even_points) == (1.0, 0.0, 0.5)


def test_a_good_test_score_confirms() -> None:
    """As expected or better: the same recommendation, on what both have said."""
    belief, options = believe([0, -0.5], error_points=1.0), offer([10, 10])
    decision = decide(belief, options)
    found = veto(decision, belief, options, 0.80, 0.01**2)
    assert not found.is_overturned
    assert found.picks.recommended.position == 0
    assert found.picks.recommended.prob_best > decision.recommended.prob_best


def test_a_test_score_far_below_overturns() -> None:
    """The next by utility under both is recommended, and the decision says why; the overturned one is not."""
    belief, options = believe([0, -0.3, -0.4], error_points=1.0), offer([10, 20, 10])
    found = veto(decide(belief, options), belief, options, 0.70, 0.005**2)
    assert found.is_overturned
    assert found.prob_behind > 0.95
    assert (found.picks.recommended.position, found.picks.ground) == (2, Ground.test)


def test_a_doubtful_test_score_does_not() -> None:
    """A drop that few test images explain leaves the recommendation as it is, however much better another looks."""
    belief, options = believe([0, -0.3], error_points=0.5), offer([10, 10])
    found = veto(decide(belief, options), belief, options, 0.77, 0.03**2)
    assert not found.is_overturned
    assert found.picks.recommended.position == 0
    assert found.prob_behind < 0.95


def test_a_single_candidate_cannot_be_overturned() -> None:
    """One candidate, or copies of it at other depths: a bad test score is a finding, and nobody takes its place."""
    belief, options = believe([0]), offer([10])
    assert veto(decide(belief, options), belief, options, 0.2, 1e-4).picks.recommended.position == 0
    copies = posterior(np.array([0.8, 0.8]), np.full((2, 2), 1e-4), [Known(backbone="a"), Known(backbone="a")])
    options = offer([10, 20])
    assert not veto(decide(copies, options), copies, options, 0.2, 1e-4).is_overturned


def test_the_price_of_a_configuration() -> None:
    """Half a point by default; within a latency limit latency is free, unless a price is given as well."""
    assert Terms.of(RankConfig()).points_per_doubling == 0.5
    assert Terms.of(RankConfig(max_latency_ms=20)).points_per_doubling == 0.0
    assert Terms.of(RankConfig(max_latency_ms=20, points_per_doubling=2)).points_per_doubling == 2
    assert Terms.of(replace(RankConfig(), points_per_doubling=0.0)).points_per_doubling == 0.0


@pytest.mark.parametrize("price", [-0.1, float("inf"), float("nan")])
def test_a_price_is_no_reward(price: float) -> None:
    """Below zero, endless or undefined: refused by its dotted key."""
    with pytest.raises(ConfigError, match=r"rank\.points_per_doubling"):
        RankConfig(points_per_doubling=price)
