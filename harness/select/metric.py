"""Which metric ranks, and which metrics a val split cannot carry.

Before any score: the primary metric is fixed by the training data or by the user, never by the scores.
"""

import numpy as np
import numpy.typing as npt

from harness.config import Metric, RankConfig, RankMetric, is_higher_better, rank_metric, score_limit
from harness.data.labels import count_classes, is_several
from harness.errors import TableError
from harness.measure.binding import bound, require_kind, why_other_kind
from harness.measure.objective import plain_objective
from harness.measure.quality import decide, imbalance_ratio, primary_metric, quality
from harness.select.candidates import Pool
from harness.text.counts import counted
from harness.text.language import ENGLISH, say, speaking
from harness.text.metric_spec import MetricSpec

__all__ = ["MIN_IMAGES_FOR_F1", "baseline", "choose_metric", "is_higher_better", "needs_probabilities", "score_limits", "why_undefined"]

MIN_IMAGES_FOR_F1 = 5
"""Val images that every class needs before candidates are compared by F1."""
_OVER_IMAGES = (Metric.accuracy, Metric.log_loss, Metric.f1_micro, Metric.f1_samples, Metric.subset_accuracy)
"""Metrics that need no image of any one class."""
_OF_ALL_CLASSES = ("roc_auc", "average_precision", "fbeta")
"""Metrics with names of their own that are means over classes, unless they are of one."""
_JUMPS = ("average_precision", "fbeta", "f1", "precision", "sensitivity")
"""Those that jump where a class has few images."""


def choose_metric(pool: Pool, cfg: RankConfig) -> tuple[RankMetric, str]:
    """The metric to rank by, bound to the classes of the data, and why.

    Raises:
        TableError: it is undefined on the val split.
        ConfigError: it is of a class that is not there, or its costs do not fit the classes.
    """
    asked = rank_metric(cfg.metric)
    if not pool.candidates:
        return asked, say("no job has ended well") if asked is Metric.auto else _as_asked(cfg)
    if asked is Metric.auto:
        metric, reason = _by_rule(pool)
    else:
        metric, reason = _bound(pool, asked, cfg, "rank.metric"), _as_asked(cfg)
    _require_defined(pool, metric, "rank.metric")
    return metric, reason


def _as_asked(cfg: RankConfig) -> str:
    return say("chosen with rank.metric={metric}", metric=cfg.metric)


def score_limits(pool: Pool, cfg: RankConfig) -> list[tuple[RankMetric, float]]:
    """Metrics by which candidates have to reach some score, and that score. Raises as `choose_metric`."""
    found = (
        [(_bound(pool, limit.metric, cfg, "rank.limits"), limit.limit) for limit in map(score_limit, cfg.limits)] if pool.candidates else []
    )
    for metric, _ in found:
        _require_defined(pool, metric, "rank.limits")
    return found


def needs_probabilities(cfg: RankConfig) -> bool:
    """Whether the metrics of a question need more of each image than what it is called."""
    asked = [rank_metric(cfg.metric), *(score_limit(text).metric for text in cfg.limits)]
    return any(isinstance(metric, MetricSpec) and metric.needs_probabilities for metric in asked)


def _bound(pool: Pool, metric: RankMetric, cfg: RankConfig, key: str) -> RankMetric:
    row = pool.candidates[0].row
    require_kind(metric, is_several=is_several(pool.labels_N), key=key)
    return bound(metric, pool.class_names, Metric(row.primary_metric or Metric.accuracy), cfg.costs)


def _require_defined(pool: Pool, metric: RankMetric, key: str) -> None:
    with speaking(ENGLISH):  # as errors are
        why = why_undefined(pool, metric)
    if why:
        safe = (Metric.balanced_accuracy, Metric.accuracy, Metric.f1_micro, Metric.log_loss)
        others = [known for known in safe if not why_undefined(pool, known)]
        named = f"{key}={metric.value}"
        raise TableError(f"{named}: {why}; give {' or '.join(f'{key}={known.value}' for known in others)}.")


def why_undefined(pool: Pool, metric: RankMetric) -> str | None:
    """Why candidates cannot be compared by a metric on these val images; None when they can."""
    if not pool.candidates:
        return None
    return why_other_kind(metric, is_several=is_several(pool.labels_N)) or _too_little(pool, metric)


def _too_little(pool: Pool, metric: RankMetric) -> str | None:
    """Of metrics that go with the labels."""
    if metric in _OVER_IMAGES:
        return None
    counts_C = count_classes(pool.labels_N, len(pool.class_names))
    if isinstance(metric, MetricSpec):
        return _why_undefined(counts_C, metric)
    if missing := int((counts_C == 0).sum()):
        return _missing(missing, len(counts_C))
    if metric not in (Metric.balanced_accuracy, Metric.mean_average_precision) and counts_C.min() < MIN_IMAGES_FOR_F1:
        return say(
            "a class has {images}, and below {number} the F1 of a class jumps between 0 and 1 so that no resampling can say how sure it is",
            images=counted(int(counts_C.min()), "val image"),
            number=MIN_IMAGES_FOR_F1,
        )
    return None


def _missing(number: int, num_classes: int) -> str:
    return say("undefined, as {number} of {total} classes have no val image", number=number, total=num_classes)


def _why_undefined(counts_C: npt.NDArray[np.int64], spec: MetricSpec) -> str | None:
    """Of a metric with a name of its own."""
    return _too_few_classes(counts_C, spec) or _too_few_images(counts_C, spec)


def _too_few_classes(counts_C: npt.NDArray[np.int64], spec: MetricSpec) -> str | None:
    num_classes, num_missing = len(counts_C), int((counts_C == 0).sum())
    if spec.name == "top_k_accuracy" and int(spec.parameter or 0) >= num_classes:
        return say(
            "undefined, as with {total} classes every image is right among the {number:.0f} most likely",
            total=num_classes,
            number=spec.parameter,
        )
    if spec.name == "cohen_kappa" and num_classes - num_missing < 2:
        return say("undefined, as all val images are of one class")
    if spec.name in _OF_ALL_CLASSES and spec.class_index is None and num_missing:
        return _missing(num_missing, num_classes)
    return None


def _too_few_images(counts_C: npt.NDArray[np.int64], spec: MetricSpec) -> str | None:
    """Of the class that it is of, else of the smallest."""
    few = int(counts_C.min() if spec.class_index is None else counts_C[spec.class_index])
    whose = say("a class") if spec.label is None else say("class {name}", name=spec.label)
    if spec.class_index is not None and few == 0:
        return say("undefined, as {name} has no val image", name=whose)
    if spec.class_index is not None and few == counts_C.sum() and spec.needs_probabilities:
        return say("undefined, as all val images are of {name}", name=whose)
    if spec.name in _JUMPS and few < MIN_IMAGES_FOR_F1:
        return say(
            "{name} has {images}, and below {number} such a score jumps between 0 and 1 so that no resampling can say how sure it is",
            name=whose,
            images=counted(few, "val image"),
            number=MIN_IMAGES_FOR_F1,
        )
    return None


def baseline(pool: Pool, metric: RankMetric = Metric.auto) -> dict[str, float]:
    """Val quality of always stating the class shares of val, which names the most frequent class, or by costs the cheapest one.

    Args:
        pool: with candidates.
        metric: one more than those that rows have columns for, where it has a name of its own.

    Returns:
        Every metric that is defined.
    """
    share_C = count_classes(pool.labels_N, len(pool.class_names)) / len(pool.labels_N)
    log_probs_NC = np.tile(np.log(np.maximum(share_C, 1e-12)), (len(pool.labels_N), 1))
    if is_several(pool.labels_N):
        found, _ = plain_objective(pool.labels_N, len(share_C)).quality(log_probs_NC, pool.labels_N, metric)
        return {name: value for name, value in found.items() if value is not None}
    spec = metric if isinstance(metric, MetricSpec) else None
    decided_N = None if spec is None else decide(log_probs_NC, spec, np.ones(len(pool.class_names)))
    return {name: value for name, value in quality(log_probs_NC, pool.labels_N, decided_N, spec)[0].items() if value is not None}


def _by_rule(pool: Pool) -> tuple[RankMetric, str]:
    if is_several(pool.labels_N):
        return Metric.mean_average_precision, say("by rule, because an image may have several labels")
    counts = list(pool.candidates[0].row.details.profile["class_counts"]["train"].values())
    return primary_metric(counts), say(
        "by rule, because the largest class of train has {ratio:.1f} times the images of the smallest", ratio=imbalance_ratio(counts)
    )
