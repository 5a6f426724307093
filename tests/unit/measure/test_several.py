"""Several labels an image: metrics against scikit-learn, thresholds against a search, probabilities that keep what they know."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import expit, log_expit
from sklearn import metrics
from sklearn.linear_model import LogisticRegression

from benchmarks.several_labels import scikit_learns
from harness.config import OF_SEVERAL_LABELS, Metric
from harness.measure.logistic import solve
from harness.measure.objective import SeveralLabels
from harness.measure.several import log_complement, logits_of, thresholds
from harness.select.scores import Runs, score_and_influence

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

THRESHOLDS = (0.3, 0.5, 0.4)


def make(seed: int, num_images: int = 40) -> tuple[FloatArray, IntArray]:
    """Log-probabilities of three labels, and which of them images have; some have none, and some scores are tied."""
    rng = np.random.default_rng(seed)
    labels_NC = (rng.random((num_images, 3)) < (0.2, 0.4, 0.6)).astype(np.int64)
    labels_NC[:3] = np.eye(3, dtype=np.int64)
    labels_NC[3] = 0
    logits_NC = np.round(rng.normal(size=labels_NC.shape) + 2 * labels_NC - 1, 1)
    logits_NC[3] = -5
    return log_expit(logits_NC), labels_NC


@pytest.mark.parametrize("seed", range(4))
def test_every_score_is_scikit_learns(seed: int) -> None:
    """Also that of an image without labels, of which none is called; what asks for one class an image is empty with its reason."""
    log_probs_NC, labels_NC = make(seed)
    values, undefined = SeveralLabels(np.full(3, 0.4), np.array(THRESHOLDS)).quality(log_probs_NC, labels_NC, Metric.mean_average_precision)
    wanted = scikit_learns(log_probs_NC, labels_NC, THRESHOLDS)
    assert {name: values[name] for name in wanted} == pytest.approx(wanted, abs=1e-9)
    assert undefined == dict.fromkeys(("accuracy", "balanced_accuracy", "top5_accuracy"), "an image may have several labels")
    assert all(values[name] is None for name in undefined)


def test_labels_without_an_image_leave_means_undefined() -> None:
    """Those over labels; those over images, and of one pool, still have a value."""
    log_probs_NC, labels_NC = make(0)
    labels_NC[:, 1] = 0
    values, undefined = SeveralLabels(np.full(3, 0.4), np.array(THRESHOLDS)).quality(log_probs_NC, labels_NC, Metric.mean_average_precision)
    assert undefined["mean_average_precision"] == undefined["f1_macro"] == "no image of 1 label in this split"
    assert None not in (values["f1_micro"], values["f1_samples"], values["subset_accuracy"], values["log_loss"])


WEIGHTED: dict[Metric, Callable[[IntArray, IntArray, FloatArray, FloatArray], float]] = {
    Metric.mean_average_precision: lambda labels, _, log_probs, weight: metrics.average_precision_score(
        labels, log_probs, sample_weight=weight
    ),
    Metric.f1_macro: lambda labels, called, _, weight: metrics.f1_score(labels, called, average="macro", sample_weight=weight),
    Metric.f1_micro: lambda labels, called, _, weight: metrics.f1_score(labels, called, average="micro", sample_weight=weight),
    Metric.f1_samples: lambda labels, called, _, weight: metrics.f1_score(
        labels, called, average="samples", zero_division=1, sample_weight=weight
    ),
    Metric.subset_accuracy: lambda labels, called, _, weight: metrics.accuracy_score(labels, called, sample_weight=weight),
    Metric.log_loss: lambda labels, _, log_probs, weight: (
        -np.average(np.where(labels == 1, log_probs, log_complement(log_probs)).mean(axis=1), weights=weight)
    ),
}


@pytest.mark.parametrize("metric", OF_SEVERAL_LABELS)
def test_influences_are_what_weights_of_images_change(metric: Metric) -> None:
    """Of every metric that may rank: the value, and its derivative by the weight of each image, are scikit-learn's."""
    log_probs_NC, labels_NC = make(5)
    objective = SeveralLabels(np.full(3, 0.4), np.array(THRESHOLDS))
    called_NC = objective.decide(log_probs_NC, metric)
    runs = Runs(called_NC[None], objective.true_log_probs(log_probs_NC, labels_NC)[None], labels_NC, 3, log_probs_NC[None])
    (score,), (influence_N,) = score_and_influence(runs, metric)

    def weighted(weight_N: FloatArray) -> float:
        return float(WEIGHTED[metric](labels_NC, called_NC, log_probs_NC, weight_N))

    one_N, step = np.ones(len(labels_NC)), 1e-5
    sign = -1 if metric is Metric.log_loss else 1
    assert sign * score == pytest.approx(weighted(one_N))
    slopes = [(weighted(one_N + step * each_N) - weighted(one_N - step * each_N)) / (2 * step) for each_N in np.eye(len(labels_NC))]
    assert sign * influence_N == pytest.approx(slopes, abs=1e-7)


def test_thresholds_make_the_expected_f1_highest() -> None:
    """If probabilities are true, no other threshold has a higher expected F1; rare labels keep one half; what a weighted loss taught is undone."""
    rng = np.random.default_rng(0)
    logits_NC = rng.normal((-2.0, 0.0, -9.0), 1.5, (400, 3))
    prob_NC = expit(logits_NC)
    found_C = thresholds(log_expit(logits_NC), np.ones(3))
    for c in range(2):
        expected = [2 * prob_NC[prob_NC[:, c] >= at, c].sum() / ((prob_NC[:, c] >= at).sum() + prob_NC[:, c].sum()) for at in prob_NC[:, c]]
        own = 2 * prob_NC[prob_NC[:, c] >= found_C[c], c].sum() / ((prob_NC[:, c] >= found_C[c]).sum() + prob_NC[:, c].sum())
        assert own == pytest.approx(max(expected), abs=1e-12)
    assert found_C[2] == pytest.approx(0.5)
    weights_C = np.array([9.0, 1.0, 1.0])
    weighted_C = thresholds(log_expit(logits_NC + np.log(weights_C)), weights_C)
    called_NC = expit(logits_NC + np.log(weights_C)) >= weighted_C
    assert (called_NC == (prob_NC >= found_C)).all()


def test_probabilities_near_one_keep_what_they_know() -> None:
    """Log-probabilities in float32 tell how sure a label is long after probabilities are all 1; cooling them and back changes nothing."""
    logits_NC = np.linspace(-60, 60, 25).reshape(-1, 1)
    kept_NC = log_expit(logits_NC).astype(np.float32)
    assert logits_of(kept_NC) == pytest.approx(logits_NC, rel=1e-5, abs=1e-7)
    objective = SeveralLabels(np.array([0.5]), np.array([0.5]))
    assert objective.log_probs(kept_NC, 2.0) == pytest.approx(log_expit(logits_NC / 2), rel=1e-5)


def test_heads_of_labels_are_logistic_regressions_of_their_own() -> None:
    """The joint solution is scikit-learn's for each label alone, on features of deviation 1."""
    rng = np.random.default_rng(1)
    features_ND = rng.normal(size=(200, 4))
    features_ND = (features_ND - features_ND.mean(axis=0)) / features_ND.std(axis=0)
    labels_NC = (features_ND @ rng.normal(size=(4, 3)) + rng.logistic(size=(200, 3)) > 0).astype(np.int64)
    found = solve(features_ND, labels_NC, np.ones(3), 0.1)
    for c in range(3):
        alone = LogisticRegression(C=0.1, tol=1e-10).fit(features_ND, labels_NC[:, c])
        assert found.weight_CD[c] == pytest.approx(alone.coef_[0], abs=1e-4)
        assert found.bias_C[c] == pytest.approx(alone.intercept_[0], abs=1e-4)
