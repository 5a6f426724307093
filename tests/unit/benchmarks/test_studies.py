"""Simulated studies: the truth they know, what their candidates have in common, and how they count."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.studies import (
    HEADER,
    NUM_STUDIES,
    Case,
    Errors,
    Outcome,
    Setting,
    grid,
    judge,
    mean_outcome,
    run_grid,
    run_setting,
    show,
    simulate,
    summarise,
    true_scores,
)
from harness.config import Metric
from harness.select.comparison import FloatArray, scores

SMALL = Setting(Metric.accuracy, Errors.families, Case.graded, num_candidates=6, num_images=60, num_studies=3)


def draws(scores_K: FloatArray) -> FloatArray:
    """Resamples that differ by about 0.01, each candidate on its own."""
    return np.asarray(scores_K + np.random.default_rng(0).normal(0, 0.01, (500, len(scores_K))))


def counted(truth: list[float]) -> Outcome:
    """A study that sees candidates 0 and 1 tied, 2 overlapping by its interval only, and 3 far behind."""
    scores_K = np.array([0.800, 0.795, 0.763, 0.5])
    return judge(scores_K, draws(scores_K), np.array(truth), np.array([0.9, 0.1, 0.5, 0.0]), Metric.accuracy)


@pytest.mark.parametrize(
    ("truth", "has_a_best", "has_every_best"),
    [
        ([0.8, 0.7, 0.7, 0.7], 1.0, 1.0),
        ([0.7, 0.7, 0.7, 0.8], 0.0, 0.0),
        ([0.7, 0.8, 0.8, 0.7], 0.5, 0.0),
        ([0.8, 0.8, 0.8, 0.8], 0.5, 0.0),
    ],
)
def test_coverage_is_the_share_of_true_bests_in_the_tied_set(truth: list[float], has_a_best: float, has_every_best: float) -> None:
    """With several true bests a given one and all of them are different questions."""
    found = counted(truth)
    assert (found.has_a_best, found.has_every_best) == (has_a_best, has_every_best)


def test_both_sets_are_counted() -> None:
    """Candidate 2 is separated from the best though their intervals meet; of the tied the cheapest is candidate 1."""
    found = counted([0.79, 0.79, 0.79, 0.5])
    assert (found.num_tied, found.num_overlapping) == (2, 3)
    assert found.naive == pytest.approx(1.0)
    assert found.corrected < found.naive
    assert found.cheapest == pytest.approx(0.5), "the second place owes nothing to luck"
    assert found.dearer_better == found.corrected


@pytest.mark.parametrize("metric", [Metric.accuracy, Metric.balanced_accuracy, Metric.log_loss])
@pytest.mark.parametrize("case", Case)
def test_the_truth_is_what_many_images_show(metric: Metric, case: Case) -> None:
    """Scores on 200,000 images are the true scores, best first, whatever the metric and however classes are mixed."""
    setting = Setting(metric, Errors.families, case, num_candidates=6, num_images=200_000, num_studies=1)
    (runs,) = simulate(setting, np.random.default_rng(0))
    truth_K = true_scores(setting)
    np.testing.assert_allclose(scores(runs, metric), truth_K, atol=0.008)
    assert truth_K.argmax() == 0
    assert np.count_nonzero(truth_K == truth_K.max()) == (6 if case is Case.equal else 1)


def test_balanced_accuracy_has_nine_to_one() -> None:
    """One image in ten is of the rare class, and equal candidates trade the recall of one class for the other's."""
    setting = Setting(Metric.balanced_accuracy, Errors.shared, Case.equal, num_candidates=3, num_images=100_000, num_studies=1)
    (runs,) = simulate(setting, np.random.default_rng(0))
    assert runs.labels_N.mean() == pytest.approx(0.1)
    recall_KC = np.stack([(runs.predicted_JN == c)[:, runs.labels_N == c].mean(axis=1) for c in (0, 1)], axis=1)
    np.testing.assert_allclose(recall_KC, [[0.85, 0.75], [0.8, 0.8], [0.75, 0.85]], atol=0.02)


@pytest.mark.parametrize(("errors", "is_family_closer"), [(Errors.shared, False), (Errors.families, True)])
def test_errors_have_in_common_what_the_protocol_says(errors: Errors, is_family_closer: bool) -> None:
    """All candidates fail on the same hard images; under families the five of a family do so more than others."""
    setting = Setting(Metric.accuracy, errors, Case.equal, num_candidates=6, num_images=100_000, num_studies=1)
    (runs,) = simulate(setting, np.random.default_rng(0))
    correlation_KK = np.corrcoef(runs.predicted_JN == runs.labels_N)
    assert correlation_KK[0, 5] > 0.2
    assert bool(correlation_KK[0, 1] > correlation_KK[0, 5] + 0.1) is is_family_closer


def test_studies_of_a_setting_differ_and_all_are_run() -> None:
    """Studies that share a call are different studies, and none is lost at the last call."""
    many = replace(SMALL, num_studies=201, num_candidates=5)
    parts = list(simulate(many, np.random.default_rng(0)))
    assert [len(runs.predicted_JN) for runs in parts] == [1000, 5]
    assert len({tuple(found) for found in scores(parts[0], many.metric).reshape(200, 5).tolist()}) > 190


def test_processes_do_not_change_what_is_found() -> None:
    """A setting's studies come from its place in the grid alone."""
    (found,) = run_grid([SMALL], num_workers=1)
    assert found == run_setting(SMALL, 0)
    assert found != run_setting(SMALL, 1)


def test_the_grid_is_what_must_be_shown() -> None:
    """5 to 200 candidates, 200 to 5,000 images, every case, both protocols of errors, three metrics, at least 500 studies each."""
    settings = grid()
    assert min(setting.num_studies for setting in settings) >= 500
    wanted = {(K, N, case, errors) for K in NUM_STUDIES for N in (200, 1000, 5000) for case in Case for errors in Errors}
    assert {(each.num_candidates, each.num_images, each.case, each.errors) for each in settings if each.metric is Metric.accuracy} == wanted
    assert {setting.metric for setting in settings} == {Metric.accuracy, Metric.balanced_accuracy, Metric.log_loss}
    assert len(set(settings)) == len(settings)


def test_the_summary_names_the_worst_setting() -> None:
    """A coverage that falls short in one setting is not hidden by the mean."""
    good = Outcome(1.0, 1.0, 2.0, 4.0, 1.0, 1.5, 0.1, 0.0, 0.2)
    bad = replace(good, has_a_best=0.9, num_tied=5.0, corrected=-0.6)
    figures = {figure.text: figure for figure in summarise([SMALL, replace(SMALL, case=Case.equal)], [good, bad])}
    lowest = figures["lowest coverage of a given true best (accuracy, families, all equal, 6 candidates, 60 images)"]
    assert (lowest.value, lowest.is_met) == (0.9, False)
    assert (
        figures[
            "largest mean size of the tied set over that of overlapping intervals (accuracy, families, all equal, 6 candidates, 60 images)"
        ].value
        == 1.25
    )
    assert figures["largest error of the best by score, corrected"].value == 0.6
    assert mean_outcome([good, bad]).has_a_best == pytest.approx(0.95)


def test_a_line_of_the_table_keeps_to_its_columns() -> None:
    """Figures end under their headings, the widest included."""
    setting = Setting(Metric.balanced_accuracy, Errors.families, Case.equal, 200, 5000, 2000)
    line = show(setting, Outcome(1.0, 1.0, 200.0, 200.0, 1.0, 10.25, -1.25, -1.25, -1.25))
    headings = HEADER.splitlines()[-1]
    assert len(line) == len(headings)
    for heading in ("cand.", "images", "studies", "one", "every", "ties", "overlap", "naive", "ours"):
        assert line[headings.index(heading) + len(heading) :][:1] == " "
