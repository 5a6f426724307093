"""Many candidates: who is compared, what is known of the others, and that the answer is that of comparing all."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from harness.config import RankConfig
from harness.select import screen
from harness.select.afar import Others
from harness.select.posterior import Known, posteriors
from harness.select.ranking import Ranking, rank
from harness.select.scores import FloatArray, IntArray
from harness.study.store import Predictions, Study
from tests.unit.reporting.fake_study import _details, make_row, write_job

NUM, NUM_IMAGES, ROOM = 60, 500, 32
QUICK = RankConfig(num_resamples=1000)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Fifteen backbones at four depths on the same images; the fastest is among the worst, and no score is that of another."""
    made, rng = Study(tmp_path_factory.mktemp("many") / "s"), np.random.default_rng(3)
    labels_N, hard_N = rng.integers(0, 3, NUM_IMAGES), rng.normal(size=NUM_IMAGES)
    details = _details("abc", {"train": labels_N, "val": labels_N, "test": labels_N[:0]})
    for k in range(NUM):
        backbone, depth = f"net{k // 4:02d}", ("0.25", "0.5", "0.75", "none")[k % 4]
        skill = 0.4 + 0.05 * (k // 4) + 0.02 * (k % 4)
        row = make_row(f"job{k:02d}", backbone, depth, family=f"family{k // 12}", latency_ms_p50=10.0 + 5 * (k // 4), latency_ms_min=10.0)
        found = Predictions(_says(labels_N, hard_N, skill, rng), labels_N, [f"{i}.png" for i in range(NUM_IMAGES)])
        write_job(made, replace(row, details=details), found)
    return made


def _says(labels_N: IntArray, hard_N: FloatArray, skill: float, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Log-probabilities of three classes; half of what makes an image hard is so for all."""
    is_right_N = 0.7 * hard_N + 0.7 * rng.normal(size=NUM_IMAGES) < skill
    logits_NC = rng.normal(0, 0.5, (NUM_IMAGES, 3))
    logits_NC[np.arange(NUM_IMAGES), np.where(is_right_N, labels_N, (labels_N + 1) % 3)] += 2.5
    return np.asarray(logits_NC - np.log(np.exp(logits_NC).sum(axis=1, keepdims=True)), dtype=np.float32)


@pytest.fixture
def small_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many candidates are many here."""
    monkeypatch.setattr(screen, "LEAST", ROOM)
    monkeypatch.setattr(screen, "MOST", ROOM)
    monkeypatch.setattr(screen, "NUM_UNBEATEN", 3)


def label(ranking: Ranking) -> str:
    """Of what is recommended."""
    assert ranking.recommended is not None
    return ranking.recommended.label


@pytest.mark.parametrize(
    "changes", [{}, {"points_per_doubling": 0.0}, {"metric": "log_loss"}, {"metric": "roc_auc"}, {"max_latency_ms": 40.0}], ids=str
)
def test_the_answer_is_that_of_comparing_all(study: Study, changes: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Same recommended, budget and fastest pick, and scores to the last digit; the tied set but for two on its edge, as draws are others; what is
    expected is as much apart, but for a level in which the errors of all might be off together.
    """
    cfg = replace(QUICK, **changes)  # type: ignore[arg-type]
    whole = rank(study, cfg)
    for name, value in {"LEAST": ROOM, "MOST": ROOM, "NUM_UNBEATEN": 3}.items():
        monkeypatch.setattr(screen, name, value)
    found = rank(study, cfg)
    assert whole.pool.outranked == ()
    assert len(found.pool.candidates) == ROOM
    assert len(found.pool.outranked) == NUM - ROOM
    assert label(found) == label(whole)
    assert found.decision is not None
    assert whole.decision is not None
    assert [found.decision.budget.label, found.decision.fastest.label] == [whole.decision.budget.label, whole.decision.fastest.label]
    assert len({entry.label for entry in found.tied} ^ {entry.label for entry in whole.tied}) <= 2
    assert [entry.label for entry in found.entries] == [entry.label for entry in whole.entries]
    assert [entry.rank for entry in found.entries] == [entry.rank for entry in whole.entries]
    assert [entry.score for entry in found.entries] == pytest.approx([entry.score for entry in whole.entries])
    apart = [one.expected - other.expected for one, other in zip(found.entries, whole.entries, strict=True)]
    alike = 0.012 if cfg.metric == "log_loss" else 0.004
    assert np.std([each for each, entry in zip(apart, found.entries, strict=True) if not entry.is_outranked]) < alike
    assert abs(np.mean(apart)) < 3 * alike


def test_who_is_ranked_by_its_score_alone_has_an_interval_and_nothing_of_pairs(study: Study, small_room: None) -> None:
    """Neither a rank interval nor a place among those that may be the best; the others are as many as said."""
    found = rank(study, QUICK)
    alone = [entry for entry in found.entries if entry.is_outranked]
    assert len(alone) == NUM - ROOM
    assert len(found.eligible) == ROOM
    assert all(entry.interval.low < entry.score < entry.interval.high for entry in alone)
    assert {(entry.tied, entry.rank_interval, entry.prob_best, entry.behind) for entry in alone} == {(False, None, None, None)}
    assert 0 <= found.num_possible < NUM - ROOM


def test_limits_decide_who_is_compared(study: Study, small_room: None) -> None:
    """Those within a limit come before better ones that it excludes; of these, the least beaten are compared as well, for other limits."""
    found = rank(study, replace(QUICK, max_latency_ms=27.0))
    compared = [bool(entry.breaches) for entry in found.entries if not entry.is_outranked]
    assert (compared.count(False), compared.count(True)) == (16, ROOM - 16)
    best = max(found.entries, key=lambda entry: entry.score)
    assert best.breaches
    assert not best.is_outranked


def test_a_study_with_room_for_all_is_as_ever(study: Study) -> None:
    """Nobody is left out below the limit, and the limit falls with the number of images."""
    assert rank(study, QUICK).pool.outranked == ()
    assert [screen.room(number) for number in (500, 60_000, 120_000, 10**7)] == [1000, 1000, 500, 200]


def test_what_others_say_is_as_if_all_were_in_one_posterior() -> None:
    """Candidates with independent errors: means, spreads and the weights of t of some are those of the posterior of all."""
    rng = np.random.default_rng(5)
    known = [
        Known(
            backbone=f"b{k // 3}",
            family=f"f{k // 9}" if k // 3 % 3 else None,
            top1_frac=float(rng.normal(0.8, 0.05)),
            log2_cost=float(rng.normal()),
            frozen_frac=(0.0, 0.5, 1.0)[k % 3],
        )
        for k in range(60)
    ]
    scores, sd = rng.normal(0.8, 0.03, 60), rng.uniform(0.005, 0.01, 60)
    (whole,) = posteriors(scores[None, :], np.diag(sd**2), known)
    some, rest = np.arange(0, 60, 4), np.setdiff1d(np.arange(60), np.arange(0, 60, 4))
    others = Others(tuple(known[k] for k in rest), scores[rest], sd[rest])
    (found,) = posteriors(scores[None, some], np.diag(sd[some] ** 2), [known[k] for k in some], others=others)
    np.testing.assert_allclose(found.mean_K, whole.mean_K[some], atol=1e-5)
    np.testing.assert_allclose(found.sd_K, whole.sd_K[some], rtol=1e-3)
    (alone,) = posteriors(scores[None, some], np.diag(sd[some] ** 2), [known[k] for k in some])
    assert np.abs(alone.mean_K - whole.mean_K[some]).max() > 0.002
    assert found.others_H is not None
    np.testing.assert_allclose(found.others_H, whole.mean_K[rest], atol=0.01)
