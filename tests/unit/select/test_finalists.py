"""The sealed test split: who is opened, what confirms a choice, what overturns it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.config import Metric
from harness.errors import TableError
from harness.select.finalists import Drop, Outcome
from harness.select.ranking import Ranking, rank
from harness.study.store import Study
from tests.unit.reporting.fake_study import write_study
from tests.unit.select.planted import QUICK, add, backbone, planted


def outcome(ranking: Ranking) -> Outcome:
    """What test said."""
    assert ranking.confirmed is not None
    return ranking.confirmed.outcome


def drop(ranking: Ranking, name: str) -> Drop:
    """From val to test, of one finalist."""
    found = next(finalist.drop for finalist in ranking.finalists if finalist.label == f"{name} · all")
    assert found is not None
    return found


@pytest.mark.parametrize("lucky_wrong", [3, 14])
def test_luck_is_not_crowned(tmp_path: Path, lucky_wrong: int) -> None:
    """A candidate that is best on val by luck loses the recommendation on test, whether val called it tied or a clear winner."""
    study = Study(tmp_path / "s")
    add(study, "lucky", planted(range(lucky_wrong)), planted(range(70)), latency_ms_p50=10.0)
    add(study, "honest", planted(range(100, 122)), planted(range(100, 122)), latency_ms_p50=30.0)
    add(study, "third", planted(range(60, 140)), planted(range(60, 140)), latency_ms_p50=5.0)
    ranking = rank(study, QUICK)
    assert ranking.val_choice is ranking.best
    assert ranking.val_choice is not None
    assert ranking.val_choice.candidate.row.backbone == "lucky"
    assert ranking.val_choice.tied
    assert ranking.entry("honest · all").tied == (lucky_wrong == 14)
    assert backbone(ranking) == "honest"
    assert outcome(ranking) is Outcome.overturned
    assert ranking.confirmed is not None
    assert ranking.confirmed.difference is not None
    assert ranking.confirmed.difference.value == pytest.approx((70 - 22) / 200)
    assert ranking.confirmed.difference.interval.low > 0
    assert [(finalist.label, finalist.tied) for finalist in ranking.finalists] == [("lucky · all", False), ("honest · all", True)]
    assert drop(ranking, "lucky").value == pytest.approx((70 - lucky_wrong) / 200)
    assert drop(ranking, "lucky").is_beyond_chance
    assert drop(ranking, "honest").value == pytest.approx(0)
    assert not drop(ranking, "honest").is_beyond_chance
    assert study.opened() == {"lucky0", "honest0"}


def test_all_else_follows_the_new_choice(tmp_path: Path) -> None:
    """After an overturn the test score, the pairs, who is behind whom and the confusion are the new one's; val's own findings stay val's."""
    study = Study(tmp_path / "s")
    add(study, "lucky", planted(range(14)), planted(range(70)), latency_ms_p50=10.0)
    add(study, "honest", planted(range(100, 122)), planted(range(100, 122)), latency_ms_p50=30.0)
    ranking = rank(study, QUICK)
    assert ranking.test is not None
    assert ranking.test.score == pytest.approx(1 - 22 / 200)
    assert ranking.final_scores is not None
    assert (ranking.final_scores.label, ranking.final_scores.split) == ("honest · all", "test")
    assert np.trace(ranking.final_scores.confusion_CC) == 200 - 22
    assert [(pair.first, pair.second) for pair in ranking.pairs] == [("honest · all", "lucky · all")]
    behind = ranking.entry("lucky · all").behind
    assert behind is not None
    assert behind.value == pytest.approx(-8 / 200)
    assert ranking.entry("honest · all").behind is None
    assert ranking.runner_up is ranking.entry("lucky · all")
    assert ranking.separation is not None
    assert ranking.separation.first == "lucky · all"
    assert ranking.entry("lucky · all").rank == 1


def test_choice_stands_when_test_does_not_speak_against_it(tmp_path: Path) -> None:
    """The cheapest of the tied stays although the best on val is a little better on test too."""
    study = Study(tmp_path / "s")
    add(study, "slow", planted(range(18)), planted(range(20)), latency_ms_p50=90.0)
    add(study, "fast", planted(range(3, 24)), planted(range(3, 26)), latency_ms_p50=20.0)
    add(study, "next", planted(range(6, 25)), planted(range(6, 29)), latency_ms_p50=95.0)
    ranking = rank(study, QUICK)
    assert (backbone(ranking), outcome(ranking)) == ("fast", Outcome.confirmed)
    assert ranking.confirmed is not None
    assert ranking.confirmed.difference is None
    assert [finalist.label for finalist in ranking.finalists] == ["fast · all", "slow · all", "next · all"]
    assert all(finalist.tied for finalist in ranking.finalists)
    assert drop(ranking, "fast").value == pytest.approx(2 / 200)
    assert drop(ranking, "fast").interval.low < 0 < drop(ranking, "fast").interval.high


def test_overturned_goes_to_the_cheapest_that_holds(tmp_path: Path) -> None:
    """Two finalists are tied on test: not the best there but the cheaper one is recommended, by the rule of val."""
    study = Study(tmp_path / "s")
    add(study, "slow", planted(range(18)), planted(range(20)), latency_ms_p50=90.0)
    add(study, "fast", planted(range(3, 24)), planted(range(3, 100)), latency_ms_p50=20.0)
    add(study, "next", planted(range(6, 25)), planted(range(2, 24)), latency_ms_p50=50.0)
    ranking = rank(study, QUICK)
    assert (backbone(ranking), outcome(ranking)) == ("next", Outcome.overturned)


def test_only_three_are_ever_opened(tmp_path: Path) -> None:
    """The recommended and the two best scores of the tied, however many are tied; the log says why each was opened, once."""
    study = Study(tmp_path / "s")
    for number in range(6):
        add(study, f"net{number}", planted(range(number, 2 * number + 18)), planted(range(20)), latency_ms_p50=90.0 - 10 * number)
    for _ in range(2):
        assert len(rank(study, QUICK).finalists) == 3
    log = [json.loads(line) for line in (study.root / "opened.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [(record["job_id"], record["reason"]) for record in log] == [
        ("net50", "recommended by val accuracy"),
        ("net00", "best val accuracy"),
        ("net10", "second best val accuracy"),
    ]


def test_all_seeds_are_opened_and_averaged(tmp_path: Path) -> None:
    """A finalist's test score is the mean of its seeds, and so is its drop."""
    study = Study(tmp_path / "s")
    for seed, (val, test) in enumerate(((20, 24), (22, 30), (24, 36))):
        add(study, "one", planted(range(val)), planted(range(test)), seed=seed)
    ranking = rank(study, QUICK)
    assert ranking.test is not None
    assert ranking.test.score == pytest.approx(1 - 30 / 200)
    assert drop(ranking, "one").value == pytest.approx(8 / 200)
    assert ranking.num_opened == 3
    assert outcome(ranking) is Outcome.confirmed


def test_drop_varies_with_both_splits(tmp_path: Path) -> None:
    """Val and test are drawn independently: the drop's interval is that of a difference of two shares."""
    study = Study(tmp_path / "s")
    add(study, "one", planted(range(40)), planted(range(40)))
    found = drop(rank(study, replace(QUICK, num_resamples=4000)), "one").interval
    half = 1.96 * np.sqrt(2 * 0.8 * 0.2 / 200)
    assert (found.low, found.high) == pytest.approx((-half, half), rel=0.1)


def test_lower_loss_on_test_is_no_drop(tmp_path: Path) -> None:
    """Log loss: a higher one on test is a positive drop, in nats."""
    study = Study(tmp_path / "s")
    add(study, "one", planted(range(20)), planted(range(40)))
    found = drop(rank(study, replace(QUICK, metric=Metric.log_loss)), "one")
    assert found.value == pytest.approx(20 / 200 * np.log(9), rel=1e-5)


def test_no_test_split(tmp_path: Path) -> None:
    """Nothing to open: val's choice stands unconfirmed, and the headline is its val score less the optimism of the choice."""
    study = Study(tmp_path / "s")
    rng = np.random.default_rng(0)
    for number in range(12):
        add(study, f"net{number:02d}", planted(rng.choice(200, 30, replace=False)), latency_ms_p50=20.0 + 10 * number)
    ranking = rank(study, QUICK)
    assert outcome(ranking) is Outcome.no_test
    assert (ranking.finalists, ranking.test, ranking.num_opened) == ((), None, 0)
    assert ranking.recommended is not None
    assert ranking.corrected is not None
    assert 0.75 < ranking.corrected <= ranking.recommended.score


def test_corrected_log_loss_is_higher(tmp_path: Path) -> None:
    """In the metric's own unit: the luck of the best makes its loss look too low."""
    study = write_study(tmp_path / "s", depths=("all",), num_val=150, num_test=0, failed=False)
    ranking = rank(study, replace(QUICK, metric=Metric.log_loss))
    assert ranking.corrected is not None
    assert ranking.recommended is not None
    assert ranking.corrected >= ranking.recommended.score > 0


def test_metric_without_a_value_on_test(tmp_path: Path) -> None:
    """A test split that lacks a class confirms nothing and overturns nothing, and says why."""
    study = Study(tmp_path / "s")
    only_first = planted(range(10))
    short = type(only_first)(only_first.log_probs_NC[::2], only_first.labels_N[::2], only_first.ids_N[::2])
    add(study, "one", planted(range(20)), short, latency_ms_p50=10.0)
    add(study, "two", planted(range(19)), short, latency_ms_p50=20.0)
    ranking = rank(study, replace(QUICK, metric=Metric.balanced_accuracy))
    assert outcome(ranking) is Outcome.undefined
    assert ranking.recommended is ranking.val_choice
    assert all((finalist.drop, finalist.tied, finalist.test.score) == (None, None, None) for finalist in ranking.finalists)
    assert ranking.test is not None
    assert "no image" in (ranking.test.undefined or "")


def test_other_test_images_are_an_error(tmp_path: Path) -> None:
    """Finalists that were tested on different images cannot be compared; the message names the jobs."""
    study = Study(tmp_path / "s")
    add(study, "one", planted(range(20)), planted(range(20)), latency_ms_p50=10.0)
    add(study, "two", planted(range(19)), planted(range(20), name="x"), latency_ms_p50=20.0)
    with pytest.raises(TableError, match=r"one0 and two0: their test images"):
        rank(study, QUICK)
