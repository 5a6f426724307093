"""Words for the things of a study: metrics, depths, costs, differences, commands. Shared by the page and the terminal."""

from collections.abc import Iterable

from harness.config import OF_ONE_LABEL, OF_SEVERAL_LABELS, Adapter, Metric, RankMetric
from harness.data.labels import is_several
from harness.reporting import formats
from harness.select.audit import is_frozen
from harness.select.candidates import Candidate, Cost
from harness.select.ranking import Entry, Ranking
from harness.study.row import Row
from harness.text.language import noted, say, told
from harness.text.untrusted import shell_word

_NAMES = {
    Metric.accuracy: noted("accuracy"),
    Metric.balanced_accuracy: noted("balanced accuracy"),
    Metric.f1_macro: noted("macro F1"),
    Metric.f1_weighted: noted("weighted F1"),
    Metric.log_loss: noted("log loss"),
    Metric.mean_average_precision: noted("mean average precision"),
    Metric.f1_micro: noted("micro F1"),
    Metric.f1_samples: noted("F1 per image"),
    Metric.subset_accuracy: noted("subset accuracy"),
    Metric.auto: noted("the metric that the data call for"),
}

_MEANINGS = {
    Metric.accuracy: noted("the share of images correctly classified"),
    Metric.balanced_accuracy: noted(
        "the share of images correctly classified, taken per class and averaged, so that rare classes count as much as common ones"
    ),
    Metric.f1_macro: noted(
        "F1 weighs missed against false finds; it is averaged over classes, so that rare classes count as much as common ones"
    ),
    Metric.f1_weighted: noted("F1 weighs missed against false finds; it is averaged over classes by their number of images"),
    Metric.log_loss: noted("how far the stated probabilities are from the truth, in nats; lower is better"),
    Metric.mean_average_precision: noted(
        "the area under the curve of precision over recall, images ordered by the probability of a label, averaged over labels"
    ),
    Metric.f1_micro: noted("F1 weighs missed against false finds; all labels of all images are one pool, so that common labels count most"),
    Metric.f1_samples: noted("F1 weighs missed against false finds among the labels of an image; it is averaged over images"),
    Metric.subset_accuracy: noted("the share of images of which every label is right"),
    Metric.auto: noted(
        "accuracy, balanced accuracy when classes are imbalanced, or mean average precision where images may have several labels"
    ),
}

_OVER_CLASSES = ("roc_auc", "average_precision", "fbeta")

_KINDS = {
    "roc_auc": (
        noted("AUROC"),
        noted("the area under the ROC curve: how probably an image of a class is held likelier to be of it than an image of another class"),
    ),
    "average_precision": (
        noted("average precision"),
        noted("the area under the curve of precision over recall, images ordered by the probability of a class"),
    ),
    "top_k_accuracy": (
        noted("top-{parameter:.0f} accuracy"),
        noted("the share of images whose class is among the {parameter:.0f} likeliest"),
    ),
    "matthews_corrcoef": (
        noted("Matthews correlation"),
        noted("the correlation of true and predicted classes, in which all classes count: 1 is perfect, 0 is chance"),
    ),
    "cohen_kappa": (
        noted("Cohen's kappa"),
        noted("the share of images correctly classified beyond what chance would: 1 is perfect, 0 is chance"),
    ),
    "fbeta": (
        noted("F-beta ({parameter:g})"),
        noted("precision and recall in one, recall counting {parameter:g} times as much as precision"),
    ),
    "recall": (noted("recall"), noted("the share of its images that are called so")),
    "precision": (noted("precision"), noted("the share of the images that are called so which are of it")),
    "f1": (noted("F1"), noted("it weighs missed against false finds of that class")),
    "sensitivity": (
        noted("sensitivity at {parameter:g} specificity"),
        noted("the share of its images above the threshold that a share of {parameter:g} of all other images stays below"),
    ),
    "expected_cost": (
        noted("expected cost"),
        noted(
            "what decisions cost by rank.costs, the mean over images, each called the class with the lowest cost to be expected; lower is better"
        ),
    ),
}
"""Name of a metric -> what it is called, and what it means."""


def metric_name(metric: RankMetric) -> str:
    """For people: `recall of malignant`."""
    if isinstance(metric, Metric):
        return say(_NAMES[metric])
    name = say(_KINDS[metric.name][0], parameter=metric.parameter)
    if metric.label is not None:
        return say("{metric} of {label}", metric=name, label=formats.one_line(metric.label))
    return say("macro {metric}", metric=name) if metric.name == "fbeta" else name


def metrics_of(ranking: Ranking) -> tuple[Metric, ...]:
    """Those with columns that go with the labels of its images."""
    return OF_SEVERAL_LABELS if is_several(ranking.pool.labels_N) else OF_ONE_LABEL


def metric_title(metric: Metric) -> str:
    """The name with its unit, for a column or a line of a table."""
    return say("{metric} (nats)", metric=metric_name(metric)) if metric is Metric.log_loss else metric_name(metric)


def metric_meaning(metric: RankMetric) -> str:
    """What it says, in a clause."""
    if isinstance(metric, Metric):
        return say(_MEANINGS[metric])
    meaning = say(_KINDS[metric.name][1], parameter=metric.parameter)
    is_mean = metric.label is None and metric.name in _OVER_CLASSES
    return say("{meaning}, averaged over classes", meaning=meaning) if is_mean else meaning


_ADAPTED = {
    Adapter.norm.value: noted("the scales and shifts of normalisation layers"),
    Adapter.bias.value: noted("the biases"),
    Adapter.lora.value: noted("updates of low rank"),
}


def depth(candidate: Candidate) -> str:
    """A freeze depth in words. What could be trained but was kept as loaded is not called trained."""
    row, outcome = candidate.row, _outcome(candidate)
    if row.release is not None:
        return say(
            "two phases, freeze={first} and then freeze={then}, the backbone {outcome}"
            if outcome
            else "trained in two phases, first with freeze={first}, then with freeze={then}",
            first=row.freeze,
            then=row.release,
            outcome=outcome,
        )
    if row.adapter is not None:
        what = say(_ADAPTED[row.adapter]) if row.adapter in _ADAPTED else formats.one_line(row.adapter)
        return say(
            "{what} free in {where}, {outcome}" if outcome else "{what} trained in {where}", what=what, where=_held(row), outcome=outcome
        )
    if is_frozen(row):
        return say("its whole backbone frozen, only the new classifier trained")
    if row.freeze == "none":
        return say("every layer free, {outcome}" if outcome else "every layer trained", outcome=outcome)
    return say("{part}, the rest {outcome}", part=_part(row), outcome=outcome) if outcome else _part(row)


def is_as_loaded(candidate: Candidate) -> bool:
    """Whether every seed kept the backbone's weights as they were loaded, whatever could be trained."""
    return all(row.is_trained is False for row in candidate.rows)


def cost(entry: Entry) -> str:
    """What it costs to use and to make."""
    found = entry.cost
    text = say(
        "{latency} per image, {parameters} parameters, {size} on disk; training took {time}.",
        latency=latency(found),
        parameters=formats.millions(found.params_m),
        size=formats.mib(found.weights_mib),
        time=formats.duration(None if found.train_min is None else 60 * found.train_min),
    )
    if found.latency_steady is not False:
        return text
    rough = say(
        "The machine was busy while this model was timed: take its latency as rough; {latency} at its quietest.",
        latency=formats.ms(found.latency_ms_min),
    )
    return told(text, rough)


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
    return say(
        "{mark} The machine was busy while this model was timed. `{command}` times all again, on this machine when it is quiet or on another one.",
        mark=formats.ROUGH,
        command=command,
    )


def runner_up(ranking: Ranking) -> str:
    """The best score of the others, and how far it is from the recommended."""
    chosen, other = ranking.recommended, ranking.runner_up
    if chosen is None or other is None or other.behind is None:
        return say("There is no runner-up to compare with.")
    value, metric = other.behind.value, ranking.metric
    found = say(
        "Best score of the others: {other}. {label} scores {size} better ({confidence} interval of the difference {ends})."
        if value > 0
        else "Best score of the others: {other}. {label} scores {size} worse ({confidence} interval of the difference {ends})."
        if value
        else "Best score of the others: {other}. {label} scores the same ({confidence} interval of the difference {ends}).",
        other=other.label,
        label=chosen.label,
        size=formats.difference(metric, value),
        confidence=formats.confidence(ranking.rank.confidence),
        ends=formats.difference_range(metric, other.behind.interval),
    )
    if other.behind.interval.high < 0 and chosen.tied and other.tied:
        return told(found, say("Alone, that would be a clear difference; the best of several shows such a lead by chance."))
    return found


def command(row: Row) -> str:
    """The shell command that runs one job again."""
    return " ".join(["python -m harness.sweep", *map(shell_word, row.details.command)])


def _outcome(candidate: Candidate) -> str:
    """What became of the layers that could be trained, where that is not as one would think."""
    trained = [row.is_trained is not False for row in candidate.rows]
    if all(trained):
        return ""
    if not any(trained):
        return say("kept as loaded")
    return say("trained in {number} of {runs} runs, else kept as loaded", number=sum(trained), runs=len(trained))


def _held(row: Row) -> str:
    """The frozen blocks that an adapter is in, and what is free behind them."""
    if row.num_frozen_blocks is None or row.num_blocks is None:
        return say("what freeze={depth} freezes", depth=row.freeze)
    if row.num_frozen_blocks == row.num_blocks:
        return say("its frozen backbone")
    return say(
        "the first {number} of its {total} blocks, otherwise frozen, and every layer behind them",
        number=row.num_frozen_blocks,
        total=row.num_blocks,
    )


def _part(row: Row) -> str:
    if row.num_frozen_blocks is None or row.num_blocks is None:
        return f"freeze={row.freeze}"
    return say("the first {number} of its {total} blocks frozen", number=row.num_frozen_blocks, total=row.num_blocks)
