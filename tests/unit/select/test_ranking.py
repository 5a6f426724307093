"""The recommendation: the highest expected utility within the limits, and what the ranking says of everybody else."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from harness.config import Metric, RankConfig
from harness.errors import TableError
from harness.measure.quality import decide
from harness.select.classes import final_scores
from harness.select.decision import Ground
from harness.select.metric import baseline
from harness.select.ranking import rank
from harness.select.ranking_csv import COLUMNS, ranking_frame
from harness.study.store import Predictions, Study
from tests.unit.select.planted import QUICK, add, backbone, decision, imbalanced, make_details, make_row, num_opened, planted, write_job

LARGE = 2000
"""Images with which a point is seen."""


def at(num_wrong: int, start: int = 0, num_images: int = LARGE) -> Predictions:
    """That many errors in a row."""
    return planted(range(start, start + num_wrong), num_images)


def test_a_much_better_one_is_worth_its_latency(tmp_path: Path) -> None:
    """Five points on 90 val images do not prove who is best, and yet a small model is not recommended for being fast: that was the old rule."""
    study = Study(tmp_path / "s")
    add(study, "large", planted(range(10, 19), 90), latency_ms_p50=20.0)
    add(study, "small", planted(range(14), 90), latency_ms_p50=10.0)
    ranking = rank(study, QUICK)
    assert backbone(ranking) == "large"
    assert [entry.tied for entry in ranking.entries] == [True, True]
    assert ranking.entries[0].score - ranking.entries[1].score == pytest.approx(5 / 90)


def test_of_two_equally_good_the_faster(tmp_path: Path) -> None:
    """As many errors on other images, or the same ones: half the latency decides, whoever is listed first."""
    for number, (first, second) in enumerate((("slow", "fast"), ("fast", "slow"))):
        for start in (0, 100):
            study = Study(tmp_path / f"s{number}{start}")
            latency_ms = {"slow": 20.0, "fast": 10.0}
            add(study, first, at(200), latency_ms_p50=latency_ms[first])
            add(study, second, at(200, start), latency_ms_p50=latency_ms[second])
            assert backbone(rank(study, QUICK)) == "fast"


def test_a_limit_makes_latency_inside_it_free(tmp_path: Path) -> None:
    """Whoever asks for 20 ms is served with 19.8: three points better, and no price for being slower than 15.4."""
    study = Study(tmp_path / "s")
    add(study, "slower", at(140), latency_ms_p50=19.8)
    add(study, "faster", at(200, 20), latency_ms_p50=15.4)
    add(study, "outside", at(20), latency_ms_p50=20.1)
    limited = replace(QUICK, max_latency_ms=20)
    assert backbone(rank(study, limited)) == "slower"
    assert decision(rank(study, limited)).picks.terms.points_per_doubling == 0


def test_latency_within_a_limit_is_free_unless_priced(tmp_path: Path) -> None:
    """A third of a point would not pay for two doublings at the default price; within a limit it need not, unless a price is given as well."""
    study = Study(tmp_path / "s")
    add(study, "slower", at(150), latency_ms_p50=40.0)
    add(study, "faster", at(156, 2), latency_ms_p50=10.0)
    assert backbone(rank(study, QUICK)) == "faster"
    limited = replace(QUICK, max_latency_ms=50)
    assert backbone(rank(study, limited)) == "slower"
    assert backbone(rank(study, replace(limited, points_per_doubling=0.5))) == "faster"


def test_without_a_price_the_score_alone_counts(tmp_path: Path) -> None:
    """rank.points_per_doubling=0: a lead that is real however small, at any latency."""
    study = Study(tmp_path / "s")
    add(study, "slow", at(150), latency_ms_p50=900.0)
    add(study, "fast", at(156), latency_ms_p50=10.0)
    assert backbone(rank(study, QUICK)) == "fast"
    assert backbone(rank(study, replace(QUICK, points_per_doubling=0.0))) == "slow"


def test_the_budget_pick_and_its_price(tmp_path: Path) -> None:
    """Who would win if latency were worth more, and from which price on: just below it the recommended, just above it the other."""
    study = Study(tmp_path / "s")
    add(study, "good", at(100), latency_ms_p50=40.0)
    add(study, "fair", at(180, 50), latency_ms_p50=10.0)
    add(study, "poor", at(900, 50), latency_ms_p50=5.0)
    ranking = rank(study, QUICK)
    assert (backbone(ranking), decision(ranking).picks.ground) == ("good", Ground.utility)
    assert decision(ranking).budget is ranking.entry("fair · all")
    assert decision(ranking).fastest is ranking.entry("poor · all")
    price = decision(ranking).picks.break_even_points
    assert price == pytest.approx(2.0, abs=0.2)  # four points for two doublings
    below, above = (decision(rank(study, replace(QUICK, points_per_doubling=price * factor))).picks for factor in (0.99, 1.01))
    assert (below.recommended.position, below.budget.position) == (0, 1)
    assert (above.recommended.position, above.ground) == (1, Ground.utility)


def test_entries_say_what_is_believed(tmp_path: Path) -> None:
    """Probabilities of those within the limits sum to one, losses are those of the decision, the excluded have neither."""
    study = Study(tmp_path / "s")
    for number, wrong in enumerate((100, 110, 130)):
        add(study, f"net{number}", at(wrong, 7 * number), latency_ms_p50=10.0 + number)
    add(study, "dear", at(10), latency_ms_p50=99.0)
    ranking = rank(study, replace(QUICK, max_latency_ms=50))
    within, (dear,) = ranking.entries[:3], ranking.entries[3:]
    assert sum(entry.prob_best or 0 for entry in within) == pytest.approx(1)
    assert within[0].expected_loss == pytest.approx(decision(ranking).picks.recommended.expected_loss)
    assert [entry.expected for entry in within] == sorted((entry.expected for entry in within), reverse=True)
    assert (dear.prob_best, dear.expected_loss) == (None, None)
    assert dear.expected > within[0].expected


def test_the_tied_set_is_a_statement(tmp_path: Path) -> None:
    """Who cannot be excluded as best is said of everybody and chooses nobody: places, pairs and runner-up stay those of the scores."""
    study = Study(tmp_path / "s")
    add(study, "slow", at(180), latency_ms_p50=90.0)
    add(study, "fast", at(182, 2), latency_ms_p50=20.0)
    add(study, "poor", at(900), latency_ms_p50=2.0)
    ranking = rank(study, QUICK)
    assert backbone(ranking) == "fast"
    assert [entry.candidate.row.backbone for entry in ranking.tied] == ["slow", "fast"]
    assert [entry.rank for entry in ranking.entries] == [1, 2, 3]
    assert ranking.best is ranking.runner_up is ranking.entries[0]
    assert ranking.runner_up.behind is not None
    assert ranking.runner_up.behind.value == pytest.approx(-2 / LARGE)
    assert ranking.runner_up.behind.interval.low < 0 < ranking.runner_up.behind.interval.high


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ({"latency_ms_p50": 10.4}, {"latency_ms_p50": 10.0, "train_s": 1.0}, "second"),  # latencies count as equal: cheaper to train
        ({"latency_ms_p50": 10.6}, {"latency_ms_p50": 10.0, "train_s": 900.0}, "second"),  # they do not
        ({"params_m": 9.0}, {"params_m": 1.0}, "first"),  # parameters cost nothing that latency does not say: by name
        ({"latency_ms_p50": None}, {"latency_ms_p50": 500.0, "train_s": 900.0}, "second"),  # unknown is slower than the slowest
        ({"latency_ms_p50": None}, {"latency_ms_p50": None, "train_s": 1.0}, "second"),
    ],
)
def test_equals_are_decided_by_cost(tmp_path: Path, first: dict[str, Any], second: dict[str, Any], wanted: str) -> None:
    """Two that say the same of every image: latency unless within 5 %, then the time of training, then the name."""
    study = Study(tmp_path / "s")
    for name, changes in (("first", first), ("second", second)):
        add(study, name, at(200), **({"latency_ms_p50": 10.0, "train_s": 60.0} | changes))
    assert backbone(rank(study, QUICK)) == wanted


def test_fine_tuning_that_changed_nothing_is_one_candidate(tmp_path: Path) -> None:
    """Two depths that ended in the frozen model are not three candidates that share the chance to be best."""
    study = Study(tmp_path / "s")
    for depth in ("all", "0.5", "none"):
        add(study, "net", at(160), freeze=depth, model_blake2b="m0")
    add(study, "other", at(165, 30), model_blake2b="m1")
    ranking = rank(study, QUICK)
    assert [(entry.label, len(entry.candidate.twins)) for entry in ranking.entries] == [("net · all (= 0.5, none)", 2), ("other · all", 0)]
    assert backbone(ranking) == "net"


@pytest.mark.parametrize(("with_heads", "wanted", "num_images"), [(False, "lucky", 80), (True, "better", 400)])
def test_heads_separate_luck_from_skill(tmp_path: Path, with_heads: bool, wanted: str, num_images: int) -> None:
    """On the 80 val images one fine-tune leads by five points, and so does its head, which is far behind on the 320 others: luck."""
    study = Study(tmp_path / "s")
    for name, train_wrong, val_wrong in (("lucky", 80, 8), ("better", 48, 12)):
        first = 0 if name == "lucky" else 20
        val = range(first, first + val_wrong)
        everyone = planted([*range(train_wrong), *(320 + number for number in val)], 400)
        add(study, name, planted(val, 80), out_of_fold=everyone if with_heads else None, model_blake2b=f"{name} head")
        add(study, name, planted(val, 80), freeze="none", model_blake2b=f"{name} tuned")
    ranking = rank(study, QUICK)
    assert (backbone(ranking), ranking.pool.num_images) == (wanted, num_images)


def test_f1_of_tiny_classes_is_not_ranked_by(tmp_path: Path) -> None:
    """With four val images in a class its F1 cannot be resampled; the error names metrics that can."""
    study = Study(tmp_path / "s")
    few = Predictions(np.log(np.full((12, 2), 0.5, dtype=np.float32)), np.repeat([0, 1], [8, 4]), [str(i) for i in range(12)])
    write_job(study, make_row("a", "a"), few)
    with pytest.raises(TableError, match=r"a class has 4 val images.*balanced_accuracy"):
        rank(study, replace(QUICK, metric=Metric.f1_macro))


def test_limits_come_before_the_comparison(tmp_path: Path) -> None:
    """A candidate outside the limits has no rank, is tied with nobody, and does not keep others from being the best."""
    study = Study(tmp_path / "s")
    add(study, "winner", planted(range(2)), latency_ms_p50=90.0)
    add(study, "within", planted(range(60)), latency_ms_p50=20.0)
    ranking = rank(study, replace(QUICK, max_latency_ms=30))
    assert backbone(ranking) == "within"
    winner = ranking.entries[1]
    assert (winner.rank, winner.tied, winner.on_front) == (None, False, False)
    assert winner.excluded == ["latency 90 ms is above rank.max_latency_ms=30"]
    assert ranking.entries[0].rank == 1
    assert ranking.best is ranking.recommended


def test_no_candidate_within_the_limits(tmp_path: Path) -> None:
    """No recommendation, nothing opened, and the three that miss by least."""
    study = Study(tmp_path / "s")
    for name, latency_ms in (("a", 50.0), ("b", 40.0), ("c", 70.0), ("d", 60.0)):
        add(study, name, planted(range(20)), planted(range(10)), latency_ms_p50=latency_ms)
    ranking = rank(study, replace(QUICK, max_latency_ms=30))
    assert ranking.recommended is None
    assert [entry.candidate.row.backbone for entry in ranking.nearest] == ["b", "a", "d"]
    assert study.opened() == set()


def test_only_the_recommended_is_opened(tmp_path: Path) -> None:
    """One job's seal is broken and logged; ranking again opens no other and counts the same."""
    study = Study(tmp_path / "s")
    add(study, "good", planted(range(10)), planted(range(14)), latency_ms_p50=20.0)
    add(study, "bad", planted(range(90)), planted(range(90)), latency_ms_p50=10.0)
    for _ in range(2):
        ranking = rank(study, QUICK)
        assert study.opened() == {"good0"}
        assert num_opened(ranking) == 1
    assert ranking.test is not None
    assert ranking.test.score == pytest.approx(1 - 14 / 200)
    assert ranking.test.interval is not None
    assert ranking.test.interval.low < 1 - 14 / 200 < ranking.test.interval.high
    assert len((study.root / "opened.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_tests_opened_earlier_are_counted(tmp_path: Path) -> None:
    """A second recommendation under other limits adds to the count that the report shows."""
    study = Study(tmp_path / "s")
    add(study, "good", planted(range(10)), planted(range(14)), latency_ms_p50=20.0)
    add(study, "bad", planted(range(90)), planted(range(90)), latency_ms_p50=10.0)
    rank(study, QUICK)
    assert num_opened(rank(study, replace(QUICK, max_latency_ms=15))) == 2


def test_rule_picks_the_metric(tmp_path: Path) -> None:
    """Imbalanced classes are ranked by balanced accuracy, unless a metric is chosen; both say why."""
    study = Study(tmp_path / "s")
    imbalanced(study, "net")
    by_rule = rank(study, RankConfig(num_resamples=200))
    assert by_rule.metric is Metric.balanced_accuracy
    assert "4.0 times" in by_rule.metric_reason
    by_choice = rank(study, RankConfig(metric=Metric.f1_macro, num_resamples=200))
    assert by_choice.metric is Metric.f1_macro
    assert "rank.metric=f1_macro" in by_choice.metric_reason


def test_log_loss_is_better_when_lower(tmp_path: Path) -> None:
    """Scores keep their own unit and sign; the order turns round."""
    study = Study(tmp_path / "s")
    for number in range(4):
        imbalanced(study, f"net{number}", skill=0.9 - 0.1 * number, num_test=100)
    ranking = rank(study, RankConfig(metric=Metric.log_loss, num_resamples=200))
    scores = [entry.score for entry in ranking.entries]
    assert scores == sorted(scores)
    assert all(0 < entry.interval.low <= entry.score <= entry.interval.high for entry in ranking.entries)
    assert all(entry.expected > 0 for entry in ranking.entries)
    assert ranking.recommended is not None
    assert ranking.test is not None
    assert ranking.test.score is not None
    assert ranking.test.score > 0
    worst = ranking.entries[-1].behind
    assert worst is not None
    assert worst.value > 0


def test_seeds_are_averaged(tmp_path: Path) -> None:
    """The score is the mean of the seeds' scores, of decisions that divide the class shares out; every seed is opened."""
    study = Study(tmp_path / "s")
    for seed in range(3):
        imbalanced(study, "net", seed=seed, num_test=90)
    ranking = rank(study, RankConfig(num_resamples=200))
    (entry,) = ranking.entries
    found = [study.val_predictions(row.job_id) for row in entry.candidate.rows]
    prior_C = np.array(entry.candidate.row.details.class_prior)
    wanted = [balanced_accuracy_score(each.labels_N, decide(each.log_probs_NC, Metric.balanced_accuracy, prior_C)) for each in found]
    assert entry.score == pytest.approx(np.mean(wanted))
    assert entry.score != pytest.approx(
        np.mean([balanced_accuracy_score(each.labels_N, each.log_probs_NC.argmax(axis=1)) for each in found])
    )
    assert num_opened(ranking) == 3
    final = final_scores(ranking)
    assert final is not None
    assert final.confusion_CC is not None
    assert final.confusion_CC.sum() == 3 * 90


def test_metric_without_a_value_is_an_error(tmp_path: Path) -> None:
    """A class without val images leaves macro averages undefined: said on one line, with the metrics that exist."""
    study = Study(tmp_path / "s")
    log_probs_NC = np.log(np.full((200, 3), 1 / 3, dtype=np.float32))
    val = Predictions(log_probs_NC, np.arange(200) % 2, [str(i) for i in range(200)])
    write_job(study, make_row("a", details=make_details(3)), val)
    with pytest.raises(TableError, match=r"1 of 3 classes have no val image; give rank.metric=accuracy"):
        rank(study, replace(QUICK, metric=Metric.f1_macro))
    assert rank(study, QUICK).metric is Metric.accuracy


def test_test_split_without_a_class_says_so(tmp_path: Path) -> None:
    """Where the metric has no value on test, the score is empty with the reason and other metrics are still there."""
    study = Study(tmp_path / "s")
    every = planted([])
    test = Predictions(every.log_probs_NC[::2], every.labels_N[::2], every.ids_N[::2])
    add(study, "a", planted(range(20)), test)
    found = rank(study, replace(QUICK, metric=Metric.balanced_accuracy)).test
    assert found is not None
    assert found.score is None
    assert "no image" in (found.undefined or "")
    assert found.quality["accuracy"] == 1.0


def test_baseline_is_the_largest_class(tmp_path: Path) -> None:
    """Always naming the most frequent class of val is right on its share."""
    study = Study(tmp_path / "s")
    imbalanced(study, "net")
    ranking = rank(study, RankConfig(num_resamples=200))
    assert baseline(ranking.pool)["accuracy"] == pytest.approx(np.bincount(ranking.pool.labels_N).max() / len(ranking.pool.labels_N))
    assert baseline(ranking.pool)["balanced_accuracy"] == pytest.approx(1 / 3)


def test_only_failures_rank_nothing(tmp_path: Path) -> None:
    """A study without a good row ranks to an empty table that lists the failures."""
    study = Study(tmp_path / "s")
    for status in ("failed", "oom"):
        study.write_row(make_row(status, status=status, error="no"))
    ranking = rank(study, RankConfig())
    assert (ranking.entries, ranking.recommended, ranking.test, ranking.decision) == ((), None, None, None)
    assert {row.status for row in ranking.pool.failed} == {"failed", "oom"}


def several(study: Study, num_test: int = 0) -> None:
    """Eight candidates of three imbalanced classes, two of them of more than ten million parameters."""
    for number in range(8):
        imbalanced(study, f"net{number}", skill=0.95 - 0.1 * number, num_test=num_test, params_m=20.0 if number in (1, 5) else 5.0)


def test_csv_has_every_candidate(tmp_path: Path) -> None:
    """One line per candidate in the order of the ranking, columns fixed, ranks of the excluded empty."""
    study = Study(tmp_path / "s")
    several(study, num_test=50)
    ranking = rank(study, RankConfig(num_resamples=200, max_params_m=10))
    frame = ranking_frame(ranking)
    assert tuple(frame.columns) == COLUMNS
    assert frame["label"].tolist() == [entry.label for entry in ranking.entries]
    assert frame["recommended"].sum() == 1
    assert frame.loc[frame["rank"].isna(), "excluded"].str.contains("rank.max_params_m=10").all()
    assert frame["rank"].isna().sum() == 2
    assert ((frame["interval_low"] <= frame["score"]) & (frame["score"] <= frame["interval_high"])).all()
    assert json.loads(frame.to_json(orient="records"))


def test_pruned_are_never_tied(tmp_path: Path) -> None:
    """A pruned job with the best score of all is listed and counts for nothing."""
    study = Study(tmp_path / "s")
    add(study, "good", planted(range(20)), latency_ms_p50=20.0)
    add(study, "stopped", planted([]), latency_ms_p50=1.0, status="pruned", rung=0)
    ranking = rank(study, QUICK)
    assert [entry.candidate.row.backbone for entry in ranking.tied] == ["good"]
    assert [row.backbone for row in ranking.pool.pruned] == ["stopped"]
    assert (len(ranking.entries), ranking.pool.failed) == (1, ())


def test_two_protocols_are_not_mixed(tmp_path: Path) -> None:
    """A better score under another protocol is left out by the name of the difference, and takes part in nothing."""
    study = Study(tmp_path / "s")
    for name, wrong, epochs, when in (("longer", 1, 9, "2025-01-01"), ("newer", 20, 3, "2026-01-01")):
        details = make_details(protocol={"epochs": epochs})
        add(study, name, planted(range(wrong)), details=details, protocol=f"p{epochs}", started_at=f"{when}T00:00:00+00:00")
    ranking = rank(study, QUICK)
    assert [entry.candidate.row.backbone for entry in ranking.entries] == ["newer"]
    assert [(left.row.backbone, left.reason) for left in ranking.pool.left_out] == [("longer", "epochs is 9 instead of 3")]
    assert decision(ranking).pairs == ()


def test_entries_know_their_places(tmp_path: Path) -> None:
    """Each candidate within the limits has an interval of places around its rank; the excluded have none."""
    study = Study(tmp_path / "s")
    several(study)
    ranking = rank(study, RankConfig(num_resamples=300, max_params_m=10))
    for entry in ranking.entries:
        assert (entry.rank is None) == (entry.rank_interval is None) == bool(entry.breaches)
        if entry.rank is not None and entry.rank_interval is not None:
            assert 1 <= entry.rank_interval.low <= entry.rank <= entry.rank_interval.high <= 6
            assert entry.rank_interval.low == 1 or not entry.tied
            assert entry.front_prob is not None
    assert any(entry.rank_interval.low > 1 for entry in ranking.eligible if entry.rank_interval)


def test_csv_has_places_pairs_and_test(tmp_path: Path) -> None:
    """The columns are the ranking's own numbers; those of test are filled for the recommended alone."""
    study = Study(tmp_path / "s")
    several(study, num_test=80)
    ranking = rank(study, RankConfig(num_resamples=200, max_params_m=10))
    frame = ranking_frame(ranking)
    within = frame[frame["rank"].notna()]
    assert ((within["rank_low"] <= within["rank"]) & (within["rank"] <= within["rank_high"])).all()
    assert frame.loc[frame["rank"].isna(), ["rank_low", "rank_high", "front_prob", "verdict"]].isna().all(axis=None)
    others = within[~within["recommended"]]
    assert others["verdict"].tolist() == [pair.verdict.value for pair in decision(ranking).pairs[: len(others)]]
    assert others["mcnemar_p_holm"].tolist() == [pair.mcnemar.p_holm for pair in decision(ranking).pairs[: len(others)]]
    assert others["behind"].tolist() == [pair.difference.value for pair in decision(ranking).pairs[: len(others)]]
    assert frame.loc[frame["finalist"], "label"].tolist() == sorted(
        (finalist.label for finalist in ranking.finalists), key=lambda label: ranking.entry(label).rank or 0
    )
    assert frame["test_score"].notna().tolist() == frame["finalist"].tolist()
    assert ((frame["test_low"] <= frame["test_score"]) & (frame["test_score"] <= frame["test_high"])).sum() == len(ranking.finalists)
