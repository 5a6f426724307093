"""Metrics with a parameter or a class, and what each image adds to them, against scikit-learn."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from harness.errors import UndefinedMetricError
from harness.measure.statistics import Run, statistic
from harness.text.metric_spec import MetricSpec, parse

COSTS = ((0.0, 5.0, 1.0, 2.0), (1.0, -1.0, 3.0, 2.0), (0.5, 7.0, 0.0, 1.0), (2.0, 2.0, 2.0, 0.0))
NAMES = (
    *("roc_auc", "roc_auc:1", "average_precision", "average_precision:0", "matthews_corrcoef", "cohen_kappa", "expected_cost"),
    *("fbeta@beta=2", "fbeta@beta=0.5:1", "recall:1", "precision:1", "f1:0"),
)


def named(text: str, num_classes: int = 4) -> MetricSpec:
    """Bound to classes called by their numbers."""
    spec = parse(text, [], "rank.metric")
    costs = tuple(line[:num_classes] for line in COSTS[:num_classes]) if spec.name == "expected_cost" else None
    return replace(spec, class_index=None if spec.label is None else int(spec.label), costs=costs)


def make_run(seed: int, num_images: int, num_classes: int, *, levels: int | None = None, signal: float = 1.0) -> Run:
    """Every class has an image; `levels`: so few different scores that many are tied."""
    rng = np.random.default_rng(seed)
    labels_N = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, num_images - num_classes)]).astype(np.int64)
    logits_NC = rng.normal(size=(num_images, num_classes)) + signal * np.eye(num_classes)[labels_N]
    if levels is not None:
        logits_NC = np.round(logits_NC * levels / 4)
    log_probs_NC = np.round(logits_NC - np.logaddexp.reduce(logits_NC, axis=1, keepdims=True), 9)  # what is tied stays so in every class
    return Run(log_probs_NC.argmax(axis=1).astype(np.int64), log_probs_NC, labels_N, num_classes)


def scikit_learns(spec: MetricSpec, run: Run, weight_N: np.ndarray | None = None) -> float:
    """The same value by scikit-learn."""
    assert run.log_probs_NC is not None
    labels_N, predicted_N, score_NC = run.labels_N, run.predicted_N, run.log_probs_NC
    onehot_NC, label = np.eye(run.num_classes)[labels_N], spec.class_index
    every, weight = list(range(run.num_classes)), {"sample_weight": weight_N}
    one: dict[str, Any] = {"labels": every if label is None else [label], "average": "macro", "zero_division": 0, **weight}
    columns = every if label is None else [label]
    by_name: dict[str, Callable[[], float]] = {
        "roc_auc": lambda: np.mean([metrics.roc_auc_score(onehot_NC[:, c], score_NC[:, c], **weight) for c in columns]),
        "average_precision": lambda: np.mean([metrics.average_precision_score(onehot_NC[:, c], score_NC[:, c], **weight) for c in columns]),
        "matthews_corrcoef": lambda: metrics.matthews_corrcoef(labels_N, predicted_N, **weight),
        "cohen_kappa": lambda: metrics.cohen_kappa_score(labels_N, predicted_N, **weight),
        "fbeta": lambda: metrics.fbeta_score(labels_N, predicted_N, beta=spec.parameter, **one),
        "f1": lambda: metrics.f1_score(labels_N, predicted_N, **one),
        "recall": lambda: metrics.recall_score(labels_N, predicted_N, **one),
        "precision": lambda: metrics.precision_score(labels_N, predicted_N, **one),
        "top_k_accuracy": lambda: metrics.top_k_accuracy_score(labels_N, score_NC, k=int(spec.parameter or 0), labels=every, **weight),
        "expected_cost": lambda: np.average(np.array(spec.costs)[labels_N, predicted_N], weights=weight_N),
        "sensitivity": lambda: _sensitivity(onehot_NC[:, label], score_NC[:, label], spec.parameter or 0),
    }
    return float(by_name[spec.name]())


def _sensitivity(is_positive_N: np.ndarray, score_N: np.ndarray, specificity: float) -> float:
    false, true, _ = metrics.roc_curve(is_positive_N, score_N, drop_intermediate=False)
    return float(true[false <= 1 - specificity + 1e-12].max())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(NAMES), st.integers(0, 10_000), st.integers(8, 60), st.integers(2, 4), st.sampled_from([None, 1, 4]))
def test_values_and_influences_equal_scikit_learns(text: str, seed: int, num_images: int, num_classes: int, levels: int | None) -> None:
    """The value is scikit-learn's, and what an image adds is how scikit-learn's value changes with the weight of that image; ties included."""
    spec, run = named(text, num_classes), make_run(seed, num_images, num_classes, levels=levels)
    try:
        found = statistic(spec, run)
    except UndefinedMetricError:
        assert spec.name == "precision"
        assert not (run.predicted_N == spec.class_index).any()
        return
    assert found.value == pytest.approx(scikit_learns(spec, run), abs=1e-12)
    for image in np.random.default_rng(seed).choice(num_images, 3):
        more, less = np.ones(num_images), np.ones(num_images)
        more[image], less[image] = 1 + 1e-4, 1 - 1e-4
        slope = (scikit_learns(spec, run, more) - scikit_learns(spec, run, less)) / 2e-4
        assert found.influence_N[image] == pytest.approx(slope, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(12, 60), st.integers(2, 5), st.sampled_from([None, 4]))
def test_top_k_accuracy_equals_scikit_learns(seed: int, num_images: int, k: int, levels: int | None) -> None:
    """Among the k likeliest classes; tied classes are taken by their number, as scikit-learn does."""
    spec, run = named(f"top{k}_accuracy"), make_run(seed, num_images, 6, levels=levels)
    assert statistic(spec, run).value == pytest.approx(scikit_learns(spec, run))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(8, 60), st.sampled_from([0.5, 0.8, 0.95, 1.0]), st.sampled_from([None, 1, 4]))
def test_sensitivity_at_a_specificity_is_a_point_of_scikit_learns_curve(
    seed: int, num_images: int, specificity: float, levels: int | None
) -> None:
    """The highest true positive rate at a false positive rate that is low enough."""
    spec, run = named(f"sensitivity@specificity={specificity}:1", 2), make_run(seed, num_images, 2, levels=levels)
    found = statistic(spec, run)
    assert found.value == pytest.approx(scikit_learns(spec, run))
    assert found.influence_N.sum() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("text", [*NAMES, "sensitivity@specificity=0.9:1", "top3_accuracy"])
def test_scores_that_are_all_equal(text: str) -> None:
    """A constant run has the values that scikit-learn states without a warning, or none."""
    run = make_run(3, 40, 4)
    constant = replace(run, predicted_N=np.zeros(40, dtype=np.int64), log_probs_NC=np.full((40, 4), np.log(0.25)))
    if text == "precision:1":
        with pytest.raises(UndefinedMetricError, match="no image is called class 1"):
            statistic(named(text), constant)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert statistic(named(text), constant).value == pytest.approx(scikit_learns(named(text), constant))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("roc_auc", "no image of 1 class"),
        ("average_precision", "no image of 1 class"),
        ("fbeta@beta=2", "no image of 1 class"),
        ("roc_auc:3", "no image of class 3"),
        ("recall:3", "no image of class 3"),
        ("sensitivity@specificity=0.9:3", "no image of class 3"),
        ("average_precision:3", "no image of class 3"),
    ],
)
def test_a_class_without_images_leaves_them_undefined(text: str, reason: str) -> None:
    """Never zero: a reason."""
    run = make_run(3, 40, 4)
    kept = run.labels_N != 3
    assert run.log_probs_NC is not None
    rest = Run(run.predicted_N[kept], run.log_probs_NC[kept], run.labels_N[kept], 4)
    with pytest.raises(UndefinedMetricError, match=reason):
        statistic(named(text), rest)


def test_one_class_alone_and_classes_too_few() -> None:
    """There is nothing to agree about, no negative to be above, and everything is among the likeliest."""
    run = make_run(3, 40, 4)
    only = replace(run, labels_N=np.zeros(40, dtype=np.int64), predicted_N=np.zeros(40, dtype=np.int64))
    assert statistic(named("matthews_corrcoef"), only).value == 0.0
    for text, reason in (("cohen_kappa", "one class"), ("roc_auc:0", "every image is of class 0")):
        with pytest.raises(UndefinedMetricError, match=reason):
            statistic(named(text), only)
    with pytest.raises(UndefinedMetricError, match="among the 4 most likely"):
        statistic(named("top4_accuracy"), run)
