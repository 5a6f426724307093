"""The first screen: what to use, how good it is, what it costs and how sure that is, in words for ten seconds.

The same facts as `answer`, which says each in full further down.
"""

from collections.abc import Iterator

from harness.config import Metric
from harness.reporting import answer, formats
from harness.reporting.answer import is_doubted, is_overturned
from harness.reporting.data_audit import DataAudit, leaks
from harness.reporting.document import Card, Tone
from harness.reporting.picks import margin, points, unit
from harness.reporting.scope import others
from harness.reporting.sections import decision
from harness.reporting.sections.facts import profile, split_name
from harness.reporting.wording import is_as_loaded, latency, metric_name
from harness.select.audit import is_frozen
from harness.select.candidates import Candidate
from harness.select.classes import ClassScores, final_scores
from harness.select.comparison import Interval
from harness.select.decision import Ground
from harness.select.finalists import Outcome
from harness.select.metric import is_higher_better
from harness.select.ranking import Decision, Entry, Ranking
from harness.study.row import Row
from harness.text.counts import counted
from harness.text.language import listed, say

MAX_WORDS = 14
"""Of the headline."""
_SHORT_NAME = 2
"""Words of a metric's name that has room in the headline."""
MAX_MISSED = 3
"""Classes that an alarm names."""


def headline(ranking: Ranking) -> str:
    """What to use and how good it is, in `MAX_WORDS` words at most, if the backbone's name is one word."""
    if ranking.decision is None:
        return say("No recommendation: no candidate meets the limits." if ranking.entries else "No recommendation: no job has ended well.")
    candidate = ranking.decision.recommended.candidate
    name, depth = formats.one_line(candidate.row.backbone), short_depth(candidate)
    score, interval, is_tested = _on_new_images(ranking, ranking.decision)
    found, ends = _whole(ranking, score), _ends(ranking, interval)
    if is_at_chance(ranking):
        return say("Nothing beats guessing yet. Best: {name}, {depth}, {score} {ends}.", name=name, depth=depth, score=found, ends=ends)
    return say(
        "Use {name}, {depth}. {score} on new images." if is_tested else "Use {name}, {depth}. {score} expected, untested.",
        name=name,
        depth=depth,
        score=f"{found} {_brief(ranking)}{ends}",
    )


def verdict(ranking: Ranking) -> str:
    """How sure the answer is, in a few words; being the best of those that guess is no merit."""
    return say("no better than guessing") if is_at_chance(ranking) else answer.verdict(ranking)


def tone(ranking: Ranking) -> Tone:
    """How much it should be doubted."""
    return Tone.warning if is_at_chance(ranking) else decision.tone(ranking)


def reason(ranking: Ranking) -> str:
    """Why this one, in a line; what is missing where there is none."""
    found = ranking.decision
    if found is None:
        return _nearest(ranking)
    if is_overturned(ranking):
        return say("Train and val would have chosen {label}; its test images overturned that.", label=found.val_choice.label)
    if len(ranking.eligible) == 1:
        return say("It is the only candidate within the limits; nothing was compared.")
    price, metric = found.picks.terms.points_per_doubling, ranking.metric
    best = say("the highest expected {metric}" if is_higher_better(metric) else "the lowest expected {metric}", metric=metric_name(metric))
    if price:
        best = say("{best}, less {price} for every doubling of latency", best=best, price=points(metric, price))
    number = len(ranking.eligible)
    if found.picks.ground is Ground.guard:
        return say(
            "It has {best}, of those of {number} candidates that are rarely more than {margin} behind another.",
            best=best,
            number=number,
            margin=margin(metric),
        )
    return say("It has {best}, of {number} candidates.", best=best, number=number)


def cards(ranking: Ranking, audit: DataAudit | None = None) -> list[Card]:
    """Quality, cost and confidence of what is recommended; none where nothing is."""
    if ranking.decision is None:
        return []
    found = ranking.decision
    return [_quality(ranking, found, audit), _cost(found.recommended), _confidence(ranking, found)]


def left_out(ranking: Ranking) -> str:
    """What the answer does not rest on, in a line; empty where it rests on everything."""
    found = profile(ranking)
    total, used = found.get("num_available") or found.get("num_found") or 0, found.get("num_used") or 0
    counts = [
        (say("{number} of {total}", number=formats.count(total - used), total=counted(total, "image")), total > used > 0),
        (counted(len(found.get("dropped_classes") or ()), "class", "classes"), bool(found.get("dropped_classes"))),
        (counted(len(ranking.pool.failed), "failed job"), bool(ranking.pool.failed)),
        (counted(len(ranking.pool.pruned), "job stopped early", "jobs stopped early"), bool(ranking.pool.pruned)),
        (counted(len(others(ranking)), "other protocol"), bool(others(ranking))),
        (counted(len(ranking.pool.damaged), "damaged file"), bool(ranking.pool.damaged)),
    ]
    named = [text for text, is_so in counts if is_so]
    return say("Left out: {what}.", what=say(", ").join(named)) if named else ""


def short_depth(candidate: Candidate) -> str:
    """A freeze depth in a few words."""
    row = candidate.row
    if row.release is not None:
        return say("trained in two phases")
    if row.adapter is not None:
        return say("adapter {name}", name=formats.one_line(row.adapter))
    if is_frozen(row):
        return say("backbone frozen")
    return say("backbone kept as loaded") if is_as_loaded(candidate) else _part(row)


def _part(row: Row) -> str:
    if row.freeze == "none":
        return say("all layers trained")
    if row.num_frozen_blocks is None or row.num_blocks is None:
        return f"freeze={row.freeze}"
    return say("{number} of {total} blocks frozen", number=row.num_frozen_blocks, total=row.num_blocks)


def is_at_chance(ranking: Ranking) -> bool:
    """Whether chance explains that the recommended is better than an answer that looks at no image."""
    guess = ranking.guess
    if ranking.decision is None or guess is None:
        return False
    _, interval, _ = _on_new_images(ranking, ranking.decision)
    return interval.low <= guess if is_higher_better(ranking.metric) else interval.high >= guess


def _on_new_images(ranking: Ranking, found: Decision) -> tuple[float, Interval, bool]:
    """The score of the recommended on test, or what is expected where no test image says anything; and whether it was tested."""
    test = ranking.test
    if test is not None and test.score is not None and test.interval is not None:
        return test.score, test.interval, True
    return found.recommended.expected, found.expected_interval, False


def _whole(ranking: Ranking, value: float) -> str:
    """Whole percent, unless that would read as never or always."""
    if not formats.is_fraction(ranking.metric):
        return formats.score(ranking.metric, value)
    shown = f"{100 * value:.0f}"
    return formats.percent(value) if shown in ("0", "100") and 0 < value < 1 else f"{shown}\N{NO-BREAK SPACE}%"


def _ends(ranking: Ranking, interval: Interval) -> str:
    low, high = (_whole(ranking, value) for value in (interval.low, interval.high))
    suffix = "\N{NO-BREAK SPACE}%"
    return f"({low.removesuffix(suffix)}\N{EN DASH}{high})"


def _brief(ranking: Ranking) -> str:
    """What the score is, where that takes few words: accuracy goes without saying."""
    name = metric_name(ranking.metric)
    return "" if ranking.metric is Metric.accuracy or len(name.split()) > _SHORT_NAME else f"{name} "


def _nearest(ranking: Ranking) -> str:
    if not ranking.entries:
        failed = counted(len(ranking.pool.failed), "job")
        return say("{jobs} failed; step 5 lists the reasons. Mend them and sweep again with retry=failed.", jobs=failed)
    first = ranking.nearest[0]
    misses = listed([breach.miss for breach in first.breaches])
    return say(
        "Nearest: {label}, which misses {limits}. Relax a limit with rank.…, or sweep smaller backbones.", label=first.label, limits=misses
    )


def _quality(ranking: Ranking, found: Decision, audit: DataAudit | None) -> Card:
    metric, test = ranking.metric, ranking.test
    score, interval, is_tested = _on_new_images(ranking, found)
    label = say("{metric} expected on new images; none has tested it", metric=metric_name(metric))
    if is_tested and test is not None:
        label = say("{metric} on {images}", metric=metric_name(metric), images=counted(test.num_images, "new image"))
    lines = [
        say(
            "{confidence} interval {ends}",
            confidence=formats.confidence(ranking.rank.confidence),
            ends=formats.score_range(metric, interval),
        )
    ]
    classes, guess = final_scores(ranking), ranking.guess
    lines += [] if classes is None else _weakest(classes, ranking)
    if guess is not None:
        lines.append(say("Without looking at an image: {score}", score=formats.score(metric, guess)))
    return Card(say("Quality"), formats.score(metric, score), label, lines, list(_alarms(ranking, classes, audit)))


def _weakest(classes: ClassScores, ranking: Ranking) -> list[str]:
    found = [(each.recall, name) for each, name in zip(classes.classes, ranking.pool.class_names, strict=True) if each.support]
    if len(found) < 2:
        return []
    recall, name = min(found)
    return [
        say(
            "Weakest class on {split}: “{name}”, recall {recall}",
            split=split_name(classes.split),
            name=_short(name),
            recall=formats.percent(recall),
        )
    ]


def _short(class_name: str) -> str:
    return formats.shorten(formats.one_line(class_name), 24)


def _alarms(ranking: Ranking, classes: ClassScores | None, audit: DataAudit | None) -> Iterator[str]:
    if is_at_chance(ranking):
        yield say("Chance explains all of its lead over guessing.")
    if classes is not None:
        named = zip(classes.classes, ranking.pool.class_names, strict=True)
        missed = [f"“{_short(name)}”" for each, name in named if each.support and not each.recall]
        if missed:
            yield say("Never found on {split}: {classes}.", split=split_name(classes.split), classes=listed(missed, MAX_MISSED))
    if audit is not None and leaks(audit):
        yield say("Splits share near copies, so that scores may be optimistically biased: see step 1.")


def _cost(chosen: Entry) -> Card:
    found, row = chosen.cost, chosen.candidate.row
    seconds = None if found.train_min is None else 60 * found.train_min
    lines = [
        say("{number} parameters", number=formats.millions(found.params_m)),
        say("{size} on disk", size=formats.mib(found.weights_mib)),
        say("Training took {time}", time=formats.duration(seconds)),
    ]
    alarms = []
    if found.latency_steady is False:
        quietest = formats.ms(found.latency_ms_min)
        alarms.append(say("The machine was busy while it was timed: {latency} at its quietest.", latency=quietest))
    where = formats.plain(row.details.machine.get("device_name") or row.details.machine.get("cpu_name") or row.device)
    return Card(say("Cost"), latency(found), say("per image on {machine}", machine=where), lines, alarms)


def _confidence(ranking: Ranking, found: Decision) -> Card:
    pick, chosen, number = found.picks.recommended, found.recommended, len(ranking.eligible)
    seeds, tied = len(chosen.candidate.rows), len(ranking.tied)
    runs = say("One seed: training again moves scores somewhat") if seeds == 1 else say("Means over {number} seeds", number=seeds)
    doubts = list(_contradictions(ranking))
    if number == 1:
        return Card(say("Confidence"), formats.EMPTY, say("nothing was compared"), [runs], doubts)
    loss = f"{formats.loss(ranking.metric, pick.expected_loss)} {unit(ranking.metric)}"
    lines = [
        say("Expected loss against the best: {loss}", loss=loss),
        say("{number} cannot be excluded as best", number=tied) if tied > 1 else say("Ahead of all others by more than chance explains"),
        runs,
    ]
    label = say("probability of being the best of {number}", number=number)
    return Card(say("Confidence"), formats.odds(pick.prob_best), label, lines, doubts)


def _contradictions(ranking: Ranking) -> Iterator[str]:
    if is_overturned(ranking):
        yield say("Its test images overturned the first choice; nothing has checked this one.")
    elif is_doubted(ranking):
        yield say("Its test images speak against the choice, not surely enough to overturn it.")
    if ranking.outcome is Outcome.no_test:
        yield say("No test images were there to check the choice on.")
    if ranking.outcome is Outcome.sealed:
        yield say("A what-if question leaves test predictions sealed.")
