"""The sealed test split: only the recommended is opened, what confirms it, what overturns it, and who may not ask."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.config import Metric, RankConfig
from harness.select.classes import final_scores
from harness.select.decision import Ground
from harness.select.finalists import Drop, Outcome
from harness.select.ranking import Ranking, rank
from harness.study.store import Study
from tests.unit.select.planted import QUICK, add, backbone, decision, num_opened, planted


def drop(ranking: Ranking, name: str) -> Drop:
    """From val to test, of one finalist."""
    found = next(finalist.drop for finalist in ranking.finalists if finalist.label == f"{name} · all")
    assert found is not None
    return found


def prob_behind(ranking: Ranking) -> float:
    """Of what train and val recommend, by its own test score."""
    found = ranking.finalists[0].prob_behind
    assert found is not None
    return found


def log(study: Study) -> list[dict[str, Any]]:
    """What the study says was opened."""
    path = study.root / "opened.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def write_lucky(study: Study, lucky_wrong: int = 14, test_wrong: int = 80) -> None:
    """Best on val by luck, honest behind it, and a third that is far off."""
    add(study, "lucky", planted(range(lucky_wrong)), planted(range(test_wrong)), latency_ms_p50=10.0)
    add(study, "honest", planted(range(100, 122)), planted(range(100, 122)), latency_ms_p50=30.0)
    add(study, "third", planted(range(60, 140)), planted(range(60, 140)), latency_ms_p50=5.0)


@pytest.mark.parametrize(("lucky_wrong", "test_wrong"), [(3, 100), (14, 80)])
def test_a_lucky_winner_of_val_is_overturned_by_test(tmp_path: Path, lucky_wrong: int, test_wrong: int) -> None:
    """A candidate that is best on val by luck loses the recommendation on test, whether val called it tied or a clear winner."""
    study = Study(tmp_path / "s")
    write_lucky(study, lucky_wrong, test_wrong)
    ranking = rank(study, QUICK)
    assert decision(ranking).val_choice is ranking.best
    assert decision(ranking).val_choice.candidate.row.backbone == "lucky"
    assert backbone(ranking) == "honest"
    assert (ranking.outcome, decision(ranking).picks.ground) == (Outcome.overturned, Ground.test)
    assert [finalist.label for finalist in ranking.finalists] == ["lucky · all", "honest · all"]
    assert prob_behind(ranking) > 0.95
    assert ranking.finalists[1].prob_behind is None  # it was not chosen by its test score, which has no say either
    assert drop(ranking, "lucky").value == pytest.approx((test_wrong - lucky_wrong) / 200)
    assert drop(ranking, "lucky").is_beyond_chance
    assert drop(ranking, "honest").value == pytest.approx(0)
    assert not drop(ranking, "honest").is_beyond_chance
    assert study.opened() == {"lucky0", "honest0"}


def test_all_else_follows_the_new_choice(tmp_path: Path) -> None:
    """After an overturn the test score, the pairs, who is behind whom and the confusion are the new one's; val's own findings stay val's."""
    study = Study(tmp_path / "s")
    write_lucky(study)
    ranking = rank(study, QUICK)
    assert ranking.test is not None
    assert ranking.test.score == pytest.approx(1 - 22 / 200)
    final = final_scores(ranking)
    assert final is not None
    assert final.confusion_CC is not None
    assert (final.label, final.split) == ("honest · all", "test")
    assert np.trace(final.confusion_CC) == 200 - 22
    assert (decision(ranking).pairs[0].first, decision(ranking).pairs[0].second) == ("honest · all", "lucky · all")
    behind = ranking.entry("lucky · all").behind
    assert behind is not None
    assert behind.value == pytest.approx(-8 / 200)
    assert ranking.entry("honest · all").behind is None
    assert ranking.runner_up is ranking.entry("lucky · all")
    (separation,) = decision(ranking).separations
    assert separation.first == "lucky · all"
    assert ranking.entry("lucky · all").rank == 1


@pytest.mark.parametrize("test_wrong", [14, 22, 35])
def test_a_fall_that_chance_explains_overturns_nothing(tmp_path: Path, test_wrong: int) -> None:
    """One that led on val is expected to fall; it takes more than being behind on test to be nearly surely worse than the best."""
    study = Study(tmp_path / "s")
    add(study, "first", planted(range(14)), planted(range(test_wrong)), latency_ms_p50=10.0)
    add(study, "second", planted(range(100, 122)), planted([]), latency_ms_p50=30.0)
    ranking = rank(study, QUICK)
    assert (backbone(ranking), ranking.outcome) == ("first", Outcome.confirmed)
    assert prob_behind(ranking) < 0.95
    assert study.opened() == {"first0"}


def test_the_worse_on_test_the_more_probably_behind(tmp_path: Path) -> None:
    """A bad score varies more than a good one and counts no less for it: no test score is too bad to be believed."""
    found = []
    for test_wrong in (5, 20, 40, 60, 80, 100):
        study = Study(tmp_path / str(test_wrong))
        add(study, "first", planted(range(3)), planted(range(test_wrong)))
        add(study, "second", planted(range(100, 116)), planted([]))
        found.append(prob_behind(rank(study, QUICK)))
    assert found == sorted(found)
    assert found[0] < 0.05
    assert found[-1] > 0.99


def test_small_tests_say_little(tmp_path: Path) -> None:
    """The same share of errors on a tenth of the images does not overturn what a thousand val images say."""
    for num_test, outcome in ((20, Outcome.confirmed), (1000, Outcome.overturned)):
        study = Study(tmp_path / str(num_test))
        add(study, "first", planted(range(80), 1000), planted(range(num_test // 4), num_test))
        add(study, "second", planted(range(500, 610), 1000), planted([], num_test))
        assert rank(study, QUICK).outcome is outcome


def test_the_next_is_chosen_by_val(tmp_path: Path) -> None:
    """After an overturn the highest utility of the others is recommended, whatever its own test predictions would say."""
    study = Study(tmp_path / "s")
    add(study, "lucky", planted(range(60), 2000), planted(range(800), 2000), latency_ms_p50=20.0)
    add(study, "slow", planted(range(500, 660), 2000), planted([], 2000), latency_ms_p50=90.0)
    add(study, "fast", planted(range(501, 663), 2000), planted(range(1500), 2000), latency_ms_p50=20.0)
    ranking = rank(study, QUICK)
    assert (backbone(ranking), ranking.outcome) == ("fast", Outcome.overturned)
    assert study.opened() == {"lucky0", "fast0"}
    assert ranking.test is not None
    assert ranking.test.score == pytest.approx(0.25)


def test_a_single_candidate_is_never_behind(tmp_path: Path) -> None:
    """However bad its test score is: it is shown, and confirms what there is."""
    study = Study(tmp_path / "s")
    add(study, "only", planted(range(10)), planted(range(90)))
    ranking = rank(study, QUICK)
    assert (backbone(ranking), ranking.outcome) == ("only", Outcome.confirmed)
    assert drop(ranking, "only").is_beyond_chance


def test_one_is_opened_and_logged_once(tmp_path: Path) -> None:
    """However many are tied; the log says what was opened, why, when and by which command."""
    study = Study(tmp_path / "s")
    for number in range(6):
        add(study, f"net{number}", planted(range(number, 2 * number + 18)), planted(range(20)), latency_ms_p50=90.0 - 10 * number)
    for command in ("sweep", "report"):
        ranking = rank(study, QUICK, by=command)
    assert len(ranking.finalists) == 1
    (record,) = log(study)
    assert (record["job_id"], record["reason"], record["by"]) == (f"{backbone(ranking)}0", "recommended by accuracy", "sweep")
    assert record["opened_at"].endswith("+00:00")


def test_an_overturn_is_logged_with_its_reason(tmp_path: Path) -> None:
    """The second one's seal was broken because of the first."""
    study = Study(tmp_path / "s")
    write_lucky(study)
    rank(study, QUICK, by="sweep")
    assert [(record["job_id"], record["reason"], record["by"]) for record in log(study)] == [
        ("lucky0", "recommended by accuracy", "sweep"),
        ("honest0", "recommended by accuracy after the test images overturned lucky · all", "sweep"),
    ]


WHAT_IF = (
    replace(QUICK, max_latency_ms=15.0),
    replace(QUICK, metric=Metric.log_loss, max_latency_ms=15.0),
    replace(QUICK, points_per_doubling=50.0, max_params_m=9.0),
)


@pytest.mark.parametrize("cfg", WHAT_IF)
def test_what_if_questions_open_nothing(tmp_path: Path, cfg: RankConfig) -> None:
    """Another limit, metric or price recommends another candidate, whose test predictions stay sealed; val's scores stand for them."""
    study = Study(tmp_path / "s")
    add(study, "good", planted(range(10)), planted(range(14)), latency_ms_p50=20.0)
    add(study, "fair", planted(range(50)), planted(range(60)), latency_ms_p50=10.0, params_m=5.0)
    rank(study, QUICK)
    before = log(study)
    ranking = rank(study, cfg, may_open=False)
    assert (backbone(ranking), ranking.outcome) == ("fair", Outcome.sealed)
    assert (ranking.test, ranking.finalists, num_opened(ranking)) == (None, (), 1)
    assert ranking.recommended is decision(ranking).val_choice
    final = final_scores(ranking)
    assert final is not None
    assert final.split == "val"
    assert log(study) == before


def test_what_was_opened_before_may_be_seen_again(tmp_path: Path) -> None:
    """A what-if question that recommends the same candidate shows its test score, and even its overturn."""
    study = Study(tmp_path / "s")
    write_lucky(study)
    first = rank(study, QUICK)
    again = rank(study, replace(QUICK, max_latency_ms=40.0), may_open=False)
    assert (again.outcome, again.test) == (Outcome.overturned, first.test)
    assert len(log(study)) == 2


def test_an_overturn_stops_at_a_seal(tmp_path: Path) -> None:
    """The opened one is overturned under other limits too, but what is recommended instead was never opened: it has no test score."""
    study = Study(tmp_path / "s")
    write_lucky(study)
    add(study, "fast", planted(range(100, 124)), planted(range(24)), latency_ms_p50=9.0)
    rank(study, replace(QUICK, max_latency_ms=40.0, points_per_doubling=0.0))
    assert study.opened() == {"lucky0", "honest0"}
    ranking = rank(study, replace(QUICK, max_latency_ms=20.0), may_open=False)
    assert (backbone(ranking), ranking.outcome) == ("fast", Outcome.overturned)
    assert ([finalist.label for finalist in ranking.finalists], ranking.test) == (["lucky · all"], None)
    final = final_scores(ranking)
    assert final is not None
    assert (final.label, final.split) == ("fast · all", "val")
    assert study.opened() == {"lucky0", "honest0"}


def test_a_new_seed_seals_its_candidate(tmp_path: Path) -> None:
    """Test scores are means over all seeds: one that was not opened before keeps a what-if question from seeing any."""
    study = Study(tmp_path / "s")
    add(study, "one", planted(range(10)), planted(range(14)))
    rank(study, QUICK)
    add(study, "one", planted(range(12)), planted(range(14)), seed=1)
    assert rank(study, QUICK, may_open=False).outcome is Outcome.sealed
    assert study.opened() == {"one0"}


def test_all_seeds_are_opened_and_averaged(tmp_path: Path) -> None:
    """A finalist's test score is the mean of its seeds, and so is its drop."""
    study = Study(tmp_path / "s")
    for seed, (val, test) in enumerate(((20, 24), (22, 30), (24, 36))):
        add(study, "one", planted(range(val)), planted(range(test)), seed=seed)
    ranking = rank(study, QUICK)
    assert ranking.test is not None
    assert ranking.test.score == pytest.approx(1 - 30 / 200)
    assert drop(ranking, "one").value == pytest.approx(8 / 200)
    assert num_opened(ranking) == 3
    assert ranking.outcome is Outcome.confirmed


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


@pytest.mark.parametrize("may_open", [True, False])
def test_no_test_split(tmp_path: Path, may_open: bool) -> None:
    """Nothing to open, for anybody: the choice of train and val stands unconfirmed."""
    study = Study(tmp_path / "s")
    rng = np.random.default_rng(0)
    for number in range(12):
        add(study, f"net{number:02d}", planted(rng.choice(200, 30, replace=False)), latency_ms_p50=20.0 + 10 * number)
    ranking = rank(study, QUICK, may_open=may_open)
    assert ranking.outcome is Outcome.no_test
    assert (ranking.finalists, ranking.test, num_opened(ranking)) == ((), None, 0)
    assert ranking.recommended is decision(ranking).val_choice


def test_what_is_expected_is_less_than_the_best_score(tmp_path: Path) -> None:
    """The best of many that are equally good was lucky, and the posterior takes that off."""
    study = Study(tmp_path / "s")
    rng = np.random.default_rng(0)
    for number in range(12):
        add(study, f"net{number:02d}", planted(rng.choice(400, rng.binomial(400, 0.15), replace=False), 400))
    best = rank(study, QUICK).best
    assert best is not None
    assert best.score > 0.86
    assert abs(best.expected - 0.85) < abs(best.score - 0.85)


def test_metric_without_a_value_on_test(tmp_path: Path) -> None:
    """A test split that lacks a class confirms nothing and overturns nothing, and says why."""
    study = Study(tmp_path / "s")
    only_first = planted(range(10))
    short = type(only_first)(only_first.log_probs_NC[::2], only_first.labels_N[::2], only_first.ids_N[::2])
    add(study, "one", planted(range(20)), short, latency_ms_p50=10.0)
    add(study, "two", planted(range(19)), short, latency_ms_p50=20.0)
    ranking = rank(study, replace(QUICK, metric=Metric.balanced_accuracy))
    assert ranking.outcome is Outcome.undefined
    assert ranking.recommended is decision(ranking).val_choice
    (finalist,) = ranking.finalists
    assert (finalist.drop, finalist.prob_behind, finalist.test.score) == (None, None, None)
    assert ranking.test is not None
    assert "no image" in (ranking.test.undefined or "")
