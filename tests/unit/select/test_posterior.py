"""The posterior: against sampling from its model, against itself on other terms, and on cases whose answer is plain."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from harness.select import posterior as module
from harness.select import structure
from harness.select.posterior import Known, Posterior, posterior, shrunk
from harness.select.scores import FloatArray
from tests.unit.reporting.oracle import common_error

Study = tuple[FloatArray, FloatArray, list[Known]]


def study(rng: np.random.Generator, num: int) -> Study:
    """Scores with errors in common, of backbones at two depths, some of which are better known than others."""
    known = [
        Known(
            backbone=f"b{k // 2}",
            family=f"f{k // 4}" if k // 2 % 3 else None,
            top1_frac=0.7 + 0.1 * rng.random() if k % 5 else None,
            log2_cost=3 * rng.random() if k % 4 else None,
            own_rank=rng.random() if k % 2 else None,
            frozen_frac=float(k % 2),
        )
        for k in range(num)
    ]
    root_KK = rng.normal(size=(num, num))
    covariance_KK = 0.02**2 * (0.3 + 0.5 * np.eye(num) + 0.2 * root_KK @ root_KK.T / num)
    return 0.8 + 0.03 * rng.normal(size=num), covariance_KK, known


@st.composite
def any_study(draw: st.DrawFn) -> Study:
    """From one candidate to ten."""
    return study(np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.integers(1, 10)))


def sampled(found: Study, num: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The same model by importance sampling: t, effects and errors of the truth are drawn from the prior as they are written, the scores weigh them.

    What all errors have in common is not weighed: for each of several values of it, as likely as they are, the scores less that are explained anew.

    Returns:
        Mean, standard deviation and probability of being best of each candidate.
    """
    scores_K, covariance_KK, known = found
    rng, num_candidates = np.random.default_rng(0), len(known)

    def column(name: str) -> FloatArray:
        values = np.array([np.nan if getattr(each, name) is None else getattr(each, name) for each in known], dtype=float)
        return np.nan_to_num(values - np.nanmean(values)) if np.isfinite(values).any() else np.zeros(num_candidates)

    def effect(names: list[str], share: float) -> FloatArray:
        codes = np.unique(names, return_inverse=True)[1]
        return np.asarray(share**0.5 * rng.normal(size=(num, num_candidates))[:, codes])

    top1_K = column("top1_frac")
    spread = top1_K[top1_K != 0].std() if np.count_nonzero(top1_K) > 1 else 0.0
    slopes = [
        (top1_K / spread if spread > 0 else 0 * top1_K, structure.TOP1_MEAN, structure.TOP1_SPREADS),
        (column("log2_cost"), structure.DOUBLING_MEAN, structure.DOUBLING_SPREADS),
        (column("own_rank"), structure.OWN_RANK_MEAN, structure.OWN_RANK_SPREADS),
    ]
    unit_RK = np.asarray(sum((mean + scale * rng.normal(size=(num, 1))) * value_K for value_K, mean, scale in slopes))
    frozen_K = column("frozen_frac")
    depth_KK = np.exp(-np.abs(frozen_K[:, None] - frozen_K) / structure.DEPTH_REACH)
    values, vectors = np.linalg.eigh(depth_KK)
    unit_RK = unit_RK + structure.DEPTH_SPREADS * rng.normal(size=(num, num_candidates)) * np.sqrt(np.maximum(values, 0)) @ vectors.T
    families = [f"f:{each.family}" if each.family is not None else f"b:{each.backbone}" for each in known]
    unit_RK += effect(families, structure.FAMILY_SHARE) + effect([each.backbone for each in known], structure.BACKBONE_SHARE)
    unit_RK += (1 - structure.FAMILY_SHARE - structure.BACKBONE_SHARE) ** 0.5 * rng.normal(size=(num, num_candidates))
    t_R1 = module.SPREAD_POINTS * np.exp(module.SPREAD_LOG_SD * rng.normal(size=(num, 1)))
    error_KK = shrunk(covariance_KK, known) / module.POINT**2
    common_K = common_error(error_KK)
    inverse_KK = np.linalg.inv(error_KK - np.outer(common_K, common_K))
    apart_RK, normal_R = t_R1 * unit_RK, rng.normal(size=num)
    at, shares = np.polynomial.hermite_e.hermegauss(7)
    mean_K, square_K, best_K = np.zeros(num_candidates), np.zeros(num_candidates), np.zeros(num_candidates)
    for value, share in zip(at, shares / shares.sum(), strict=True):
        score_K = (scores_K - scores_K.mean()) / module.POINT - value * common_K
        # the level is flat: given all else it is Gaussian, so it is summed over in closed form and then drawn
        rest_RK, total = score_K - apart_RK, inverse_KK.sum()
        level_R = (rest_RK @ inverse_KK).sum(axis=1) / total
        rest_RK -= level_R[:, None]
        log_weight_R = -np.einsum("rk,kl,rl->r", rest_RK, inverse_KK, rest_RK) / 2
        weight_R = np.exp(log_weight_R - log_weight_R.max())
        weight_R *= share / weight_R.sum()
        truth_RK = apart_RK + (level_R + normal_R / total**0.5)[:, None]
        mean_K += weight_R @ truth_RK
        square_K += weight_R @ truth_RK**2
        best_K += weight_R @ (truth_RK == truth_RK.max(axis=1, keepdims=True))
    return scores_K.mean() + module.POINT * mean_K, module.POINT * np.sqrt(square_K - mean_K**2), best_K


@pytest.mark.parametrize(("num", "seed"), [(2, 0), (2, 1), (3, 2), (4, 3)])
def test_equals_sampling_from_the_model(num: int, seed: int) -> None:
    """Means, spreads and probabilities of being best are those of a million draws from the prior, weighed by how well they explain the scores."""
    found = study(np.random.default_rng(seed), num)
    belief = posterior(*found)
    mean_K, sd_K, best_K = sampled(found, 600_000)
    np.testing.assert_allclose(belief.mean_K, mean_K, atol=4e-4)
    np.testing.assert_allclose(belief.sd_K, sd_K, rtol=0.03)
    np.testing.assert_allclose(belief.prob_best_K, best_K, atol=0.025)


def test_two_candidates_by_integration() -> None:
    """Two strangers with independent errors: the difference shrinks by its own share of the variance, averaged over t by its likelihood."""
    known = [Known(backbone="a"), Known(backbone="b")]
    belief = posterior(np.array([0.83, 0.80]), 0.01**2 * np.eye(2), known)
    t_G = np.exp(np.linspace(np.log(0.02), np.log(100), 4001))
    truth_G, noise = 2 * t_G**2, 2.0
    density_G = np.exp(-(np.log(t_G / module.SPREAD_POINTS) ** 2) / (2 * module.SPREAD_LOG_SD**2) - 9 / (2 * (truth_G + noise))) / np.sqrt(
        truth_G + noise
    )
    expected = 3 * (truth_G / (truth_G + noise) * density_G).sum() / density_G.sum()
    assert 100 * float(belief.mean_K[0] - belief.mean_K[1]) == pytest.approx(expected, rel=0.005)


def test_draws_have_the_exact_moments() -> None:
    """Joint draws average to the mean exactly, spread as the mixture does, and what is read from them fits together."""
    belief = posterior(*study(np.random.default_rng(5), 8))
    np.testing.assert_allclose(belief.draws_RK.mean(axis=0), belief.mean_K, atol=1e-12)
    np.testing.assert_allclose(belief.draws_RK.std(axis=0), belief.sd_K, rtol=0.05)
    assert belief.prob_best_K.sum() == pytest.approx(1)
    best = belief.draws_RK.max(axis=1)
    np.testing.assert_allclose(belief.expected_loss_K, (best[:, None] - belief.draws_RK).mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(belief.prob_behind_K(0.01), (best[:, None] - belief.draws_RK > 0.01).mean(axis=0))


@settings(max_examples=25)
@given(any_study(), st.data())
def test_order_and_zero_point_do_not_matter(found: Study, data: st.DataObject) -> None:
    """Candidates listed otherwise get the same beliefs; a constant on all scores shifts the means by it and changes nothing else."""
    scores_K, covariance_KK, known = found
    order = data.draw(st.permutations(range(len(known))))
    belief = posterior(*found)
    other = posterior(scores_K[order] + 0.1, covariance_KK[np.ix_(order, order)], [known[k] for k in order])
    np.testing.assert_allclose(other.mean_K, belief.mean_K[order] + 0.1, atol=1e-9)
    np.testing.assert_allclose(other.prob_best_K, belief.prob_best_K[order], atol=0.002)
    np.testing.assert_allclose(other.expected_loss_K, belief.expected_loss_K[order], atol=1e-6)


@settings(max_examples=25)
@given(any_study())
def test_names_do_not_matter(found: Study) -> None:
    """Families and backbones only say who is of a kind."""
    scores_K, covariance_KK, known = found
    renamed = [replace(each, backbone=f"x{each.backbone}", family=each.family and f"{each.family}y") for each in known]
    np.testing.assert_allclose(posterior(scores_K, covariance_KK, renamed).mean_K, posterior(*found).mean_K, atol=1e-9)


def test_scale_of_a_point() -> None:
    """Log loss, whose point is 0.01 nats as well, and fractions of another scale give the same beliefs in points."""
    scores_K, covariance_KK, known = study(np.random.default_rng(6), 5)
    belief, other = posterior(scores_K, covariance_KK, known), posterior(10 * scores_K, 100 * covariance_KK, known, point=0.1)
    np.testing.assert_allclose(other.mean_K, 10 * belief.mean_K, rtol=1e-9)
    np.testing.assert_allclose(other.prob_best_K, belief.prob_best_K, atol=0.002)


def test_one_candidate_is_the_best() -> None:
    """Alone it has its own score, and nothing to lose."""
    belief = posterior(np.array([0.7]), np.array([[1e-4]]), [Known(backbone="a")])
    assert belief.mean_K.tolist() == pytest.approx([0.7])
    assert (belief.prob_best_K.tolist(), belief.expected_loss_K.tolist()) == ([1.0], [0.0])
    assert belief.prob_behind_K(0.0).tolist() == [0.0]


def test_what_is_known_exactly_is_the_truth() -> None:
    """Without any error scores are true, and the best of them is certain."""
    belief = posterior(np.array([0.7, 0.9, 0.8]), np.zeros((3, 3)), [Known(backbone=name) for name in "abc"])
    assert belief.mean_K.tolist() == pytest.approx([0.7, 0.9, 0.8], abs=1e-9)
    assert belief.prob_best_K.tolist() == [0.0, 1.0, 0.0]
    assert belief.expected_loss_K.tolist() == pytest.approx([0.2, 0.0, 0.1], abs=1e-9)


def test_candidates_that_are_one_count_once() -> None:
    """A copy at another depth has the same mean and draws, shares the probability of being best, and takes none from anyone else."""
    scores_K, covariance_KK, known = study(np.random.default_rng(7), 4)
    copied = [0, 1, 2, 3, 0]
    known = [*known, replace(known[0], frozen_frac=1.0)]
    known[0] = replace(known[0], frozen_frac=0.0)
    belief = posterior(scores_K[copied], covariance_KK[np.ix_(copied, copied)], known)
    alone = posterior(scores_K, covariance_KK, [known[4], *known[1:4]])
    np.testing.assert_array_equal(belief.draws_RK[:, 0], belief.draws_RK[:, 4])
    np.testing.assert_allclose(belief.mean_K[:4], alone.mean_K, atol=1e-9)
    assert belief.prob_best_K[0] == belief.prob_best_K[4] == pytest.approx(alone.prob_best_K[0] / 2, abs=0.002)
    assert belief.prob_best_K.sum() == pytest.approx(1)


def test_equal_scores_stay_together() -> None:
    """Where scores and everything known are equal, so are beliefs."""
    belief = posterior(np.full(4, 0.8), 0.02**2 * np.eye(4), [Known(backbone=name) for name in "abcd"])
    assert belief.mean_K.tolist() == pytest.approx([0.8] * 4)
    np.testing.assert_allclose(belief.prob_best_K, 0.25, atol=0.03)
    np.testing.assert_allclose(belief.expected_loss_K, belief.expected_loss_K[0], atol=1e-9)


def test_few_images_shrink_more() -> None:
    """A lead that was seen on few images is believed less than the same on many."""
    scores_K, known = np.array([0.85, 0.80, 0.80]), [Known(backbone=name) for name in "abc"]
    lead = {sd: np.diff(posterior(scores_K, sd**2 * np.eye(3), known).mean_K[[1, 0]])[0] for sd in (0.002, 0.02, 0.05)}
    assert 0.05 > lead[0.002] > 0.045
    assert lead[0.002] > 1.3 * lead[0.02] > 1.3 * 1.3 * lead[0.05] > 0


def test_published_accuracy_is_learnt_from_the_study() -> None:
    """Where scores follow published accuracy, a candidate of unlucky score and high published accuracy is believed better than one without."""
    top1_K = np.linspace(0.70, 0.80, 10)
    scores_K = 0.8 + 0.5 * (top1_K - 0.75)
    scores_K[[0, 9]] = 0.8
    known = [Known(backbone=str(k), top1_frac=top1) for k, top1 in enumerate(top1_K.tolist())]
    belief = posterior(scores_K, 0.01**2 * np.eye(10), known)
    assert belief.mean_K[9] - belief.mean_K[0] > 0.005
    unknown = posterior(scores_K, 0.01**2 * np.eye(10), [replace(each, top1_frac=None) for each in known])
    assert abs(unknown.mean_K[9] - unknown.mean_K[0]) < 1e-9


def test_depths_of_a_backbone_lean_on_each_other() -> None:
    """A mediocre score of a backbone whose other depths are good is believed more than the same of a stranger."""
    known = [Known(backbone=name, frozen_frac=frozen) for name in "ab" for frozen in (0.0, 0.5, 1.0)]
    belief = posterior(np.array([0.84, 0.84, 0.80, 0.76, 0.76, 0.80]), 0.02**2 * np.eye(6), known)
    assert belief.mean_K[2] > belief.mean_K[5] + 0.005


def test_shrinkage_keeps_variances_and_mean_correlation() -> None:
    """Single correlations are pulled to the mean of their kind; variances stay."""
    covariance_KK = np.array([[4.0, 1.8, 0.2], [1.8, 1.0, 0.3], [0.2, 0.3, 1.0]])
    found_KK = shrunk(covariance_KK, [Known(backbone=name) for name in "abc"])
    np.testing.assert_allclose(np.diag(found_KK), [4, 1, 1])
    mean = (0.9 + 0.1 + 0.3) / 3
    assert found_KK[0, 1] == pytest.approx((1 - structure.COMMON_SHARE) * 1.8 + structure.COMMON_SHARE * 2 * mean)
    kin_KK = shrunk(covariance_KK, [Known(backbone="a"), Known(backbone="a"), Known(backbone="b")])
    assert kin_KK[0, 1] == pytest.approx(1.8), "the only pair of its kind keeps its correlation"


@settings(max_examples=20)
@given(any_study(), st.data())
def test_one_more_observation_is_exact(found: Study, data: st.DataObject) -> None:
    """Without error the observed candidate is known; with endless error nothing is learnt; in between its mean lies between score and belief."""
    belief = posterior(*found)
    k = data.draw(st.integers(0, len(found[0]) - 1))
    known: Posterior = belief.observe(k, 0.75, 0.0)
    assert known.mean_K[k] == pytest.approx(0.75, abs=1e-6)
    np.testing.assert_allclose(belief.observe(k, 0.75, 1e6).mean_K, belief.mean_K, atol=1e-5)
    between = float(belief.observe(k, 0.75, 1e-4).mean_K[k])
    assert min(0.75, belief.mean_K[k]) - 0.004 <= between <= max(0.75, belief.mean_K[k]) + 0.004


def test_an_observation_equals_a_second_score() -> None:
    """Test after val is the same as one score that averages the two by their precision, where errors are independent."""
    known, scores_K = [Known(backbone=name) for name in "abc"], np.array([0.80, 0.83, 0.81])
    belief = posterior(scores_K, np.diag([4e-4] * 3), known).observe(1, 0.77, 4e-4)
    scores_K[1] = 0.80
    direct = posterior(scores_K, np.diag([4e-4, 2e-4, 4e-4]), known)
    np.testing.assert_allclose(belief.mean_K, direct.mean_K, atol=2e-4)


def test_hundreds_of_candidates_are_exact_too() -> None:
    """Probabilities add up, and the best by mean is among the probable."""
    belief = posterior(*study(np.random.default_rng(8), 300))
    assert belief.prob_best_K.sum() == pytest.approx(1)
    assert belief.prob_best_K[belief.mean_K.argmax()] > 0.02


@given(any_study(), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_what_was_not_measured_is_what_was_measured_with_no_worth(found: Study, seed: int) -> None:
    """A score of NaN leaves all beliefs where a score with an error far beyond reason leaves them."""
    scores_K, covariance_KK, known = found
    unseen_K = np.random.default_rng(seed).random(len(scores_K)) < 0.5
    unseen_K[0] = False
    independent_KK = np.diag(np.diag(covariance_KK))
    ours = posterior(np.where(unseen_K, np.nan, scores_K), independent_KK, known)
    theirs = posterior(scores_K, independent_KK + np.diag(np.where(unseen_K, 1e5, 0.0)), known)
    np.testing.assert_allclose(ours.mean_K, theirs.mean_K, atol=1e-3)  # the flat intercept is centred on what was measured
    np.testing.assert_allclose(ours.sd_K, theirs.sd_K, rtol=2e-2)


def test_the_level_is_that_of_the_scores() -> None:
    """Over many studies of 30 candidates on 200 images, easy and hard ones for all, expected scores are as often too low as too high.

    Scores of 50 to 95 % have errors of different sizes, and most of each error is in all of them. Learnt from the scores, that would lift all by points.
    """
    rng, off = np.random.default_rng(0), []
    for _ in range(40):
        truth_K = 0.95 - 0.45 * rng.beta(1, 3, size=30)
        hard_N = rng.normal(size=200)
        is_right_KN = 0.7**0.5 * hard_N + 0.3**0.5 * rng.normal(size=(30, 200)) < ndtri(truth_K)[:, None]
        belief = posterior(is_right_KN.mean(axis=1), np.cov(is_right_KN) / 200, [Known(backbone=f"b{k}") for k in range(30)])
        off.append(100 * (belief.mean_K - truth_K).mean())
    assert abs(np.mean(off)) < 3 * np.std(off) / len(off) ** 0.5 + 0.3
