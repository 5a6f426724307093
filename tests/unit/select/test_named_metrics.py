"""Rankings by metrics with a parameter or a class: intervals that cover, units, limits, and what is refused."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.config import RankConfig
from harness.errors import ConfigError, TableError
from harness.select.evidence import Evidence
from harness.select.ranking import rank
from harness.select.ranking_csv import ranking_frame
from harness.select.resamples import Resamples
from harness.select.scores import Runs
from harness.study.store import Predictions, Study
from harness.text.metric_spec import MetricSpec, parse
from tests.unit.select.planted import add

COSTS = ((0.0, 5.0, 1.0), (1.0, -1.0, 3.0), (0.5, 7.0, 0.0))
COVERED = (
    *("roc_auc", "roc_auc:0", "average_precision", "average_precision:0", "matthews_corrcoef", "cohen_kappa", "fbeta@beta=2", "f1:0"),
    *("recall:0", "precision:0", "expected_cost", "top2_accuracy", "sensitivity@specificity=0.9:0"),
)


def named(text: str) -> MetricSpec:
    """Bound to three classes called by their numbers."""
    spec = parse(text, [], "rank.metric")
    index = None if spec.label is None else int(spec.label)
    return replace(spec, class_index=index, costs=COSTS if spec.name == "expected_cost" else None)


def make_runs(seed: int, num_images: int, num_runs: int = 1) -> Runs:
    """Of three classes a fifth, two fifths and two fifths."""
    rng = np.random.default_rng(seed)
    labels_N = np.repeat(np.array([0, 1, 1, 2, 2]), num_images // 5)
    logits_JNC = rng.normal(size=(num_runs, len(labels_N), 3)) + 1.5 * np.eye(3)[labels_N]
    log_probs_JNC = logits_JNC - np.logaddexp.reduce(logits_JNC, axis=2, keepdims=True)
    true_JN = log_probs_JNC[:, np.arange(len(labels_N)), labels_N]
    return Runs(log_probs_JNC.argmax(axis=2), true_JN, labels_N, 3, log_probs_JNC)


@pytest.mark.parametrize("text", COVERED)
def test_intervals_cover_the_truth(text: str) -> None:
    """Of 200 images with so many of each class, the 95 % interval holds what the same run scores on a hundred thousand, 0.90 to 0.99 of the time."""
    spec = named(text)
    truth = Resamples.from_evidence(Evidence.of(make_runs(0, 100_000), spec, [1]), spec, 1).score(0)
    covered = []
    for seed in range(1, 301):
        found = Resamples.from_evidence(Evidence.of(make_runs(seed, 200), spec, [1]), spec, 400).interval(0, 0.95)
        covered.append(found.low <= truth <= found.high)
    assert 0.90 <= np.mean(covered) <= 0.99


def test_sixty_candidates_are_fast() -> None:
    """A thousand images, two thousand resamples: some seconds, by any of them."""
    runs = make_runs(0, 1000, 60)
    for text in COVERED:
        started = time.process_time()
        Resamples.from_evidence(Evidence.of(runs, named(text), [1] * 60), named(text), 2000)
        assert time.process_time() - started < 5


def write_study(folder: Path) -> Study:
    """Two runs that are right equally often: `first` misses images of class a, `second` those of class b; every third image of a class is missed."""
    study, labels_N = Study(folder / "s"), np.arange(60) % 2
    for name, missed in (("first", 0), ("second", 1)):
        is_missed_N = (labels_N == missed) & (np.arange(60) % 3 == 0)
        prob_N = np.where(is_missed_N, 0.4, 0.8)
        probs_NC = np.where(np.arange(2) == labels_N[:, None], prob_N[:, None], 1 - prob_N[:, None])
        said = Predictions(np.log(probs_NC).astype(np.float32), labels_N, [f"{n}.png" for n in range(60)])
        add(study, name, said, said, primary_metric="accuracy")
    return study


def test_the_recall_of_a_class_ranks(tmp_path: Path) -> None:
    """Who misses a has the lower recall of a, and is recommended by that of b."""
    study = write_study(tmp_path)
    for label, best in (("a", "second"), ("b", "first")):
        found = rank(study, RankConfig(metric=f"recall:{label}", num_resamples=200), may_open=False, by="test")
        assert [(entry.label, round(entry.score, 3)) for entry in found.entries] == [
            (f"{best} · all", 1.0),
            (f"{'first' if best == 'second' else 'second'} · all", 0.667),
        ]
        assert found.recommended is not None
        assert found.recommended.label == f"{best} · all"
        assert found.metric_reason == f"chosen with rank.metric=recall:{label}"


def test_costs_rank_and_are_shown_in_their_own_numbers(tmp_path: Path) -> None:
    """Missing an a costs 100 and missing a b 1: images that may be a are called so, which is the cheaper mistake."""
    study, costs = write_study(tmp_path), tmp_path / "costs.csv"
    costs.write_text("true,b,a\na,100,0\nb,0,1\n", encoding="utf-8")
    found = rank(study, RankConfig(metric="expected_cost", costs=str(costs), num_resamples=200), may_open=False, by="test")
    assert [entry.score for entry in found.entries] == pytest.approx([0.5, 0.5])  # all are called a: 30 of 60 cost 1
    frame = ranking_frame(found)
    assert frame["metric"].iloc[0] == "expected_cost"
    assert (frame["interval_high"] <= 100).all()
    assert (frame["expected_loss"] >= 0).all()


def test_costs_in_other_money_rank_alike(tmp_path: Path) -> None:
    """A thousand times the costs are a thousand times the scores, and every probability stays."""
    study, tables = write_study(tmp_path), []
    for factor in (1.0, 1000.0):
        costs = tmp_path / f"{factor}.csv"
        costs.write_text(f"true,a,b\na,{0},{factor}\nb,{2 * factor},{0}\n", encoding="utf-8")
        cfg = RankConfig(metric="expected_cost", costs=str(costs), num_resamples=200)
        tables.append(ranking_frame(rank(study, cfg, may_open=False, by="test")))
    for name in ("score", "interval_low", "interval_high", "expected", "expected_loss", "behind_high"):
        assert np.allclose(tables[0][name].astype(float) * 1000, tables[1][name].astype(float), equal_nan=True)
    assert list(tables[0]["prob_best"]) == pytest.approx(list(tables[1]["prob_best"]))


def test_a_limit_on_a_score_excludes(tmp_path: Path) -> None:
    """The best of the others is recommended, and the reason says by how much it was missed."""
    study = write_study(tmp_path)
    found = rank(study, RankConfig(metric="recall:b", limits=["recall:a >= 0.9"], num_resamples=200), may_open=False, by="test")
    excluded = next(entry for entry in found.entries if entry.breaches)
    assert excluded.label == "first · all"
    assert excluded.excluded == ["recall:a 0.667 is below rank.limits=recall:a>=0.9"]
    assert excluded.breaches[0].miss == "recall:a by 0.233"
    assert found.recommended is not None
    assert found.recommended.label == "second · all"
    nobody = rank(study, RankConfig(limits=["log_loss<=0.01"], num_resamples=200), may_open=False, by="test")
    assert nobody.recommended is None
    assert "is above rank.limits=log_loss<=0.01" in nobody.entries[0].excluded[0]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"metric": "recal:a"},
            r"rank.metric=recal:a: not allowed; rank.metric takes one of auto, accuracy, .*; did you mean recall:CLASS\?",
        ),
        ({"metric": "recall"}, "give recall:CLASS"),
        ({"metric": "cohen_kappa:a"}, "give cohen_kappa, which is not of one class"),
        ({"metric": "roc_auc@beta=2"}, "takes no parameter"),
        ({"metric": "fbeta@beta=-1"}, "beta being a positive number"),
        ({"metric": "sensitivity@specificity=95:a"}, "specificity being a fraction above 0, at most 1"),
        ({"metric": "top1_accuracy"}, "give accuracy, which it is"),
        ({"metric": "expected_cost"}, "rank.costs=FILE"),
        ({"limits": ["recall:a=0.9"]}, "takes METRIC>=NUMBER"),
        ({"limits": ["log_loss>=0.9"]}, "lower is better there"),
    ],
)
def test_what_is_no_metric_is_refused(settings: dict[str, object], said: str) -> None:
    """What was given, what is allowed, what may have been meant; before anything is read."""
    with pytest.raises(ConfigError, match=said):
        RankConfig(**settings)  # type: ignore[arg-type]


def test_what_does_not_fit_the_classes_is_refused(tmp_path: Path) -> None:
    """A class that is not there, a metric that has no value, costs of other classes."""
    study, costs = write_study(tmp_path), tmp_path / "costs.csv"
    with pytest.raises(ConfigError, match=r"there is no class aa; did you mean a\? The classes are a, b"):
        rank(study, RankConfig(metric="recall:aa"))
    with pytest.raises(
        TableError, match=r"with 2 classes every image is right among the 3 most likely; give rank.metric=balanced_accuracy"
    ):
        rank(study, RankConfig(metric="top3_accuracy"))
    for text, said in (
        ("true,a,c\na,0,1\nb,1,0\n", "c is none of the classes, or there twice in its columns"),
        ("true,a,b\na,0,1\n", "some classes are missing in its rows"),
        ("true,a,b\na,0,x\nb,1,0\n", "x in row a, column b; give a number"),
        ("true,a,b\na,0,0\nb,0,0\n", "every decision costs the same"),
        ("", "some classes are missing in its columns"),
    ):
        costs.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=said):
            rank(study, RankConfig(metric="expected_cost", costs=str(costs)))
    with pytest.raises(ConfigError, match="cannot be read"):
        rank(study, RankConfig(metric="expected_cost", costs=str(tmp_path / "none.csv")))


def test_who_never_calls_a_class_has_no_precision_of_it(tmp_path: Path) -> None:
    """In a ranking it counts as 0, as in scikit-learn, instead of leaving the study without an answer."""
    study, labels_N = write_study(tmp_path), np.arange(60) % 2
    never = Predictions(np.log(np.tile([0.9, 0.1], (60, 1))).astype(np.float32), labels_N, [f"{n}.png" for n in range(60)])
    add(study, "never", never, never, primary_metric="accuracy")
    found = rank(study, RankConfig(metric="precision:b", num_resamples=200), may_open=False, by="test")
    assert (found.entries[-1].label, found.entries[-1].score) == ("never · all", 0.0)
    assert found.entries[-1].interval.high > 0.05
