"""What the report says in words: metrics, depths, how sure, what may be given up. Shared by the page and the terminal."""

import shlex

from harness.config import Metric
from harness.reporting import formats
from harness.select.ranking import Entry, Ranking
from harness.study.row import Row

METRIC_NAMES = {
    Metric.accuracy: "accuracy",
    Metric.balanced_accuracy: "balanced accuracy",
    Metric.f1_macro: "macro F1",
    Metric.f1_weighted: "weighted F1",
    Metric.log_loss: "log loss",
    Metric.auto: "the metric that the data call for",
}

METRIC_MEANINGS = {
    Metric.accuracy: "the share of images labelled right",
    Metric.balanced_accuracy: "the share of images labelled right, taken per class and averaged, so that rare classes count as much as common ones",
    Metric.f1_macro: "F1 weighs missed against false finds; it is averaged over classes, so that rare classes count as much as common ones",
    Metric.f1_weighted: "F1 weighs missed against false finds; it is averaged over classes by their number of images",
    Metric.log_loss: "how far the stated probabilities are from the truth, in nats; lower is better",
    Metric.auto: "accuracy, or balanced accuracy when classes are imbalanced",
}


def depth(row: Row) -> str:
    """A freeze depth in words."""
    if row.release is not None:
        return f"trained in two phases, first with freeze={row.freeze}, then with freeze={row.release}"
    return {"all": "its whole backbone frozen, only the new classifier trained", "none": "every layer trained"}.get(row.freeze) or _part(
        row
    )


def verdict(ranking: Ranking) -> str:
    """How sure the answer is, in a few words."""
    if ranking.recommended is None:
        return "no answer"
    if len(ranking.eligible) == 1:
        return "not compared"
    return "sure" if len(ranking.tied) == 1 else f"one of {len(ranking.tied)} that cannot be told apart"


def headline(ranking: Ranking) -> str:
    """The recommendation in one sentence."""
    if not ranking.entries:
        return "No recommendation: no job has ended well."
    if ranking.recommended is None:
        return f"No recommendation: none of {len(ranking.entries)} candidates meets the limits."
    row = ranking.recommended.candidate.row
    weights = "random weights" if row.weights == "random" else f"weights {formats.plain(row.weights)}"
    return f"Use {formats.one_line(row.backbone)} ({weights}), {depth(row)}."


def why(ranking: Ranking) -> str:
    """Why this candidate."""
    chosen = ranking.recommended
    if chosen is None:
        return _why_none(ranking)
    metric, images = METRIC_NAMES[ranking.metric], f"{formats.count(len(ranking.labels_N))} val images"
    scored = f"{formats.score(ranking.metric, chosen.score)} {metric} on {images} ({METRIC_MEANINGS[ranking.metric]})"
    if len(ranking.tied) > 1:
        return f"It is the cheapest of {len(ranking.tied)} candidates that cannot be told apart. It has {scored}."
    if len(ranking.eligible) > 1:
        return f"It is the best: {scored}."
    return f"It is the only candidate {'measured' if len(ranking.entries) == 1 else 'within the limits'}. It has {scored}."


def how_sure(ranking: Ranking) -> str:
    """How far the answer can be trusted, without statistics."""
    chosen = ranking.recommended
    if chosen is None:
        return "There is nothing to be sure of yet."
    sentences = [_comparison(ranking), _seeds(chosen)]
    if chosen.interval.low == chosen.interval.high:
        sentences.append("Its score is the same in every resample, so its interval has no width and hides the doubt that remains.")
    return " ".join(sentences)


def cost(entry: Entry) -> str:
    """What it costs to use and to make."""
    found = entry.cost
    text = (
        f"{formats.ms(found.latency_ms_p50)} per image, {formats.millions(found.params_m)} parameters, "
        f"{formats.mib(found.weights_mib)} on disk; training took {formats.duration(None if found.train_min is None else 60 * found.train_min)}."
    )
    if any(row.latency_steady is False for row in entry.candidate.timed):
        text += " The machine ran unevenly while this network was timed: take its latency as rough."
    return text


def test_score(ranking: Ranking) -> str:
    """The sealed test score, or why there is none."""
    test = ranking.test
    if test is None:
        return "There is no test split, so the score on new images is unknown; the val score is somewhat too good, as winners were chosen on it."
    if test.score is None or test.interval is None:
        return f"{METRIC_NAMES[ranking.metric].capitalize()} has no value on the {formats.count(test.num_images)} test images: {test.undefined}."
    confidence = formats.confidence(ranking.rank.confidence)
    return (
        f"{formats.score(ranking.metric, test.score)} {METRIC_NAMES[ranking.metric]} on {formats.count(test.num_images)} test images "
        f"that nothing was chosen on; likely from {formats.score_range(ranking.metric, test.interval)} ({confidence} interval)."
    )


def gives_up(ranking: Ranking) -> str:
    """The difference to the runner-up, and what the recommendation may give up."""
    chosen, other = ranking.recommended, ranking.runner_up
    if chosen is None or other is None or other.behind is None:
        return "There is no runner-up to compare with."
    value, metric = other.behind.value, ranking.metric
    size, ends = formats.difference(metric, value), formats.difference_range(metric, other.behind.interval)
    confidence = formats.confidence(ranking.rank.confidence)
    lead = f"{chosen.label} scores {size} {'better' if value > 0 else 'worse'} on val than {other.label}"
    lead = f"{chosen.label} and {other.label} score the same on val" if value == 0 else lead
    sentence = f"{lead} ({confidence} interval of the difference {ends})."
    worst, best = other.behind.interval.low, other.behind.interval.high
    if best < 0 and chosen.tied and other.tied:
        sentence += " Alone, that would be a clear difference; the best of several shows such a lead by chance."
    return sentence if worst >= 0 else f"{sentence} Choosing it may give up as much as {formats.difference(metric, worst)}."


def command(row: Row) -> str:
    """The shell command that runs one job again."""
    return f"python -m harness.sweep {shlex.join(row.details.command)}"


def _part(row: Row) -> str:
    if row.num_frozen_blocks is None or row.num_blocks is None:
        return f"freeze={row.freeze}"
    return f"the first {row.num_frozen_blocks} of its {row.num_blocks} blocks frozen"


def _why_none(ranking: Ranking) -> str:
    if not ranking.entries:
        return f"{len(ranking.failed)} failed; their reasons are listed in step 5."
    missing = [f"{entry.label} misses {' and '.join(breach.miss for breach in entry.breaches)}" for entry in ranking.nearest]
    return f"Nearest: {'; '.join(missing)}."


def _comparison(ranking: Ranking) -> str:
    if len(ranking.entries) == 1:
        return "Nothing was compared: only one candidate was measured."
    if len(ranking.eligible) == 1:
        return f"Nothing was compared: the limits leave one of {len(ranking.entries)} candidates."
    images = f"{formats.count(len(ranking.labels_N))} val images"
    if len(ranking.tied) > 1:
        return f"These {len(ranking.tied)} cannot be told apart on {images}: {', '.join(entry.label for entry in ranking.tied[:6])}{_more(ranking)}."
    others = len(ranking.eligible) - 1
    return f"Sure: {images} separate it from the other {others} at {formats.confidence(ranking.rank.confidence)} confidence."


def _more(ranking: Ranking) -> str:
    hidden = len(ranking.tied) - 6
    return f" and {hidden} more" if hidden > 0 else ""


def _seeds(entry: Entry) -> str:
    num_seeds = len(entry.candidate.rows)
    if num_seeds == 1:
        return "This is conditional on this run (one seed): training again would move the scores somewhat."
    return f"Scores are means over {num_seeds} seeds."
