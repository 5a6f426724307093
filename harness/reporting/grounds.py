"""The basis of the comparison, in words: how each candidate was judged, and whether fine-tuning helped. Shared by the page and the terminal."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from harness.reporting import formats
from harness.reporting.wording import is_as_loaded
from harness.select.audit import is_frozen
from harness.select.candidates import Candidate
from harness.select.metric import is_higher_better
from harness.select.ranking import Entry, Ranking
from harness.study.row import Row
from harness.text.counts import counted
from harness.text.language import noted, say, told

MAX_NAMED = 4
"""Backbones that a sentence names."""
_OUT_OF_FOLD, _ADJUSTED, _VAL = noted("out of fold"), noted("val, adjusted"), noted("val")
"""What scores are measured on."""


def rests_on(ranking: Ranking) -> str:
    """How many labels the comparison rests on, and how heads and fine-tunes were judged."""
    if not ranking.entries:
        return say("No candidate was measured.")
    judged, folded = set(judged_on(ranking, ranking.entries)), _num_cross_fitted(ranking)
    if say(_OUT_OF_FOLD) not in judged and not folded:
        images = counted(len(ranking.pool.labels_N), "labelled val image")
        return say("The comparison rests on {images}, which every candidate was judged on.", images=images)
    heads = say("Heads on frozen backbones are judged out of fold on all of them: each image by a head that never saw it.")
    return told(
        say("The comparison rests on {images} of train and val.", images=counted(ranking.pool.num_images, "labelled image")),
        heads if say(_OUT_OF_FOLD) in judged else "",
        _cross_fitted(folded),
        *_on_val(counted(len(ranking.pool.labels_N), "val image"), judged, is_folded=bool(folded)),
    )


def _on_val(images: str, judged: Collection[str], *, is_folded: bool) -> Iterator[str]:
    """How those that were judged on val were."""
    is_adjusted = say(_ADJUSTED) in judged
    if is_adjusted:
        yield say(
            "Other fine-tunes are judged on the {images}, adjusted by how lucky the head of the same backbone was with these."
            if is_folded
            else "Fine-tunes are judged on the {images}, adjusted by how lucky the head of the same backbone was with these.",
            images=images,
        )
    if say(_VAL) in judged:
        yield say(
            "Those of backbones without such a head are judged on these as they are."
            if is_adjusted
            else "Other candidates are judged on the {images} as they are.",
            images=images,
        )


def _num_cross_fitted(ranking: Ranking) -> int:
    return sum(entry.candidate.cross_fitted is not None for entry in ranking.entries)


def _cross_fitted(number: int) -> str:
    """Empty for none."""
    if not number:
        return ""
    return say(
        "1 fine-tune that may be the best is cross-fitted as well: images of the folds done are predicted by a model trained on the other folds."
        if number == 1
        else "{number} fine-tunes that may be the best are cross-fitted as well: images of the folds done are predicted by a model trained on the other "
        "folds.",
        number=number,
    )


def judged_on(ranking: Ranking, entries: Sequence[Entry]) -> list[str]:
    """What the score of each of some candidates was measured on."""
    adjusted = {entry.candidate.features_key for entry in ranking.entries if entry.candidate.out_of_fold is not None}
    return [_judged_on(entry.candidate, is_adjusted=entry.candidate.features_key in adjusted) for entry in entries]


def _judged_on(candidate: Candidate, *, is_adjusted: bool) -> str:
    if candidate.out_of_fold is not None:
        return say(_OUT_OF_FOLD)
    if (found := candidate.cross_fitted) is not None:
        return say("{done} of {number} folds of train and val", done=found.num_done, number=found.num_folds)
    return say(_ADJUSTED if is_adjusted else _VAL)


def fine_tuning(ranking: Ranking) -> str:
    """Where fine-tuning did not help; empty where it did for every backbone, or none was fine-tuned."""
    backbones: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
    for entry in ranking.entries:
        backbones[entry.candidate.features_key].append(entry)
    tried = [found for entries in backbones.values() if (found := _Tuned.of(ranking, entries)) is not None]
    idle = [found for found in tried if found.reason]
    if not idle:
        return ""
    return say(
        "Fine-tuning did not help. {backbones}."
        if len(tried) == 1
        else "Fine-tuning did not help any of {tried} backbones. {backbones}."
        if len(idle) == len(tried)
        else "Fine-tuning did not help {idle} of {tried} backbones. {backbones}.",
        tried=len(tried),
        idle=len(idle),
        backbones=formats.clauses([say("{name}: {reason}", name=found.name, reason=found.reason) for found in idle], MAX_NAMED),
    )


@dataclass(frozen=True, slots=True)
class _Tuned:
    """What came of fine-tuning one backbone."""

    name: str
    reason: str
    """Why it did not help; empty where it did."""

    @classmethod
    def of(cls, ranking: Ranking, entries: Sequence[Entry]) -> "_Tuned | None":
        """None where it was not fine-tuned, or there is no frozen one to compare with."""
        sign = 1.0 if is_higher_better(ranking.metric) else -1.0
        kept = list(dict.fromkeys(row.strategy for entry in entries for row in _as_loaded(entry)))
        frozen, trained = [each for each in entries if is_frozen(each.candidate.row)], [each for each in entries if _is_trained(each)]
        if not (kept or trained):
            return None
        name = formats.one_line(entries[0].candidate.line)
        if not trained:
            return cls(name, say("with freeze={depths} the backbone was kept as loaded", depths=say(" and ").join(kept)))
        if not frozen:
            return None
        first, head = (max(group, key=lambda each: sign * each.expected) for group in (trained, frozen))
        lost = sign * (head.expected - first.expected)
        if lost < 0:
            return cls(name, "")
        worse = say(
            "freeze={depth} is expected to score {size} worse than the frozen backbone",
            depth=first.candidate.row.strategy,
            size=formats.difference(ranking.metric, lost),
        )
        return cls(name, worse)


def _as_loaded(entry: Entry) -> list[Row]:
    """A row of each depth at which layers were free and the backbone was kept as loaded."""
    own = [] if is_frozen(entry.candidate.row) or not is_as_loaded(entry.candidate) else [entry.candidate.row]
    return own + [row for row in entry.candidate.twins if row.is_trained is False]


def _is_trained(entry: Entry) -> bool:
    return not is_frozen(entry.candidate.row) and not is_as_loaded(entry.candidate)
