"""The replay: what each strategy gets for the same time, and that the report says plainly what came out and what could not be judged."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.recorded import FloatArray, Recorded, World, read_table, simulate
from benchmarks.replay import BOTH, GRID, ONE_EPOCH, PRIOR, PROBE, RANDOM, Replay, Setting, describe, main, replay
from benchmarks.strategies import Draw, Staged, at_random, by_both, by_prior, by_probe, draw, everything, in_order, one_epoch

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
    """Over other backbones like these: lower regret than random, prior only and probe only, no more than one-epoch top-k, at equal cost."""
    recorded = table(tmp_path, num_candidates=300)
    found = replay(recorded, Setting(num_resamples=250, seed=1, share=0.33, num_drawn=7))
    verdicts = {other.name: other.verdict for other in found.others}
    assert {verdicts[name] for name in (RANDOM, PRIOR, PROBE)} == {"better"}
    assert verdicts[ONE_EPOCH] in ("better", "level")
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


def test_the_tied_set_and_the_curse_are_judged(tmp_path: Path) -> None:
    """All equal: the tied set is nearly everyone and holds the best, the best score is read too high, and the correction takes most of it away."""
    recorded = table(tmp_path, num_candidates=20, num_repeats=6, world=World(spread=1e-6))
    found = replay(recorded, Setting(num_resamples=300, seed=0, share=0.4, num_drawn=None)).ranking
    assert found is not None
    assert found.tied_size > 15
    assert found.tied_coverage_frac > 0.9
    assert found.naive_curse_points > 0.5
    assert abs(found.corrected_curse_points) < 0.5 * found.naive_curse_points


def test_the_tied_set_is_small_where_candidates_differ(tmp_path: Path) -> None:
    """It holds the true best all the same, and what the staged search recommends."""
    found = replay(table(tmp_path, num_candidates=30), SETTING).ranking
    assert found is not None
    assert found.tied_size < 10
    assert found.tied_coverage_frac > 0.9
    assert found.staged_in_tied_frac > 0.9


@pytest.mark.parametrize(
    ("dropped", "lost", "words"),
    [
        ("prior", {PRIOR, BOTH}, "no column prior: prior only could not be judged"),
        ("probe", {PROBE, BOTH}, "no column probe: probe only could not be judged"),
        ("epoch", {ONE_EPOCH}, "no earlier epochs: one-epoch top-k could not be judged"),
    ],
)
def test_what_a_table_lacks_is_said(tmp_path: Path, dropped: str, lost: set[str], words: str) -> None:
    """No strategy is judged on a column that is not there, and the rest is."""
    recorded = table(tmp_path, drop=(dropped,))
    found = replay(recorded, SETTING)
    assert {other.name for other in found.others} == {RANDOM, PRIOR, PROBE, BOTH, ONE_EPOCH, GRID} - lost
    assert words in describe(recorded, found, SETTING)


def test_without_repeats_noise_is_not_judged(tmp_path: Path) -> None:
    """One repeat each: no ties, no curse, and the report says that the truth is what was seen."""
    recorded = table(tmp_path, num_repeats=1, drop=("truth",))
    found = replay(recorded, SETTING)
    assert found.ranking is None
    text = describe(recorded, found, SETTING)
    assert "12 candidates have one repeat: for them the truth is the very score that the search saw." in text
    assert "ties and the winner's curse could not be judged" in text


def test_the_same_seed_gives_the_same_report(tmp_path: Path) -> None:
    """Everything is drawn from it; another seed draws otherwise."""
    recorded = table(tmp_path)

    def found(seed: int) -> Replay:
        return replay(recorded, Setting(num_resamples=20, seed=seed, share=0.3, num_drawn=3))

    assert found(1) == found(1)
    assert found(1) != found(2)


def test_the_command_from_simulation_to_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--simulate` writes a table, the table is judged, and `--json` writes the same numbers beside it."""
    path = tmp_path / "simulated.csv"
    main(["--simulate", str(path), "--candidates", "8", "--repeats", "2", "--seed", "3"])
    main([str(path), "--resamples", "20", "--json"])
    printed = capsys.readouterr().out
    assert f"wrote {path}: 8 candidates, 2 repeats, truth known" in printed
    record = json.loads((tmp_path / "simulated.json").read_text(encoding="utf-8"))
    staged = record["strategies"][0]
    assert f"{staged['regret_points']:.3f}" in printed
    assert (record["num_candidates"], record["num_resamples"], staged["name"]) == (8, 20, "staged search")


def test_the_short_form_needs_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    """It simulates one and leaves nothing behind."""
    main(["--short", "--candidates", "6", "--repeats", "2"])
    assert "6 candidates of 2 backbones, 2 repeats each" in capsys.readouterr().out


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
