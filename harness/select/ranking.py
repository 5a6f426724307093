"""The ranking: everything that the report prints about who is best, who is tied, and what to use. Opens the seal of one candidate.

Last step of selection: pool -> scores and resamples -> limits -> tied set -> recommendation -> its sealed test score.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.config import Metric, RankConfig
from harness.errors import TableError
from harness.measure.quality import PerClass, confusion, imbalance_ratio, per_class, primary_metric, quality
from harness.select.candidates import Candidate, Cost, LeftOut, Pool, load_pool
from harness.select.comparison import FloatArray, IntArray, Interval, Runs, bootstrap, interval, score_interval, scores, tied_set
from harness.select.limits import Breach, breaches
from harness.select.pareto import pareto_front
from harness.study.row import Row
from harness.study.store import Predictions, Study

MIN_IMAGES_FOR_F1 = 5
"""Val images that every class needs before candidates are compared by F1."""

LATENCY_TIE_FRAC = 0.05
"""Latencies this close to the lowest count as equal: repeated timings differ by as much."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better one candidate scores than another on the same images; negative: worse. In the metric's unit."""

    value: float
    interval: Interval


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """One candidate in the ranking. Scores are in the metric's own unit (log loss: lower is better)."""

    candidate: Candidate
    rank: int | None
    """1 is the best score; None when a limit excludes the candidate."""
    score: float
    interval: Interval
    tied: bool
    """In the tied set of the candidates within the limits."""
    on_front: bool
    """On the Pareto front of score and latency of the candidates within the limits."""
    breaches: tuple[Breach, ...]
    behind: Difference | None
    """How much better the recommended candidate scores; None without a recommendation and for the recommended itself."""

    @property
    def label(self) -> str:
        return self.candidate.label

    @property
    def cost(self) -> Cost:
        return self.candidate.cost

    @property
    def excluded(self) -> list[str]:
        return [breach.text for breach in self.breaches]


@dataclass(frozen=True, slots=True, eq=False)
class ClassScores:
    """Per-class results of one candidate on one split, its seeds taken together."""

    label: str
    split: str
    classes: list[PerClass]
    confusion_CC: IntArray


@dataclass(frozen=True, slots=True)
class OpenedTest:
    """The recommended candidate on the images that nothing was chosen on. Means over its seeds."""

    num_images: int
    score: float | None
    interval: Interval | None
    undefined: str | None
    """Why the ranking's metric has no value on test."""
    quality: dict[str, float]
    """Every metric that is defined on test."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Ranking:
    """What one study says under one `RankConfig`."""

    study: str
    protocol: str | None
    rank: RankConfig
    metric: Metric
    metric_reason: str
    entries: tuple[Entry, ...]
    """Best score first; those that a limit excludes come after all others."""
    recommended: Entry | None
    best: Entry | None
    """Best score of those within the limits, or of all when none is."""
    runner_up: Entry | None
    """Best score of the others within the limits."""
    test: OpenedTest | None
    num_opened: int
    """Jobs of this study whose test predictions were ever opened."""
    class_scores: tuple[ClassScores, ...]
    """On val: the recommended (else the best) and the runner-up."""
    final_scores: ClassScores | None
    """The recommended on test, or on val when there is no test split."""
    baseline: dict[str, float]
    """Val quality of always naming the most frequent class of val."""
    labels_N: IntArray
    class_names: tuple[str, ...]
    failed: tuple[Row, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def tied(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.tied]

    @property
    def eligible(self) -> list[Entry]:
        """Candidates within the limits."""
        return [entry for entry in self.entries if not entry.breaches]

    @property
    def nearest(self) -> list[Entry]:
        """The three candidates that miss the limits by least."""
        missing = [entry for entry in self.entries if entry.breaches]
        return sorted(missing, key=lambda entry: max(breach.ratio for breach in entry.breaches))[:3]


def rank(study: Study, cfg: RankConfig) -> Ranking:
    """Rank the candidates of the newest protocol, recommend one and open its test predictions.

    Raises:
        TableError: the study cannot be read, or the metric is undefined on its val split.
    """
    pool = load_pool(study)
    metric, reason = _metric(pool, cfg)
    first, entries = _entries(pool, metric, cfg) if pool.candidates else (None, ())
    eligible = [entry for entry in entries if not entry.breaches]
    chosen = next((entry for entry in entries if entry.candidate is first), None)
    best = next(iter(eligible or entries), None)
    runner_up = next((entry for entry in eligible if entry is not chosen), None)
    test, final = _open(study, pool, metric, cfg, chosen)
    shown = [entry for entry in (chosen or best, runner_up) if entry is not None]
    return Ranking(
        study=study.name,
        protocol=pool.protocol,
        rank=cfg,
        metric=metric,
        metric_reason=reason,
        entries=entries,
        recommended=chosen,
        best=best,
        runner_up=runner_up,
        test=test,
        num_opened=len(study.opened()),
        class_scores=tuple(_class_scores(entry.label, "val", _val(study, entry)) for entry in shown),
        final_scores=final,
        baseline=_baseline(pool),
        labels_N=pool.labels_N,
        class_names=pool.class_names,
        failed=pool.failed,
        left_out=pool.left_out,
    )


def is_higher_better(metric: Metric) -> bool:
    """Log loss is the only metric here that is better when lower."""
    return metric is not Metric.log_loss


def _metric(pool: Pool, cfg: RankConfig) -> tuple[Metric, str]:
    if cfg.metric is not Metric.auto:
        _require_every_class(pool, cfg.metric)
        return cfg.metric, f"chosen with rank.metric={cfg.metric.value}"
    if not pool.candidates:
        return Metric.auto, "no job has ended well"
    counts = list(pool.candidates[0].row.details.profile["class_counts"]["train"].values())
    metric = primary_metric(counts)
    _require_every_class(pool, metric)
    how_often = f"the largest class of train has {imbalance_ratio(counts):.1f} times the images of the smallest"
    return metric, f"by rule, because {how_often}"


def _require_every_class(pool: Pool, metric: Metric) -> None:
    if not pool.candidates or metric in (Metric.accuracy, Metric.log_loss):
        return
    counts_C = np.bincount(pool.labels_N, minlength=len(pool.class_names))
    if missing := int((counts_C == 0).sum()):
        raise TableError(
            f"rank.metric={metric.value}: undefined, as {missing} of {len(pool.class_names)} classes have no val image; "
            "give rank.metric=accuracy or rank.metric=log_loss."
        )
    if metric is not Metric.balanced_accuracy and counts_C.min() < MIN_IMAGES_FOR_F1:
        raise TableError(
            f"rank.metric={metric.value}: a class has {counts_C.min()} val images, and below {MIN_IMAGES_FOR_F1} the F1 of a class jumps "
            "between 0 and 1 so that no resampling can say how sure it is; give rank.metric=balanced_accuracy or accuracy."
        )


def _entries(pool: Pool, metric: Metric, cfg: RankConfig) -> tuple[Candidate | None, tuple[Entry, ...]]:
    """The candidate to recommend, if any is within the limits, and all entries in their order."""
    runs, seeds = _runs(pool), [len(candidate.rows) for candidate in pool.candidates]
    scores_K = np.array([part.mean() for part in np.split(scores(runs, metric), np.cumsum(seeds)[:-1])])
    draws_RK = bootstrap(runs, metric, cfg.num_resamples, seeds)
    missed = [tuple(breaches(candidate, cfg)) for candidate in pool.candidates]
    within = np.array([not breach for breach in missed])
    latency_ms_K = np.array([_or_infinite(candidate.cost.latency_ms_p50) for candidate in pool.candidates])
    tied_K, front_K = np.zeros(len(within), dtype=np.bool_), np.zeros(len(within), dtype=np.bool_)
    if within.any():
        tied_K[within] = tied_set(scores_K[within], draws_RK[:, within], cfg.confidence)
        front_K[within] = pareto_front(scores_K[within], latency_ms_K[within])
    first = cheapest([candidate.cost for candidate in pool.candidates], scores_K, np.flatnonzero(tied_K))
    by_score = sorted(range(len(within)), key=lambda k: (not within[k], -scores_K[k], pool.candidates[k].label))
    places = {k: place for place, k in enumerate([k for k in by_score if within[k]], start=1)}
    sign = 1.0 if is_higher_better(metric) else -1.0
    entries = tuple(
        Entry(
            candidate=pool.candidates[k],
            rank=places.get(k),
            score=float(sign * scores_K[k]),
            interval=_natural(score_interval(draws_RK[:, k], metric, cfg.confidence), sign),
            tied=bool(tied_K[k]),
            on_front=bool(front_K[k]),
            breaches=missed[k],
            behind=_difference(scores_K, draws_RK, first, k, cfg.confidence) if first is not None and first != k else None,
        )
        for k in by_score
    )
    return None if first is None else pool.candidates[first], entries


def _runs(pool: Pool) -> Runs:
    return Runs(
        predicted_JN=np.concatenate([candidate.predicted_SN for candidate in pool.candidates]),
        true_log_prob_JN=np.concatenate([candidate.true_log_prob_SN for candidate in pool.candidates]),
        labels_N=pool.labels_N,
        num_classes=len(pool.class_names),
    )


def _natural(found: Interval, sign: float) -> Interval:
    return found if sign > 0 else Interval(-found.high, -found.low)


def _difference(scores_K: FloatArray, draws_RK: FloatArray, first: int, second: int, confidence: float) -> Difference:
    return Difference(float(scores_K[first] - scores_K[second]), interval(draws_RK[:, first] - draws_RK[:, second], confidence))


def cheapest(costs: Sequence[Cost], scores_K: FloatArray, tied: Iterable[int] | IntArray) -> int | None:
    """Which of the tied (positions in `costs`) costs least: latencies within a tie of the lowest count as equal, then fewer parameters, then the higher score."""
    latency_ms = {int(k): _or_infinite(costs[k].latency_ms_p50) for k in tied}
    bound = min(latency_ms.values(), default=0.0) * (1 + LATENCY_TIE_FRAC)
    fast = [k for k, value in latency_ms.items() if value <= bound]
    return min(fast, key=lambda k: (_or_infinite(costs[k].params_m), -scores_K[k]), default=None)


def _or_infinite(value: float | None) -> float:
    return float("inf") if value is None else value


def _baseline(pool: Pool) -> dict[str, float]:
    if not pool.candidates:
        return {}
    share_C = np.bincount(pool.labels_N, minlength=len(pool.class_names)) / len(pool.labels_N)
    log_probs_NC = np.tile(np.log(np.maximum(share_C, 1e-12)), (len(pool.labels_N), 1))
    return {name: value for name, value in quality(log_probs_NC, pool.labels_N)[0].items() if value is not None}


def _val(study: Study, entry: Entry) -> list[Predictions]:
    return [study.val_predictions(row.job_id) for row in entry.candidate.rows]


def _class_scores(label: str, split: str, seeds: Sequence[Predictions]) -> ClassScores:
    log_probs_NC = np.concatenate([found.log_probs_NC for found in seeds])
    labels_N = np.concatenate([found.labels_N for found in seeds])
    num_classes = log_probs_NC.shape[1]
    return ClassScores(label, split, per_class(log_probs_NC, labels_N, num_classes), confusion(log_probs_NC, labels_N, num_classes))


def _open(study: Study, pool: Pool, metric: Metric, cfg: RankConfig, chosen: Entry | None) -> tuple[OpenedTest | None, ClassScores | None]:
    """Break the seal of the recommended candidate, each of its seeds, and of no other."""
    if chosen is None:
        return None, None
    reason = f"recommended by val {metric.value}"
    opened = [found for row in chosen.candidate.rows if (found := study.open_test(row.job_id, reason)) is not None]
    if not opened:
        return None, _class_scores(chosen.label, "val", _val(study, chosen))
    return _opened_test(opened, len(pool.class_names), metric, cfg), _class_scores(chosen.label, "test", opened)


def _opened_test(seeds: Sequence[Predictions], num_classes: int, metric: Metric, cfg: RankConfig) -> OpenedTest:
    found = [quality(predictions.log_probs_NC, predictions.labels_N) for predictions in seeds]
    names = [name for name, value in found[0][0].items() if value is not None]
    means = {name: float(np.mean([values[name] for values, _ in found])) for name in names if all(v[name] is not None for v, _ in found)}
    labels_N = seeds[0].labels_N
    undefined = next((reasons[metric.value] for _, reasons in found if metric.value in reasons), None)
    if undefined is not None:
        return OpenedTest(len(labels_N), None, None, undefined, means)
    each_N = np.arange(len(labels_N))
    runs = Runs(
        predicted_JN=np.stack([p.log_probs_NC.argmax(axis=1) for p in seeds]),
        true_log_prob_JN=np.stack([p.log_probs_NC[each_N, p.labels_N] for p in seeds]),
        labels_N=labels_N,
        num_classes=num_classes,
    )
    draws_R = bootstrap(runs, metric, cfg.num_resamples, [len(seeds)])[:, 0]
    sign = 1.0 if is_higher_better(metric) else -1.0
    return OpenedTest(len(labels_N), means[metric.value], _natural(score_interval(draws_R, metric, cfg.confidence), sign), None, means)
