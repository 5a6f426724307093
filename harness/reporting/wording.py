"""Words for the things of a study: metrics, depths, costs, differences, commands. Shared by the page and the terminal."""

from collections.abc import Iterable

from harness.config import OF_ONE_LABEL, OF_SEVERAL_LABELS, Adapter, Metric, RankMetric
from harness.data.labels import is_several
from harness.reporting import formats
from harness.select.audit import is_frozen
from harness.select.candidates import Candidate, Cost
from harness.select.ranking import Entry, Ranking
from harness.study.row import Row
from harness.text.untrusted import shell_word

_NAMES = {
    Metric.accuracy: "accuracy",
    Metric.balanced_accuracy: "balanced accuracy",
    Metric.f1_macro: "macro F1",
    Metric.f1_weighted: "weighted F1",
    Metric.log_loss: "log loss",
    Metric.mean_average_precision: "mean average precision",
    Metric.f1_micro: "micro F1",
    Metric.f1_samples: "F1 per image",
    Metric.subset_accuracy: "subset accuracy",
    Metric.auto: "the metric that the data call for",
}

_MEANINGS = {
    Metric.accuracy: "the share of images correctly classified",
    Metric.balanced_accuracy: "the share of images correctly classified, taken per class and averaged, so that rare classes count as much as common ones",
    Metric.f1_macro: "F1 weighs missed against false finds; it is averaged over classes, so that rare classes count as much as common ones",
    Metric.f1_weighted: "F1 weighs missed against false finds; it is averaged over classes by their number of images",
    Metric.log_loss: "how far the stated probabilities are from the truth, in nats; lower is better",
    Metric.mean_average_precision: "the area under the curve of precision over recall, images ordered by the probability of a label, averaged over labels",
    Metric.f1_micro: "F1 weighs missed against false finds; all labels of all images are one pool, so that common labels count most",
    Metric.f1_samples: "F1 weighs missed against false finds among the labels of an image; it is averaged over images",
    Metric.subset_accuracy: "the share of images of which every label is right",
    Metric.auto: "accuracy, balanced accuracy when classes are imbalanced, or mean average precision where images may have several labels",
}

_OVER_CLASSES = ("roc_auc", "average_precision", "fbeta")

_KINDS = {
    "roc_auc": (
        "AUROC",
        "the area under the ROC curve: how probably an image of a class is held likelier to be of it than an image of another class",
    ),
    "average_precision": (
        "average precision",
        "the area under the curve of precision over recall, images ordered by the probability of a class",
    ),
    "top_k_accuracy": ("top-{parameter:.0f} accuracy", "the share of images whose class is among the {parameter:.0f} likeliest"),
    "matthews_corrcoef": (
        "Matthews correlation",
        "the correlation of true and predicted classes, in which all classes count: 1 is perfect, 0 is chance",
    ),
    "cohen_kappa": ("Cohen's kappa", "the share of images correctly classified beyond what chance would: 1 is perfect, 0 is chance"),
    "fbeta": (
        "F-beta ({parameter:g})",
        "precision and recall in one, recall counting {parameter:g} times as much as precision",
    ),
    "recall": ("recall", "the share of its images that are called so"),
    "precision": ("precision", "the share of the images that are called so which are of it"),
    "f1": ("F1", "it weighs missed against false finds of that class"),
    "sensitivity": (
        "sensitivity at {parameter:g} specificity",
        "the share of its images above the threshold that a share of {parameter:g} of all other images stays below",
    ),
    "expected_cost": (
        "expected cost",
        "what decisions cost by rank.costs, the mean over images, each called the class with the lowest cost to be expected; lower is better",
    ),
}
"""Name of a metric -> what it is called, and what it means."""


def metric_name(metric: RankMetric) -> str:
    """For people: `recall of malignant`."""
    if isinstance(metric, Metric):
        return _NAMES[metric]
    name = _KINDS[metric.name][0].format(parameter=metric.parameter)
    if metric.label is not None:
        return f"{name} of {formats.one_line(metric.label)}"
    return f"macro {name}" if metric.name == "fbeta" else name


def metrics_of(ranking: Ranking) -> tuple[Metric, ...]:
    """Those with columns that go with the labels of its images."""
    return OF_SEVERAL_LABELS if is_several(ranking.pool.labels_N) else OF_ONE_LABEL


def metric_title(metric: Metric) -> str:
    """The name with its unit, for a column or a line of a table."""
    return f"{metric_name(metric)} (nats)" if metric is Metric.log_loss else metric_name(metric)


def metric_meaning(metric: RankMetric) -> str:
    """What it says, in a clause."""
    if isinstance(metric, Metric):
        return _MEANINGS[metric]
    meaning = _KINDS[metric.name][1].format(parameter=metric.parameter)
    return f"{meaning}, averaged over classes" if metric.label is None and metric.name in _OVER_CLASSES else meaning


_ADAPTED = {
    Adapter.norm.value: "the scales and shifts of normalisation layers",
    Adapter.bias.value: "the biases",
    Adapter.lora.value: "updates of low rank",
}


def depth(candidate: Candidate) -> str:
    """A freeze depth in words. What could be trained but was kept as loaded is not called trained."""
    row, outcome = candidate.row, _outcome(candidate)
    if row.release is not None:
        phases = f"freeze={row.freeze} and then freeze={row.release}"
        return (
            f"two phases, {phases}, the backbone {outcome}"
            if outcome
            else f"trained in two phases, first with freeze={row.freeze}, then with freeze={row.release}"
        )
    if row.adapter is not None:
        what, where = _ADAPTED.get(row.adapter, formats.one_line(row.adapter)), _held(row)
        return f"{what} free in {where}, {outcome}" if outcome else f"{what} trained in {where}"
    if is_frozen(row):
        return "its whole backbone frozen, only the new classifier trained"
    if row.freeze == "none":
        return f"every layer free, {outcome}" if outcome else "every layer trained"
    return f"{_part(row)}, the rest {outcome}" if outcome else _part(row)


def is_as_loaded(candidate: Candidate) -> bool:
    """Whether every seed kept the backbone's weights as they were loaded, whatever could be trained."""
    return all(row.is_trained is False for row in candidate.rows)


def cost(entry: Entry) -> str:
    """What it costs to use and to make."""
    found = entry.cost
    text = (
        f"{latency(found)} per image, {formats.millions(found.params_m)} parameters, "
        f"{formats.mib(found.weights_mib)} on disk; training took {formats.duration(None if found.train_min is None else 60 * found.train_min)}."
    )
    if found.latency_steady is False:
        text += f" The machine was busy while this model was timed: take its latency as rough; {formats.ms(found.latency_ms_min)} at its quietest."
    return text


def latency(found: Cost) -> str:
    """A median latency, marked where the machine was too busy to tell."""
    return formats.ms(found.latency_ms_p50, is_rough=found.latency_steady is False)


def rough_latencies(costs: Iterable[Cost], command: str = "python -m harness.retime") -> str:
    """What the mark means and what to do about it; nothing where no latency has it.

    Args:
        costs: of what is shown.
        command: that times the models again.
    """
    if all(found.latency_steady is not False for found in costs):
        return ""
    return (
        f"{formats.ROUGH} The machine was busy while this model was timed. `{command}` times all again, on this machine "
        "when it is quiet or on another one."
    )


def runner_up(ranking: Ranking) -> str:
    """The best score of the others, and how far it is from the recommended."""
    chosen, other = ranking.recommended, ranking.runner_up
    if chosen is None or other is None or other.behind is None:
        return "There is no runner-up to compare with."
    value, metric = other.behind.value, ranking.metric
    size, ends = formats.difference(metric, value), formats.difference_range(metric, other.behind.interval)
    lead = f"{chosen.label} scores {size} {'better' if value > 0 else 'worse'}" if value else f"{chosen.label} scores the same"
    confidence = formats.confidence(ranking.rank.confidence)
    sentence = f"Best score of the others: {other.label}. {lead} ({confidence} interval of the difference {ends})."
    if other.behind.interval.high < 0 and chosen.tied and other.tied:
        sentence += " Alone, that would be a clear difference; the best of several shows such a lead by chance."
    return sentence


def command(row: Row) -> str:
    """The shell command that runs one job again."""
    return " ".join(["python -m harness.sweep", *map(shell_word, row.details.command)])


def _outcome(candidate: Candidate) -> str:
    """What became of the layers that could be trained, where that is not as one would think."""
    trained = [row.is_trained is not False for row in candidate.rows]
    if all(trained):
        return ""
    return f"trained in {sum(trained)} of {len(trained)} runs, else kept as loaded" if any(trained) else "kept as loaded"


def _held(row: Row) -> str:
    """The frozen blocks that an adapter is in, and what is free behind them."""
    if row.num_frozen_blocks is None or row.num_blocks is None:
        return f"what freeze={row.freeze} freezes"
    if row.num_frozen_blocks == row.num_blocks:
        return "its frozen backbone"
    return f"the first {row.num_frozen_blocks} of its {row.num_blocks} blocks, otherwise frozen, and every layer behind them"


def _part(row: Row) -> str:
    if row.num_frozen_blocks is None or row.num_blocks is None:
        return f"freeze={row.freeze}"
    return f"the first {row.num_frozen_blocks} of its {row.num_blocks} blocks frozen"
