"""A ranking from the table alone: the same candidates, scores and costs as from the study, and honest about what seeds can say."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from harness.config import Metric, RankConfig
from harness.errors import TableError
from harness.select.comparison import Interval
from harness.select.from_table import TABLE_COLUMNS, rank_table
from harness.select.ranking import Entry, Ranking, rank
from harness.study.row import Row
from harness.study.table import load_table, to_frame, write_table
from tests.unit.reporting.fake_study import make_row, write_study

QUICK = RankConfig(metric=Metric.accuracy, num_resamples=300)


def rankings(folder: Path, rows: list[Row], cfg: RankConfig = QUICK) -> list[Ranking]:
    """The ranking of a table of these rows."""
    to_frame(rows).to_parquet(folder / "t.parquet")
    return rank_table(load_table(folder / "t.parquet", TABLE_COLUMNS), cfg)


def seeds(backbone: str, *scores: float, **changes: Any) -> list[Row]:
    """One candidate with a row per score."""
    return [replace(make_row(f"{backbone}{seed}", backbone, seed=seed), val_accuracy=score, **changes) for seed, score in enumerate(scores)]


def by_name(ranking: Ranking) -> dict[str, Entry]:
    """Entries by backbone."""
    return {entry.candidate.row.backbone: entry for entry in ranking.entries}


def num_rows(ranking: Ranking) -> int:
    """Rows that count: of each candidate one for each seed."""
    return sum(entry.candidate.num_seeds for entry in ranking.entries)


def test_agrees_with_the_study(tmp_path: Path) -> None:
    """Where everybody was judged on val, candidates, labels, places, scores, costs, fronts and limits are those of the study's own ranking."""
    study = write_study(tmp_path / "s", depths=("0.5", "none"), seeds=(0, 1, 2), num_val=60, num_test=0)
    write_table(study)
    cfg = RankConfig(metric=Metric.auto, num_resamples=200, max_latency_ms=45)
    ranking = rank(study, cfg)
    (found,) = rank_table(load_table(study.root / "results.parquet", TABLE_COLUMNS), cfg)
    assert found.metric is ranking.metric
    assert num_rows(found) == 30
    for entry, other in zip(ranking.entries, found.entries, strict=True):
        candidate = other.candidate
        assert (candidate.label, candidate.num_seeds, other.rank) == (entry.label, 3, entry.rank)
        assert other.score == pytest.approx(entry.score)
        assert vars_of(candidate.cost) == pytest.approx(vars_of(entry.cost))
        assert candidate.mean("val_f1_macro") == pytest.approx(entry.candidate.mean("val_f1_macro"))
        assert [breach.key for breach in other.breaches] == [breach.key for breach in entry.breaches]
        assert other.on_front == entry.on_front
        assert candidate.row.job_id == entry.candidate.row.job_id


def vars_of(cost: Any) -> dict[str, float]:
    """Fields of a slotted dataclass."""
    return {name: getattr(cost, name) for name in cost.__slots__}


def test_interval_is_students(tmp_path: Path) -> None:
    """The mean's t interval over seeds, kept between 0 and 1."""
    scores = (0.70, 0.74, 0.72, 0.80)
    (found,) = rankings(tmp_path, [*seeds("a", *scores), *seeds("b", 0.9, 0.99, 1.0)])
    interval = by_name(found)["a"].interval
    assert interval is not None
    wanted = stats.t.interval(0.95, 3, loc=np.mean(scores), scale=stats.sem(scores))
    assert (interval.low, interval.high) == pytest.approx(wanted)
    capped = by_name(found)["b"].interval
    assert capped is not None
    assert capped.high == 1.0


def test_highest_expected_utility_is_recommended(tmp_path: Path) -> None:
    """A hair of score is worth less than two doublings of latency at the default price, and more where latency is free."""
    rows = [
        *seeds("slow", 0.820, 0.815, 0.820, 0.815, latency_ms_p50=90.0),
        *seeds("fast", 0.815, 0.815, 0.820, 0.814, latency_ms_p50=20.0),
        *seeds("poor", 0.50, 0.51, 0.49, 0.50, latency_ms_p50=1.0),
    ]
    (found,) = rankings(tmp_path, rows)
    assert {name: entry.tied for name, entry in by_name(found).items()} == {"slow": True, "fast": True, "poor": False}
    assert found.recommended is by_name(found)["fast"]
    (free,) = rankings(tmp_path, rows, replace(QUICK, points_per_doubling=0.0))
    assert free.recommended is by_name(free)["slow"]
    (limited,) = rankings(tmp_path, rows, replace(QUICK, max_latency_ms=10.0))
    assert [limited.entries[0].rank, limited.entries[1].rank, limited.entries[2].rank] == [1, None, None]
    assert limited.recommended is by_name(limited)["poor"]
    assert not by_name(limited)["slow"].tied
    assert by_name(limited)["slow"].prob_best is None


def test_probabilities_follow_the_spread_over_seeds(tmp_path: Path) -> None:
    """The same lead is worth more where seeds agree; expected scores lie between what was measured of the two."""
    narrow, wide = (
        by_name(rankings(tmp_path, [*seeds("a", *(0.82 + step for step in around)), *seeds("b", *(0.80 + step for step in around))])[0])
        for around in ((-0.002, 0.0, 0.002), (-0.03, 0.0, 0.03))
    )
    probabilities = [found["a"].prob_best for found in (narrow, wide)]
    assert probabilities[0] is not None
    assert probabilities[1] is not None
    assert 0.5 < probabilities[1] < probabilities[0]
    expected = [wide[name].expected for name in "ba"]
    assert expected[0] is not None
    assert expected[1] is not None
    assert 0.80 <= expected[0] < expected[1] <= 0.82


def test_every_candidate_with_enough_seeds_is_compared(tmp_path: Path) -> None:
    """However many candidates a table has, as in a study: each has its expected score and its probability of being the best."""
    rows = [row for place in range(202) for row in seeds(f"net{place:03d}", 0.8, 0.81 - place / 1000, 0.82)]
    (found,) = rankings(tmp_path, rows)
    probabilities = [entry.prob_best for entry in found.entries]
    assert None not in probabilities
    assert sum(each or 0.0 for each in probabilities) == pytest.approx(1.0)


def test_a_limit_changes_no_belief(tmp_path: Path) -> None:
    """As in a study: who is excluded still tells what the others are like, and only loses its chance of being the best."""
    rows = [*seeds("slow", 0.82, 0.81, 0.83, latency_ms_p50=90.0), *seeds("fast", 0.80, 0.81, 0.79, latency_ms_p50=20.0)]
    (free,), (limited,) = (rankings(tmp_path, rows, replace(QUICK, max_latency_ms=limit)) for limit in (None, 50.0))
    assert by_name(limited)["fast"].expected == by_name(free)["fast"].expected
    assert [by_name(limited)[name].prob_best for name in ("slow", "fast")] == [None, 1.0]


def test_few_seeds_are_not_compared(tmp_path: Path) -> None:
    """Two seeds say too little about their spread: ranked by score, no interval, never tied, never recommended."""
    (found,) = rankings(tmp_path, [*seeds("two", 0.9, 0.91), *seeds("three", 0.8, 0.79, 0.81)])
    two = by_name(found)["two"]
    assert (two.rank, two.interval, two.tied, two.prob_best) == (1, Interval(0.0, 1.0), False, None)
    assert found.recommended is by_name(found)["three"]
    (alone,) = rankings(tmp_path, seeds("two", 0.9, 0.91))
    assert alone.recommended is None


def test_newest_of_each_seed_counts(tmp_path: Path) -> None:
    """A job that was run again, in whatever order the table holds it, replaces the older one; a failed one replaces nothing."""
    again = replace(make_row("again", "a"), val_accuracy=0.9, started_at="2026-01-01T00:00:00+00:00")
    failed = replace(make_row("failed", "a"), status="failed", started_at="2027-01-01T00:00:00+00:00")
    (found,) = rankings(tmp_path, [failed, again, *seeds("a", 0.5, 0.7)])
    assert num_rows(found) == 2
    assert found.entries[0].score == pytest.approx(0.8)


def test_folds_are_no_candidates(tmp_path: Path) -> None:
    """Rows of folds are neither newer rows of their fine-tune nor candidates of their own."""
    rows = seeds("a", 0.8, 0.81, 0.82)
    folds = [replace(row, job_id=f"fold{row.seed}", fold=0, val_accuracy=0.1, started_at="2026-01-01T00:00:00+00:00") for row in rows]
    (found,) = rankings(tmp_path, [*rows, *folds])
    (only,) = found.entries
    assert only.score == pytest.approx(0.81)
    assert num_rows(found) == 3


def test_protocols_are_ranked_apart(tmp_path: Path) -> None:
    """Rows of two protocols never meet; the protocol with the newest row comes first."""
    newer = seeds("a", 0.9, 0.8, 0.7, protocol="new", started_at="2026-01-01T00:00:00+00:00", dataset="other")
    found = rankings(tmp_path, [*newer, *seeds("a", 0.4, 0.5, 0.6)])
    assert [(each.pool.protocol, each.entries[0].candidate.row.dataset) for each in found] == [("new", "other"), ("p1", "fake")]
    assert [each.entries[0].score for each in found] == pytest.approx([0.8, 0.5])


def test_lower_log_loss_is_better(tmp_path: Path) -> None:
    """The one metric that is better when lower."""
    rows = [replace(row, val_log_loss=loss) for name, loss in (("a", 0.9), ("b", 0.2)) for row in seeds(name, 0.5, 0.5, 0.5)]
    (found,) = rankings(tmp_path, rows, replace(QUICK, metric=Metric.log_loss))
    assert [entry.candidate.row.backbone for entry in found.entries] == ["b", "a"]
    assert found.recommended is by_name(found)["b"]
    assert found.entries[0].score == pytest.approx(0.2)


def test_what_cannot_be_ranked_says_so(tmp_path: Path) -> None:
    """No good row, an empty metric, and a metric that the rows do not name: each one line with a next step."""
    with pytest.raises(TableError, match=r"run `python -m harness\.sweep` first"):
        rankings(tmp_path, [replace(make_row("a"), status="failed")])
    with pytest.raises(TableError, match=r"rank\.metric=f1_macro: empty in every row of protocol p1; give rank\.metric=accuracy"):
        rankings(tmp_path, seeds("a", 0.5), replace(QUICK, metric=Metric.f1_macro))
    with pytest.raises(TableError, match=r"rank\.metric=auto: protocol p1 does not say"):
        rankings(tmp_path, seeds("a", 0.5), replace(QUICK, metric=Metric.auto))


def test_latencies_of_one_machine_are_compared(tmp_path: Path) -> None:
    """In a table put together of several studies: those of the machine that timed last, for every depth of a model it knows; the other is named."""
    new = {"timed_on": "new", "timed_at": "2026-02-02"}
    old = {"timed_on": "old", "timed_at": "2026-01-01"}
    rows = [
        *seeds("both", 0.8, latency_ms_p50=90.0, latency_key="b", job_id="b1", **old),
        *seeds("both", 0.8, latency_ms_p50=10.0, latency_key="b", job_id="b2", freeze="none", latency_steady=False, **new),
        *seeds("alone", 0.8, latency_ms_p50=1.0, latency_key="a", job_id="a1", **old),
    ]
    (ranking,) = rankings(tmp_path, rows)
    found = {entry.candidate.row.job_id: entry.candidate.cost for entry in ranking.entries}
    assert {job_id: (cost.latency_ms_p50, cost.latency_steady) for job_id, cost in found.items()} == {
        "b1": (10.0, False),
        "b2": (10.0, False),
        "a1": (None, None),
    }
    assert ranking.pool.other_machines == ("old",)
