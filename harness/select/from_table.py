"""A ranking from the table alone, for tables too large to open every job's predictions: each protocol on its own, by mean score over seeds.

Without predictions there is nothing to resample images from, so the evidence knows only how much seeds differ; it says nothing about how far
the val images themselves can be trusted. All that follows from evidence is as for a study. Shapes: K candidates of one protocol.
"""

from collections.abc import Hashable, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit
from threadpoolctl import threadpool_limits

from harness.config import Metric, RankConfig, RankMetric, is_higher_better, rank_metric, score_limit
from harness.errors import TableError
from harness.select.candidates import CANDIDATE, TIMED_MODEL, TIMINGS, Candidate, Pool, labels
from harness.select.comparison import MIN_SEEDS_TO_RESAMPLE, IntArray
from harness.select.contest import Contest
from harness.select.entries import entries_of
from harness.select.evidence import Evidence
from harness.select.limits import Breach, score_breach
from harness.select.prior import OwnRanks
from harness.select.ranking import Ranking, decision_of
from harness.select.ranking_csv import METRICS
from harness.select.said import Said
from harness.status import Status
from harness.study.row import COLUMNS, Row
from harness.text.language import say

_MEANS = ("params_m", "trainable_params_m", "gmacs", "frozen_macs_frac", "weights_mib", "train_s", "features_s")
_WHOLE = ("seed", "image_size", "num_threads", "num_frozen_blocks", "num_blocks")
_KNOWN = ("family", "imagenet_top1_frac", "num_frozen_blocks", "num_blocks")
"""What the posterior knows beforehand."""
_NAMES = ("protocol", "job_id", "status", "dataset", "recipe", "primary_metric", "started_at", "seed", "fold")

TABLE_COLUMNS: tuple[str, ...] = tuple(
    name
    for name in COLUMNS
    if name in {*_NAMES, *CANDIDATE, *TIMED_MODEL, *METRICS, *TIMINGS, *_MEANS, *_KNOWN, "timed_at", "timed_on", "peak_mem_mib", "total_s"}
)
"""What `rank_table` needs of a table."""

_NOBODY: IntArray = np.empty(0, dtype=np.int64)
_NOTHING_SAID = Said(_NOBODY[None], _NOBODY[None], np.empty((1, 0)))


def rank_table(frame: pd.DataFrame, cfg: RankConfig) -> list[Ranking]:
    """Rank every protocol of a table, the one with the newest good row first.

    Args:
        frame: `TABLE_COLUMNS` as `load_table` returns them, oldest row first.
        cfg: metric, limits and confidence.

    Raises:
        TableError: no row is good, or a protocol's metric is empty in its rows.
    """
    good = frame[(frame["status"] == Status.ok.value) & frame["fold"].isna()]
    if good.empty:
        raise TableError("the table holds no row of a job that ended well; run `python -m harness.sweep` first.")
    good = _of_one_machine(
        good.assign(candidate=_group(good, ("protocol", *CANDIDATE)), timed_model=_group(good, ("protocol", *TIMED_MODEL)))
    )
    good = good.drop_duplicates(["candidate", "seed"], keep="last")
    newest_first = good["protocol"].drop_duplicates(keep="last")[::-1]
    groups = good.groupby("protocol", observed=True, sort=False)
    with threadpool_limits(1, user_api="blas"):
        return [_rank(groups.get_group(protocol), cfg) for protocol in newest_first]


def _of_one_machine(rows: pd.DataFrame) -> pd.DataFrame:
    """Per protocol, times of one machine and device; those of others do not compare and are taken out.

    Of each device the machine that timed any of its models last; of the devices the one with the most models. A study's own table has times of
    one machine; one that was put together of several studies may not.
    """
    is_other = pd.Series(data=False, index=rows.index)
    for _, group in rows.groupby(["protocol", "device"], observed=True, dropna=False):
        timed = group["timed_at"].dropna().astype(str)
        if not timed.empty:
            is_other[group.index] = group["timed_on"].astype(object) != group["timed_on"][timed.sort_values().index[-1]]
    known = rows[~is_other & rows["latency_ms_p50"].notna()]
    for _, group in known.groupby("protocol", observed=True):
        models = group.groupby(group["device"].astype(object), dropna=False)["timed_model"].nunique()
        first = models[models == models.max()].index.min()
        is_other |= (rows["protocol"] == group["protocol"].iloc[0]) & (rows["device"].astype(object) != first)
    return rows.assign(**{name: rows[name].mask(is_other) for name in TIMINGS})


def _newest_times(rows: pd.DataFrame) -> pd.DataFrame:
    """`TIMINGS` of each model that has any."""
    known = rows[rows["latency_ms_p50"].notna()]
    newest_last = known.assign(timed_at=known["timed_at"].astype(str)).sort_values("timed_at", kind="stable")
    return newest_last.drop_duplicates("timed_model", keep="last").set_index("timed_model")[list(TIMINGS)]


def _group(frame: pd.DataFrame, columns: Sequence[str]) -> IntArray:
    """A number per line, equal where all columns are equal; empty cells equal each other."""
    numbers = np.zeros(len(frame), dtype=np.int64)
    for name in columns:
        codes, values = pd.factorize(frame[name], use_na_sentinel=False)
        numbers = pd.factorize(numbers * len(values) + codes)[0]
    return numbers


def _rank(rows: pd.DataFrame, cfg: RankConfig) -> Ranking:
    """One protocol."""
    (metric, reason), protocol = _metric(rows, cfg), str(rows["protocol"].iloc[0])
    scored = rows[rows[f"val_{metric.value}"].notna()]
    if scored.empty:
        raise TableError(f"rank.metric={metric.value}: empty in every row of protocol {protocol}; give rank.metric=accuracy or log_loss.")
    pool = _pool(scored, protocol)
    short_of = [_short_of(each, cfg) for each in pool.candidates]
    contest = Contest.by(pool, _evidence(scored, metric, cfg), metric, cfg, OwnRanks({}), short_of=short_of)
    if not contest.order:
        return Ranking(pool=pool, rank=cfg, metric=metric, metric_reason=reason, entries=entries_of(contest))
    picks = contest.picks()
    entries = entries_of(contest, contest.order[picks.recommended.position])
    decision = decision_of(contest, entries, picks)
    return Ranking(pool=pool, rank=cfg, metric=metric, metric_reason=reason, entries=entries, decision=decision)


def _metric(rows: pd.DataFrame, cfg: RankConfig) -> tuple[Metric, str]:
    """The metric to rank by, and why."""
    metric = _with_column(rank_metric(cfg.metric), f"rank.metric={cfg.metric}")
    if metric is not Metric.auto:
        return metric, say("chosen with rank.metric={metric}", metric=cfg.metric)
    known = rows["primary_metric"].dropna()
    if known.empty:
        raise TableError(
            f"rank.metric=auto: protocol {rows['protocol'].iloc[0]} does not say which metric its data call for; give rank.metric=accuracy, say."
        )
    return Metric(known.iloc[-1]), say("by rule, as the rows say")


def _with_column(metric: RankMetric, asked: str) -> Metric:
    if isinstance(metric, Metric):
        return metric
    names = ", ".join(known.value for known in Metric if known is not Metric.auto)
    raise TableError(f"{asked}: a table holds no predictions, so only metrics that have columns can be asked for: {names}.")


def _short_of(candidate: Candidate, cfg: RankConfig) -> list[Breach]:
    """Limits on scores that a candidate misses, by its columns."""
    found = []
    for limit in map(score_limit, cfg.limits):
        metric = _with_column(limit.metric, f"rank.limits={limit.text}")
        score = candidate.mean(f"val_{metric.value}")
        found.append(None if score is None else score_breach(metric, score, limit.limit))
    return [breach for breach in found if breach is not None]


def _evidence(rows: pd.DataFrame, metric: Metric, cfg: RankConfig) -> Evidence:
    """Means over seeds, of which Student's t interval says how much they vary."""
    seeds = rows.groupby("candidate", sort=True)[f"val_{metric.value}"].agg(["mean", "std", "count"])
    count_K = seeds["count"].to_numpy()
    quantile_K = stdtrit(np.maximum(count_K - 1, 1), (1 + cfg.confidence) / 2) / NormalDist().inv_cdf((1 + cfg.confidence) / 2)
    sd_K = np.where(count_K < MIN_SEEDS_TO_RESAMPLE, np.nan, quantile_K * seeds["std"].to_numpy() / np.sqrt(count_K))
    return Evidence.of_seeds((1.0 if is_higher_better(metric) else -1.0) * seeds["mean"].to_numpy(), sd_K)


def _pool(rows: pd.DataFrame, protocol: str) -> Pool:
    """The candidates, each with one row: that of the lowest seed, with means over seeds where seeds differ."""
    by_candidate = rows.groupby("candidate", sort=True)
    first = rows.loc[by_candidate["seed"].idxmin()].set_index("candidate")
    means = by_candidate[[*METRICS, *_MEANS]].mean()
    whole = {"peak_mem_mib": by_candidate["peak_mem_mib"].max(), "total_s": by_candidate["total_s"].sum(min_count=1)}
    timings = _newest_times(rows).reindex(first["timed_model"]).set_axis(first.index)
    found = [_row(record) for record in first.assign(**means, **whole, **timings).to_dict("records")]
    candidates = zip(labels(found), found, by_candidate["seed"].count(), strict=True)
    return Pool(
        protocol=protocol,
        candidates=tuple(
            Candidate(label, line, (row,), _NOTHING_SAID, None, num_averaged=int(num_seeds)) for (label, line), row, num_seeds in candidates
        ),
        labels_N=_NOBODY,
        everyone_M=_NOBODY,
        class_names=(),
        failed=(),
        left_out=(),
        other_machines=_other_machines(rows),
    )


def _row(record: Mapping[Hashable, Any]) -> Row:
    known: dict[str, Any] = {name: value for name in TABLE_COLUMNS if not pd.isna(value := record[name])}
    typed = {name: kind(known[name]) for kind, names in ((int, _WHOLE), (bool, ("latency_steady",))) for name in names if name in known}
    return Row(**(known | typed))


def _other_machines(rows: pd.DataFrame) -> tuple[str, ...]:
    is_used = rows["latency_ms_p50"].notna()
    used, named = set(rows["timed_on"][is_used].dropna()), set(rows["timed_on"].dropna())
    return tuple(sorted(named - used))
