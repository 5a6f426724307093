"""Recorded tables: what is read, what is refused and how, and what a simulated one holds."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

from benchmarks.recorded import FloatArray, Recorded, World, read_table, simulate
from harness.errors import TableError
from harness.search.predicted_cost import FACTOR

PLAIN = "candidate,repeat,score,cost_s\na,1,0.8,10\na,2,0.9,12\nb,1,0.7,30\n"
EPOCHS = "candidate,repeat,epoch,score,cost_s,prior,probe,family\n" + "".join(
    f"{name},{repeat},{epoch},{0.5 + epoch / 100 + repeat / 1000},{epoch * 2},{prior},0.6,{family}\n"
    for name, prior, family in (("a", "0.7", "cnn"), ("b", "", ""))
    for repeat in (1, 2)
    for epoch in (1, 3)
)


def write(folder: Path, text: str) -> Path:
    """A file with this text."""
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_plain_table(tmp_path: Path) -> None:
    """Repeats may differ in number; what was not recorded is missing, and a probe's time is that of one pass of three epochs."""
    found = read_table(write(tmp_path, PLAIN))
    assert (found.names, found.num_repeats, found.epochs) == (("a", "b"), [2, 1], None)
    assert [scores.tolist() for scores in found.scores] == [[[0.8], [0.9]], [[0.7]]]
    assert [costs_s.tolist() for costs_s in found.costs_s] == [[[10.0], [12.0]], [[30.0]]]
    assert np.isnan(found.prior_K).all()
    assert np.isnan(found.probe_K).all()
    assert found.probe_s_K.tolist() == pytest.approx([11 / FACTOR / 3, 30 / FACTOR / 3])
    assert (found.truth_K, found.points) == (None, 100.0)
    assert found.noise() == pytest.approx(np.std([0.8, 0.9], ddof=1))


def test_a_table_with_epochs(tmp_path: Path) -> None:
    """Epochs are columns of scores and costs; an empty prior is missing for that candidate, an empty family is none."""
    found = read_table(write(tmp_path, EPOCHS))
    assert found.epochs == (1, 3)
    assert found.scores[0].tolist() == [[0.511, 0.531], [0.512, 0.532]]
    assert found.costs_s[1].tolist() == [[2.0, 6.0]] * 2
    assert found.prior_K[0] == 0.7
    assert np.isnan(found.prior_K[1])
    assert found.families == ("cnn", None)


def test_lines_may_come_in_any_order(tmp_path: Path) -> None:
    """Candidates keep the order that they first come in, epochs are sorted."""
    header, *lines = EPOCHS.splitlines()
    mixed = read_table(write(tmp_path, "\n".join([header, *reversed(lines)]) + "\n"))
    assert mixed.names == ("b", "a")
    assert mixed.scores[1].tolist() == [[0.512, 0.532], [0.511, 0.531]]


def test_latency_is_one_number_for_each_candidate(tmp_path: Path) -> None:
    """Where the column is left out, it is not known."""
    lines = [f"{line},{value}" for line, value in zip(PLAIN.splitlines(), ("latency_ms", 8, 8, 20), strict=True)]
    found = read_table(write(tmp_path, "\n".join(lines) + "\n"))
    assert found.latency_ms_K is not None
    assert found.latency_ms_K.tolist() == [8.0, 20.0]
    assert found.part([1]).latency_ms_K == np.array([20.0])
    assert read_table(write(tmp_path, PLAIN)).latency_ms_K is None


def noisy(folder: Path, noise_K: FloatArray, num_repeats: int, seed: int = 0) -> Recorded:
    """Candidates whose repeats differ by so much."""
    rng = np.random.default_rng(seed)
    lines = [f"{k},{r},{0.8 + noise * rng.normal()},1" for k, noise in enumerate(noise_K) for r in range(num_repeats)]
    return read_table(write(folder, "candidate,repeat,score,cost_s\n" + "\n".join(lines) + "\n"))


def told(recorded: Recorded) -> FloatArray:
    """The noise of each candidate of a table that tells of it."""
    noise_K = recorded.noise_K()
    assert noise_K is not None
    return noise_K


def off(noise_K: FloatArray, true_K: FloatArray) -> float:
    """Root mean square of what the variances are off."""
    return float(np.sqrt(((noise_K**2 - true_K**2) ** 2).mean()))


@pytest.mark.parametrize(("levels", "num_repeats"), [((0.004, 0.02), 5), ((0.005, 0.015), 3)])
def test_noise_is_each_candidates_own_moved_towards_the_pooled(tmp_path: Path, levels: tuple[float, float], num_repeats: int) -> None:
    """Nearer to the truth than one number for all, and than each candidate's own few repeats."""
    true_K = np.resize(levels, 400)
    found = noisy(tmp_path, true_K, num_repeats)
    own_K = np.array([scores[:, -1].std(ddof=1) for scores in found.scores])
    assert off(told(found), true_K) < 0.9 * min(off(own_K, true_K), off(np.full(400, found.noise()), true_K))


def test_noise_is_the_pooled_one_where_repeats_do_not_tell_candidates_apart(tmp_path: Path) -> None:
    """Exactly where they differ by less than chance makes them, nearly where by little more; a candidate with one repeat takes it as well."""
    np.testing.assert_allclose(told(noisy(tmp_path, np.full(300, 0.01), 3)), 0.01, rtol=0.3)
    few = read_table(write(tmp_path, PLAIN + "c,1,0.5,10\nc,2,0.62,10\n"))
    assert told(few).tolist() == pytest.approx([few.noise()] * 3)


def test_noise_without_repeats_is_the_distance_from_a_known_truth(tmp_path: Path) -> None:
    """The same for all; without a truth nothing tells of it."""
    single = "candidate,repeat,score,cost_s\na,1,0.8,1\nb,1,0.7,1\n"
    assert read_table(write(tmp_path, single)).noise_K() is None
    known = "candidate,repeat,score,cost_s,truth\na,1,0.8,1,0.83\nb,1,0.7,1,0.74\n"
    assert told(read_table(write(tmp_path, known))).tolist() == pytest.approx([0.05 / 2**0.5] * 2)


def test_percent_is_told_from_fractions(tmp_path: Path) -> None:
    """One score above 1 makes all of them percent, which are points already."""
    assert read_table(write(tmp_path, PLAIN.replace("0.", "80."))).points == 1.0


def test_some_candidates_of_a_table(tmp_path: Path) -> None:
    """A part has everything of the candidates that were chosen, in the order they were chosen in."""
    part = read_table(write(tmp_path, EPOCHS)).part([1, 0])
    assert (part.names, part.families) == (("b", "a"), (None, "cnn"))
    assert part.prior_K[1] == 0.7
    assert len(part.scores) == len(part.costs_s) == len(part.probe_K) == len(part.probe_s_K) == 2


WRONG = {
    "lacks the columns cost_s; it needs candidate, repeat, score, cost_s": "candidate,repeat,score\na,1,0.5\n",
    "holds no lines below its header": "candidate,repeat,score,cost_s\n",
    "holds one candidate, so there is nothing to choose": "candidate,repeat,score,cost_s\na,1,0.5,3\n",
    r"line 3: score='good' is not a number": PLAIN.replace("0.9", "good"),
    r"line 3: score='' is not a number": PLAIN.replace("0.9", ""),
    r"line 3: score='nan' is not a number": PLAIN.replace("0.9", "nan"),
    r"line 4: cost_s=0 is not allowed; give seconds above 0": PLAIN.replace("30", "0"),
    r"line 4: repeat is empty": PLAIN.replace("b,1", "b,"),
    r"line 4: candidate is empty": PLAIN.replace("b,1", ",1"),
    r"line 3: candidate 'a' has repeat 1 twice": PLAIN.replace("a,2", "a,1"),
    r"line 3: has more cells than the header": PLAIN.replace("0.9", "0,9"),
    r"has no epoch 3; a search of 9 epochs reads epochs 3 and 9": EPOCHS.replace(",3,", ",9,"),
    r"line 2: epoch=1.5 is not allowed; give a whole number from 1": EPOCHS.replace("a,1,1,", "a,1,1.5,"),
    r"candidate 'b' lacks epoch 3 in repeat 2": "".join(EPOCHS.splitlines(keepends=True)[:-1]),
    r"cost_s of candidate 'a' does not rise": EPOCHS.replace("a,1,3,0.531,6", "a,1,3,0.531,1"),
    r"candidate 'a' has several values of prior \(0.7, 0.8\)": EPOCHS.replace("0.7", "0.8", 1),
    r"candidate 'a' has several values of family \(cnn, vit\)": EPOCHS.replace("cnn", "vit", 1),
    r"line 2: probe='x' is not a number": EPOCHS.replace(",0.6,", ",x,"),
    r"truth is empty for some candidates": EPOCHS.replace("prior", "truth"),
    r"latency_ms is empty for some candidates": EPOCHS.replace("prior", "latency_ms"),
    r"latency_ms=0 is not allowed; give milliseconds above 0": EPOCHS.replace("prior", "latency_ms").replace("0.7", "0"),
}


@pytest.mark.parametrize(("message", "text"), WRONG.items(), ids=list(WRONG))
def test_a_wrong_table_is_one_line_that_says_where(tmp_path: Path, message: str, text: str) -> None:
    """Every refusal names the file, and the line or the candidate."""
    with pytest.raises(TableError, match=message) as error:
        read_table(write(tmp_path, text))
    assert str(error.value).startswith(str(tmp_path / "table.csv"))
    assert "\n" not in str(error.value)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    """So is one that is no text."""
    with pytest.raises(TableError, match="cannot be read"):
        read_table(tmp_path / "table.csv")
    (tmp_path / "table.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TableError, match="cannot be read"):
        read_table(tmp_path / "table.csv")


def test_a_simulated_table_is_what_was_asked_for(tmp_path: Path) -> None:
    """Rank correlations, noise and the share of an epoch are those of the world; the same seed gives the same table."""
    simulate(World(depths=1), 400, 3, seed=1).to_csv(tmp_path / "table.csv", index=False)
    found = read_table(tmp_path / "table.csv")
    assert found.truth_K is not None
    assert (len(found.names), set(found.num_repeats), found.epochs) == (400, {3}, (1, 3, 9))
    for values_K, tau in ((found.prior_K, 0.55), (found.probe_K, 0.80), (np.array([s[:, 0].mean() for s in found.scores]), 0.85)):
        assert kendalltau(values_K, found.truth_K).statistic == pytest.approx(tau, abs=0.05)
    assert found.noise() == pytest.approx(0.004, rel=0.1)
    shares = np.array([costs_s[0] / costs_s[0, -1] for costs_s in found.costs_s])
    np.testing.assert_allclose(shares, np.tile([1 / 18, 3 / 18, 1], (400, 1)), atol=0.01)
    assert found.probe_s_K.sum() / sum(costs_s[:, -1].mean() for costs_s in found.costs_s) == pytest.approx(1 / FACTOR / 18, rel=0.05)
    assert found.backbones == tuple(f"backbone {k + 1}" for k in range(400))
    assert simulate(World(), 5, 2, seed=3).equals(simulate(World(), 5, 2, seed=3))
    assert not simulate(World(), 5, 2, seed=3).equals(simulate(World(), 5, 2, seed=4))


def test_depths_of_a_simulated_backbone_share_probe_and_part_of_their_truth(tmp_path: Path) -> None:
    """Three candidates a backbone, cheaper the more is frozen; truths correlate within backbones as the world says, and the probe sees no more."""
    simulate(World(depths=3), 900, 1, seed=1).to_csv(tmp_path / "table.csv", index=False)
    found = read_table(tmp_path / "table.csv")
    assert found.truth_K is not None
    assert found.firsts == list(range(0, 900, 3))
    truth_BD, probe_BD = found.truth_K.reshape(300, 3), found.probe_K.reshape(300, 3)
    assert (np.ptp(probe_BD, axis=1) == 0).all()
    within = truth_BD.var(axis=1, ddof=1).mean() / truth_BD.var(ddof=1)
    assert 1 - within == pytest.approx(0.7, abs=0.06)
    costs_s_BD = np.array([costs_s[:, -1].mean() for costs_s in found.costs_s]).reshape(300, 3)
    np.testing.assert_allclose((costs_s_BD / costs_s_BD[:, :1]).mean(axis=0), [1, 7 / 9, 5 / 9], rtol=0.05)


def test_backbones_may_be_named(tmp_path: Path) -> None:
    """Without the column every candidate is a backbone of its own."""
    path = tmp_path / "table.csv"
    path.write_text(PLAIN, encoding="utf-8")
    assert read_table(path).backbones == ("a", "b")
    path.write_text("candidate,backbone,repeat,score,cost_s\na,x,1,0.8,10\nb,x,1,0.7,30\nc,y,1,0.6,20\n", encoding="utf-8")
    found = read_table(path)
    assert (found.backbones, found.firsts) == (("x", "x", "y"), [0, 2])
    assert found.part([2, 1]).backbones == ("y", "x")
