"""The self-audit: by hand on four backbones, ties as chance would have them, and numbers within their ranges."""

import itertools
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import weightedtau

from harness.config import Metric
from harness.measure.epoch import Epoch
from harness.select.audit import Audit, Line, audit, is_fine_tuned
from harness.select.order import agreement, choose, rank_average
from harness.select.prior import OwnRank, OwnRanks
from harness.study.row import Details, Row
from tests.unit.select.planted import make_details, make_row

NONE = OwnRanks({})
SCORES = ("probe_accuracy", "probe_log_loss", "knn_accuracy", "logme", "gbc", "leep", "h_score", "transferability_s")


def tuned(name: str, score: float, freeze: str = "none", seed: int = 0, first_epoch: float | None = None, **changes: Any) -> Row:
    """A fine-tuned row: 10 s of training over 5 epochs, 2 s of passes."""
    curve = [
        Epoch(epoch=epoch, phase=1, lr=None, train_loss=None, train_accuracy=None, val_loss=1 - value, val_accuracy=value, val_score=value)
        for epoch, value in ((0, 0.01), (1, first_epoch or 0.0))
        if first_epoch is not None or epoch == 0
    ]
    row = make_row(f"{name}{freeze}{seed}", name, freeze, seed, val_accuracy=score, model=name, details=Details(curve=curve))
    frozen = {"num_blocks": 10, "num_frozen_blocks": {"none": 0, "0.5": 5, "all": 10}[freeze]}
    times = {"features_s": 2.0, "train_s": 10.0, "epochs": 5, "epochs_trained": 5, "imagenet_top1_frac": None, "params_m": None}
    return replace(row, **(times | frozen | dict.fromkeys(SCORES) | changes))


def head(name: str, **changes: Any) -> Row:
    """A row with only a head trained: 1 s, and the evidence, 3 s."""
    return tuned(name, 0.3, "all", **({"train_s": 1.0, "transferability_s": 3.0} | changes))


def four() -> list[Row]:
    """Truth a 0.9, b 0.8, c 0.7, d 0.6; the probe swaps a and b, the prior is right but has no figure for d."""
    probe = {"a": 0.7, "b": 0.8, "c": 0.6, "d": 0.5}
    top1 = {"a": 0.80, "b": 0.79, "c": 0.78, "d": None}
    truth = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}
    first = {"a": 0.5, "b": 0.4, "c": 0.6, "d": 0.3}
    heads = [head(name, probe_accuracy=probe[name], probe_log_loss=-probe[name], imagenet_top1_frac=top1[name]) for name in probe]
    return heads + [tuned(name, score, first_epoch=first[name]) for name, score in truth.items()]


def line(found: Audit, name: str) -> Line:
    """The line of one score."""
    return next(each for each in found.lines if each.name == name)


def test_by_hand() -> None:
    """The probe's first choice is second best: 0.1 lost, nothing lost with three; its tau is scipy's."""
    found = audit(four(), Metric.accuracy, NONE)
    assert (found.num_backbones, found.num_untuned, found.reason) == (4, 0, None)
    assert found.grid_s == pytest.approx(4 * (2 + 1 + 10))
    probe = line(found, "probe_accuracy")
    first, three = probe.choices
    assert (first.num_taken, first.recall, three.num_taken, three.recall) == (1, 0.0, 3, 1.0)
    assert first.regret == pytest.approx(0.1)
    assert three.regret == 0.0
    assert probe.tau == pytest.approx(weightedtau([0.9, 0.8, 0.7, 0.6], [0.7, 0.8, 0.6, 0.5]).statistic)
    assert first.cost_s == pytest.approx(4 * (2 + 3) + 10)
    assert first.cost_frac == pytest.approx(30 / 52)


def test_lower_is_better_for_losses() -> None:
    """A probe whose log loss is lowest for the best is as good as one whose accuracy is highest."""
    rows = [replace(row, probe_log_loss=-row.val_accuracy) if row.val_accuracy else row for row in four()[4:]]
    assert line(audit(rows, Metric.accuracy, NONE), "probe_log_loss").tau == pytest.approx(1.0)
    rows = [replace(row, probe_log_loss=1 - (row.val_accuracy or 0), val_log_loss=1 - (row.val_accuracy or 0)) for row in four()[4:]]
    found = audit(rows, Metric.log_loss, NONE)
    assert line(found, "probe_log_loss").tau == pytest.approx(1.0)
    assert line(found, "random").choices[0].regret == pytest.approx(0.15)
    assert line(found, "one_epoch").choices[0].regret == pytest.approx(0.2)  # c has the lowest loss after one epoch


def test_scores_that_not_all_have() -> None:
    """The prior has no figure for d: three backbones count, and the grid is that of these three."""
    prior = line(audit(four(), Metric.accuracy, NONE), "prior")
    assert prior.num_backbones == 3
    assert [choice.num_taken for choice in prior.choices] == [1]
    assert prior.tau == pytest.approx(1.0)
    assert prior.choices[0].cost_s == pytest.approx(2 + 10)
    assert prior.choices[0].cost_frac == pytest.approx(12 / 39)
    leep = line(audit(four(), Metric.accuracy, NONE), "leep")
    assert (leep.num_backbones, leep.tau, leep.choices) == (0, None, ())


def test_random_is_what_is_expected() -> None:
    """A quarter for one of four, three quarters for three; the mean loss; the mean cost of the fine-tunes taken."""
    first, three = line(audit(four(), Metric.accuracy, NONE), "random").choices
    assert (first.recall, three.recall) == pytest.approx((0.25, 0.75))
    assert first.regret == pytest.approx(fmean([0, 0.1, 0.2, 0.3]))
    assert three.regret == pytest.approx(0.1 / 4)  # only when a is the one left out
    assert (first.cost_s, three.cost_s) == pytest.approx((12, 36))
    assert line(audit(four(), Metric.accuracy, NONE), "random").tau == 0.0


def test_expected_tau_of_a_random_order_is_zero() -> None:
    """Over all orders of four the weighted tau cancels out."""
    truth = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.6}
    taus = [agreement(dict(zip(truth, order, strict=True)), truth) for order in itertools.permutations(range(4))]
    assert fmean(tau for tau in taus if tau is not None) == pytest.approx(0.0, abs=1e-12)


def test_one_epoch_costs_an_epoch_of_everything() -> None:
    """After one epoch c leads: 0.2 lost; an epoch of all four, and the rest of the one that is trained on."""
    first, three = line(audit(four(), Metric.accuracy, NONE), "one_epoch").choices
    assert first.regret == pytest.approx(0.2)
    assert three.regret == 0.0
    assert first.cost_s == pytest.approx(4 * (2 + 2) + 8)
    assert three.cost_s == pytest.approx(4 * (2 + 2) + 3 * 8)


def test_one_epoch_goes_by_the_metric_of_the_study() -> None:
    """Curves hold the primary metric beside accuracy; by any other metric one would have looked at accuracy."""
    rows = []
    for name, accuracy, score in (("a", 0.2, 0.9), ("b", 0.9, 0.2), ("c", 0.5, 0.5)):
        row = tuned(name, 0.1, primary_metric="balanced_accuracy", val_balanced_accuracy=score, val_f1_macro=score)
        point = replace(row.details.curve[0], epoch=1, val_accuracy=accuracy, val_score=score)
        rows.append(replace(row, details=make_details(curve=[point])))
    assert line(audit(rows, Metric.balanced_accuracy, NONE), "one_epoch").tau == pytest.approx(1.0)
    assert line(audit(rows, Metric.f1_macro, NONE), "one_epoch").tau == pytest.approx(-1.0)


def test_probe_and_prior_are_averaged_by_rank() -> None:
    """Ranks among those that have both: a 0 and 2, b 2 and 1... so b leads."""
    assert rank_average({"a": 0.7, "b": 0.8, "c": 0.6, "d": 9}, {"a": 0.8, "b": 0.79, "c": 0.78}) == {"a": 1.5, "b": 1.5, "c": 0.0}
    first = line(audit(four(), Metric.accuracy, NONE), "probe_and_prior").choices[0]
    assert (first.recall, first.regret) == pytest.approx((0.5, 0.05))  # a and b are level
    assert first.cost_s == pytest.approx(3 * 5 + 10)
    assert rank_average({"a": 1.0, "b": 1.0, "c": 0.0}, {"a": 2.0, "b": 1.0, "c": 0.0}) == {"a": 1.75, "b": 1.25, "c": 0.0}


def test_own_rank_is_lower_the_better() -> None:
    """Ranks on other data sets are a score like the others, best at 0."""
    own = OwnRanks({(name, "a1_in1k"): OwnRank(place, 2) for name, place in {"a": 0.0, "b": 0.2, "c": 0.4, "d": 1.0}.items()})
    assert line(audit(four(), Metric.accuracy, own), "own_rank").tau == pytest.approx(1.0)


def test_truth_is_the_best_fine_tune_over_seeds() -> None:
    """Heads do not count, depths compete, seeds are averaged; pruned and failed rows are no truth."""
    rows = four()
    rows += [tuned("d", 1.0, "0.5", seed=0), tuned("d", 0.9, "0.5", seed=1)]  # mean 0.95: now the best
    rows += [replace(tuned("c", 0.99, "0.5"), status="pruned"), replace(tuned("e", 0.99), status="failed")]
    found = audit(rows, Metric.accuracy, NONE)
    assert (found.num_backbones, found.num_untuned) == (4, 1)
    assert line(found, "probe_accuracy").choices[0].regret == pytest.approx(0.95 - 0.8)


def test_too_few_backbones_is_a_sentence() -> None:
    """Two fine-tuned backbones, or none: no lines, and why."""
    found = audit([*four()[:4], *four()[4:6]], Metric.accuracy, NONE)
    assert found.lines == ()
    assert found.reason == "Only 2 backbones have a fine-tune that ended well; judging the cheap scores takes at least 3."
    assert found.num_untuned == 2
    assert (audit([], Metric.auto, NONE).reason or "").startswith("No backbone has")


def test_unknown_times_are_unknown() -> None:
    """Without the time of one fine-tune the cost is empty, and the rest is not."""
    rows = [replace(row, train_s=None) if row.backbone == "a" and is_fine_tuned(row) else row for row in four()]
    first = line(audit(rows, Metric.accuracy, NONE), "random").choices[0]
    assert (first.cost_s, first.cost_frac) == (None, None)
    assert first.regret == pytest.approx(0.15)


def test_what_is_a_fine_tune() -> None:
    """Some block trained and a good end; without a count of blocks the depth's name decides."""
    assert is_fine_tuned(tuned("a", 0.5, "0.5"))
    assert not is_fine_tuned(head("a"))
    assert not is_fine_tuned(replace(tuned("a", 0.5), status="oom"))
    assert is_fine_tuned(replace(tuned("a", 0.5), num_blocks=None))
    assert not is_fine_tuned(replace(head("a"), num_blocks=None))
    assert not is_fine_tuned(replace(tuned("a", 0.5), num_blocks=None, status="pruned"))


VALUES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=7)


@given(VALUES, st.data())
def test_choosing_among_ties_is_the_mean_over_their_orders(values: list[tuple[int, int]], data: st.DataObject) -> None:
    """Recall and regret equal the mean over every way to break ties of the scores."""
    number = data.draw(st.integers(1, len(values) - 1))
    scores = {str(i): float(score) for i, (score, _) in enumerate(values)}
    truth = {str(i): float(value) for i, (_, value) in enumerate(values)}
    recall, regret, taken = choose(scores, truth, number)
    orders = [order for order in itertools.permutations(scores) if [scores[n] for n in order] == sorted(scores.values(), reverse=True)]
    enough = sorted(truth.values(), reverse=True)[number - 1]
    assert recall == pytest.approx(fmean(sum(truth[n] >= enough for n in order[:number]) / number for order in orders))
    assert regret == pytest.approx(fmean(max(truth.values()) - max(truth[n] for n in order[:number]) for order in orders), abs=1e-9)
    assert sum(taken.values()) == pytest.approx(number)


@given(VALUES)
def test_ranges(values: list[tuple[int, int]]) -> None:
    """Recall in [0, 1], regret in [0, range of the truth], tau in [-1, 1] or empty; taking more never loses more."""
    scores = {str(i): float(score) for i, (score, _) in enumerate(values)}
    truth = {str(i): float(value) for i, (_, value) in enumerate(values)}
    found = [choose(scores, truth, number) for number in range(1, len(values) + 1)]
    spread = max(truth.values()) - min(truth.values())
    assert all(0 <= recall <= 1 and 0 <= regret <= spread + 1e-9 for recall, regret, _ in found)
    assert all(later[1] <= earlier[1] + 1e-9 for earlier, later in itertools.pairwise(found))
    assert found[-1][0] == pytest.approx(1.0)
    tau = agreement(scores, truth)
    assert tau is None or -1 <= tau <= 1
