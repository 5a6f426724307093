"""Which images a report shows, planned from a ranking and the audit alone: the sweep keeps thumbnails of just these. Images of val and train, never of test."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from harness.reporting import formats
from harness.reporting.data_audit import DataAudit, problem_name
from harness.reporting.sections.facts import split_name
from harness.select.mistakes import Mistake, OnVal, Pair, Unsure
from harness.select.ranking import Ranking
from harness.select.suspects import SUSPECT
from harness.study.findings import NEAR_COPY, Finding
from harness.study.store import Study
from harness.text.counts import counted
from harness.text.language import say

NUM_SHOWN = 24
"""Figures of a group."""
NUM_OF_PAIR = 8
"""Figures with one true and one predicted class."""
NUM_PAIRS = 40
"""Of a true and a predicted class; the most frequent ones."""
NUM_LEADING = 10
"""Candidates whose mistakes may be asked for later."""


@dataclass(frozen=True, slots=True)
class Item:
    """An image that is to be shown, or two side by side."""

    paths: tuple[str, ...]
    """Names in the data set."""
    alt: str
    caption: str


@dataclass(frozen=True, slots=True)
class Group:
    """Images that are to be shown together."""

    anchor: str
    title: str
    items: Sequence[Item]


def groups(on_val: OnVal, found: DataAudit) -> list[Group]:
    """Mistakes and doubts of a candidate on val, and what the audit found in train and val; the most important group first."""
    copies = [each for each in found.findings if each.problem == NEAR_COPY and "test" not in (each.split, each.other_split)]
    known = [each for each in found.findings if each.problem != NEAR_COPY and each.split != "test"]
    doubtful, odd = ([each for each in known if (each.problem == SUSPECT) == wanted] for wanted in (True, False))
    every = [
        Group("confident-mistakes", say("The most confident mistakes on val"), [_mistake(each) for each in on_val.mistakes()[:NUM_SHOWN]]),
        Group("least-certain", say("Val images that it is least certain of"), [_unsure(each) for each in on_val.unsure()[:NUM_SHOWN]]),
        Group("doubtful-labels", say("Labels in doubt"), [_doubtful(each) for each in doubtful[:NUM_SHOWN]]),
        Group("near-copies", say("Near copies in train and val, side by side"), [_copy(each) for each in copies[: NUM_SHOWN // 2]]),
        Group("odd-images", say("Images unlike the others"), [_odd(each) for each in odd[: NUM_SHOWN // 2]]),
    ]
    return [group for group in every if group.items]


def pair_groups(on_val: OnVal) -> list[Group]:
    """Mistakes by true and predicted class, the most frequent first; none where images may have several labels."""
    found: dict[Pair, list[Mistake]] = defaultdict(list)
    for each in on_val.mistakes():
        if each.pair is not None:
            found[each.pair].append(each)
    order = sorted(found, key=lambda pair: (-len(found[pair]), pair))[:NUM_PAIRS]
    return [Group(anchor(pair), _pair_title(found[pair]), [_mistake(each) for each in found[pair][:NUM_OF_PAIR]]) for pair in order]


def anchor(pair: Pair) -> str:
    """Where the mistakes of a true and a predicted class are."""
    return f"mistakes-{pair[0]}-{pair[1]}"


def wanted(study: Study, ranking: Ranking, found: DataAudit) -> list[str]:
    """Names of the images that a report on these candidates may show, each once, the most important first: also where another is recommended."""
    decision = ranking.decision
    picked = [decision.recommended, decision.budget, decision.fastest, decision.val_choice] if decision else list(ranking.entries[:1])
    leading = list(dict.fromkeys([*picked, *ranking.tied]))[:NUM_LEADING]
    said = [OnVal.of(study, ranking, entry.candidate) for entry in leading]
    every = [group for each in said for group in (*groups(each, found), *pair_groups(each))]
    return list(dict.fromkeys(path for group in every for item in group.items for path in item.paths))


def _pair_title(mistakes: Sequence[Mistake]) -> str:
    first, number = mistakes[0], len(mistakes)
    return say(
        "{true}, predicted {called}: {images}, the {most} most confident"
        if number > NUM_OF_PAIR
        else "{true}, predicted {called}: {images}",
        true=_class(first.true),
        called=_class(first.called),
        images=counted(number, "image"),
        most=NUM_OF_PAIR,
    )


def _mistake(each: Mistake) -> Item:
    said = say(
        "true: {true}; predicted: {called}, {prob}",
        true=_class(each.true),
        called=_class(each.called),
        prob=formats.percent(each.prob),
    )
    return Item((each.path,), say("val image, {true}", true=_class(each.true)), said)


def _unsure(each: Unsure) -> Item:
    first, second = f"{_class(each.first)} {formats.percent(each.first_prob)}", f"{_class(each.second)} {formats.percent(each.second_prob)}"
    said = say("true: {true}; {first} or {second}", true=_class(each.true), first=first, second=second)
    return Item((each.path,), say("val image, {true}", true=_class(each.true)), said)


def _doubtful(each: Finding) -> Item:
    split, label = split_name(each.split), _class(each.label)
    said = say(
        "{split}: labelled {label}, more probably {suggested} (margin {margin})",
        split=split,
        label=label,
        suggested=_class(each.suggested_label or ""),
        margin=formats.decimals(each.score),
    )
    return Item((each.path,), say("{split} image, labelled {label}", split=split, label=label), said)


def _copy(each: Finding) -> Item:
    said = say(
        "in {split} and in {other}; the first is {label}; cosine {cosine}",
        split=split_name(each.split),
        other=split_name(each.other_split or ""),
        label=_class(each.label),
        cosine=formats.decimals(each.score),
    )
    return Item((each.path, each.other_path or ""), say("one of two near copies"), said)


def _odd(each: Finding) -> Item:
    split, label = split_name(each.split), _class(each.label)
    said = say(
        "{split}, {label}: {problem} ({score})", split=split, label=label, problem=problem_name(each.problem), score=f"{each.score:g}"
    )
    return Item((each.path,), say("{split} image, {label}", split=split, label=label), said)


def _class(name: str) -> str:
    return formats.shorten(formats.one_line(name), 60) or say("no label")
