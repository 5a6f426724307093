"""The bootstrap and the tied set: right on unit weights, right about ties, honest about the best."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.config import Metric
from harness.measure.quality import quality
from harness.select.comparison import FloatArray, IntArray, Runs, bootstrap, interval, scores, tied_set

METRICS = [Metric.accuracy, Metric.balanced_accuracy, Metric.f1_macro, Metric.f1_weighted, Metric.log_loss]


def make_runs(log_probs: list[FloatArray], labels_N: IntArray) -> Runs:
    """Runs as a ranking makes them."""
    each_N = np.arange(len(labels_N))
    return Runs(
        predicted_JN=np.stack([found.argmax(axis=1) for found in log_probs]),
        true_log_prob_JN=np.stack([found[each_N, labels_N] for found in log_probs]),
        labels_N=labels_N,
        num_classes=log_probs[0].shape[1],
    )


def hits(is_right_KN: npt.NDArray[np.bool_]) -> Runs:
    """Two-class runs of which only right or wrong is given."""
    labels_N = np.arange(is_right_KN.shape[1]) % 2
    return Runs(np.where(is_right_KN, labels_N, 1 - labels_N), np.zeros(is_right_KN.shape), labels_N, 2)


def tied(runs: Runs, metric: Metric = Metric.accuracy, num_resamples: int = 500) -> list[bool]:
    """The tied set of runs with one seed each."""
    scores_K = scores(runs, metric)
    found: list[bool] = tied_set(scores_K, bootstrap(runs, metric, num_resamples, [1] * len(scores_K)), 0.95).tolist()
    return found


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(10, 60))
def test_unit_weights_give_the_metric(seed: int, num_classes: int, num_images: int) -> None:
    """With every image once, each score is scikit-learn's metric, log loss with a minus sign."""
    rng = np.random.default_rng(seed)
    labels_N = np.concatenate([np.arange(num_classes), rng.integers(0, num_classes, num_images)])
    log_probs = [np.log(rng.dirichlet(np.ones(num_classes), len(labels_N))) for _ in range(2)]
    runs, values = make_runs(log_probs, labels_N), [quality(each, labels_N)[0] for each in log_probs]
    for metric in METRICS:
        found = scores(runs, metric)
        wanted = [each[metric.value] for each in values]
        sign = -1.0 if metric is Metric.log_loss else 1.0
        np.testing.assert_allclose(sign * found, np.array(wanted, dtype=float), rtol=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_spread_is_that_of_repeated_images(metric: Metric) -> None:
    """Draws spread as the metric does when images are drawn again within their class and the metric is computed anew."""
    rng = np.random.default_rng(0)
    sizes = (120, 60, 40)
    labels_N = np.repeat(np.arange(3), sizes)
    log_probs_NC = np.log(
        rng.dirichlet(np.ones(3), len(labels_N)) * 0.5 + 0.5 * np.eye(3)[labels_N] * rng.random((len(labels_N), 1)) + 1e-3
    )
    log_probs_NC -= np.logaddexp.reduce(log_probs_NC, axis=1, keepdims=True)
    starts = np.cumsum((0, *sizes[:-1]))
    anew = []
    for _ in range(200):
        drawn = np.concatenate([rng.integers(start, start + size, size) for start, size in zip(starts, sizes, strict=True)])
        anew.append(quality(log_probs_NC[drawn], labels_N[drawn])[0][metric.value])
    draws_R = bootstrap(make_runs([log_probs_NC], labels_N), metric, 4000, [1])[:, 0]
    assert draws_R.std() == pytest.approx(np.std(np.array(anew, dtype=float)), rel=0.15)


def test_variance_is_that_of_new_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Apart from tails and a part of an image more, the variance is the unbiased one, with n - 1 in each class; n would be 8 % less here."""
    monkeypatch.setattr("harness.select.evidence._tail", lambda _, num_resamples, __: np.ones(num_resamples))
    is_right_KN = np.zeros((1, 24), dtype=np.bool_)
    is_right_KN[0, :10] = True  # five of twelve in each class
    draws_R = bootstrap(hits(is_right_KN), Metric.accuracy, 40_000, [1])[:, 0]
    assert draws_R.var() == pytest.approx(2 * (5 / 12) * (7 / 12) / 11 / 4 + 0.375 / 24**2, rel=0.03)


def test_resampling_keeps_the_classes() -> None:
    """A class that is always right adds no spread but that of one more image, as every resample holds as many of its images."""
    labels_N = np.repeat([0, 1], [50, 50])
    always_zero = Runs(np.zeros((1, 100), dtype=np.int64), np.zeros((1, 100)), labels_N, 2)
    assert bootstrap(always_zero, Metric.accuracy, 2000, [1]).std() < 0.015, "free of classes it would be 0.05"


def test_one_image_a_class_is_no_certainty() -> None:
    """With single images per class, resampling within classes would never vary and two candidates would look separated."""
    labels_N = np.arange(12)
    first_N, second_N = labels_N.copy(), labels_N.copy()
    first_N[:5], second_N[:4] = 11, 11
    runs = Runs(np.stack([first_N, second_N]), np.zeros((2, 12)), labels_N, 12)
    for metric in (Metric.accuracy, Metric.balanced_accuracy):
        assert tied(runs, metric) == [True, True]
        assert bootstrap(runs, metric, 500, [1, 1]).std(axis=0).min() > 0.05


def test_same_draws_every_time() -> None:
    """Two reports of one study print the same intervals."""
    runs = hits(np.random.default_rng(1).random((3, 80)) < 0.7)
    first, second = (bootstrap(runs, Metric.accuracy, 300, [1, 1, 1]) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_draws_are_paired() -> None:
    """Candidates that answer alike get the same draws, so that their difference is exactly zero."""
    once = np.random.default_rng(2).random((1, 60)) < 0.6
    draws_RK = bootstrap(hits(np.vstack([once, once])), Metric.balanced_accuracy, 200, [1, 1])
    assert np.abs(draws_RK[:, 0] - draws_RK[:, 1]).max() < 1e-12
    assert np.ptp(draws_RK[:, 0]) > 0


def test_chunks_do_not_change_the_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by drawing in parts; all resamples are still there, and no two parts are the same."""
    monkeypatch.setattr("harness.select.evidence._CHUNK_VALUES", 1000)
    draws_RK = bootstrap(hits(np.random.default_rng(3).random((2, 90)) < 0.7), Metric.accuracy, 205, [1, 1])
    assert draws_RK.shape == (205, 2)
    assert len(np.unique(draws_RK[:11, 0])) > 2
    assert not np.array_equal(draws_RK[:11], draws_RK[11:22])


def test_seeds_count_from_the_second_on() -> None:
    """Seeds that disagree widen the interval of their mean, two of them as well; what images explain is not counted twice."""
    rng = np.random.default_rng(4)
    right = [rng.random(400) < share for share in (0.9, 0.6)]
    alone, both = (
        bootstrap(hits(np.stack(right[:1])), Metric.accuracy, 1000, [1]),
        bootstrap(hits(np.stack(right)), Metric.accuracy, 1000, [2]),
    )
    assert both.std() > 3 * alone.std()
    alike = [rng.random(400) < 0.7 for _ in range(2)]
    assert bootstrap(hits(np.stack(alike)), Metric.accuracy, 1000, [2]).std() < 1.5 * (0.7 * 0.3 / 800) ** 0.5


def test_identical_candidates_are_tied() -> None:
    """Equal predictions leave nothing to separate them by."""
    once = np.random.default_rng(5).random((1, 100)) < 0.8
    assert tied(hits(np.repeat(once, 4, axis=0))) == [True] * 4


def test_clear_winner_stands_alone() -> None:
    """A lead far beyond its spread leaves one candidate in the set."""
    rng = np.random.default_rng(6)
    assert tied(hits(np.stack([rng.random(400) < share for share in (0.95, 0.7, 0.6)]))) == [True, False, False]


def test_constant_lead_separates() -> None:
    """A difference that is the same in every resample has no spread and is still a difference."""
    all_right, never_class_one = np.ones(40, dtype=bool), np.arange(40) % 2 == 0
    assert tied(hits(np.stack([all_right, never_class_one]))) == [True, False]


def test_one_candidate_is_its_own_set() -> None:
    """Alone, a candidate is the best there is."""
    assert tied(hits(np.random.default_rng(7).random((1, 50)) < 0.5)) == [True]


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.sampled_from(METRICS[:4]))
def test_best_is_always_in_the_set(seed: int, num_candidates: int, metric: Metric) -> None:
    """Whatever the data, the best score is tied with itself, and no candidate drops out below one that stays."""
    rng = np.random.default_rng(seed)
    runs = hits(rng.random((num_candidates, 40)) < rng.random((num_candidates, 1)))
    scores_K = scores(runs, metric)
    assert tied(runs, metric, 200)[int(scores_K.argmax())]


def test_true_best_is_covered() -> None:
    """Over repeated draws of the images, the truly best candidate is in the set at least nine times in ten, and so are equals."""
    rng = np.random.default_rng(8)
    best_kept = equals_kept = 0
    for _ in range(150):
        hard_N = rng.random(150)
        near = np.stack([hard_N + rng.normal(0, 0.1, 150) < share for share in (0.82, 0.80, 0.78, 0.75)])
        equal = np.stack([hard_N + rng.normal(0, 0.1, 150) < 0.8 for _ in range(4)])
        best_kept += tied(hits(near), num_resamples=300)[0]
        equals_kept += tied(hits(equal), num_resamples=300)[0]
    assert best_kept / 150 >= 0.9
    assert equals_kept / 150 >= 0.9


def test_set_is_not_everything() -> None:
    """Ten candidates between 60 and 95 % on a thousand images: the lower half is out."""
    rng = np.random.default_rng(9)
    found = tied(hits(np.stack([rng.random(1000) < share for share in np.linspace(0.95, 0.6, 10)])))
    assert found[0]
    assert not any(found[5:])


def test_interval_holds_the_middle() -> None:
    """A 90 % interval of 0..100 is 5..95."""
    found = interval(np.arange(101.0), 0.9)
    assert [found.low, found.high] == pytest.approx([5, 95])


@pytest.mark.parametrize("num_candidates", [2, 30, 150])
def test_shortcuts_do_not_change_the_set(num_candidates: int) -> None:
    """Candidates that cannot matter are not compared, and the set is that of comparing all with all."""
    rng = np.random.default_rng(num_candidates)
    hard_N = rng.random(200)
    for noise in (0.05, 0.5):
        skill_K1 = 0.9 - 0.2 * rng.random((num_candidates, 1))
        runs = hits(hard_N + rng.normal(0, noise, (num_candidates, 200)) < skill_K1)
        scores_K, draws_RK = scores(runs, Metric.accuracy), bootstrap(runs, Metric.accuracy, 400, [1] * num_candidates)
        centred_RK = draws_RK - draws_RK.mean(axis=0)
        wanted = []
        for i in range(num_candidates):
            apart_RK = centred_RK - centred_RK[:, [i]]
            varies_K = apart_RK.std(axis=0) > 1e-9
            inverse_K = np.divide(1.0, apart_RK.std(axis=0), out=np.zeros(num_candidates), where=varies_K)
            lead_K = (scores_K - scores_K[i]) * inverse_K
            rival = int(lead_K.argmax())
            is_two_sided = (draws_RK[:, rival] - draws_RK[:, i] <= 0).sum() >= 10
            wanted.append(is_two_sided or ((apart_RK * inverse_K).max(axis=1) >= lead_K.max() - 1e-5).sum() >= 20)
        assert sum(wanted) > 0
        np.testing.assert_array_equal(tied_set(scores_K, draws_RK, 0.95), wanted)
