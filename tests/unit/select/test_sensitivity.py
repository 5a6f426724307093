"""What flips the recommendation: limits against ranking anew under each, halves against halves that are really drawn."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from harness.config import OF_ONE_LABEL, Metric, RankConfig
from harness.select.candidates import load_pool
from harness.select.contest import Contest
from harness.select.prior import OwnRanks
from harness.select.ranking import Ranking, rank
from harness.select.said import Said
from harness.select.sensitivity import OtherLimit, OtherMetric, Sensitivity
from harness.study.store import Study
from tests.unit.select.planted import QUICK, add, decision, planted


def sensitivity(ranking: Ranking) -> Sensitivity:
    """Of a ranking that recommends somebody."""
    return decision(ranking).sensitivity


def limit(found: Sensitivity, key: str, *, is_tighter: bool) -> OtherLimit | None:
    """The change of one limit in one direction."""
    return next((change for change in found.limits if (change.key, change.is_tighter) == (key, is_tighter)), None)


def write_chain(study: Study) -> None:
    """Best and dear, a little less good for half the latency, poorer and cheap."""
    add(study, "big", planted(range(100), num_images=2000), latency_ms_p50=90.0, params_m=50.0)
    add(study, "mid", planted(range(10, 114), num_images=2000), latency_ms_p50=40.0, params_m=20.0)
    add(study, "small", planted(range(20, 220), num_images=2000), latency_ms_p50=10.0, params_m=30.0)
    add(study, "tiny", planted(range(900), num_images=2000), latency_ms_p50=2.0, params_m=1.0)


def test_a_limit_on_another_candidate_may_flip(tmp_path: Path) -> None:
    """With any limit on latency the price of latency is gone, so the recommendation may move before the recommended itself is out."""
    study = Study(tmp_path / "s")
    write_chain(study)
    ranking = rank(study, QUICK)
    assert ranking.recommended is not None
    assert ranking.recommended.label == "mid · all"
    found = sensitivity(ranking)
    assert limit(found, "max_latency_ms", is_tighter=True) == OtherLimit("max_latency_ms", 40.0, True, "small · all")
    assert limit(found, "max_params_m", is_tighter=True) == OtherLimit("max_params_m", 20.0, True, "tiny · all")
    add(study, "huge", planted(range(99), num_images=2000), latency_ms_p50=100.0, params_m=50.0)
    again = limit(sensitivity(rank(study, QUICK)), "max_latency_ms", is_tighter=True)
    assert again == OtherLimit("max_latency_ms", 100.0, True, recommended(study, replace(QUICK, max_latency_ms=99.9)))
    assert again.recommended == "big · all"


def test_loosening_a_limit_flips(tmp_path: Path) -> None:
    """With the best shut out, letting it in again moves the recommendation; another limit that it misses keeps it out."""
    study = Study(tmp_path / "s")
    write_chain(study)
    found = sensitivity(rank(study, replace(QUICK, max_latency_ms=50)))
    assert limit(found, "max_latency_ms", is_tighter=False) == OtherLimit("max_latency_ms", 90.0, False, "big · all")
    both = sensitivity(rank(study, replace(QUICK, max_latency_ms=50, max_params_m=40)))
    assert limit(both, "max_latency_ms", is_tighter=False) is None


STARTS = (QUICK, replace(QUICK, max_params_m=50.0), replace(QUICK, max_latency_ms=60.0, max_params_m=50.0))


@pytest.mark.parametrize("start", STARTS, ids=["no limit", "parameters", "both"])
@pytest.mark.parametrize("seed", range(2))
def test_limits_are_those_of_ranking_anew(tmp_path: Path, seed: int, start: RankConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit that is named, and at none between it and the present one, the whole ranking recommends another; and that one."""
    monkeypatch.setattr("harness.select.sensitivity.NUM_HALVES", 2)  # many rankings, and none is about halves
    study, rng = Study(tmp_path / "s"), np.random.default_rng(seed)
    for number in range(8):
        wrong = np.flatnonzero(rng.random(200) < rng.uniform(0.05, 0.15))
        add(study, f"net{number}", planted(wrong), latency_ms_p50=float(rng.integers(5, 100)), params_m=float(rng.integers(1, 60)))
    ranking = rank(study, start)
    assert ranking.recommended is not None
    found = sensitivity(ranking)
    for key, column in (("max_latency_ms", "latency_ms_p50"), ("max_params_m", "params_m")):
        now, values = getattr(start, key) or np.inf, sorted({getattr(entry.cost, column) for entry in ranking.entries})
        for is_tighter in (True, False)[: 1 + (now < np.inf)]:
            tried = (
                [value - 1e-6 for value in reversed(values) if value <= now] if is_tighter else [value for value in values if value > now]
            )
            anew = ((value, recommended(study, replace(start, **{key: value}))) for value in tried)
            wanted = next(((value, label) for value, label in anew if label != ranking.recommended.label), None)
            change = limit(found, key, is_tighter=is_tighter)
            assert (wanted is None) == (change is None)
            if wanted and change:
                assert change.limit == pytest.approx(wanted[0], abs=1e-5)
                assert change.recommended == wanted[1]


def recommended(study: Study, cfg: RankConfig) -> str | None:
    """The label of whom the ranking recommends."""
    chosen = rank(study, cfg).recommended
    return chosen.label if chosen else None


def test_a_limit_that_excludes_all_candidates_is_reported(tmp_path: Path) -> None:
    """Below the only candidate's own latency nobody is left; an unmeasured one cannot be limited."""
    study = Study(tmp_path / "s")
    add(study, "only", planted(range(10)), latency_ms_p50=30.0, params_m=None)
    assert sensitivity(rank(study, QUICK)).limits == (OtherLimit("max_latency_ms", 30.0, True, None),)


def test_many_values_are_thinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many values there are, few are tried, among them always the recommended candidate's own."""
    monkeypatch.setattr("harness.select.sensitivity.MAX_STEPS", 3)
    study = Study(tmp_path / "s")
    for number in range(9):
        add(study, f"net{number}", planted(range(10)), latency_ms_p50=20.0 + 10 * number, params_m=5.0)
    found = limit(sensitivity(rank(study, QUICK)), "max_latency_ms", is_tighter=True)
    assert found == OtherLimit("max_latency_ms", 20.0, True, None)


def test_other_metrics_are_ranked_too(tmp_path: Path) -> None:
    """Overconfidence costs log loss but no accuracy: under log loss the modest one is recommended; undefined metrics say why."""
    study = Study(tmp_path / "s")
    add(study, "bold", planted(range(20), confidence=0.9999), latency_ms_p50=10.0)
    add(study, "modest", planted(range(23), confidence=0.9), latency_ms_p50=20.0)
    found = {other.metric: other for other in sensitivity(rank(study, QUICK)).metrics}
    assert set(found) == set(OF_ONE_LABEL) - {Metric.accuracy}
    assert found[Metric.log_loss] == OtherMetric(Metric.log_loss, "modest · all", None)
    assert found[Metric.balanced_accuracy] == OtherMetric(Metric.balanced_accuracy, "bold · all", None)


@pytest.mark.parametrize("seed", range(3))
def test_other_metrics_are_those_of_ranking_anew(tmp_path: Path, seed: int) -> None:
    """Under limits too, where the excluded still tell what the others are like."""
    study, rng = Study(tmp_path / "s"), np.random.default_rng(seed)
    for number in range(6):
        wrong = np.flatnonzero(rng.random(200) < rng.uniform(0.1, 0.2))
        val = planted(wrong, confidence=float(rng.uniform(0.7, 0.97)))
        add(study, f"net{number}", val, latency_ms_p50=float(rng.integers(5, 40)), family="one" if number % 2 else "other")
    cfg = replace(QUICK, max_latency_ms=30.0)
    for other in sensitivity(rank(study, cfg)).metrics:
        assert other.recommended == recommended(study, replace(cfg, metric=other.metric))


def test_undefined_metrics_say_why(tmp_path: Path) -> None:
    """F1 with four images of a class is not ranked by, and the reason is that of choosing it."""
    study = Study(tmp_path / "s")
    add(study, "one", planted([0], num_images=8))
    found = {other.metric: other for other in sensitivity(rank(study, QUICK)).metrics}
    assert found[Metric.f1_macro].recommended is None
    assert "a class has 4 val images" in (found[Metric.f1_macro].undefined or "")


def test_excluded_candidates_do_not_return_under_another_metric(tmp_path: Path) -> None:
    """Limits hold whatever the metric."""
    study = Study(tmp_path / "s")
    add(study, "bold", planted(range(20), confidence=0.9999), latency_ms_p50=10.0)
    add(study, "modest", planted(range(21), confidence=0.9), latency_ms_p50=50.0)
    found = sensitivity(rank(study, replace(QUICK, max_latency_ms=20)))
    assert {other.recommended for other in found.metrics} == {"bold · all"}


def test_halves_are_like_halves_that_are_drawn(tmp_path: Path) -> None:
    """Shares of recommendations agree with those on random halves of the images, drawn class by class and ranked from scratch."""
    study, rng = Study(tmp_path / "s"), np.random.default_rng(3)
    add(study, "big", planted(range(96), num_images=1600), latency_ms_p50=90.0)
    add(study, "mid", planted(range(40, 150), num_images=1600), latency_ms_p50=40.0)
    add(study, "small", planted(range(70, 200), num_images=1600), latency_ms_p50=20.0)
    half = sensitivity(rank(study, QUICK)).half
    assert (half.num_images, half.num_draws) == (800, 100)
    pool, votes = load_pool(study), dict.fromkeys(("big", "mid", "small"), 0.0)
    for _ in range(150):
        kept = np.concatenate([rng.choice(np.arange(label, 1600, 2), 400, replace=False) for label in (0, 1)])
        halved = [replace(each, val=Said(*(getattr(each.val, f.name)[:, kept] for f in fields(Said)))) for each in pool.candidates]
        drawn = Contest.of(replace(pool, candidates=tuple(halved), labels_N=pool.labels_N[kept]), Metric.accuracy, QUICK, OwnRanks({}))
        votes[drawn.pool.candidates[drawn.order[drawn.picks().recommended.position]].row.backbone] += 1 / 150
    shares = dict(half.others)
    (same,) = (name for name in votes if f"{name} · all" not in shares and votes[name] > 0.05)
    assert half.same_frac == pytest.approx(votes[same], abs=0.15)
    for label, share in shares.items():
        assert share == pytest.approx(votes[label.split(" ")[0]], abs=0.15)
    assert 0.1 < half.same_frac < 0.9


def test_clear_winner_survives_half_the_images(tmp_path: Path) -> None:
    """A lead of forty points does not depend on which images there are."""
    study = Study(tmp_path / "s")
    add(study, "best", planted(range(5)), latency_ms_p50=90.0)
    add(study, "poor", planted(range(85)), latency_ms_p50=20.0)
    half = sensitivity(rank(study, QUICK)).half
    assert (half.same_frac, half.others) == (1.0, ())


def test_nothing_recommended_is_not_sensitive(tmp_path: Path) -> None:
    """Limits that nobody meets leave nothing to flip."""
    study = Study(tmp_path / "s")
    add(study, "one", planted(range(5)), latency_ms_p50=90.0)
    ranking = rank(study, replace(QUICK, max_latency_ms=1))
    assert (ranking.decision, ranking.outcome) == (None, None)
