"""Joint evidence: out-of-fold heads and fine-tunes on one set of images, the luck of val taken off by the head on the same backbone."""

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
from scipy.stats import norm

from harness.config import Metric
from harness.select.candidates import Candidate, Pool
from harness.select.evidence import Evidence, image_covariance
from harness.select.measured import WIDENED, WIDENED_LOG_LOSS, evidence_of
from harness.select.resamples import Resamples
from harness.select.said import Said
from harness.select.scores import BoolArray, FloatArray, IntArray, Runs, scores
from tests.unit.select.planted import make_row

METRICS = (Metric.accuracy, Metric.balanced_accuracy, Metric.f1_macro, Metric.log_loss)


def said(hit_SN: BoolArray, labels_N: IntArray, num_classes: int = 2) -> Said:
    """Nine to one for what is answered; wrong answers are the next class."""
    predicted_SN = np.where(hit_SN, labels_N, (labels_N + 1) % num_classes)
    return Said(predicted_SN, predicted_SN, np.log(np.where(hit_SN, 0.9, 0.1)))


def candidate(backbone: str, val: Said, out_of_fold: Said | None = None, freeze: str = "none") -> Candidate:
    """As many rows as there are seeds."""
    rows = tuple(make_row(f"{backbone}{seed}", backbone, freeze, seed) for seed in range(len(val.predicted_SN)))
    return Candidate(f"{backbone} · {freeze}", backbone, rows, val, out_of_fold, rows)


def pool(candidates: tuple[Candidate, ...], labels_N: IntArray, everyone_M: IntArray, num_classes: int = 2) -> Pool:
    """Of these images; those of val are the last of everyone."""
    return Pool("p1", candidates, labels_N, everyone_M, tuple("abcdef"[:num_classes]), (), ())


@dataclass(frozen=True)
class World:
    """Where images come from: shares of the classes, how often a model is right on each, how much models err on the same images."""

    share_C: tuple[float, ...] = (0.6, 0.3, 0.1)
    right_C: tuple[float, ...] = (0.95, 0.8, 0.6)
    common: float = 0.9

    def labels(self, num_images: int) -> IntArray:
        """Always as many of each class."""
        return np.repeat(np.arange(len(self.share_C)), np.round(np.array(self.share_C) * num_images).astype(int))

    def draw(self, rng: np.random.Generator, num_val: int = 90, num_all: int = 450) -> Pool:
        """A head on backbone a, a fine-tune of a that is better, a fine-tune of b without a head."""
        labels_N = self.labels(num_val)
        everyone_M = np.concatenate([self.labels(num_all - num_val), labels_N])
        hard_M = rng.standard_normal(num_all)
        head, tuned, other = (self._answers(rng, hard_M, everyone_M, better) for better in (0.0, 0.2, 0.1))
        candidates = (
            candidate("a", _last(head, num_val), head, "all"),
            candidate("a", _last(tuned, num_val)),
            candidate("b", _last(other, num_val)),
        )
        return pool(candidates, labels_N, everyone_M, len(self.share_C))

    def truth(self, better: float) -> float:
        """Balanced accuracy on all images there could be."""
        return float(np.mean(norm.cdf(norm.ppf(self.right_C) + better)))

    def _answers(self, rng: np.random.Generator, hard_M: FloatArray, labels_M: IntArray, better: float) -> Said:
        own_M = self.common * hard_M + (1 - self.common**2) ** 0.5 * rng.standard_normal(len(hard_M))
        bound_M = np.asarray(norm.ppf(self.right_C))[labels_M] + better
        predicted_SM = np.where(own_M < bound_M, labels_M, (labels_M + 1) % len(self.share_C))[None]
        return Said(predicted_SM, predicted_SM, np.log(np.clip(norm.cdf(bound_M - own_M + 0.5), 0.02, 0.98))[None])


def _last(found: Said, num_images: int) -> Said:
    return Said(*(getattr(found, field.name)[:, -num_images:] for field in fields(Said)))


def _kept(found: Said, images: IntArray) -> Said:
    return Said(*(getattr(found, field.name)[:, images] for field in fields(Said)))


def test_by_hand() -> None:
    """Val: 4 images of 8. The head is right on 3 of these and on 5 of all; the fine-tune on 3 of val, twice where the head is."""
    labels_N, everyone_M = np.zeros(4, dtype=np.int64), np.zeros(8, dtype=np.int64)
    head = said(np.array([[0, 0, 1, 1, 1, 1, 1, 0]], dtype=bool), everyone_M)
    tuned = said(np.array([[1, 1, 0, 1]], dtype=bool), labels_N)
    both = pool((candidate("a", _last(head, 4), head, "all"), candidate("a", tuned)), labels_N, everyone_M)
    evidence = evidence_of(both, both.candidates, Metric.accuracy)
    slope = -1 / 3  # covariance of (1, 1, 0, 1) and (1, 1, 1, 0), -1/16, over the variance of the latter, 3/16
    luck = 3 / 4 - 5 / 8
    assert evidence.scores_K.tolist() == pytest.approx([5 / 8, 3 / 4 - slope * luck])
    head_M = (np.array([0, 0, 1, 1, 1, 1, 1, 0]) - 5 / 8) / 8 * WIDENED
    here_M = np.array([0, 0, 0, 0, 1, 1, 1, -3]) / 16
    own_M = np.array([0, 0, 0, 0, 1, 1, -3, 1]) / 16
    np.testing.assert_allclose(evidence.influence_KN, [head_M, own_M - slope * (here_M - head_M)])


@pytest.mark.parametrize("metric", METRICS)
def test_without_a_head_it_is_the_val_score(metric: Metric) -> None:
    """No control: what val alone says, and no less doubt, in the company of heads on other backbones and without any."""
    drawn = World().draw(np.random.default_rng(0))
    _, _, other = drawn.candidates
    runs = other.val.runs(drawn.labels_N, 3, metric)
    alone = Evidence.of(runs, metric, [1])
    evidence = evidence_of(drawn, drawn.candidates, metric).take([2])
    assert evidence.scores_K[0] == pytest.approx(scores(runs, metric)[0])
    assert (evidence.one_more_K, evidence.num_equal_K) == (alone.one_more_K, alone.num_equal_K)
    np.testing.assert_allclose(evidence.covariance_KK, alone.covariance_KK)
    without = evidence_of(drawn, (other,), metric)
    np.testing.assert_allclose(without.covariance_KK, alone.covariance_KK)
    assert len(without.labels_N) == len(drawn.labels_N)


def test_log_loss_carries_a_minus_sign() -> None:
    """Higher is better inside, for both kinds of candidates; heads stay what they are, whatever is taken off a fine-tune."""
    drawn = World().draw(np.random.default_rng(0))
    evidence = evidence_of(drawn, drawn.candidates, Metric.log_loss)
    head = drawn.candidates[0].out_of_fold
    assert head is not None
    assert evidence.scores_K[0] == pytest.approx(head.true_log_prob_SN.mean())
    assert (evidence.scores_K < 0).all()
    assert evidence.scores_K[2] == pytest.approx(drawn.candidates[2].val.true_log_prob_SN.mean())


@pytest.mark.parametrize(
    ("metric", "factor"), [(Metric.accuracy, WIDENED), (Metric.balanced_accuracy, WIDENED), (Metric.log_loss, WIDENED_LOG_LOSS)]
)
def test_out_of_fold_errors_are_widened(metric: Metric, factor: float) -> None:
    """By the stated factor, over as many images that no fold shares, and exact intervals by as many images fewer."""
    drawn = World().draw(np.random.default_rng(0))
    head = drawn.candidates[0].out_of_fold
    assert head is not None
    plain = Evidence.of(head.runs(drawn.everyone_M, 3, metric), metric, [1])
    evidence = evidence_of(drawn, drawn.candidates, metric).take([0])
    is_val_M = np.arange(450) >= 360
    wanted = factor**2 * image_covariance(plain.influence_KN, drawn.everyone_M + 3 * is_val_M)
    np.testing.assert_allclose(image_covariance(evidence.influence_KN, evidence.labels_N), wanted)
    assert evidence.num_equal_K[0] == pytest.approx(plain.num_equal_K[0] / factor**2)
    assert evidence.one_more_K == plain.one_more_K


@pytest.mark.parametrize("metric", [Metric.accuracy, Metric.balanced_accuracy, Metric.log_loss])
def test_the_control_takes_luck_off_and_nothing_else(metric: Metric) -> None:
    """Over many draws of the images: the mean of the val score, hence that of the truth; less spread; and the spread that is stated."""
    world, val, controlled, stated = World(), [], [], []
    for seed in range(250):
        drawn = world.draw(np.random.default_rng(seed))
        evidence = evidence_of(drawn, drawn.candidates, metric)
        val.append(scores(drawn.candidates[1].val.runs(drawn.labels_N, 3, metric), metric)[0])
        controlled.append(evidence.scores_K[1])
        stated.append(image_covariance(evidence.influence_KN, evidence.labels_N)[1, 1] ** 0.5)
    off = np.array(controlled) - val
    assert abs(off.mean()) < 3 * off.std() / 250**0.5
    if metric is Metric.balanced_accuracy:
        assert np.mean(controlled) == pytest.approx(world.truth(0.2), abs=3 * np.std(controlled) / 250**0.5)
    assert np.std(controlled) < 0.92 * np.std(val)
    assert np.mean(stated) == pytest.approx(np.std(controlled), rel=0.15)  # a little too much: the head's share is widened


def test_the_gain_is_that_of_the_formula() -> None:
    """Variance times 1 - r^2 (1 - n/N), r the correlation of the two over images and N counting as few images as the widened errors leave it."""
    rng = np.random.default_rng(3)
    world = World((1.0,), (0.8,), 0.95)
    ratios, wanted = [], []
    for _ in range(30):
        drawn = world.draw(rng, 500, 2500)
        evidence = evidence_of(drawn, drawn.candidates, Metric.log_loss)
        own, head = drawn.candidates[1].val, drawn.candidates[0].val
        r = np.corrcoef(own.true_log_prob_SN[0], head.true_log_prob_SN[0])[0, 1]
        ratios.append(evidence.influence_KN[1] @ evidence.influence_KN[1] / own.true_log_prob_SN.var() * 500)
        wanted.append(1 - r**2 * (1 - 500 / (2500 / WIDENED_LOG_LOSS**2)))
    assert np.mean(ratios) == pytest.approx(np.mean(wanted), rel=0.05)


def test_a_head_that_says_nothing_of_luck_changes_nothing() -> None:
    """Right on every image: its score never varies, so nothing can be taken off."""
    labels_N, everyone_M = np.arange(40) % 2, np.arange(200) % 2
    head = said(np.ones((1, 200), dtype=bool), everyone_M)
    tuned = said(np.random.default_rng(0).random((1, 40)) < 0.8, labels_N)
    both = pool((candidate("a", _last(head, 40), head, "all"), candidate("a", tuned)), labels_N, everyone_M)
    evidence = evidence_of(both, both.candidates, Metric.accuracy)
    assert evidence.scores_K[1] == pytest.approx((tuned.predicted_SN[0] == labels_N).mean())
    assert np.count_nonzero(evidence.influence_KN[1, :160]) == 0


def test_a_fine_tune_that_errs_like_its_head_is_the_head() -> None:
    """Where the val answers are those out of fold, all luck is taken off: the score and its errors are the head's, as known from all images."""
    rng = np.random.default_rng(0)
    labels_N, everyone_M = np.arange(40) % 2, np.arange(200) % 2
    head = said(rng.random((1, 200)) < 0.8, everyone_M)
    both = pool((candidate("a", _last(head, 40), head, "all"), candidate("a", _last(head, 40))), labels_N, everyone_M)
    evidence = evidence_of(both, both.candidates, Metric.balanced_accuracy)
    assert evidence.scores_K[1] == pytest.approx(evidence.scores_K[0])
    np.testing.assert_allclose(evidence.influence_KN[1], evidence.influence_KN[0], atol=1e-12)
    assert evidence.same_K.tolist() == [0, 0]


def test_only_a_head_on_the_same_weights_is_a_control() -> None:
    """A head on other weights of that name knows nothing of this fine-tune's luck."""
    drawn = World().draw(np.random.default_rng(0))
    head, tuned, _ = drawn.candidates
    strange = replace(head, rows=tuple(replace(row, weights_sha256="other") for row in head.rows))
    evidence = evidence_of(drawn, (strange, tuned), Metric.accuracy)
    assert evidence.scores_K[1] == pytest.approx((tuned.val.predicted_SN[0] == drawn.labels_N).mean())


def test_seeds_are_averaged_and_vary() -> None:
    """Scores and influences are means over seeds; what seeds differ by is pooled over both kinds and divided by each one's number."""
    rng = np.random.default_rng(0)
    labels_N, everyone_M = np.arange(100) % 2, np.arange(500) % 2
    head = said(rng.random((4, 500)) < np.array([[0.7], [0.75], [0.85], [0.9]]), everyone_M)
    tuned = said(rng.random((2, 100)) < np.array([[0.7], [0.9]]), labels_N)
    both = pool((candidate("a", _last(head, 100), head, "all"), candidate("b", tuned)), labels_N, everyone_M)
    evidence = evidence_of(both, both.candidates, Metric.accuracy)
    assert evidence.scores_K.tolist() == pytest.approx([(head.predicted_SN == everyone_M).mean(), (tuned.predicted_SN == labels_N).mean()])
    assert evidence.seed_variance_K[1] == pytest.approx(2 * evidence.seed_variance_K[0])
    assert evidence.seed_variance_K[0] > 0.03**2
    assert np.isfinite(evidence.seed_freedom)


def test_every_seed_has_a_slope_of_its_own() -> None:
    """One seed errs like the head, one does not: the first is moved by all of the head's luck, the other by little."""
    rng = np.random.default_rng(0)
    labels_N, everyone_M = np.arange(400) % 2, np.arange(4000) % 2
    head = said(rng.random((1, 4000)) < 0.8, everyone_M)
    tuned = said(np.stack([_last(head, 400).predicted_SN[0] == labels_N, rng.random(400) < 0.8]), labels_N)
    both = pool((candidate("a", _last(head, 400), head, "all"), candidate("a", tuned)), labels_N, everyone_M)
    evidence = evidence_of(both, both.candidates, Metric.accuracy)
    here, there = (tuned.predicted_SN[0] == labels_N).mean(), (head.predicted_SN == everyone_M).mean()
    alone = (tuned.predicted_SN[1] == labels_N).mean()
    assert evidence.scores_K[1] == pytest.approx((there + alone) / 2, abs=abs(here - there) * 0.1)


@pytest.mark.parametrize("metric", [Metric.accuracy, Metric.balanced_accuracy, Metric.log_loss])
def test_covariance_is_that_of_drawing_the_images_anew(metric: Metric) -> None:
    """Train and val images drawn with replacement, class by class, every score computed again: both kinds and all pairs."""
    rng = np.random.default_rng(5)
    world = World((0.5, 0.3, 0.2), (0.9, 0.8, 0.6))
    drawn = world.draw(rng, 300, 1500)
    evidence = evidence_of(drawn, drawn.candidates, metric)
    head, tuned, other = (each.out_of_fold or each.val for each in drawn.candidates)
    slope = _slope(tuned, _last(head, 300), drawn.labels_N, metric)
    widened = WIDENED_LOG_LOSS if metric is Metric.log_loss else WIDENED
    strata = [np.flatnonzero(evidence.labels_N == stratum) for stratum in np.unique(evidence.labels_N)]
    redrawn = []
    for _ in range(1500):
        images = np.concatenate([rng.choice(members, len(members)) for members in strata])
        in_val = images[images >= 1200] - 1200
        everywhere = _score(_kept(head, images), drawn.everyone_M[images], metric)
        here = _score(_kept(head, in_val + 1200), drawn.labels_N[in_val], metric)
        one, two = (_score(_kept(each, in_val), drawn.labels_N[in_val], metric) for each in (tuned, other))
        redrawn.append([widened * everywhere, one - slope * (here - widened * everywhere), two])
    wanted = np.cov(np.array(redrawn), rowvar=False)
    found = image_covariance(evidence.influence_KN, evidence.labels_N)
    sd_K = np.sqrt(np.diag(wanted))
    np.testing.assert_allclose(np.sqrt(np.diag(found)), sd_K, rtol=0.08)
    np.testing.assert_allclose(found / np.outer(sd_K, sd_K), wanted / np.outer(sd_K, sd_K), atol=0.12)
    draws_RK = Resamples.from_evidence(evidence, metric, 2000).image_draws_RK
    np.testing.assert_allclose(draws_RK.std(axis=0), sd_K, rtol=0.15)


def test_draws_of_both_kinds_are_paired() -> None:
    """The difference of a fine-tune and its head is known far better than either: they err on the same images."""
    drawn = World(common=0.98).draw(np.random.default_rng(0))
    val = Resamples.from_evidence(evidence_of(drawn, drawn.candidates, Metric.log_loss), Metric.log_loss, 1000)
    together = (val.draws_RK[:, 1] - val.draws_RK[:, 0]).std()
    assert together < 0.6 * np.hypot(val.draws_RK[:, 0].std(), val.draws_RK[:, 1].std())


def _score(found: Said, labels_N: IntArray, metric: Metric) -> float:
    return float(scores(found.runs(labels_N, 3, metric), metric)[0])


def _slope(own: Said, head: Said, labels_N: IntArray, metric: Metric) -> float:
    """Of one on the other over val images, each weighted as in the metric."""
    counts_C = np.bincount(labels_N)
    share_N = 1 / (len(counts_C) * counts_C[labels_N]) if metric is Metric.balanced_accuracy else np.full(len(labels_N), 1 / len(labels_N))
    one_N, two_N = (
        each.true_log_prob_SN[0] if metric is Metric.log_loss else (each.predicted_SN[0] == labels_N).astype(float) for each in (own, head)
    )
    one_N, two_N = ((values_N - values_N @ share_N) * share_N for values_N in (one_N, two_N))
    return float(one_N @ two_N / (two_N @ two_N))


def test_a_perfect_fine_tune_is_as_sure_as_its_val_images() -> None:
    """100 % on 40 val images has the exact interval of 40, however many images the heads beside it were judged on."""
    rng = np.random.default_rng(0)
    labels_N, everyone_M = np.arange(40) % 2, np.arange(400) % 2
    head = said(rng.random((1, 400)) < 0.8, everyone_M)
    tuned = said(np.ones((1, 40), dtype=bool), labels_N)
    both = pool((candidate("a", _last(head, 40), head, "all"), candidate("b", tuned)), labels_N, everyone_M)
    found = Resamples.from_evidence(evidence_of(both, both.candidates, Metric.accuracy), Metric.accuracy, 500).interval(1, 0.95)
    assert found.low <= 40 / (40 + 1.96**2) + 1e-3  # Wilson
    assert found.high == 1.0


def test_runs_of_a_candidate_are_its_own() -> None:
    """What is scored is what was said under the metric: balanced accuracy has decisions of its own."""
    labels_N = np.arange(20) % 2
    both = Said(labels_N[None], 1 - labels_N[None], np.zeros((1, 20)))
    assert both.runs(labels_N, 2, Metric.accuracy).predicted_JN is both.predicted_SN
    assert both.runs(labels_N, 2, Metric.balanced_accuracy).predicted_JN is both.balanced_SN
    assert isinstance(both.runs(labels_N, 2, Metric.log_loss), Runs)
