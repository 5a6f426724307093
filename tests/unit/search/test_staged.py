"""The staged search, played with trials whose true scores, times and failures are made up; what it believes is the posterior that ships."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.search import staged
from harness.search.predicted_cost import Prediction
from harness.search.promise import ALLOWED_LOSS
from harness.search.staged import Budget, History, Plan, search
from harness.search.trial import Ending, Outcome, Trial
from harness.select.posterior import Known, Posterior, posterior
from harness.transfer.rungs import Rung

DEPTHS = {"all": 1.0, "0.5": 0.5, "none": 0.0}


@dataclass
class World:
    """A `staged.Trainer` that knows the truth. A short training costs a sixth of a whole one and scores a point less, give or take one."""

    trials: Sequence[Trial]
    truth: Mapping[str, float]
    whole_s: Mapping[str, float]
    """Of each backbone; a probe takes a tenth."""
    failing: frozenset[str] = frozenset()
    over_limit: frozenset[str] = frozenset()
    """Backbones."""
    noise: float = 0.005
    ran: list[tuple[str, Rung]] = field(default_factory=list)
    scores: dict[str, float] = field(default_factory=dict)
    spent: float = 0.0

    def _cost_s(self, name: str, rung: Rung) -> float:
        whole_s = self.whole_s[name.split(maxsplit=1)[0]]
        return whole_s * {Rung.probe: 0.1, Rung.short: 1 / 6, Rung.whole: 1.0}[rung]

    def train(self, name: str, rung: Rung) -> bool:
        self.spent += self._cost_s(name, rung)
        self.ran.append((name, rung))
        if name in self.failing:
            return False
        luck = np.random.default_rng([self.trials.index(self.trial(name)), rung]).normal(0, self.noise if rung is not Rung.short else 0.01)
        self.scores[name] = self.truth[name] + luck - (0.01 if rung is Rung.short else 0.0)
        return True

    def believe(self, names: Sequence[str]) -> Posterior:
        last = dict(self.ran)
        error_K = np.array([0.018 if last.get(name) is Rung.short else self.noise for name in names])
        known = [Known(backbone=name.split()[0], frozen_frac=DEPTHS[name.split()[1]]) for name in names]
        return posterior(np.array([self.scores.get(name, np.nan) for name in names]), np.diag(error_K**2), known)

    def score(self, name: str) -> float | None:
        return self.scores.get(name)

    def excluded(self, name: str) -> bool:
        return self.trial(name).backbone in self.over_limit

    def predict_s(self, name: str, path: Sequence[Rung]) -> Prediction:
        seconds = sum(self._cost_s(name, rung) for rung in path)
        return Prediction(seconds, seconds, seconds)

    def spent_s(self) -> float:
        return self.spent

    def trial(self, name: str) -> Trial:
        return next(trial for trial in self.trials if trial.name == name)


def world(num: int, seed: int = 0, *, spread: float = 0.03, **more: object) -> World:
    """Backbones at three depths; depths of one have most of their quality in common. Scores are around 0.8."""
    rng = np.random.default_rng(seed)
    trials = [
        Trial(f"b{b} {depth}", f"b{b}", None if b % 3 == 2 else 0.7 + 0.01 * b, depth == "all") for b in range(num) for depth in DEPTHS
    ]
    common = {f"b{b}": 0.8 + spread * rng.normal() for b in range(num)}
    truth = {trial.name: common[trial.backbone] + spread / 2 * rng.normal() for trial in trials}
    whole_s = {f"b{b}": float(60 * np.exp(0.7 * rng.normal())) for b in range(num)}
    return World(trials, truth, whole_s, **more)  # type: ignore[arg-type]


def by_name(found: History) -> dict[str, Outcome]:
    """The outcomes."""
    return {outcome.trial.name: outcome for outcome in found.outcomes}


def regret(played: World, found: History) -> float:
    """True score of the best trial less that of the complete one with the best score."""
    done = [outcome.trial.name for outcome in found.outcomes if outcome.ending is Ending.complete]
    return max(played.truth.values()) - played.truth[max(done, key=lambda name: played.scores[name])]


def test_every_backbone_is_probed_the_best_known_first() -> None:
    """Probes run before anything else, by prior from the highest, unknown ones last; each is complete."""
    played = world(4)
    found = search(played.trials, played, budget=Budget(share=0.3))
    assert [name for name, _ in played.ran[:4]] == ["b3 all", "b1 all", "b0 all", "b2 all"]
    assert all(by_name(found)[f"b{b} all"].ending is Ending.complete for b in range(4))


@given(st.integers(1, 8), st.integers(0, 1000), st.floats(0.05, 1.0))
@settings(max_examples=25)
def test_the_time_is_kept_and_used(num: int, seed: int, share: float) -> None:
    """Where predictions are exact the limit holds, nothing that still fits is left out, and everybody has an ending that fits its rung."""
    played = world(num, seed)
    limit_s = share * sum(played.whole_s[trial.backbone] * (0.1 if trial.is_probe else 1.0) for trial in played.trials)
    found = search(played.trials, played, budget=Budget(seconds=limit_s))
    first_s = played.whole_s[played.ran[0][0].split()[0]] * 0.1
    assert found.spent_s <= max(limit_s, first_s) + 1e-9
    outcomes = by_name(found)
    assert outcomes.keys() == {trial.name for trial in played.trials}
    for outcome in outcomes.values():
        assert (outcome.ending is Ending.complete) == (outcome.rung is (Rung.probe if outcome.trial.is_probe else Rung.whole))
        if outcome.ending is Ending.time:
            assert outcome.needed_s > limit_s - found.spent_s


def test_without_a_time_it_ends_when_going_on_would_gain_little() -> None:
    """A backbone that is far ahead is trained; those far behind are not, and their rows say how improbable they are."""
    played = world(6)
    played.truth = {trial.name: (0.9 if trial.backbone == "b1" else 0.6) - 0.01 * trial.is_probe for trial in played.trials}
    found = search(played.trials, played)
    outcomes = by_name(found)
    assert outcomes["b1 none"].ending is Ending.complete or outcomes["b1 0.5"].ending is Ending.complete
    unlikely = [outcome for outcome in found.outcomes if outcome.ending is Ending.unlikely]
    assert {f"b{b}" for b in range(6)} - {"b1"} <= {outcome.trial.backbone for outcome in unlikely}
    assert all(outcome.prob_better is not None and outcome.prob_better < 0.2 for outcome in unlikely)


def test_what_is_certain_to_be_quick_is_trained_whole() -> None:
    """A grid of a few seconds is not searched: nothing is trained shortly, everything to the end."""
    played = world(3)
    played.whole_s = dict.fromkeys(played.whole_s, 1.0)
    found = search(played.trials, played)
    assert {outcome.ending for outcome in found.outcomes} == {Ending.complete}
    assert Rung.short not in {rung for _, rung in played.ran}
    assert found.plans[-1].is_whole


def test_time_for_everything_is_used_without_short_trainings() -> None:
    """The same where the user's time is enough for all."""
    played = world(3)
    found = search(played.trials, played, budget=Budget(seconds=1e6))
    assert {outcome.ending for outcome in found.outcomes} == {Ending.complete}
    assert Rung.short not in {rung for _, rung in played.ran}


def test_no_time_at_all_still_gives_an_answer() -> None:
    """One probe runs whatever was given; the rest had no time."""
    played = world(3)
    found = search(played.trials, played, budget=Budget(seconds=0.001))
    assert [outcome.ending for outcome in found.outcomes].count(Ending.complete) == 1
    assert {outcome.ending for outcome in found.outcomes} == {Ending.complete, Ending.time}


def test_what_fails_costs_only_itself() -> None:
    """A failed trial is failed; the depths of a backbone whose probe failed are not tried and say so; the others go on."""
    played = world(4, failing=frozenset({"b0 all", "b1 none"}))
    outcomes = by_name(search(played.trials, played, budget=Budget(seconds=1e6)))
    assert outcomes["b0 all"].ending is outcomes["b1 none"].ending is Ending.failed
    assert outcomes["b0 0.5"].ending is outcomes["b0 none"].ending is Ending.probe
    assert outcomes["b1 0.5"].ending is outcomes["b2 none"].ending is Ending.complete


def test_nothing_works() -> None:
    """Where every probe fails there is an outcome for all, and no belief is asked for."""
    played = world(2)
    played.failing = frozenset(trial.name for trial in played.trials)
    assert {outcome.ending for outcome in search(played.trials, played).outcomes} == {Ending.failed, Ending.probe}


def test_what_a_limit_rules_out_is_probed_and_not_trained() -> None:
    """Its depths are told to be over the limit, and its probe is not the best that others have to beat."""
    played = world(3, over_limit=frozenset({"b1"}))
    played.truth = {trial.name: 0.99 if trial.backbone == "b1" else 0.8 for trial in played.trials}
    found = search(played.trials, played, budget=Budget(seconds=1e6))
    assert by_name(found)["b1 none"].ending is by_name(found)["b1 0.5"].ending is Ending.limit
    assert by_name(found)["b0 none"].ending is Ending.complete


@pytest.mark.slow
@pytest.mark.parametrize("num", [9, 60])
def test_a_fraction_of_the_time_finds_what_random_choice_does_not(num: int) -> None:
    """With a fifth of the grid's time the mean regret over twelve worlds is below a point, and half of what a random order leaves at most."""
    ours, chance = [], []
    for seed in range(12):
        played = world(num, seed)
        found = search(played.trials, played, budget=Budget(share=0.2))
        ours.append(regret(played, found))
        rng, left_s, best = np.random.default_rng(seed), found.spent_s, None
        for k in rng.permutation(len(played.trials)):
            name = played.trials[k].name
            left_s -= played.whole_s[played.trials[k].backbone]
            if left_s >= 0 or best is None:
                best = name if best is None or played.truth[name] > played.truth[best] else best
        assert best is not None
        chance.append(max(played.truth.values()) - played.truth[best])
    assert float(np.mean(ours)) < min(0.01, float(np.mean(chance)) / 2)


def test_of_very_many_trials_the_best_backbones_are_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their trials come first, those of the others behind them, by their backbone's score; with time for all, all are trained."""
    monkeypatch.setattr(staged, "MOST", 6)
    played, asked = world(5), list[int]()
    right = World.believe

    def believe(self: World, names: Sequence[str]) -> Posterior:
        asked.append(len(names))
        return right(self, names)

    monkeypatch.setattr(World, "believe", believe)
    search(played.trials, played, budget=Budget(share=0.7))
    assert set(asked) == {6}
    order = list(dict.fromkeys(name.split()[0] for name, rung in played.ran if rung is not Rung.probe))
    by_probe = sorted(("b0", "b1", "b2", "b3", "b4"), key=lambda name: -played.scores[f"{name} all"])
    assert set(order[:2]) <= set(by_probe[:3])
    found = search((again := world(5)).trials, again, budget=Budget(seconds=1e6))
    assert {outcome.ending for outcome in found.outcomes} == {Ending.complete}


def test_the_time_of_several_workers_is_theirs_together_and_each_ones_own() -> None:
    """With four of them 100 s are 400, for all trials together; what takes more than 100 is not begun."""
    played = world(3)
    played.whole_s = {"b0": 40.0, "b1": 40.0, "b2": 110.0}
    found = search(played.trials, played, budget=Budget(seconds=100.0, num_workers=4))
    outcomes = by_name(found)
    assert {name: outcomes[name].ending for name in ("b0 none", "b1 none", "b0 0.5", "b1 0.5")} == dict.fromkeys(
        ("b0 none", "b1 none", "b0 0.5", "b1 0.5"), Ending.complete
    )
    assert outcomes["b2 none"].ending is outcomes["b2 0.5"].ending is Ending.time
    assert 100.0 < found.spent_s <= 400.0


def test_plans_are_reported() -> None:
    """One before the probes, one after them: who will probably run, within the limit."""
    played, told = world(5), list[Plan]()
    found = search(played.trials, played, budget=Budget(share=0.4), tell=told.append)
    assert [plan.is_probing for plan in told] == [True, False]
    assert told[0].names == tuple(name for name, _ in played.ran[:5])
    assert told[1].limit_s is not None
    assert told[1].spent_s + told[1].rest_s.value_s <= told[1].limit_s + 1e-9
    assert abs(told[1].spent_s + told[1].rest_s.value_s - found.spent_s) < 0.2 * found.spent_s


def test_the_allowed_loss_is_half_a_point() -> None:
    """What the docs say."""
    assert ALLOWED_LOSS == 0.005
