"""Which metric ranks, and which metrics a val split cannot carry.

Before any score: the primary metric is fixed by the training data or by the user, never by the scores.
"""

import numpy as np

from harness.config import Metric, RankConfig
from harness.errors import TableError
from harness.measure.quality import imbalance_ratio, primary_metric, quality
from harness.select.candidates import Pool
from harness.text.counts import counted

MIN_IMAGES_FOR_F1 = 5
"""Val images that every class needs before candidates are compared by F1."""


def choose_metric(pool: Pool, cfg: RankConfig) -> tuple[Metric, str]:
    """The metric to rank by, and why.

    Raises:
        TableError: it is undefined on the val split.
    """
    if cfg.metric is Metric.auto and not pool.candidates:
        return Metric.auto, "no job has ended well"
    metric, reason = (cfg.metric, f"chosen with rank.metric={cfg.metric.value}") if cfg.metric is not Metric.auto else _by_rule(pool)
    if why := why_undefined(pool, metric):
        others = [known for known in (Metric.balanced_accuracy, Metric.accuracy, Metric.log_loss) if not why_undefined(pool, known)]
        raise TableError(f"rank.metric={metric.value}: {why}; give {' or '.join(f'rank.metric={known.value}' for known in others)}.")
    return metric, reason


def is_higher_better(metric: Metric) -> bool:
    """Log loss is the only metric here that is better when lower."""
    return metric is not Metric.log_loss


def why_undefined(pool: Pool, metric: Metric) -> str | None:
    """Why candidates cannot be compared by a metric on these val images; None when they can."""
    if not pool.candidates or metric in (Metric.accuracy, Metric.log_loss):
        return None
    counts_C = np.bincount(pool.labels_N, minlength=len(pool.class_names))
    if missing := int((counts_C == 0).sum()):
        return f"undefined, as {missing} of {len(pool.class_names)} classes have no val image"
    if metric is not Metric.balanced_accuracy and counts_C.min() < MIN_IMAGES_FOR_F1:
        return (
            f"a class has {counted(int(counts_C.min()), 'val image')}, and below {MIN_IMAGES_FOR_F1} the F1 of a class jumps "
            "between 0 and 1 so that no resampling can say how sure it is"
        )
    return None


def baseline(pool: Pool) -> dict[str, float]:
    """Val quality of always naming the most frequent class of val, by every metric that is defined; the pool has candidates."""
    share_C = np.bincount(pool.labels_N, minlength=len(pool.class_names)) / len(pool.labels_N)
    log_probs_NC = np.tile(np.log(np.maximum(share_C, 1e-12)), (len(pool.labels_N), 1))
    return {name: value for name, value in quality(log_probs_NC, pool.labels_N)[0].items() if value is not None}


def _by_rule(pool: Pool) -> tuple[Metric, str]:
    counts = list(pool.candidates[0].row.details.profile["class_counts"]["train"].values())
    how_often = f"the largest class of train has {imbalance_ratio(counts):.1f} times the images of the smallest"
    return primary_metric(counts), f"by rule, because {how_often}"
