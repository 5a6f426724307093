"""Each score against an independent oracle, what it must not depend on, and where it has no value."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.model_selection import LeaveOneOut, cross_val_score
from sklearn.neighbors import KNeighborsClassifier

from harness.errors import ConfigError, DataError, UndefinedMetricError
from harness.measure import neighbours
from harness.measure.transferability import gbc, h_score, knn_accuracy, leep, logme, nce, transferability_scores
from harness.study.row import COLUMNS

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]
Score = Callable[[FloatArray, IntArray], float]


OF_FEATURES: dict[str, Score] = {
    "logme": logme,
    "gbc": gbc,
    "h_score": h_score,
    "knn": knn_accuracy,
    "knn_euclidean": lambda features, labels: knn_accuracy(features, labels, 3, "euclidean"),
}
OF_SOURCE: dict[str, Score] = {"leep": leep, "nce": nce}
SCORES = OF_FEATURES | OF_SOURCE


def _labels(num_images: int, num_classes: int) -> IntArray:
    return np.arange(num_images, dtype=np.int64) % num_classes


def _features(num_images: int, num_features: int, num_classes: int, *, apart: float = 1.0, seed: int = 0) -> tuple[FloatArray, IntArray]:
    """Classes around centres that are `apart` times as far from each other; offsets and scales differ by column."""
    generator = np.random.default_rng(seed)
    labels = _labels(num_images, num_classes)
    centres = generator.normal(size=(num_classes, num_features))
    noise = generator.normal(size=(num_images, num_features))
    scales = generator.uniform(0.5, 2, num_features)
    return ((noise + apart * centres[labels]) * scales + generator.normal(size=num_features)).astype(np.float32), labels


def _probs(num_images: int, num_sources: int, num_classes: int, *, apart: float = 1.0, seed: int = 0) -> tuple[FloatArray, IntArray]:
    logits, labels = _features(num_images, num_sources, num_classes, apart=apart, seed=seed)
    exponents = np.exp(logits.astype(float))
    return exponents / exponents.sum(axis=1, keepdims=True), labels


def _given(name: str, num_images: int, width: int, num_classes: int, *, apart: float = 1.0, seed: int = 0) -> tuple[FloatArray, IntArray]:
    make = _probs if name in OF_SOURCE else _features
    return make(num_images, width, num_classes, apart=apart, seed=seed)


# Oracles


def _minus_log_evidence(features: FloatArray, target: FloatArray, logs: FloatArray) -> float:
    """Of y ~ N(0, 1/b + FF'/a) with ln a and ln b, by scipy's density."""
    covariance = np.eye(len(target)) / np.exp(logs[1]) + features @ features.T / np.exp(logs[0])
    return -float(multivariate_normal.logpdf(target, np.zeros(len(target)), covariance, allow_singular=True))


def _brute_force_logme(features: FloatArray, labels: IntArray) -> float:
    """The largest evidence over a and b, from many starts."""
    values = []
    for label in np.unique(labels):
        target = (labels == label).astype(float)
        starts = [np.array([log_a, log_b]) for log_a in np.arange(-8, 13, 2.5) for log_b in np.arange(-2, 9, 2.5)]
        best = sorted(starts, key=partial(_minus_log_evidence, features, target))[:4]
        found = [
            minimize(partial(_minus_log_evidence, features, target), start, method="Nelder-Mead", options={"fatol": 1e-10})
            for start in best
        ]
        values.append(-min(one.fun for one in found) / len(labels))
    return float(np.mean(values))


@pytest.mark.parametrize(("num_images", "num_features", "num_classes"), [(30, 4, 3), (24, 23, 2), (24, 24, 3), (20, 60, 3), (40, 90, 2)])
@pytest.mark.parametrize("apart", [0.0, 0.4, 1.5])
def test_logme_is_the_largest_evidence_of_the_model(num_images: int, num_features: int, num_classes: int, apart: float) -> None:
    """The density of a multivariate normal, maximised over both precisions, with fewer and with more features than images."""
    features, labels = _features(num_images, num_features, num_classes, apart=apart)
    assert logme(features, labels) == pytest.approx(_brute_force_logme(features.astype(float), labels), abs=1e-4)


@pytest.mark.parametrize("kind", ["few directions", "dead columns", "images with two labels", "constant"])
def test_logme_counts_every_dimension_when_features_depend_on_each_other(kind: str) -> None:
    """Rank below the number of features (where a copied release of the score goes wrong) and below that of images."""
    features, labels = _features(24, 40, 2, apart=0.5)
    if kind == "few directions":
        features = features[:, :5] @ np.random.default_rng(1).normal(size=(5, 40))
    elif kind == "dead columns":
        features[:, 3:] = 0
    elif kind == "images with two labels":
        features[12:], labels[12:] = features[:12], 1 - labels[:12]
    else:
        features, labels = np.full((2, 40), np.float32(0.1)), labels[:2]
    assert logme(features, labels) == pytest.approx(_brute_force_logme(features.astype(float), labels), abs=1e-4)


def test_logme_counts_an_image_that_is_there_twice_once() -> None:
    """Duplicates of one class are no observations of their own; with more features than images they would make the evidence infinite."""
    features, labels = _features(24, 40, 3, apart=0.5)
    twice, both = np.concatenate([features, features[:5], features[:2]]), np.concatenate([labels, labels[:5], labels[:2]])
    assert logme(twice, both) == logme(features, labels)


def test_logme_keeps_its_digits_under_an_offset() -> None:
    """Far from the origin the value is still that of the definition, and it settles as the offset grows without bound."""
    features, labels = _features(30, 8, 3, apart=0.7)
    shifted = features.astype(float) + 100
    assert logme(shifted, labels) == pytest.approx(_brute_force_logme(shifted, labels), abs=1e-4)
    assert logme(shifted + 1e8, labels) == pytest.approx(logme(shifted + 1e6, labels), abs=1e-3)


@pytest.mark.parametrize("apart", [0.0, 1.0, 3.0])
def test_leep_is_the_mean_log_of_the_expected_prediction(apart: float) -> None:
    """Word for word: the empirical joint distribution, the conditional one, and each image's expected probability of its label."""
    probs, labels = _probs(40, 7, 3, apart=apart)
    joint = {(y, z): sum(probs[i, z] for i in range(40) if labels[i] == y) / 40 for y in range(3) for z in range(7)}
    conditional = {(y, z): joint[y, z] / sum(joint[other, z] for other in range(3)) for y, z in joint}
    expected = np.mean([np.log(sum(conditional[labels[i], z] * probs[i, z] for z in range(7))) for i in range(40)])
    assert leep(probs, labels) == pytest.approx(expected, rel=1e-9)


def test_leep_of_a_hand_worked_case() -> None:
    """Two source classes, certain of themselves: one always means label 0, the other is either label half of the time."""
    probs = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert leep(probs, np.array([0, 0, 0, 1])) == pytest.approx((np.log(1) * 2 + np.log(0.5) * 2) / 4)


@pytest.mark.parametrize("apart", [0.0, 3.0])
def test_nce_is_minus_the_entropy_of_labels_given_the_likeliest_source_class(apart: float) -> None:
    """Word for word: H(Y, Z) - H(Z), from counts."""
    probs, labels = _probs(60, 5, 3, apart=apart)
    sources = [int(np.argmax(row)) for row in probs]
    entropies = [
        -sum(n / 60 * np.log(n / 60) for n in Counter(values).values()) for values in (zip(labels.tolist(), sources, strict=True), sources)
    ]
    assert nce(probs, labels) == pytest.approx(entropies[1] - entropies[0], rel=1e-9)


def _brute_force_gbc(features: FloatArray, labels: IntArray) -> float:
    """Explicit Gaussians with full covariance matrices on scikit-learn's principal axes."""
    num_axes = min(64, len(labels) - 1, features.shape[1])
    points = PCA(num_axes, svd_solver="full").fit_transform(features.astype(float))
    gaussians = []
    for label in np.unique(labels):
        own = points[labels == label]
        gaussians.append((own.mean(axis=0), own.var(axis=0, ddof=1).mean() * np.eye(num_axes)))
    total = 0.0
    for (mean_1, cov_1), (mean_2, cov_2) in combinations(gaussians, 2):
        cov = (cov_1 + cov_2) / 2
        log_dets = [np.linalg.slogdet(one).logabsdet for one in (cov, cov_1, cov_2)]
        distance = (mean_1 - mean_2) @ np.linalg.solve(cov, mean_1 - mean_2) / 8 + (log_dets[0] - (log_dets[1] + log_dets[2]) / 2) / 2
        total -= np.exp(-distance)
    return total


@pytest.mark.parametrize(("num_images", "num_features"), [(90, 5), (60, 100), (200, 100)])
@pytest.mark.parametrize("apart", [0.0, 0.3])
def test_gbc_sums_the_overlaps_of_class_gaussians(num_images: int, num_features: int, apart: float) -> None:
    """Bhattacharyya's coefficient with the determinants of whole matrices, also where 64 axes are fewer than the features."""
    features, labels = _features(num_images, num_features, 3, apart=apart)
    features[labels == 1] *= 1.5
    assert gbc(features, labels) == pytest.approx(_brute_force_gbc(features, labels), rel=1e-6)


def test_gbc_of_two_normal_densities_is_the_integral_of_the_root_of_their_product() -> None:
    """One feature, two classes: the overlap, integrated numerically."""
    features = np.array([[-1.0], [0.0], [1.0], [1.0], [3.0], [5.0]])
    x = np.linspace(-30, 30, 200_001)
    root = np.exp((multivariate_normal.logpdf(x, 0, 1) + multivariate_normal.logpdf(x, 3, 4)) / 2)
    assert gbc(features, _labels(6, 2)[[0, 2, 4, 1, 3, 5]]) == pytest.approx(-np.trapezoid(root, x), rel=1e-6)


def test_gbc_takes_the_pooled_spread_for_a_class_with_one_image() -> None:
    """A lone image is no certainty: with the other classes' spread it overlaps them as they overlap each other."""
    features, labels = _features(41, 6, 2, apart=0.3)
    labels[40] = 2
    lone = gbc(features, labels) - gbc(features[:40], labels[:40])
    assert -2 < lone < -0.05


def test_gbc_of_classes_without_any_spread_tells_points_apart() -> None:
    """Duplicates only: classes at one place overlap fully, at two places not at all."""
    place = np.array([[0.0, 1.0], [2.0, 5.0]])
    assert gbc(place[[0, 0, 0, 0]], np.array([0, 0, 1, 1])) == -1
    assert gbc(place[[0, 0, 1, 1]], np.array([0, 0, 1, 1])) == 0
    assert gbc(place[[0, 0, 1, 1, 1, 1]], np.array([0, 0, 1, 1, 2, 2])) == pytest.approx(-1)


@pytest.mark.parametrize(("num_images", "num_features"), [(60, 5), (40, 39), (30, 80)])
@pytest.mark.parametrize("apart", [0.0, 0.5])
def test_h_score_uses_the_ledoit_wolf_covariance(num_images: int, num_features: int, apart: float) -> None:
    """The trace of whole matrices, with scikit-learn's covariance and shrinkage and the covariance of class means."""
    features, labels = _features(num_images, num_features, 3, apart=apart)
    features = features.astype(float)
    fitted = LedoitWolf().fit(features)
    means = np.stack([features[labels == label].mean(axis=0) for label in labels])
    between = np.cov(means.T, bias=True)
    expected = np.trace(np.linalg.solve(fitted.covariance_, (1 - fitted.shrinkage_) * between))
    assert h_score(features, labels) == pytest.approx(expected, rel=1e-8)


def _brute_force_knn(features: FloatArray, labels: IntArray, k: int, metric: str) -> float:
    model = KNeighborsClassifier(k, metric=metric, algorithm="brute")
    return float(cross_val_score(model, features, labels, cv=LeaveOneOut()).mean())


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize(("k", "num_classes"), [(1, 4), (1, 2), (3, 2), (7, 2)])
def test_neighbours_are_scikit_learns(k: int, num_classes: int, metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave-one-out accuracy, wherever the blocks of images end."""
    features, labels = _features(45, 6, num_classes, apart=0.6)
    expected = _brute_force_knn(features.astype(float), labels, k, metric)
    assert knn_accuracy(features, labels, k, metric) == pytest.approx(expected)
    monkeypatch.setattr(neighbours, "_BLOCK_BYTES", 8 * 45 * 7)
    assert knn_accuracy(features, labels, k, metric) == pytest.approx(expected)


def test_neighbours_of_one_distance_share_their_votes() -> None:
    """With k=1 and three duplicates the majority of the others wins; with two other images of two classes the hit is shared."""
    same = np.ones((4, 2))
    assert knn_accuracy(same, np.array([0, 0, 0, 1])) == pytest.approx(3 / 4)
    assert knn_accuracy(np.array([[0.0], [1.0], [-1.0]]), np.array([0, 0, 1]), 1, "euclidean") == pytest.approx((0.5 + 1 + 0) / 3)
    assert knn_accuracy(np.array([[0.0], [1.0], [2.0]]), np.array([0, 0, 1]), 2, "euclidean") == pytest.approx((0.5 + 0.5 + 0) / 3)
    line = np.array([[0.0], [1.0], [-2.0], [2.0]])  # of 0, both images at a distance of 2 share one vote; so do others of 1
    assert knn_accuracy(line, np.array([0, 0, 1, 1]), 2, "euclidean") == pytest.approx((0.5 + 0.5 + 0 + 0) / 4)


def test_distances_that_differ_by_rounding_are_equal() -> None:
    """In each far group two images of two classes lie left and right of a third, which takes half a hit from them."""
    generator = np.random.default_rng(0)
    centres, steps = 100 * generator.normal(size=(20, 6)), generator.normal(size=(20, 6))
    features = np.concatenate([centres, centres + steps, centres - steps])
    assert knn_accuracy(features, np.repeat([0, 0, 1], 20), metric="euclidean") == pytest.approx((0.5 + 1 + 0) / 3)


def test_angles_keep_their_digits_under_an_offset() -> None:
    """At an offset of a million all angles are all but equal, and the nearest is still found."""
    generator = np.random.default_rng(0)
    features = generator.normal(size=(40, 5)) + 1e6 * np.array([1, 2, -1, 3, 1])
    units = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.longdouble)
    distances = ((units[:, None] - units) ** 2).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    labels = _labels(40, 3)
    assert knn_accuracy(features, labels) == pytest.approx(np.mean(labels[distances.argmin(axis=1)] == labels))


# What no score depends on, and what every score does


@pytest.mark.parametrize("name", SCORES)
@settings(max_examples=5)
@given(st.integers(0, 10_000))
def test_order_and_names_do_not_matter(name: str, seed: int) -> None:
    """Images in another order and classes under other numbers have the same score."""
    features, labels = _given(name, 40, 9, 4, apart=0.5, seed=seed)
    order = np.random.default_rng(seed).permutation(40)
    renamed = np.random.default_rng(seed + 1).choice(1000, 4, replace=False)[labels] - 500
    expected = SCORES[name](features, labels)
    assert SCORES[name](features[order], labels[order]) == pytest.approx(expected, rel=1e-12)
    assert SCORES[name](features, renamed) == expected


@pytest.mark.parametrize("name", [name for name in SCORES if name != "nce"])  # all classes may share their likeliest source class
@settings(max_examples=5)
@given(st.integers(0, 10_000), st.sampled_from([8, 100]))
def test_scores_fall_as_classes_move_together(name: str, seed: int, width: int) -> None:
    """Far apart is better than near, and near is better than no difference at all."""
    far, near, nowhere = (SCORES[name](*_given(name, 160, width, 4, apart=apart, seed=seed)) for apart in (2.0, 1.0, 0.0))
    assert far >= near >= nowhere
    assert far > nowhere


@pytest.mark.parametrize("name", SCORES)
def test_inputs_are_left_alone(name: str) -> None:
    """Arrays that cannot be written to do, in any dtype and memory order, and hold what they held."""
    for dtype, order in (("float32", "C"), ("float64", "C"), ("float64", "F")):
        features, labels = _given(name, 30, 7, 3)
        features = np.asarray(features, dtype=dtype, order=order)  # type: ignore[call-overload]
        before = features.copy(), labels.copy()
        for array in (features, labels):
            array.setflags(write=False)
        SCORES[name](features, labels)
        np.testing.assert_array_equal(features, before[0])
        np.testing.assert_array_equal(labels, before[1])


def _coarse(features: FloatArray) -> FloatArray:
    """Float32 with the digits of bfloat16."""
    return (features.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("kind", ["plain", "bfloat16", "float16", "offset", "dead columns", "duplicates"])
def test_scores_are_finite_where_data_are_few(name: str, kind: str) -> None:
    """More features than images, 33 classes, and one or two images in each."""
    features, labels = _given(name, 50, 200, 33)
    if kind == "bfloat16":
        features = _coarse(features)
    elif kind == "float16":
        features = features.astype(np.float16)
    elif name not in OF_SOURCE:
        if kind == "offset":
            features = features + np.float32(1e4)
        elif kind == "dead columns":
            features[:, 20:] = 0
        elif kind == "duplicates":
            features[40:] = features[7:17]
    value = SCORES[name](features, labels)
    assert isinstance(value, float)
    assert np.isfinite(value)


def test_features_that_never_change_say_nothing() -> None:
    """Neighbours call the largest class, Gaussians overlap fully, and the H-score has no value."""
    features, labels = np.full((30, 8), 0.1), np.repeat([0, 1, 2], [15, 10, 5])  # a mean of 30 times 0.1 is another number
    assert knn_accuracy(features, labels) == pytest.approx(0.5)
    assert gbc(features, labels) == -3
    with pytest.raises(UndefinedMetricError, match="the same for all images"):
        h_score(features, labels)


# Where there is no score


@pytest.mark.parametrize("name", SCORES)
def test_wrong_shapes_are_one_line(name: str) -> None:
    """One dimension too few, labels that do not fit or are no integers, and no images at all."""
    features, labels = _given(name, 12, 4, 3)
    wrong = [
        (features[0], labels[:4]),
        (features, labels[:5]),
        (features, labels.astype(float)),
        (features[:0], labels[:0]),
        (features * 1j, labels),
    ]
    for given_features, given_labels in wrong:
        with pytest.raises(DataError, match=r"given .* of shape") as caught:
            SCORES[name](given_features, given_labels)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_have_no_score(name: str, bad: float) -> None:
    """The message counts the images."""
    features, labels = _given(name, 12, 4, 3)
    features[[2, 5], 1] = bad
    with pytest.raises(UndefinedMetricError, match="2 of 12 images have values that are not finite"):
        SCORES[name](features, labels)


@pytest.mark.parametrize("name", SCORES)
def test_one_class_has_no_score(name: str) -> None:
    """There is nothing to tell apart."""
    features, _ = _given(name, 12, 4, 3)
    with pytest.raises(UndefinedMetricError, match="all 12 images are of class 7"):
        SCORES[name](features, np.full(12, 7))


def test_labels_that_features_explain_exactly_have_no_evidence() -> None:
    """With fewer dimensions than images a perfect fit is infinitely likely."""
    labels = _labels(12, 3)
    features = np.column_stack([np.eye(3)[labels], np.arange(12)])
    with pytest.raises(UndefinedMetricError, match="no upper bound"):
        logme(features, labels)
    features[[0, 1, 2], [0, 1, 2]] += 0.01
    assert logme(features, labels) > 1


def test_neighbours_need_others_and_angles_need_a_direction() -> None:
    """As many neighbours as images, an unknown metric, and an image of zeros."""
    features, labels = _features(12, 4, 3)
    with pytest.raises(UndefinedMetricError, match="11 others, and 12 neighbours"):
        knn_accuracy(features, labels, k=12)
    for k, metric in ((0, "cosine"), (1, "manhattan")):
        with pytest.raises(ConfigError, match="metric among cosine, euclidean"):
            knn_accuracy(features, labels, k, metric)
    features[4] = 0
    with pytest.raises(UndefinedMetricError, match="1 images have zeros"):
        knn_accuracy(features, labels)
    assert 0 <= knn_accuracy(features, labels, metric="euclidean") <= 1


def test_logits_are_no_probabilities() -> None:
    """Negative values and rows that do not sum to one are refused; bfloat16's sums are not."""
    probs, labels = _probs(12, 5, 3)
    for score in (leep, nce):
        with pytest.raises(DataError, match="give a softmax"):
            score(np.log(probs), labels)
        with pytest.raises(DataError, match="give a softmax"):
            score(probs * 2, labels)
        assert score(probs * 1.01, labels) == pytest.approx(score(probs, labels), rel=1e-12)
        assert score(_coarse(probs), labels) == pytest.approx(score(probs, labels), abs=0.01)


# All of them for a row


def test_evidence_is_what_the_functions_say() -> None:
    """Under columns of the table, in their order, with nothing left out."""
    features, labels = _features(60, 9, 3, apart=0.5)
    probs, _ = _probs(60, 5, 3)
    found = transferability_scores(features, labels, probs)
    assert found.undefined == {}
    assert found.columns.pop("transferability_s") is not None
    assert found.columns == {
        "knn_accuracy": knn_accuracy(features, labels),
        "logme": logme(features, labels),
        "gbc": gbc(features, labels),
        "leep": leep(probs, labels),
        "h_score": h_score(features, labels),
    }
    assert [name for name in COLUMNS if name in found.columns] == list(found.columns)


def test_evidence_says_why_a_score_is_missing() -> None:
    """Each undefined score is None with a reason and leaves the others alone; a broken backbone has none, and no job fails for it."""
    features, labels = _features(60, 9, 3)
    features[0] = 0
    found = transferability_scores(features, labels)
    assert found.undefined.keys() == {"knn_accuracy", "leep"}
    assert "without a classifier" in found.undefined["leep"]
    assert all((found.columns[name] is None) == (name in found.undefined) for name in found.columns)
    features[3] = np.nan
    broken = transferability_scores(features, labels)
    assert [name for name, value in broken.columns.items() if value is not None] == ["transferability_s"]
    assert "not finite" in broken.undefined["logme"]


def test_evidence_of_wrong_shapes_is_an_error() -> None:
    """A mistake of the caller is no property of the data."""
    features, labels = _features(60, 9, 3)
    with pytest.raises(DataError, match="60 integer class ids"):
        transferability_scores(features, labels[:5])
