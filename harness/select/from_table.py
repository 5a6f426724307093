"""A ranking from the table alone, for tables too large to open every job's predictions: each protocol on its own, by mean score over seeds.

Without predictions there is nothing to resample images from, so intervals and ties know only how much seeds differ; they say nothing
about how far the val images themselves can be trusted. The decision is that of a study, on a posterior that knows as little.
Shapes: K candidates of one protocol, R draws; W candidates that are weighed.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from harness.config import Metric, RankConfig
from harness.errors import TableError
from harness.select.candidates import CANDIDATE, NETWORK, TIMINGS, TRUNK, Cost, labels
from harness.select.comparison import MIN_SEEDS_TO_RESAMPLE, BoolArray, FloatArray, IntArray, Interval, tied_set
from harness.select.decision import Picks, Terms, decide
from harness.select.known import known_of, options_of
from harness.select.limits import Breach, breaches
from harness.select.metric import is_higher_better
from harness.select.pareto import pareto_front
from harness.select.posterior import Posterior, posterior
from harness.select.prior import OwnRanks
from harness.select.ranking_csv import METRICS
from harness.select.rule import or_infinite
from harness.study.row import COLUMNS, Row, Status

_MEANS = ("params_m", "trainable_params_m", "gmacs", "frozen_macs_frac", "weights_mib", "train_s", "features_s")
_WHOLE = ("seed", "image_size", "num_threads", "num_frozen_blocks", "num_blocks")
_KNOWN = ("family", "imagenet_top1_frac", "num_frozen_blocks", "num_blocks")
"""What the posterior knows beforehand."""
_NAMES = ("protocol", "job_id", "status", "dataset", "recipe", "primary_metric", "started_at", "seed", "fold")

TABLE_COLUMNS: tuple[str, ...] = tuple(
    name
    for name in COLUMNS
    if name in {*_NAMES, *CANDIDATE, *NETWORK, *METRICS, *TIMINGS, *_MEANS, *_KNOWN, "timed_at", "timed_on", "peak_mem_mib", "total_s"}
)
"""What `rank_table` needs of a table."""

MAX_WEIGHED = 200
"""Candidates that enter the posterior, best scores first: whoever is behind so many is not the best."""

_SEED = 20_240_229


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TableCandidate:
    """One candidate, as the table knows it."""

    label: str
    """For people; unique within a leaderboard."""
    row: Row
    """The row of the lowest seed; only `TABLE_COLUMNS` are filled."""
    num_seeds: int
    metrics: dict[str, float | None]
    """Mean over seeds of every quality column."""
    cost: Cost
    score: float
    """Mean over seeds, in the metric's own unit (log loss: lower is better)."""
    half_width: float
    """Half the Student-t interval of that mean over further seeds on the same images; NaN for a single seed."""

    @property
    def trunk(self) -> tuple[object, ...]:
        """What it started from; equal for all depths of one backbone."""
        return tuple(getattr(self.row, name) for name in TRUNK)

    @property
    def is_compared(self) -> bool:
        """Whether it has seeds enough to say how much they differ."""
        return self.num_seeds >= MIN_SEEDS_TO_RESAMPLE


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Standing:
    """A candidate's place in a leaderboard."""

    candidate: TableCandidate
    rank: int | None
    """1 is the best score; None when a limit excludes the candidate."""
    seed_interval: Interval | None
    """Of the score, over further seeds; None when too few were run."""
    seed_tied: bool | None
    """Whether seeds alone explain its distance to the best within the limits; None when too few were run to say."""
    on_front: bool
    """On the Pareto front of score and latency of the candidates within the limits."""
    breaches: tuple[Breach, ...]
    expected: float | None
    """Expected true score, in the metric's own unit; None for a candidate that was not weighed."""
    prob_best: float | None
    """That no other one that was weighed is better, as far as seeds know."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Leaderboard:
    """The candidates of one protocol, best score first; those that a limit excludes come after all others."""

    protocol: str
    dataset: str
    metric: Metric
    standings: tuple[Standing, ...]
    recommended: Standing | None
    """The highest expected utility; None when no candidate within the limits has three seeds."""
    decision: Picks | None
    """What was decided among those that were weighed."""
    num_compared: int
    """Candidates within the limits that have seeds enough."""
    num_weighed: int
    """Those of them that entered the posterior: `MAX_WEIGHED` at most."""
    num_rows: int
    """Good rows that count: the newest of each candidate and seed."""
    other_machines: tuple[str, ...]
    """Names of machines whose times are left out, as they do not compare with those of the one that timed last."""


def rank_table(frame: pd.DataFrame, cfg: RankConfig) -> list[Leaderboard]:
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
    good = _of_one_machine(good.assign(candidate=_group(good, ("protocol", *CANDIDATE)), network=_group(good, ("protocol", *NETWORK))))
    good = good.drop_duplicates(["candidate", "seed"], keep="last")
    newest_first = good["protocol"].drop_duplicates(keep="last")[::-1]
    groups = good.groupby("protocol", observed=True, sort=False)
    return [_leaderboard(groups.get_group(protocol), cfg) for protocol in newest_first]


def _of_one_machine(rows: pd.DataFrame) -> pd.DataFrame:
    """Per protocol, times of one machine and device; those of others do not compare and are taken out.

    Of each device the machine that timed any of its networks last; of the devices the one with the most networks. A study's own table has times of
    one machine; one that was put together of several studies may not.
    """
    is_other = pd.Series(data=False, index=rows.index)
    for _, group in rows.groupby(["protocol", "device"], observed=True, dropna=False):
        timed = group["timed_at"].dropna().astype(str)
        if not timed.empty:
            is_other[group.index] = group["timed_on"].astype(object) != group["timed_on"][timed.sort_values().index[-1]]
    known = rows[~is_other & rows["latency_ms_p50"].notna()]
    for _, group in known.groupby("protocol", observed=True):
        networks = group.groupby(group["device"].astype(object), dropna=False)["network"].nunique()
        first = networks[networks == networks.max()].index.min()
        is_other |= (rows["protocol"] == group["protocol"].iloc[0]) & (rows["device"].astype(object) != first)
    return rows.assign(**{name: rows[name].mask(is_other) for name in TIMINGS})


def _newest_times(rows: pd.DataFrame) -> pd.DataFrame:
    """`TIMINGS` of each network that has any."""
    known = rows[rows["latency_ms_p50"].notna()]
    newest_last = known.assign(timed_at=known["timed_at"].astype(str)).sort_values("timed_at", kind="stable")
    return newest_last.drop_duplicates("network", keep="last").set_index("network")[list(TIMINGS)]


def _group(frame: pd.DataFrame, columns: Sequence[str]) -> IntArray:
    """A number per line, equal where all columns are equal; empty cells equal each other."""
    numbers = np.zeros(len(frame), dtype=np.int64)
    for name in columns:
        codes, values = pd.factorize(frame[name], use_na_sentinel=False)
        numbers = pd.factorize(numbers * len(values) + codes)[0]
    return numbers


def _leaderboard(rows: pd.DataFrame, cfg: RankConfig) -> Leaderboard:
    metric, protocol = _metric(rows, cfg), str(rows["protocol"].iloc[0])
    scored = rows[rows[f"val_{metric.value}"].notna()]
    if scored.empty:
        raise TableError(f"rank.metric={metric.value}: empty in every row of protocol {protocol}; give rank.metric=accuracy or log_loss.")
    candidates = _candidates(scored, metric, cfg.confidence)
    field = _Field.of(candidates, metric, cfg)
    weighed = _Weighed.of(field) if field.weighed else None
    standings = field.standings(weighed)
    chosen = weighed.chosen if weighed else None
    return Leaderboard(
        protocol=protocol,
        dataset=str(rows["dataset"].iloc[-1]),
        metric=metric,
        standings=standings,
        recommended=next((standing for standing in standings if standing.candidate is chosen), None),
        decision=weighed.decision if weighed else None,
        num_compared=len(field.compared),
        num_weighed=len(field.weighed),
        num_rows=len(scored),
        other_machines=_other_machines(scored),
    )


def _other_machines(rows: pd.DataFrame) -> tuple[str, ...]:
    is_used = rows["latency_ms_p50"].notna()
    used, named = set(rows["timed_on"][is_used].dropna()), set(rows["timed_on"].dropna())
    return tuple(sorted(named - used))


def _candidates(rows: pd.DataFrame, metric: Metric, confidence: float) -> list[TableCandidate]:
    by_candidate = rows.groupby("candidate", sort=True)
    first = [_row(record) for record in rows.loc[by_candidate["seed"].idxmin()].to_dict("records")]
    means = by_candidate[list(METRICS)].mean().to_dict("records")
    seeds = by_candidate[f"val_{metric.value}"].agg(["mean", "std", "count"])
    half_K = _half_width(seeds["std"].to_numpy(), seeds["count"].to_numpy(), confidence)
    columns = zip(labels(first), first, means, _costs(rows), seeds["mean"], half_K, seeds["count"], strict=True)
    return [
        TableCandidate(
            label=label,
            row=row,
            num_seeds=int(num_seeds),
            metrics={str(name): _known(value) for name, value in mean.items()},
            cost=cost,
            score=float(score),
            half_width=float(half),
        )
        for (label, _), row, mean, cost, score, half, num_seeds in columns
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Field:
    """The candidates of one protocol under the user's limits; higher scores are better here."""

    candidates: Sequence[TableCandidate]
    metric: Metric
    cfg: RankConfig
    scores_K: FloatArray
    spread_K: FloatArray
    """Standard errors of the means over seeds, as wide as few seeds ask for."""
    missed: Sequence[tuple[Breach, ...]]
    order: Sequence[int]
    """Those within the limits first, each part by score."""

    @classmethod
    def of(cls, candidates: Sequence[TableCandidate], metric: Metric, cfg: RankConfig) -> "_Field":
        scores_K = (1.0 if is_higher_better(metric) else -1.0) * np.array([candidate.score for candidate in candidates])
        spread_K = np.array([candidate.half_width for candidate in candidates]) / NormalDist().inv_cdf((1 + cfg.confidence) / 2)
        missed = [tuple(breaches(candidate, cfg)) for candidate in candidates]
        order = sorted(range(len(candidates)), key=lambda k: (bool(missed[k]), -scores_K[k], candidates[k].label))
        return cls(candidates, metric, cfg, scores_K, spread_K, missed, order)

    @property
    def compared(self) -> list[int]:
        """Within the limits and with seeds enough, best score first."""
        return [k for k in self.order if not self.missed[k] and self.candidates[k].is_compared]

    @property
    def weighed(self) -> list[int]:
        return self.compared[:MAX_WEIGHED]

    def standings(self, weighed: "_Weighed | None") -> tuple[Standing, ...]:
        """Of all candidates in their order."""
        tied_K, front_K, places = self._tied(), self._front(), {k: w for w, k in enumerate(self.weighed)}
        return tuple(
            Standing(
                candidate=candidate,
                rank=None if self.missed[k] else place,
                seed_interval=_interval(candidate, self.metric) if candidate.is_compared else None,
                seed_tied=bool(tied_K[k]) if candidate.is_compared else None,
                on_front=bool(front_K[k]),
                breaches=self.missed[k],
                expected=weighed.expected(places[k]) if weighed and k in places else None,
                prob_best=float(weighed.belief.prob_best_K[places[k]]) if weighed and k in places else None,
            )
            for place, k, candidate in ((place, k, self.candidates[k]) for place, k in enumerate(self.order, start=1))
        )

    def _tied(self) -> BoolArray:
        """The tied set of the compared, whose means are drawn as their intervals say, and independently: seeds of two networks share nothing."""
        compared, tied_K = self.compared, np.zeros(len(self.candidates), dtype=np.bool_)
        if compared:
            normal = np.random.default_rng(_SEED).standard_normal((self.cfg.num_resamples, len(compared)))
            scores = self.scores_K[compared]
            tied_K[compared] = tied_set(scores, scores + normal * self.spread_K[compared], self.cfg.confidence)
        return tied_K

    def _front(self) -> BoolArray:
        within_K, front_K = np.array([not missed for missed in self.missed]), np.zeros(len(self.candidates), dtype=np.bool_)
        latency_ms_K = np.array([or_infinite(candidate.cost.latency_ms_p50) for candidate in self.candidates])
        front_K[within_K] = pareto_front(self.scores_K[within_K], latency_ms_K[within_K])
        return front_K


@dataclass(frozen=True, slots=True, eq=False)
class _Weighed:
    """What is believed of the best of the compared, and what is decided."""

    field: _Field
    belief: Posterior
    decision: Picks

    @classmethod
    def of(cls, field: _Field) -> "_Weighed":
        """Errors of two means are independent; nothing is known of other data sets."""
        members = [field.candidates[k] for k in field.weighed]
        known = [known_of(candidate, OwnRanks({})) for candidate in members]
        belief = posterior(field.scores_K[field.weighed], np.diag(field.spread_K[field.weighed] ** 2), known)
        return cls(field, belief, decide(belief, options_of(members), Terms.of(field.cfg)))

    @property
    def chosen(self) -> TableCandidate:
        return self.field.candidates[self.field.weighed[self.decision.recommended.position]]

    def expected(self, w: int) -> float:
        """In the metric's own unit."""
        return float(self.belief.mean_K[w]) * (1.0 if is_higher_better(self.field.metric) else -1.0)


def _metric(rows: pd.DataFrame, cfg: RankConfig) -> Metric:
    if cfg.metric is not Metric.auto:
        return cfg.metric
    known = rows["primary_metric"].dropna()
    if known.empty:
        raise TableError(
            f"rank.metric=auto: protocol {rows['protocol'].iloc[0]} does not say which metric its data call for; give rank.metric=accuracy, say."
        )
    return Metric(known.iloc[-1])


def _half_width(std_K: FloatArray, count_K: IntArray, confidence: float) -> FloatArray:
    """Half the Student-t interval of a mean over seeds; NaN for a single seed."""
    quantile_K = stdtrit(np.maximum(count_K - 1, 1), (1 + confidence) / 2)
    return np.asarray(quantile_K * std_K / np.sqrt(count_K), dtype=np.float64)


def _interval(candidate: TableCandidate, metric: Metric) -> Interval:
    """Kept on the metric's scale."""
    highest = np.inf if metric is Metric.log_loss else 1.0
    return Interval(max(0.0, candidate.score - candidate.half_width), float(min(highest, candidate.score + candidate.half_width)))


def _row(record: Mapping[Hashable, Any]) -> Row:
    known: dict[str, Any] = {name: value for name in TABLE_COLUMNS if not pd.isna(value := record[name])}
    return Row(**(known | {name: int(known[name]) for name in _WHOLE if name in known}))


def _costs(rows: pd.DataFrame) -> Iterator[Cost]:
    """As for a study: means over seeds, the largest memory, the sum of all time, and the newest times of the network on one machine."""
    by_candidate = rows.groupby("candidate", sort=True)
    timings = _newest_times(rows).reindex(by_candidate["network"].first())
    found = (
        by_candidate[list(_MEANS)]
        .mean()
        .assign(peak_mem_mib=by_candidate["peak_mem_mib"].max(), total_s=by_candidate["total_s"].sum(min_count=1))
    )
    found["train_min"] = (found["train_s"] + found["features_s"].fillna(0.0)) / 60
    found[list(TIMINGS)] = timings.to_numpy()
    for record in found[[field.name for field in fields(Cost)]].to_dict("records"):
        known: dict[str, Any] = {str(name): _known(value) for name, value in record.items()}
        yield Cost(**(known | {"latency_steady": None if known["latency_steady"] is None else bool(known["latency_steady"])}))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
