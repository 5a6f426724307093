"""The staged search on scripted trainers: who gets where, what it costs, and that it ends in time with an answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.search.predicted_cost import Prediction
from harness.search.staged import DEFAULT_SHARE, Contender, History, Plan, Stop, search

EPOCHS = 9
PROBE_S = 1.0


@dataclass
class Script:
    """A trainer whose every answer is given beforehand. Epochs and probes take as long as it says, which predictions may miss."""

    scores: Mapping[str, float | None]
    """None: fails."""
    epoch_s: Mapping[str, float] = field(default_factory=dict)
    """10 s an epoch for those that are not here; a probe takes `PROBE_S` in all."""
    overrun: float = 1.0
    """Time taken over time predicted."""
    spread: float = 1.2
    ties: Mapping[str, set[str]] = field(default_factory=dict)
    fails_at: Mapping[str, int] = field(default_factory=dict)
    """Epochs at which a contender fails that scored before."""
    spent: float = 0.0
    longest: float = 0.0
    legs: list[tuple[str, int]] = field(default_factory=list)
    reached: dict[str, int] = field(default_factory=dict)

    def seconds(self, name: str, start: int, stop: int) -> float:
        """As predicted."""
        return PROBE_S if name.endswith(" all") else self.epoch_s.get(name, 10.0) * (stop - start)

    def train(self, name: str, epochs: int) -> float | None:
        start = self.reached.get(name, 0)
        assert epochs > start, "a contender goes on from where it is"
        taken = self.seconds(name, start, epochs) * self.overrun
        self.spent, self.longest = self.spent + taken, max(self.longest, taken)
        self.legs.append((name, epochs))
        self.reached[name] = epochs
        return None if self.fails_at.get(name) == epochs else self.scores[name]

    def tied(self, name: str, others: Sequence[str]) -> set[str]:
        assert len({self.reached[one] for one in (name, *others)}) == 1, "only what was trained equally long is compared"
        return self.ties.get(name, set()) & set(others)

    def predict_s(self, name: str, start: int, stop: int) -> Prediction:
        value = self.seconds(name, start, stop)
        return Prediction(value, value / self.spread, value * self.spread)

    def spent_s(self) -> float:
        return self.spent


def grid(num: int, depths: Sequence[str] = ("half", "none"), *, priors: Mapping[int, float] | None = None) -> list[Contender]:
    """Backbones b0, b1, ... with a probe and these depths."""
    prior = priors or {}
    return [Contender(f"b{k} {depth}", f"b{k}", None, prior.get(k), depth == "all") for k in range(num) for depth in ("all", *depths)]


def falling(contenders: Sequence[Contender]) -> dict[str, float | None]:
    """The earlier in the grid, the better."""
    return {contender.name: 1.0 - place / 1000 for place, contender in enumerate(contenders)}


def run(contenders: Sequence[Contender], script: Script, *, budget_s: float | None = None, share: float | None = None) -> History:
    """A search of nine epochs."""
    return search(contenders, script, epochs=EPOCHS, budget_s=budget_s, share=share)


def ran(history: History) -> list[list[str]]:
    """Names by rung."""
    return [list(record.ran) for record in history.rungs]


def stops(history: History) -> dict[str, Stop]:
    """Why each contender was trained no further."""
    return {standing.contender.name: standing.stop for standing in history.standings}


def test_a_search_narrows_from_rung_to_rung() -> None:
    """Of twelve backbones with two depths: all probes, four backbones with both depths, a third of those, a third of those and the protected.

    And as there is time left, the one that was stopped last.
    """
    contenders = grid(12)
    found = run(contenders, Script(falling(contenders)), budget_s=400.0)
    assert [(record.plan.rung, record.plan.epochs, len(record.ran)) for record in found.rungs] == [
        (0, 9, 12),
        (1, 1, 8),
        (2, 3, 3),
        (3, 9, 2),
        (3, 9, 1),
    ]
    assert [record.plan.is_filling for record in found.rungs] == [False, False, False, False, True]
    assert stops(found) == {
        **{f"b{k} all": Stop.complete for k in range(12)},
        **{f"b{k} {depth}": Stop.backbone for k in range(4, 12) for depth in ("half", "none")},
        **dict.fromkeys(("b1 none", "b2 half", "b2 none", "b3 half", "b3 none"), Stop.rung),
        **dict.fromkeys(("b0 half", "b0 none", "b1 half"), Stop.complete),
    }


def test_time_that_is_left_is_used() -> None:
    """Those that got furthest go first, then better ones, then pruned backbones by their probes; no more starts than fits at worst."""
    contenders = grid(12)
    script = Script(falling(contenders))
    found = run(contenders, script, budget_s=1000.0)
    assert found.rungs[-1].plan.is_filling
    assert found.rungs[-1].ran == ("b0 none", "b1 none", "b2 half", "b2 none", "b3 half", "b3 none", "b4 half", "b4 none")
    assert script.spent <= 1000.0 < script.spent + 90.0 * script.spread


def test_a_search_ends_when_its_plan_said() -> None:
    """What the plan after the probes foretells, filled up to the limit, comes true if legs take what was predicted."""
    contenders = grid(12)
    epoch_s = {contender.name: 1.0 + 7 * place % 36 for place, contender in enumerate(contenders)}
    for share in (0.2, 0.3, 0.5, 0.8):
        found = run(contenders, Script(falling(contenders), epoch_s=epoch_s), share=share)
        plan = found.rungs[1].plan
        assert plan.spent_s + plan.rest_s.low_s <= found.spent_s <= plan.spent_s + plan.rest_s.high_s
        assert found.spent_s == pytest.approx(plan.spent_s + plan.rest_s.value_s, rel=0.08)


def test_the_share_of_the_grid_stays_what_the_probes_told() -> None:
    """Predictions of training may change later; the limit that was announced does not."""

    class Learning(Script):
        def predict_s(self, name: str, start: int, stop: int) -> Prediction:
            value = self.seconds(name, start, stop) * (0.5 if any(not leg.endswith(" all") for leg, _ in self.legs) else 1.0)
            return Prediction(value, value, value)

    contenders = grid(12)
    found = run(contenders, Learning(falling(contenders), overrun=0.5), share=0.3)
    assert len({record.plan.budget_s for record in found.rungs[1:]}) == 1


def test_probes_run_once_and_best_prior_first() -> None:
    """Those without a prior come last, in their order; a probe has all its epochs at once."""
    contenders = grid(4, priors={1: 0.6, 3: 0.8})
    script = Script(falling(contenders))
    run(contenders, script, budget_s=200.0)
    assert script.legs[:4] == [("b3 all", 9), ("b1 all", 9), ("b0 all", 9), ("b2 all", 9)]


def test_protected_backbones_reach_the_last_rung() -> None:
    """However badly they score once trained: the two best probes and the best prior, each with its better depth."""
    contenders = grid(12, priors={11: 0.9, **{k: 0.8 - k / 100 for k in range(11)}})
    scores = falling(contenders) | {f"b{k} all": 0.1 - k / 1000 for k in range(12)}
    for k in (0, 1, 11):
        scores |= {f"b{k} half": 0.1, f"b{k} none": 0.2}
    found = run(contenders, Script(scores), share=1.0)
    last = ran(found)[3]
    assert {"b0 none", "b1 none", "b11 none"} <= set(last)
    assert not {"b0 half", "b1 half", "b11 half"} & set(last)


def test_ties_with_the_cut_are_kept_and_capped() -> None:
    """Backbones whose probes are tied with the last kept go on, all; contenders that are tied, up to half as many again."""
    contenders = grid(12)
    script = Script(falling(contenders), ties={"b3 all": {"b4 all", "b6 all"}, "b1 none": {"b2 half", "b3 none", "b6 none"}})
    found = run(contenders, script, share=1.0)
    assert {name.split()[0] for name in ran(found)[1]} == {"b0", "b1", "b2", "b3", "b4", "b6"}
    assert set(ran(found)[2]) == {"b0 half", "b0 none", "b1 half", "b1 none", "b2 half", "b3 none"}


def test_failures_do_not_stop_the_search() -> None:
    """What fails is out, whether at once, later or as a probe; what scored is kept, and the rest goes on."""
    contenders = grid(6)
    scores = falling(contenders) | {"b0 all": None, "b1 half": None, "b1 none": float("nan")}
    found = run(contenders, Script(scores, fails_at={"b2 half": 3}), share=1.0)
    by_name = {standing.contender.name: standing for standing in found.standings}
    assert {name for name, stop in stops(found).items() if stop is Stop.failed} == {"b0 all", "b1 half", "b1 none", "b2 half"}
    assert (by_name["b1 half"].rung, by_name["b1 half"].score) == (None, None)
    assert (by_name["b2 half"].rung, by_name["b2 half"].epochs, by_name["b2 half"].score) == (1, 1, scores["b2 half"])
    assert [set(record.failed) for record in found.rungs[:3]] == [{"b0 all"}, {"b1 half", "b1 none"}, {"b2 half"}]
    assert found.recommended is not None
    assert found.recommended.stop is Stop.complete


def test_a_search_where_everything_fails_ends() -> None:
    """There is nothing to recommend, and everyone has a standing."""
    contenders = grid(4)
    found = run(contenders, Script(dict.fromkeys(falling(contenders))), share=1.0)
    assert found.recommended is None
    assert len(found.standings) == len(contenders)


def test_the_same_trainer_gives_the_same_search() -> None:
    """Nothing is drawn."""
    contenders = grid(12, priors={k: (k * 5 % 7) / 10 for k in range(12)})
    first, second = (run(contenders, Script(falling(contenders)), budget_s=300.0) for _ in range(2))
    assert first == second


def test_a_complete_contender_is_recommended_before_a_better_one_that_is_not() -> None:
    """What scored well after one epoch has not been trained, so nobody could use it."""
    contenders = grid(8)
    probes = {c.name: 0.1 - place / 1000 for place, c in enumerate(contenders) if c.is_probe}
    tuned = [c.name for c in contenders if not c.is_probe]
    found = run(contenders, Script(falling(contenders) | probes, fails_at=dict.fromkeys(tuned, 3)), share=1.0)
    incomplete = [standing for standing in found.standings if standing.stop is not Stop.complete and standing.score is not None]
    assert found.recommended is not None
    assert found.recommended.stop is Stop.complete
    assert max(standing.score for standing in incomplete if standing.score is not None) > (found.recommended.score or 0)


def test_what_failed_is_recommended_last() -> None:
    """A sound contender of the first rung is before one that failed at the second with more epochs behind it."""
    contenders = [contender for contender in grid(4) if not contender.is_probe]
    names = [contender.name for contender in contenders]
    found = run(contenders, Script(falling(contenders), fails_at=dict.fromkeys(names, 9)), budget_s=240.0)
    assert {standing.epochs for standing in found.standings if standing.stop is Stop.failed} == {3}
    assert found.recommended is not None
    assert (found.recommended.stop, found.recommended.epochs) == (Stop.rung, 1)
    failed = [standing.stop is Stop.failed for standing in found.standings]
    assert failed == sorted(failed)


def test_the_budget_holds_when_jobs_take_longer_than_predicted() -> None:
    """Three times as long as predicted, with no refit: the search stops, overrun by one leg at most, and still has an answer."""
    contenders = grid(12)
    script = Script(falling(contenders), overrun=3.0)
    found = run(contenders, script, budget_s=400.0)
    assert script.spent <= 400.0 + script.longest
    assert found.recommended is not None
    assert Stop.budget in stops(found).values()


def test_a_share_is_one_of_the_predicted_grid() -> None:
    """With true predictions the search takes no more than it may, and the plan says how much that is."""
    contenders = grid(12)
    script, plans = Script(falling(contenders)), list[Plan]()
    found = search(contenders, script, epochs=EPOCHS, share=0.2, tell=plans.append)
    whole_s = sum(script.seconds(contender.name, 0, EPOCHS) for contender in contenders)
    assert plans[0].grid_s.value_s == pytest.approx(whole_s)
    assert plans[0].budget_s == pytest.approx(0.2 * whole_s)
    assert found.spent_s <= 0.2 * whole_s
    assert max(plan.share_frac for plan in plans) <= 0.2


def test_without_a_budget_the_share_is_the_default() -> None:
    """A long grid is never searched whole unasked."""
    contenders = grid(12)
    plans = list[Plan]()
    search(contenders, Script(falling(contenders)), epochs=EPOCHS, tell=plans.append)
    assert plans[0].budget_s == pytest.approx(DEFAULT_SHARE * plans[0].grid_s.value_s)


def test_of_two_limits_the_smaller_counts() -> None:
    """Minutes and a share may be given together."""
    contenders = grid(12)
    for budget_s, expected_s in ((50.0, 50.0), (1e6, 0.5 * (12 * PROBE_S + 24 * 90.0))):
        plans = list[Plan]()
        search(contenders, Script(falling(contenders)), epochs=EPOCHS, budget_s=budget_s, share=0.5, tell=plans.append)
        assert plans[0].budget_s == pytest.approx(expected_s)


def test_trimming_gives_up_families_then_ties_then_low_ranks_and_the_protected_last() -> None:
    """With ever less time, backbones leave the first rung in that order, all depths together."""
    families = {11: "vit"}
    contenders = [Contender(c.name, c.backbone, families.get(int(c.backbone[1:]), "cnn"), c.prior, c.is_probe) for c in grid(12)]
    lost: list[str] = []
    for budget_s in range(600, 100, -5):
        script = Script(falling(contenders), ties={"b3 all": {"b5 all"}})
        found = run(contenders, script, budget_s=float(budget_s))
        names = set(found.rungs[1].plan.names)
        entered = {name.split()[0] for name in names}
        assert names == {f"{name} {depth}" for name in entered for depth in ("half", "none")}
        lost += [name for name in ("b0", "b1", "b2", "b3", "b5", "b11") if name not in entered and name not in lost]
        assert {f"{name} half" for name in lost} | {f"{name} none" for name in lost} <= set(found.rungs[1].plan.dropped)
    assert lost == ["b11", "b5", "b3", "b2", "b1"]


def test_a_protected_backbone_of_low_rank_outlives_better_ranked_ones() -> None:
    """The best prior, whose probe is the worst, goes after all that are kept by rank alone."""
    contenders = grid(12, priors={11: 0.9})
    lost: list[str] = []
    for budget_s in range(600, 100, -5):
        found = run(contenders, Script(falling(contenders)), budget_s=float(budget_s))
        entered = {name.split()[0] for name in found.rungs[1].plan.names}
        lost += [name for name in ("b0", "b1", "b2", "b3", "b11") if name not in entered and name not in lost]
    assert lost == ["b3", "b2", "b11", "b1"]


def test_who_could_not_be_finished_in_time_gives_way() -> None:
    """The best by probe would take the whole budget alone; the next ones are trained instead."""
    contenders = grid(4, ("none",))
    found = run(contenders, Script(falling(contenders), epoch_s={"b0 none": 1000.0}), budget_s=200.0)
    assert stops(found)["b0 none"] is Stop.budget
    assert "b0 none" in found.rungs[1].plan.dropped
    assert found.recommended is not None
    assert [standing.contender.name for standing in found.standings if standing.epochs == EPOCHS and not standing.contender.is_probe] == [
        "b1 none"
    ]


def test_probes_run_in_order_until_time_is_up() -> None:
    """Even where rung 0 does not fit, what ran is an answer. A third probe is likely to take 1 s; it runs when so much is left, not with less."""
    contenders = grid(12, priors={k: k / 100 for k in range(12)})
    assert ran(run(contenders, Script(falling(contenders)), budget_s=3.05))[0] == ["b11 all", "b10 all", "b9 all"]
    found = run(contenders, Script(falling(contenders)), budget_s=2.95)
    assert ran(found)[0] == ["b11 all", "b10 all"]
    assert found.recommended is not None
    assert found.recommended.contender.name == "b10 all"


def test_the_first_probe_that_scores_runs_whatever_was_predicted() -> None:
    """Otherwise there would be no answer; everyone has a standing all the same."""
    contenders = grid(3)
    script = Script(falling(contenders) | {"b0 all": None}, overrun=0.2)
    found = run(contenders, script, budget_s=0.5)
    assert [name for name, _ in script.legs] == ["b0 all", "b1 all"]
    assert found.recommended is not None
    assert {standing.contender for standing in found.standings} == set(contenders)


def test_nothing_starts_when_time_is_up() -> None:
    """Probes that fail one after the other end with the budget too."""
    contenders = grid(6)
    script = Script(dict.fromkeys(falling(contenders)))
    found = run(contenders, script, budget_s=2.5)
    assert [name for name, _ in script.legs] == ["b0 all", "b1 all", "b2 all"]
    assert found.recommended is None


def test_a_share_is_no_limit_to_probes() -> None:
    """What the grid takes is known only from them."""
    contenders = grid(6)
    found = run(contenders, Script(falling(contenders)), share=0.001)
    assert [len(names) for names in ran(found)] == [6, 0]


def test_a_grid_that_fits_is_trained_whole() -> None:
    """Time for everything at worst: every contender gets all its epochs in one go, the best probes first."""
    contenders = grid(5)
    script = Script(falling(contenders))
    found = run(contenders, script, budget_s=5000.0)
    assert set(stops(found).values()) == {Stop.complete}
    assert [plan.is_whole for plan in (record.plan for record in found.rungs)] == [True, True]
    assert script.legs[5:7] == [("b0 half", EPOCHS), ("b0 none", EPOCHS)]


@pytest.mark.parametrize(("num", "epoch_s"), [(1, 100.0), (8, 0.1)])
def test_without_a_limit_a_small_or_quick_grid_is_trained_whole(num: int, epoch_s: float) -> None:
    """Two contenders besides probes, or a grid of seconds: stages would save next to nothing."""
    contenders = grid(num)
    found = run(contenders, Script(falling(contenders), epoch_s={contender.name: epoch_s for contender in contenders}))
    assert set(stops(found).values()) == {Stop.complete}
    assert all(record.plan.is_whole and record.plan.budget_s is None for record in found.rungs)


def test_a_limit_is_kept_on_a_small_grid_too() -> None:
    """What the user asked for counts, not what would be sensible."""
    contenders = grid(1)
    script = Script(falling(contenders))
    run(contenders, script, share=0.6)
    assert script.spent <= 0.6 * (PROBE_S + 2 * 90.0)


def test_backbones_without_probes_are_searched_by_their_prior() -> None:
    """A sweep without `freeze=all` has no rung 0."""
    contenders = [c for c in grid(12, priors={k: k / 100 for k in range(12)}) if not c.is_probe]
    found = run(contenders, Script(falling(contenders)), share=1.0)
    assert found.rungs[0].plan.rung == 1
    assert {name.split()[0] for name in ran(found)[0]} == {"b8", "b9", "b10", "b11"}


def test_probes_alone_are_a_search() -> None:
    """A sweep of `freeze=all` ends after rung 0."""
    contenders = [c for c in grid(5) if c.is_probe]
    found = run(contenders, Script(falling(contenders)))
    assert len(found.rungs) == 1
    assert set(stops(found).values()) == {Stop.complete}


def test_plans_are_told_before_their_rung_and_add_up() -> None:
    """Each plan knows what was spent; its time is that of its legs, and the rest is no less than that."""
    contenders = grid(12)
    script = Script(falling(contenders))
    told: list[tuple[int, int, Plan]] = []
    found = search(contenders, script, epochs=EPOCHS, budget_s=400.0, tell=lambda plan: told.append((plan.rung, len(script.legs), plan)))
    assert [(rung, num_legs) for rung, num_legs, _ in told] == [(0, 0), (1, 12), (2, 20), (3, 23), (3, 25)]
    assert [plan for _, _, plan in told] == [record.plan for record in found.rungs]
    for _, _, plan in told:
        assert plan.rung_s.value_s <= plan.rest_s.value_s
    assert [plan.rung_s.value_s for _, _, plan in told] == pytest.approx([12 * PROBE_S, 8 * 10.0, 3 * 20.0, 2 * 60.0, 60.0])
    # After 8: 3 by rank and 2 ties for 20 s each; of those 5, 2 and 1 for 60 s each. At least no ties; at most what is left.
    rest_s = told[1][2].rest_s
    expected = (80 + 5 * 20 + 3 * 60, (80 + 3 * 20 + 2 * 60) / 1.2, 400 - 12)
    assert (rest_s.value_s, rest_s.low_s, rest_s.high_s) == pytest.approx(expected)
    assert sum(record.spent_s for record in found.rungs) == pytest.approx(found.spent_s)
    assert told[-1][2].spent_s + told[-1][2].rest_s.value_s == pytest.approx(found.spent_s)


def test_predictions_are_asked_anew_after_every_leg() -> None:
    """A trainer that learns its legs take four times as long stops the search from starting what no longer fits."""

    class Learning(Script):
        def predict_s(self, name: str, start: int, stop: int) -> Prediction:
            value = self.seconds(name, start, stop) * (4.0 if self.legs else 1.0)
            return Prediction(value, value, value)

    contenders = grid(12)
    script = Learning(falling(contenders), overrun=4.0)
    run(contenders, script, budget_s=500.0)
    assert script.spent <= 500.0


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Contender], Script, float]:
    """Any grid with any scores, times, ties and failures, and a budget."""
    num = draw(st.integers(1, 13))
    maybe = st.none() | st.floats(0, 1)
    contenders = []
    for k in range(num):
        prior, family = draw(maybe), draw(st.sampled_from([None, "cnn", "vit"]))
        depths = draw(st.lists(st.sampled_from(["all", "half", "none"]), min_size=1, unique=True))
        contenders += [Contender(f"b{k} {depth}", f"b{k}", family, prior, depth == "all") for depth in depths]
    names = [contender.name for contender in contenders]
    script = Script(
        {name: draw(maybe) for name in names},
        epoch_s={name: draw(st.floats(0.01, 30.0)) for name in names},
        overrun=draw(st.sampled_from([0.3, 1.0, 1.1, 5.0])),
        ties={name: draw(st.sets(st.sampled_from(names), max_size=4)) for name in names},
        fails_at={name: draw(st.sampled_from([0, 1, 3, 9])) for name in draw(st.sets(st.sampled_from(names), max_size=3))},
    )
    return contenders, script, draw(st.floats(0.1, 1500.0))


@settings(deadline=None, max_examples=300)
@given(worlds())
def test_any_search_keeps_its_budget_and_recommends_one_of_the_furthest(world: tuple[list[Contender], Script, float]) -> None:
    """Overrun by one leg at most, not at all where predictions hold and probes fit; the recommended is the best of those trained furthest."""
    contenders, script, budget_s = world
    found = run(contenders, script, budget_s=budget_s)
    assert script.spent <= budget_s + script.longest
    if script.overrun <= script.spread and budget_s > 13 * PROBE_S * script.spread:
        assert script.spent <= budget_s * (1 + 1e-9)
    assert sorted(standing.contender.name for standing in found.standings) == sorted(contender.name for contender in contenders)
    useful = [standing for standing in found.standings if standing.score is not None]
    assert (found.recommended is None) == (not useful)
    if found.recommended is not None:
        sound = [standing for standing in useful if standing.stop is not Stop.failed] or useful
        furthest = [standing for standing in sound if standing.epochs == max(standing.epochs for standing in sound)]
        assert found.recommended in furthest
        assert found.recommended.score == max(standing.score for standing in furthest if standing.score is not None)


@settings(deadline=None, max_examples=100)
@given(worlds())
def test_any_search_says_what_it_did(world: tuple[list[Contender], Script, float]) -> None:
    """Records and standings agree with the legs that ran, and what failed was never asked for again."""
    contenders, script, budget_s = world
    found = run(contenders, script, budget_s=budget_s)
    assert [name for record in found.rungs for name in record.ran] == [name for name, _ in script.legs]
    failed = [name for record in found.rungs for name in record.failed]
    assert len(failed) == len(set(failed)) == sum(standing.stop is Stop.failed for standing in found.standings)
    for standing in found.standings:
        scored = [epochs for name, epochs in script.legs if name == standing.contender.name]
        if standing.stop is Stop.failed:
            scored.pop()
        assert standing.epochs == max(scored, default=0)
        assert (standing.score is None) == (not scored) == (standing.rung is None)
        assert (standing.stop is Stop.complete) == (standing.epochs == EPOCHS)
