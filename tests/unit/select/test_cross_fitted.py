"""Fine-tunes with folds: what they are measured on, and how much more is known of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from harness.config import Metric, rank_metric
from harness.errors import TableError
from harness.measure.choice import deal
from harness.select.candidates import Candidate, Pool, load_pool
from harness.select.evidence import Evidence, image_covariance
from harness.select.measured import WIDENED, evidence_of
from harness.study.row import Row
from harness.study.store import Predictions, Study
from tests.unit.select.planted import add, make_row, write_job

NUM_TRAIN, NUM_VAL, NUM_FOLDS = 160, 40, 5
EVERYONE = np.arange(NUM_TRAIN + NUM_VAL)
LABELS_M = EVERYONE % 2
VAL = EVERYONE[NUM_TRAIN:]


def said(images: Iterable[int], wrong: Iterable[int], labels_M: np.ndarray = LABELS_M) -> Predictions:
    """Of some of the images, all called rightly but the wrong ones; nine to one."""
    numbers = np.array(list(images))
    labels_P = labels_M[numbers]
    called_P = np.where(np.isin(numbers, list(wrong)), 1 - labels_P, labels_P)
    log_probs_PC = np.log(np.where(np.arange(2) == called_P[:, None], 0.9, 0.1)).astype(np.float32)
    return Predictions(log_probs_PC, labels_P, [f"i{number}" for number in numbers])


def fold(number: int, seed: int = 0) -> np.ndarray:
    """Its images."""
    return np.flatnonzero(deal(LABELS_M, NUM_FOLDS, seed) == number)


def add_fold(study: Study, number: int, wrong: Iterable[int], seed: int = 0, labels_M: np.ndarray = LABELS_M, **changes: Any) -> Row:
    """The row of one fold of the fine-tune of resnet50."""
    given: dict[str, Any] = {"fold": number, "oof_folds": NUM_FOLDS, "is_trained": True, "lr": 1e-4} | changes
    row = make_row(f"fold{number}{seed}", freeze="none", seed=seed, **given)
    return write_job(study, row, said(fold(number, seed), wrong, labels_M))


def a_study(folder: Path, wrong: Iterable[int], *, head: bool = True, seeds: Iterable[int] = (0,), head_wrong: Iterable[int] = ()) -> Study:
    """A fine-tune that errs on these images, beside a head that errs on others."""
    study = Study(folder / "s")
    for seed in seeds:
        if head:
            add(study, "resnet50", said(VAL, head_wrong), out_of_fold=said(EVERYONE, head_wrong), seed=seed, model_blake2b="h")
        add(study, "resnet50", said(VAL, wrong), freeze="none", is_trained=True, lr=1e-4, seed=seed, model_blake2b=f"m{seed}")
    return study


def fine_tune(pool: Pool) -> Candidate:
    """The one whose folds these tests are about."""
    return next(each for each in pool.candidates if each.row.freeze == "none")


def measured(study: Study, metric: Metric = Metric.accuracy) -> Evidence:
    """Of the fine-tune, among all candidates."""
    pool = load_pool(study)
    return evidence_of(pool, pool.candidates, metric).take([pool.candidates.index(fine_tune(pool))])


def error(evidence: Evidence) -> float:
    """The standard error of its score."""
    return float(image_covariance(evidence.influence_KN, evidence.labels_N)[0, 0] ** 0.5)


def test_with_all_folds_done_it_is_the_score_out_of_fold(tmp_path: Path) -> None:
    """Every image counts once, by the model that did not see it; no control is needed; errors are widened as a head's are."""
    study = a_study(tmp_path, wrong=VAL[:3], head_wrong=range(0, 200, 7))
    for number in range(NUM_FOLDS):
        add_fold(study, number, wrong=range(0, 200, 10))
    evidence = measured(study)
    assert evidence.scores_K[0] == pytest.approx(0.9)
    hit_M = ~np.isin(EVERYONE, range(0, 200, 10))
    np.testing.assert_allclose(evidence.influence_KN[0], WIDENED * (hit_M - 0.9) / 200, atol=1e-12)
    found = fine_tune(load_pool(study)).cross_fitted
    assert found is not None
    assert (found.num_done, found.num_folds) == (5, 5)


@pytest.mark.parametrize("head", [True, False])
def test_a_fold_takes_the_place_of_val_there_and_val_stays_elsewhere(tmp_path: Path, *, head: bool) -> None:
    """Out of fold: images 0 to 9 of the fold are wrong, no val image is. Own model: all val images of the other folds are right."""
    study, first = a_study(tmp_path, wrong=VAL, head=head), fold(0)
    add_fold(study, 0, wrong=first[:10])
    there = np.union1d(VAL, first)
    num_wrong = len(set(first[:10]) | (set(VAL) - set(first)))
    evidence = measured(study)
    assert evidence.scores_K[0] == pytest.approx(1 - num_wrong / len(there))
    assert len(evidence.labels_N) == (200 if head else len(there))
    assert np.count_nonzero(evidence.influence_KN[0]) == len(there)


@pytest.mark.parametrize("metric", [Metric.accuracy, Metric.balanced_accuracy, Metric.f1_macro, Metric.log_loss])
def test_more_folds_more_is_known(tmp_path: Path, metric: Metric) -> None:
    """On average over draws of images, the standard error falls with the folds, from that of val alone to well below it.

    The first fold may hardly gain in log loss: its errors are widened, those of the val images that it replaces are not.
    """
    errors = np.array([errors_by_folds(tmp_path / str(number), metric, np.random.default_rng(number)) for number in range(8)]).mean(axis=0)
    assert errors[1] < 1.02 * errors[0]
    assert (np.diff(errors[1:]) < 0).all()
    assert errors[-1] < 0.7 * errors[0]


def errors_by_folds(folder: Path, metric: Metric, rng: np.random.Generator) -> list[float]:
    """Of a fine-tune that errs on its own images: with no fold, with one, with all."""
    wrong, head_wrong = np.flatnonzero(rng.random(200) < 0.2), np.flatnonzero(rng.random(200) < 0.2)
    study = a_study(folder, wrong, head_wrong=head_wrong)
    errors = [error(measured(study, metric))]
    for number in range(NUM_FOLDS):
        add_fold(study, number, wrong)
        errors.append(error(measured(study, metric)))
    return errors


def test_the_control_takes_off_luck_with_the_images_of_the_folds_done(tmp_path: Path) -> None:
    """A fine-tune that errs where its head does is that head, however many folds are done: score and errors."""
    wrong = np.flatnonzero(np.random.default_rng(0).random(200) < 0.25)
    study = a_study(tmp_path, wrong, head_wrong=wrong)
    add_fold(study, 2, wrong)
    pool = load_pool(study)
    evidence = evidence_of(pool, pool.candidates, Metric.accuracy)
    assert evidence.scores_K[0] == pytest.approx(evidence.scores_K[1])
    np.testing.assert_allclose(evidence.influence_KN[0], evidence.influence_KN[1], atol=1e-12)


def test_stated_errors_are_those_that_repeating_shows(tmp_path: Path) -> None:
    """Over many draws of images, with two of five folds done: the score is right on average, and spreads no more than is stated."""
    scores, stated = [], []
    for number in range(60):
        rng = np.random.default_rng(number)
        hard_M = rng.random(200)
        wrong = np.flatnonzero(np.clip(hard_M + rng.normal(0, 0.1, 200), 0, 1) < 0.2)
        study = a_study(tmp_path / str(number), wrong, head_wrong=np.flatnonzero(hard_M < 0.25))
        for done in (0, 1):
            add_fold(study, done, wrong)
        evidence = measured(study)
        scores.append(evidence.scores_K[0])
        stated.append(error(evidence))
    assert np.std(scores) < 1.15 * np.mean(stated)
    assert np.std(scores) > 0.6 * np.mean(stated)


def test_each_seed_has_folds_of_its_own(tmp_path: Path) -> None:
    """One seed with a fold and one without: each is scored on its own images, and the candidate's score is their mean."""
    study = a_study(tmp_path, wrong=[], seeds=(0, 1))
    first = fold(1, seed=1)
    add_fold(study, 1, wrong=first, seed=1)
    there = len(np.union1d(VAL, first))
    assert measured(study).scores_K[0] == pytest.approx((1 + 1 - len(first) / there) / 2)
    found = fine_tune(load_pool(study)).cross_fitted
    assert found is not None
    assert (found.num_done, found.num_folds) == (1, 10)


def test_folds_are_no_candidates(tmp_path: Path) -> None:
    """They are the fine-tune's; one that went wrong, or was trained for another learning rate, is no evidence, and no failed job."""
    study = a_study(tmp_path, wrong=[])
    add_fold(study, 0, wrong=[], lr=3e-4)
    study.write_row(make_row("oom", freeze="none", fold=1, status="oom", error="out of memory", lr=3e-4, image_size=None))
    pool = load_pool(study)
    assert [each.row.freeze for each in pool.candidates] == ["all", "none"]
    assert fine_tune(pool).cross_fitted is None
    assert pool.failed == ()
    assert [(left.row.job_id, left.reason) for left in pool.left_out] == [("oom", "fold 1 was not measured (oom: out of memory)")]


def test_a_fold_of_other_images_is_refused(tmp_path: Path) -> None:
    """A label that is not the one that the other jobs know: nothing is ranked, and the message names the row."""
    study = a_study(tmp_path, wrong=[])
    add_fold(study, 0, wrong=[], labels_M=1 - LABELS_M)
    with pytest.raises(TableError, match=r"delete rows/fold00\.json"):
        load_pool(study)


def test_damaged_folds_are_named_and_left_out(tmp_path: Path) -> None:
    """Predictions that are not those that the row was made from count for nothing."""
    study = a_study(tmp_path, wrong=[])
    row = add_fold(study, 0, wrong=[])
    study.predictions_path(row.job_id).write_bytes(b"other")
    pool = load_pool(study)
    assert fine_tune(pool).cross_fitted is None
    assert [found.job_id for found in pool.damaged] == [row.job_id]


def test_probabilities_of_all_classes_are_put_together_as_decisions_are(tmp_path: Path) -> None:
    """The area under the ROC curve out of fold is that of the probabilities of the folds, for the fine-tune and for the head."""
    study, head_wrong, wrong = a_study(tmp_path, wrong=VAL[:3], head_wrong=range(0, 200, 7)), range(0, 200, 7), range(0, 200, 10)
    for number in range(NUM_FOLDS):
        add_fold(study, number, wrong=wrong)
    pool = load_pool(study, keeps_probabilities=True)
    evidence = evidence_of(pool, pool.candidates, rank_metric("roc_auc"))
    for candidate, missed in ((fine_tune(pool), wrong), (next(each for each in pool.candidates if each.out_of_fold), head_wrong)):
        truth = roc_auc_score(LABELS_M, said(EVERYONE, missed).log_probs_NC[:, 1])
        assert evidence.scores_K[pool.candidates.index(candidate)] == pytest.approx(truth)
