"""The replay: what each strategy gets for the same time, and that the report says plainly what came out and what could not be judged."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import rules
from benchmarks.recorded import FloatArray, Recorded, World, read_table, simulate
from benchmarks.replay import BOTH, GRID, ONE_EPOCH, PRIOR, PROBE, RANDOM, Replay, Setting, describe, main, ranked_by_rules, replay, skill
from benchmarks.strategies import Draw, Staged, at_random, by_both, by_prior, by_probe, draw, everything, in_order, one_epoch

pytestmark = pytest.mark.slow

SETTING = Setting(num_resamples=60, seed=0, share=0.4, num_drawn=None)


def table(
    folder: Path, num_candidates: int = 12, num_repeats: int = 3, *, drop: tuple[str, ...] = (), world: World | None = None
) -> Recorded:
    """A simulated table without some of its columns."""
    path = folder / "table.csv"
    frame = simulate(world or World(), num_candidates, num_repeats, seed=5)
    if "epoch" in drop:
        frame = frame[frame["epoch"] == 9]
    frame.drop(columns=list(drop)).to_csv(path, index=False)
    return read_table(path)


def drawn(scores: FloatArray, costs_s: FloatArray, **columns: FloatArray) -> Draw:
    """One repeat of every candidate, whose truth is its last score; lots favour the later ones."""
    num = len(scores)
    missing = np.full(num, np.nan)
    recorded = Recorded(
        names=tuple(str(k) for k in range(num)),
        backbones=tuple(str(k) for k in range(num)),
        families=(None,) * num,
        epochs=(1, 3)[: scores.shape[1]] if scores.shape[1] > 1 else None,
        scores=tuple(scores[:, None]),
        costs_s=tuple(costs_s[:, None]),
        prior_K=columns.get("prior", missing),
        probe_K=columns.get("probe", missing),
        probe_s_K=np.ones(num),
        is_probe_timed=True,
        truth_K=None,
        latency_ms_K=columns.get("latency_ms"),
    )
    return Draw(recorded, scores, costs_s, scores[:, -1], np.arange(num) / num)


THREE = np.array([[0.6, 0.7], [0.5, 0.9], [0.4, 0.8]])
COSTS_S = np.array([[1.0, 10.0], [1.0, 10.0], [1.0, 5.0]])


def test_a_baseline_trains_in_its_order_what_fits() -> None:
    """Who does not fit is passed over, and the best of those trained is chosen by its last score."""
    seen = drawn(THREE, COSTS_S, prior=np.array([0.9, 0.5, 0.1]))
    for time_s, chosen, spent_s in ((25.0, 1, 25.0), (21.0, 1, 20.0), (19.0, 2, 15.0), (9.0, 2, 5.0)):
        found = in_order(by_prior, seen, time_s, is_probing=False)
        assert (found.chosen, found.spent_s) == (chosen, spent_s)


def test_a_baseline_without_time_names_the_first_of_its_order() -> None:
    """It has its evidence, and that costs nothing but the probes."""
    seen = drawn(THREE, COSTS_S, prior=np.array([0.9, 0.5, 0.1]), probe=np.array([0.1, 0.2, np.nan]))
    assert in_order(by_prior, seen, 0.0, is_probing=False).chosen == 0
    assert in_order(at_random, seen, 0.0, is_probing=False).chosen == 2
    found = in_order(by_probe, seen, 4.0, is_probing=True)
    assert (found.chosen, found.spent_s) == (1, 2.0)


def test_probe_and_prior_is_the_mean_of_ranks() -> None:
    """Second in both is before first in one and last in the other."""
    seen = drawn(np.ones((5, 1)), np.ones((5, 1)), prior=np.array([5.0, 4.0, 3.0, 1.0, 2.0]), probe=np.array([1.0, 4.0, 2.0, 5.0, 3.0]))
    assert int(by_both(seen).argmax()) == 1


def test_one_epoch_of_all_then_the_best_go_on() -> None:
    """By their first score, for the rest of their time."""
    seen = drawn(THREE, COSTS_S)
    for time_s, chosen, spent_s in ((3.0, 0, 3.0), (12.0, 0, 12.0), (16.0, 2, 16.0), (25.0, 1, 25.0), (7.0, 2, 7.0)):
        found = one_epoch(seen, time_s)
        assert (found.chosen, found.spent_s) == (chosen, spent_s)


def test_one_epoch_without_time_for_all_goes_on_with_those_it_saw() -> None:
    """A candidate that was not started cannot be continued."""
    found = one_epoch(drawn(THREE, COSTS_S), 1.5)
    assert (found.chosen, found.spent_s) == (2, 1.0)


def test_everything_is_the_full_grid() -> None:
    """All time, and the best last score."""
    found = everything(drawn(THREE, COSTS_S))
    assert (found.chosen, found.spent_s) == (1, 25.0)


def test_a_draw_sees_one_repeat_and_is_judged_by_the_others(tmp_path: Path) -> None:
    """The mean of the repeats that were not drawn; the repeat itself when it is the only one; what a simulation knows before both."""
    recorded = table(tmp_path, drop=("truth",))
    seen = draw(recorded, np.random.default_rng(0))
    for k, scores in enumerate(recorded.scores):
        at = scores[:, -1].tolist().index(seen.scores_KE[k, -1])
        assert seen.truth_K[k] == pytest.approx(np.delete(scores[:, -1], at).mean())
        assert seen.costs_s_KE[k].tolist() == recorded.costs_s[k][at].tolist()
    single = table(tmp_path, num_repeats=1, drop=("truth",))
    assert draw(single, np.random.default_rng(0)).truth_K.tolist() == [scores[0, -1] for scores in single.scores]
    known = table(tmp_path)
    assert known.truth_K is not None
    assert draw(known, np.random.default_rng(0)).truth_K.tolist() == known.truth_K.tolist()


def test_the_staged_search_stays_within_its_share(tmp_path: Path) -> None:
    """Whatever it is, to what repeats differ by; its choice is a candidate of the table."""
    recorded = table(tmp_path, num_candidates=20)
    rng = np.random.default_rng(0)
    for share in (0.1, 0.2, 0.4):
        staged = Staged(recorded, [recorded.noise(position) for position in range(3)], share)
        for _ in range(10):
            seen = draw(recorded, rng)
            found = staged(seen)
            assert 0 <= found.chosen < 20
            assert found.spent_s <= 1.1 * share * (seen.costs_s_KE[:, -1].sum() + recorded.probe_s_K.sum())


def test_staged_search_beats_what_it_must(tmp_path: Path) -> None:
    """Over other backbones like these: lower regret than random, prior only and probe only, at equal cost; within a tenth of a point of one-epoch top-k.

    The simulated epoch is a good one: its score goes with the end at 0.85 for an eighteenth of the time.
    """
    recorded = table(tmp_path, num_candidates=300)
    found = replay(recorded, Setting(num_resamples=250, seed=1, share=0.33, num_drawn=7))
    verdicts = {other.name: other.verdict for other in found.others}
    assert {verdicts[name] for name in (RANDOM, PRIOR, PROBE)} == {"better"}
    one_epoch_first = next(other for other in found.others if other.name == ONE_EPOCH)
    assert found.staged.regret_points <= one_epoch_first.regret_points + 0.1
    assert found.staged.share_frac <= 0.33
    for other in found.others:
        assert other.name == GRID or other.share_frac <= found.staged.share_frac + 1e-9


def test_a_worse_staged_search_is_said_to_be_worse(tmp_path: Path) -> None:
    """Probe and prior that mislead, and an epoch that tells nearly all at little cost: the report names the loss."""
    world = World(tau_probe=-0.9, tau_prior=-0.9, tau_epochs={1: 0.99, 3: 0.99}, num_rates=1)
    recorded = table(tmp_path, num_candidates=20, world=world)
    found = replay(recorded, SETTING)
    by_name = {other.name: other for other in found.others}
    assert by_name[ONE_EPOCH].verdict == "worse"
    text = describe(recorded, found, SETTING)
    against = f"{found.staged.regret_points:.3f} against {by_name[ONE_EPOCH].regret_points:.3f} points"
    assert f"Staged search is WORSE than one-epoch top-k on this table: a regret of {against} at equal cost." in text


def test_random_is_no_better_than_chance_and_the_search_is(tmp_path: Path) -> None:
    """On a table where half of all random choices are inside the noise of single runs. So is random with other lots than those it is measured by."""
    recorded = table(tmp_path, num_candidates=15, world=World(spread=0.008))
    found = replay(recorded, replace(SETTING, num_resamples=200))
    by_name = {other.name: other for other in found.others}
    assert found.staged.is_better_than_chance
    assert not by_name[RANDOM].is_better_than_chance
    assert f"{RANDOM} (no better than chance; staged search: better)" in describe(recorded, found, SETTING)
    rng = np.random.default_rng(0)
    regrets: list[list[float]] = []
    for _ in range(200):
        seen = draw(recorded, rng)
        both = (seen, replace(seen, lots_K=rng.random(15)))
        time_s = 0.4 * float(seen.costs_s_KE[:, -1].sum())
        chosen = [in_order(at_random, one, time_s, is_probing=False).chosen for one in both]
        regrets.append([float(100 * (seen.truth_K.max() - seen.truth_K[k])) for k in chosen])
    one, other = np.array(regrets).T
    assert (one <= 1.96 * 2**0.5 * 100 * recorded.noise()).mean() > 0.5
    gained, error = skill(one, other)
    assert gained is not None
    assert error is not None
    assert abs(gained) < error


def test_skill_is_regret_relative_to_chance() -> None:
    """Half the regret is half a skill, no regret a whole one; where chance loses nothing there is none."""
    chance_S = np.array([1.0, 2.0, 3.0, 2.0])
    assert skill(chance_S / 2, chance_S) == (0.5, 0.0)
    assert skill(0 * chance_S, chance_S) == (1.0, 0.0)
    gained, error = skill(chance_S[::-1] / 2, chance_S)
    assert gained == 0.5
    assert error == pytest.approx(1.96 * 0.5 / 2 / 2)
    assert skill(chance_S, 0 * chance_S) == (None, None)


def test_equal_candidates_leave_nothing_to_be_good_at(tmp_path: Path) -> None:
    """No skill is stated, and the report says why."""
    recorded = table(tmp_path, world=World(spread=0.0))
    found = replay(recorded, SETTING)
    assert not any(one.is_better_than_chance for one in (found.staged, *found.others))
    assert "Random loses nothing on this table, so that nobody can be better than chance." in describe(recorded, found, SETTING)


def test_rules_are_played_on_what_a_draw_shows() -> None:
    """Regret in points of fractions and of percent, latency over the fastest where it is known and time of training where it is not."""
    scores, latency_ms = np.array([[0.80], [0.90], [0.70]]), np.array([10.0, 40.0, 5.0])
    seen = drawn(scores, np.array([[10.0], [20.0], [80.0]]), prior=np.array([0.9, 0.1, 0.5]), latency_ms=latency_ms)
    found = ranked_by_rules(seen, np.full(3, 0.001))
    assert set(found) == set(rules.RULES)
    assert (found[rules.BEST].regret, found[rules.BEST].doublings) == (0, 3)
    assert found[rules.PRIOR].regret == pytest.approx(10)
    assert found[rules.PRIOR].doublings == 1
    assert found[rules.SHIPPED].utility == pytest.approx(-1.5)
    timed = ranked_by_rules(drawn(scores, np.array([[10.0], [20.0], [80.0]])), np.full(3, 0.05))
    assert timed[rules.BEST].doublings == 1
    assert rules.PRIOR not in timed
    percent = ranked_by_rules(drawn(100 * scores, np.array([[10.0], [20.0], [80.0]])), np.full(3, 5.0))
    for name, outcome in percent.items():
        assert outcome.regret == pytest.approx(timed[name].regret)
        assert outcome.expected_loss == pytest.approx(timed[name].expected_loss)


def test_a_score_that_is_known_to_be_uncertain_counts_less() -> None:
    """Of two candidates that score nearly alike, the best by score is not recommended if its own noise is large."""
    seen = drawn(np.array([[0.905], [0.90], [0.80], [0.80]]), np.ones((4, 1)))
    chosen = {noise: ranked_by_rules(seen, np.array([noise, 0.002, 0.002, 0.002]))[rules.SHIPPED].regret for noise in (0.002, 0.08)}
    assert chosen[0.002] == 0
    assert chosen[0.08] > 0


def test_the_rule_that_ships_is_judged(tmp_path: Path) -> None:
    """Less regret than prior only; what it states to lose is what it loses, within its error and half a point; all is printed."""
    recorded = table(tmp_path, num_candidates=60)
    setting = Setting(num_resamples=100, seed=0, share=0.3, num_drawn=6)
    found = replay(recorded, setting)
    assert found.ranking is not None
    means, less = found.ranking.played.means, found.ranking.stated_less_points
    assert less == pytest.approx(means[rules.SHIPPED].expected_loss - means[rules.SHIPPED].regret)
    assert means[rules.SHIPPED].regret < means[rules.PRIOR].regret
    assert abs(less) < 0.5
    text = describe(recorded, found, setting)
    for name, one in means.items():
        assert any(line.startswith(f"{one.regret:7.3f}") and line.endswith(name) for line in text.splitlines())
    assert (
        f"states an expected loss of {means[rules.SHIPPED].expected_loss:.3f} points and has a regret of {means[rules.SHIPPED].regret:.3f}: "
        f"a difference of {less:+.3f}"
    ) in text


@pytest.mark.parametrize(
    ("dropped", "lost", "words"),
    [
        ("prior", {PRIOR, BOTH}, "the table has no prior: prior only could not be judged"),
        ("probe", {PROBE, BOTH}, "the table has no probe: probe only could not be judged"),
        ("epoch", {ONE_EPOCH}, "no earlier epochs: one-epoch top-k could not be judged"),
    ],
)
def test_what_a_table_lacks_is_said(tmp_path: Path, dropped: str, lost: set[str], words: str) -> None:
    """No strategy is judged on a column that is not there, and the rest is."""
    recorded = table(tmp_path, drop=(dropped,))
    found = replay(recorded, SETTING)
    assert {other.name for other in found.others} == {RANDOM, PRIOR, PROBE, BOTH, ONE_EPOCH, GRID} - lost
    assert words in describe(recorded, found, SETTING)


SEEN_IS_TRUTH = "Truth: the very score that the search sees, as no candidate was repeated: the full grid has no regret by definition."
OTHERS_ARE_TRUTH = "Truth: the mean of the repeats that were not drawn, whose own error is in every regret"
KNOWN_TRUTH = "Truth: as the table has it."
SINGLE_RUNS = "that is what the noise of single runs costs"
NOT_RANKED = "Not judged: no candidate was repeated and the table has no truth: how far scores are off is not known, so the rules could not be judged."
OFF_TRUTH = "points off their truth (root mean square)"
OFF_EACH_OTHER = "Repeats of a candidate differ by"
RULES_SAID = "What each rule recommends of the full grid"
STAND_IN = "The table has no latency_ms: seconds of training stand in for latency."
ALL_SAID = {SEEN_IS_TRUTH, OTHERS_ARE_TRUTH, KNOWN_TRUTH, SINGLE_RUNS, NOT_RANKED, OFF_TRUTH, OFF_EACH_OTHER, RULES_SAID}


@pytest.mark.parametrize("dropped", [(), ("epoch",), ("prior", "probe"), ("probe_s",), ("latency_ms",), ("epoch", "probe_s")])
@pytest.mark.parametrize(
    ("has_truth", "num_repeats", "said"),
    [
        (True, 3, {KNOWN_TRUTH, OFF_EACH_OTHER, SINGLE_RUNS, RULES_SAID}),
        (True, 1, {KNOWN_TRUTH, OFF_TRUTH, SINGLE_RUNS, RULES_SAID}),
        (False, 3, {OTHERS_ARE_TRUTH, OFF_EACH_OTHER, SINGLE_RUNS, RULES_SAID}),
        (False, 1, {SEEN_IS_TRUTH, NOT_RANKED}),
    ],
)
def test_no_sentence_is_false(tmp_path: Path, dropped: tuple[str, ...], has_truth: bool, num_repeats: int, said: set[str]) -> None:
    """Of what may be said about truth, repeats and noise, the report says what holds for the table and nothing else; so about missing columns."""
    setting = replace(SETTING, num_resamples=3)
    recorded = table(tmp_path, num_candidates=9, num_repeats=num_repeats, drop=dropped if has_truth else (*dropped, "truth"))
    text = describe(recorded, replay(recorded, setting), setting)
    assert {sentence for sentence in ALL_SAID if sentence in text} == said
    assert ("3 repeats each" if num_repeats == 3 else "one repeat each") in text
    assert ("epochs not recorded" in text) == ("no earlier epochs" in text) == ("epoch" in dropped)
    assert ("the table has no prior" in text) == ("the table has no probe" in text) == ("prior" in dropped)
    assert ("Where probe_s is not given" in text) == ("probe_s" in dropped)
    assert ("an assumed 3 epochs" in text) == ({"epoch", "probe_s"} <= set(dropped))
    assert (STAND_IN in text) == ("latency_ms" in dropped and RULES_SAID in said)


def test_candidates_with_one_repeat_among_others_are_counted(tmp_path: Path) -> None:
    """Their truth is what was seen, unless the table has it."""
    for column, is_said in (("", True), ("truth", False)):
        path = tmp_path / "table.csv"
        lines = [
            f"{name},{repeat},0.{score},10,0.8"
            for name, repeat, score in (("a", 1, 80), ("a", 2, 82), ("b", 1, 79), ("b", 2, 78), ("c", 1, 60))
        ]
        path.write_text(f"candidate,repeat,score,cost_s,{column or 'ignored'}\n" + "\n".join(lines) + "\n", encoding="utf-8")
        recorded = read_table(path)
        text = describe(recorded, replay(recorded, SETTING), SETTING)
        assert ("; of 1 with one repeat, the very score that the search sees." in text) == is_said
        assert "1 to 2 repeats each" in text


def test_repeats_without_any_noise_are_ranked_too(tmp_path: Path) -> None:
    """Scores that are exact, as when seeds change nothing: the best is recommended, without a loss."""
    recorded = table(tmp_path, world=World(noise=0.0))
    found = replay(recorded, SETTING).ranking
    assert found is not None
    assert found.played.means[rules.SHIPPED_0].regret == pytest.approx(0, abs=1e-6)
    assert found.played.means[rules.SHIPPED_0].expected_loss == pytest.approx(0, abs=0.01)


def test_the_same_seed_gives_the_same_report(tmp_path: Path) -> None:
    """Everything is drawn from it; another seed draws otherwise."""
    recorded = table(tmp_path)

    def found(seed: int) -> Replay:
        return replay(recorded, Setting(num_resamples=20, seed=seed, share=0.3, num_drawn=3))

    assert found(1) == found(1)
    assert found(1) != found(2)


def test_the_command_from_simulation_to_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--simulate` writes a table, the table is judged, and `--json` writes the same numbers."""
    path = tmp_path / "simulated.csv"
    main(["--simulate", str(path), "--candidates", "8", "--repeats", "2", "--seed", "3"])
    main([str(path), "--resamples", "20", "--json", str(tmp_path / "found.json")])
    printed = capsys.readouterr().out
    assert f"wrote {path}: 8 candidates, 2 repeats, truth known" in printed
    record = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    staged = record["strategies"][0]
    assert f"{staged['regret_points']:.3f}" in printed
    assert (record["num_candidates"], record["num_resamples"], staged["name"]) == (8, 20, "staged search")
    assert f"{record['ranking']['played']['means'][rules.SHIPPED]['regret']:7.3f}" in printed
    assert len(record["noise_of_each"]) == 8


def test_the_short_form_needs_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It simulates one and leaves nothing behind but the record that was asked for."""
    path = tmp_path / "short.json"
    main(["--short", "--candidates", "6", "--repeats", "2", "--json", str(path)])
    assert "6 candidates of 2 backbones, 2 repeats each" in capsys.readouterr().out
    assert json.loads(path.read_text(encoding="utf-8"))["num_candidates"] == 6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no table given; give TABLE.csv, or --simulate FILE.csv"),
        (["nowhere.csv"], "nowhere.csv: cannot be read"),
        (["--short", "--resamples", "1"], "--resamples 1: not allowed; give 2 or more"),
        (["--short", "--share", "0"], "--share 0.0: not allowed"),
        (["--short", "--tau-probe", "2"], "--tau-probe 2.0: not allowed; give -1 to 1"),
        (["--short", "--drawn", "21"], "--drawn 21: not allowed; give 2 to 7"),
        (["--simulate", "nowhere/table.csv"], "nowhere/table.csv: cannot be written"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, with exit status 2."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.splitlines()) == 1
