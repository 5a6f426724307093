"""The recommendation: cheapest of the tied within the limits, sealed test opened for it alone."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from harness.config import Metric, RankConfig
from harness.errors import TableError
from harness.select.ranking import Ranking, rank
from harness.select.ranking_csv import COLUMNS, ranking_frame
from harness.study.row import Details
from harness.study.store import IntArray, Predictions, Study
from tests.unit.reporting.fake_study import make_row, write_job, write_study

LABELS_N = np.arange(200) % 2
QUICK = RankConfig(metric=Metric.accuracy, num_resamples=300)


def answers(num_wrong: int, start: int = 0) -> IntArray:
    """Predictions with that many errors in a row."""
    predicted_N = LABELS_N.copy()
    predicted_N[start : start + num_wrong] = 1 - predicted_N[start : start + num_wrong]
    return predicted_N


def split(predicted_N: IntArray) -> Predictions:
    """Nine to one for the predicted class."""
    log_probs_NC = np.full((len(predicted_N), 2), np.log(0.1), dtype=np.float32)
    log_probs_NC[np.arange(len(predicted_N)), predicted_N] = np.log(0.9)
    return Predictions(log_probs_NC, LABELS_N[: len(predicted_N)], [str(i) for i in range(len(predicted_N))])


def add(study: Study, backbone: str, num_wrong: int, *, start: int = 0, test_wrong: int | None = None, **changes: Any) -> None:
    """One job with a chosen number of val errors."""
    profile = {"class_counts": {"train": {"a": 50, "b": 50}}}
    row = replace(make_row(backbone, backbone), details=Details(class_names=["a", "b"], profile=profile), **changes)
    write_job(study, row, split(answers(num_wrong, start)), None if test_wrong is None else split(answers(test_wrong)))


def chosen(ranking: Ranking) -> str:
    """The recommended backbone."""
    assert ranking.recommended is not None
    return ranking.recommended.candidate.row.backbone


def test_cheapest_tied_is_recommended(tmp_path: Path) -> None:
    """A small lead does not pay for a slower network; a large lead does."""
    study = Study(tmp_path / "s")
    add(study, "slow", 18, latency_ms_p50=90.0)
    add(study, "fast", 21, start=2, latency_ms_p50=20.0)
    add(study, "poor", 90, latency_ms_p50=2.0)
    ranking = rank(study, QUICK)
    assert chosen(ranking) == "fast"
    assert [entry.candidate.row.backbone for entry in ranking.tied] == ["slow", "fast"]
    assert [entry.rank for entry in ranking.entries] == [1, 2, 3]
    assert ranking.best is ranking.runner_up is ranking.entries[0]
    assert ranking.runner_up.behind is not None
    assert ranking.runner_up.behind.value == pytest.approx(-3 / 200)
    assert ranking.runner_up.behind.interval.low < 0 < ranking.runner_up.behind.interval.high


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ({"latency_ms_p50": 10.4, "params_m": 5.0}, {"latency_ms_p50": 10.0, "params_m": 6.0}, "first"),  # latencies count as equal
        ({"latency_ms_p50": 10.6, "params_m": 5.0}, {"latency_ms_p50": 10.0, "params_m": 6.0}, "second"),  # they do not
        ({"trainable_params_m": 2.0}, {"trainable_params_m": 1.0}, "first"),  # what training changed costs nothing afterwards
        ({}, {}, "first"),  # all equal: the higher score
        ({"latency_ms_p50": None}, {"latency_ms_p50": 500.0}, "second"),  # unknown is last
        ({"latency_ms_p50": None, "params_m": 2.0}, {"latency_ms_p50": None, "params_m": 1.0}, "second"),
    ],
)
def test_cost_decides_in_order(tmp_path: Path, first: dict[str, Any], second: dict[str, Any], wanted: str) -> None:
    """Latency within 5 %, then parameters, then the score."""
    study = Study(tmp_path / "s")
    add(study, "first", 20, **{"latency_ms_p50": 10.0, "params_m": 5.0, "trainable_params_m": 1.0} | first)
    add(study, "second", 21, **{"latency_ms_p50": 10.0, "params_m": 5.0, "trainable_params_m": 1.0} | second)
    assert chosen(rank(study, QUICK)) == wanted


def test_f1_of_tiny_classes_is_not_ranked_by(tmp_path: Path) -> None:
    """With four val images in a class its F1 cannot be resampled; the error names metrics that can."""
    study = Study(tmp_path / "s")
    row = replace(make_row("a", "a"), details=Details(class_names=["a", "b"], profile={"class_counts": {"train": {"a": 50, "b": 50}}}))
    few = Predictions(np.log(np.full((12, 2), 0.5, dtype=np.float32)), np.repeat([0, 1], [8, 4]), [str(i) for i in range(12)])
    write_job(study, row, few, None)
    with pytest.raises(TableError, match=r"a class has 4 val images.*balanced_accuracy"):
        rank(study, replace(QUICK, metric=Metric.f1_macro))


def test_limits_come_before_the_comparison(tmp_path: Path) -> None:
    """A candidate outside the limits has no rank, is tied with nobody, and does not keep others from being the best."""
    study = Study(tmp_path / "s")
    add(study, "winner", 2, latency_ms_p50=90.0)
    add(study, "within", 60, latency_ms_p50=20.0)
    ranking = rank(study, replace(QUICK, max_latency_ms=30))
    assert chosen(ranking) == "within"
    winner = ranking.entries[1]
    assert (winner.rank, winner.tied, winner.on_front) == (None, False, False)
    assert winner.excluded == ["latency 90 ms is above rank.max_latency_ms=30"]
    assert ranking.entries[0].rank == 1
    assert ranking.best is ranking.recommended


def test_no_candidate_within_the_limits(tmp_path: Path) -> None:
    """No recommendation, nothing opened, and the three that miss by least."""
    study = Study(tmp_path / "s")
    for backbone, latency_ms in (("a", 50.0), ("b", 40.0), ("c", 70.0), ("d", 60.0)):
        add(study, backbone, 20, latency_ms_p50=latency_ms, test_wrong=10)
    ranking = rank(study, replace(QUICK, max_latency_ms=30))
    assert ranking.recommended is None
    assert [entry.candidate.row.backbone for entry in ranking.nearest] == ["b", "a", "d"]
    assert study.opened() == set()


def test_only_the_recommended_is_opened(tmp_path: Path) -> None:
    """One job's seal is broken and logged; ranking again opens no other and counts the same."""
    study = Study(tmp_path / "s")
    add(study, "good", 10, latency_ms_p50=20.0, test_wrong=14)
    add(study, "bad", 90, latency_ms_p50=10.0, test_wrong=90)
    for _ in range(2):
        ranking = rank(study, QUICK)
        assert study.opened() == {"good"}
        assert ranking.num_opened == 1
    assert ranking.test is not None
    assert ranking.test.score == pytest.approx(1 - 14 / 200)
    assert ranking.test.interval is not None
    assert ranking.test.interval.low < 1 - 14 / 200 < ranking.test.interval.high
    assert len((study.root / "opened.jsonl").read_text(encoding="utf-8").splitlines()) == 1


def test_tests_opened_earlier_are_counted(tmp_path: Path) -> None:
    """A second recommendation under other limits adds to the count that the report shows."""
    study = Study(tmp_path / "s")
    add(study, "good", 10, latency_ms_p50=20.0, test_wrong=14)
    add(study, "bad", 90, latency_ms_p50=10.0, test_wrong=90)
    rank(study, QUICK)
    assert rank(study, replace(QUICK, max_latency_ms=15)).num_opened == 2


def test_rule_picks_the_metric(tmp_path: Path) -> None:
    """Imbalanced classes are ranked by balanced accuracy, unless a metric is chosen; both say why."""
    study = write_study(tmp_path / "s", backbones=("resnet50",), depths=("all",), num_val=400, num_test=0)
    by_rule = rank(study, RankConfig(num_resamples=200))
    assert by_rule.metric is Metric.balanced_accuracy
    assert "4.0 times" in by_rule.metric_reason
    by_choice = rank(study, RankConfig(metric=Metric.f1_macro, num_resamples=200))
    assert by_choice.metric is Metric.f1_macro
    assert "rank.metric=f1_macro" in by_choice.metric_reason


def test_log_loss_is_better_when_lower(tmp_path: Path) -> None:
    """Scores keep their own unit and sign; the order turns round."""
    study = write_study(tmp_path / "s", depths=("all",), num_val=150, num_test=100)
    ranking = rank(study, RankConfig(metric=Metric.log_loss, num_resamples=200))
    scores = [entry.score for entry in ranking.entries]
    assert scores == sorted(scores)
    assert all(0 < entry.interval.low <= entry.score <= entry.interval.high for entry in ranking.entries)
    assert ranking.recommended is not None
    assert ranking.test is not None
    assert ranking.test.score is not None
    assert ranking.test.score > 0
    worst = ranking.entries[-1].behind
    assert worst is not None
    assert worst.value > 0


def test_seeds_are_averaged(tmp_path: Path) -> None:
    """The score is the mean of the seeds' scores, the test score likewise, and every seed is opened."""
    study = write_study(tmp_path / "s", backbones=("resnet50",), depths=("all",), seeds=(0, 1, 2), num_val=150, num_test=90, failed=False)
    ranking = rank(study, RankConfig(num_resamples=200))
    (entry,) = ranking.entries
    found = [study.val_predictions(row.job_id) for row in entry.candidate.rows]
    wanted = np.mean([balanced_accuracy_score(each.labels_N, each.log_probs_NC.argmax(axis=1)) for each in found])
    assert entry.score == pytest.approx(wanted)
    assert ranking.num_opened == 3
    assert ranking.final_scores is not None
    assert ranking.final_scores.confusion_CC.sum() == 3 * 90


def test_metric_without_a_value_is_an_error(tmp_path: Path) -> None:
    """A class without val images leaves macro averages undefined: said on one line, with the metrics that exist."""
    study = Study(tmp_path / "s")
    details = Details(class_names=["a", "b", "c"], profile={"class_counts": {"train": {"a": 9, "b": 9, "c": 9}}})
    log_probs_NC = np.log(np.full((200, 3), 1 / 3, dtype=np.float32))
    val = Predictions(log_probs_NC, LABELS_N, [str(i) for i in range(200)])
    write_job(study, replace(make_row("a"), details=details), val)
    with pytest.raises(TableError, match=r"1 of 3 classes have no val image; give rank.metric=accuracy"):
        rank(study, replace(QUICK, metric=Metric.f1_macro))
    assert rank(study, QUICK).metric is Metric.accuracy


def test_test_split_without_a_class_says_so(tmp_path: Path) -> None:
    """Where the metric has no value on test, the score is empty with the reason and other metrics are still there."""
    study = Study(tmp_path / "s")
    details = Details(class_names=["a", "b"], profile={"class_counts": {"train": {"a": 9, "b": 9}}})
    test = Predictions(split(answers(0)).log_probs_NC[::2], LABELS_N[::2], [str(i) for i in range(100)])
    write_job(study, replace(make_row("a"), details=details), split(answers(20)), test)
    found = rank(study, replace(QUICK, metric=Metric.balanced_accuracy)).test
    assert found is not None
    assert found.score is None
    assert "no image" in (found.undefined or "")
    assert found.quality["accuracy"] == 1.0


def test_baseline_is_the_largest_class(tmp_path: Path) -> None:
    """Always naming the most frequent class of val is right on its share."""
    study = write_study(tmp_path / "s", backbones=("resnet50",), depths=("all",), num_val=100, num_test=0)
    ranking = rank(study, RankConfig(num_resamples=200))
    assert ranking.baseline["accuracy"] == pytest.approx(np.bincount(ranking.labels_N).max() / 100)
    assert ranking.baseline["balanced_accuracy"] == pytest.approx(1 / 5)


def test_only_failures_rank_nothing(tmp_path: Path) -> None:
    """A study without a good row ranks to an empty table that lists the failures."""
    study = write_study(tmp_path / "s", backbones=())
    ranking = rank(study, RankConfig())
    assert (ranking.entries, ranking.recommended, ranking.test) == ((), None, None)
    assert {row.status for row in ranking.failed} == {"failed", "oom"}


def test_csv_has_every_candidate(tmp_path: Path) -> None:
    """One line per candidate in the order of the ranking, columns fixed, ranks of the excluded empty."""
    study = write_study(tmp_path / "s", num_val=100, num_test=50)
    ranking = rank(study, RankConfig(num_resamples=200, max_params_m=10))
    frame = ranking_frame(ranking)
    assert tuple(frame.columns) == COLUMNS
    assert frame["label"].tolist() == [entry.label for entry in ranking.entries]
    assert frame["recommended"].sum() == 1
    assert frame.loc[frame["rank"].isna(), "excluded"].str.contains("rank.max_params_m=10").all()
    assert frame["rank"].isna().sum() == 6
    assert ((frame["interval_low"] <= frame["score"]) & (frame["score"] <= frame["interval_high"])).all()
    assert json.loads(frame.to_json(orient="records"))


def test_pruned_are_never_tied(tmp_path: Path) -> None:
    """A pruned job with the best score of all is listed and counts for nothing."""
    study = Study(tmp_path / "s")
    add(study, "good", 20, latency_ms_p50=20.0)
    add(study, "stopped", 0, latency_ms_p50=1.0, status="pruned", rung=0)
    ranking = rank(study, QUICK)
    assert [entry.candidate.row.backbone for entry in ranking.tied] == ["good"]
    assert [row.backbone for row in ranking.pruned] == ["stopped"]
    assert (len(ranking.entries), ranking.failed) == (1, ())


def test_two_protocols_are_not_mixed(tmp_path: Path) -> None:
    """A better score under another protocol is left out by the name of the difference, and takes part in nothing."""
    study = Study(tmp_path / "s")
    profile = {"class_counts": {"train": {"a": 50, "b": 50}}}
    for name, wrong, epochs, when in (("longer", 1, 9, "2025-01-01"), ("newer", 20, 3, "2026-01-01")):
        details = Details(class_names=["a", "b"], profile=profile, protocol={"epochs": epochs})
        row = replace(make_row(name, name), details=details, protocol=f"p{epochs}", started_at=f"{when}T00:00:00+00:00")
        write_job(study, row, split(answers(wrong)))
    ranking = rank(study, QUICK)
    assert [entry.candidate.row.backbone for entry in ranking.entries] == ["newer"]
    assert [(left.row.backbone, left.reason) for left in ranking.left_out] == [("longer", "epochs is 9 instead of 3")]
    assert ranking.pairs == ()


def test_entries_know_their_places(tmp_path: Path) -> None:
    """Each candidate within the limits has an interval of places around its rank; the excluded have none."""
    study = write_study(tmp_path / "s", num_val=200, num_test=0)
    ranking = rank(study, RankConfig(num_resamples=300, max_params_m=10))
    for entry in ranking.entries:
        assert (entry.rank is None) == (entry.rank_interval is None) == bool(entry.breaches)
        if entry.rank is not None and entry.rank_interval is not None:
            assert 1 <= entry.rank_interval.low <= entry.rank <= entry.rank_interval.high <= 9
            assert entry.rank_interval.low == 1 or not entry.tied
            assert entry.front_prob is not None
    assert any(entry.rank_interval.low > 1 for entry in ranking.eligible if entry.rank_interval)


def test_csv_has_places_pairs_and_test(tmp_path: Path) -> None:
    """The new columns are the ranking's own numbers; those of test are filled for finalists alone."""
    study = write_study(tmp_path / "s", num_val=150, num_test=80)
    ranking = rank(study, RankConfig(num_resamples=200, max_params_m=10))
    frame = ranking_frame(ranking)
    within = frame[frame["rank"].notna()]
    assert ((within["rank_low"] <= within["rank"]) & (within["rank"] <= within["rank_high"])).all()
    assert frame.loc[frame["rank"].isna(), ["rank_low", "rank_high", "front_prob", "verdict"]].isna().all(axis=None)
    others = within[~within["recommended"]]
    assert others["verdict"].tolist() == [pair.verdict.value for pair in ranking.pairs[: len(others)]]
    assert others["mcnemar_p_holm"].tolist() == [pair.mcnemar.p_holm for pair in ranking.pairs[: len(others)]]
    assert others["behind"].tolist() == [pair.difference.value for pair in ranking.pairs[: len(others)]]
    assert frame.loc[frame["finalist"], "label"].tolist() == sorted(
        (finalist.label for finalist in ranking.finalists), key=lambda label: ranking.entry(label).rank or 0
    )
    assert frame["test_score"].notna().tolist() == frame["finalist"].tolist()
    assert ((frame["test_low"] <= frame["test_score"]) & (frame["test_score"] <= frame["test_high"])).sum() == len(ranking.finalists)
