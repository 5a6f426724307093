"""The basis of the comparison, in words: how each candidate was judged, and whether fine-tuning helped. Shared by the page and the terminal."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from harness.reporting import formats
from harness.reporting.wording import is_as_loaded
from harness.select.audit import is_frozen
from harness.select.candidates import Candidate
from harness.select.metric import is_higher_better
from harness.select.ranking import Entry, Ranking
from harness.study.row import Row
from harness.text.counts import counted

MAX_NAMED = 4
"""Backbones that a sentence names."""


def rests_on(ranking: Ranking) -> str:
    """How many labels the comparison rests on, and how heads and fine-tunes were judged."""
    if not ranking.entries:
        return "No candidate was measured."
    number, num_val = counted(ranking.pool.num_images, "labelled image"), counted(len(ranking.pool.labels_N), "val image")
    judged, folded = set(judged_on(ranking, ranking.entries)), _num_cross_fitted(ranking)
    if "out of fold" not in judged and not folded:
        return f"The comparison rests on {counted(len(ranking.pool.labels_N), 'labelled val image')}, which every candidate was judged on."
    text = f"The comparison rests on {number} of train and val."
    if "out of fold" in judged:
        text += " Heads on frozen backbones are judged out of fold on all of them: each image by a head that never saw it."
    if folded:
        text += f" {_cross_fitted(folded)}"
    whose = "Other fine-tunes" if folded else "Fine-tunes"
    if "val, adjusted" in judged:
        text += f" {whose} are judged on the {num_val}, adjusted by how lucky the head of the same backbone was with these."
    if "val" in judged:
        others = " of backbones without such a head" if "val, adjusted" in judged else ""
        text += f" {'Those' if others else 'Other candidates'}{others} are judged on {'these' if others else f'the {num_val}'} as they are."
    return text


def _num_cross_fitted(ranking: Ranking) -> int:
    return sum(entry.candidate.cross_fitted is not None for entry in ranking.entries)


def _cross_fitted(number: int) -> str:
    whose = "1 fine-tune that may be the best is" if number == 1 else f"{number} fine-tunes that may be the best are"
    return f"{whose} cross-fitted as well: images of the folds done are predicted by a model trained on the other folds."


def judged_on(ranking: Ranking, entries: Sequence[Entry]) -> list[str]:
    """What the score of each of some candidates was measured on."""
    adjusted = {entry.candidate.features_key for entry in ranking.entries if entry.candidate.out_of_fold is not None}
    return [_judged_on(entry.candidate, is_adjusted=entry.candidate.features_key in adjusted) for entry in entries]


def _judged_on(candidate: Candidate, *, is_adjusted: bool) -> str:
    if candidate.out_of_fold is not None:
        return "out of fold"
    if (found := candidate.cross_fitted) is not None:
        return f"{found.num_done} of {found.num_folds} folds of train and val"
    return "val, adjusted" if is_adjusted else "val"


def fine_tuning(ranking: Ranking) -> str:
    """Where fine-tuning did not help; empty where it did for every backbone, or none was fine-tuned."""
    backbones: dict[tuple[object, ...], list[Entry]] = defaultdict(list)
    for entry in ranking.entries:
        backbones[entry.candidate.features_key].append(entry)
    tried = [found for entries in backbones.values() if (found := _Tuned.of(ranking, entries)) is not None]
    idle = [found for found in tried if found.reason]
    if not idle:
        return ""
    whom = (
        ""
        if len(tried) == 1
        else f" any of {len(tried)} backbones"
        if len(idle) == len(tried)
        else f" {len(idle)} of {len(tried)} backbones"
    )
    named = "; ".join(f"{found.name}: {found.reason}" for found in idle[:MAX_NAMED])
    more = f"; and {len(idle) - MAX_NAMED} more" if len(idle) > MAX_NAMED else ""
    return f"Fine-tuning did not help{whom}. {named}{more}."


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
            return cls(name, f"with freeze={' and '.join(kept)} the backbone was kept as loaded")
        if not frozen:
            return None
        first, head = (max(group, key=lambda each: sign * each.expected) for group in (trained, frozen))
        lost = sign * (head.expected - first.expected)
        if lost < 0:
            return cls(name, "")
        freeze = first.candidate.row.strategy
        return cls(name, f"freeze={freeze} is expected to score {formats.difference(ranking.metric, lost)} worse than the frozen backbone")


def _as_loaded(entry: Entry) -> list[Row]:
    """A row of each depth at which layers were free and the backbone was kept as loaded."""
    own = [] if is_frozen(entry.candidate.row) or not is_as_loaded(entry.candidate) else [entry.candidate.row]
    return own + [row for row in entry.candidate.twins if row.is_trained is False]


def _is_trained(entry: Entry) -> bool:
    return not is_frozen(entry.candidate.row) and not is_as_loaded(entry.candidate)
