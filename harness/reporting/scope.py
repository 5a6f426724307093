"""The scope of the answer, and what it leaves out: other protocols, other versions, other machines. Shared by the page and the terminal.

Each function is one sentence or two, and empty where there is nothing to say.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.reporting import formats
from harness.reporting.sections.facts import profile
from harness.select.one_machine import ELSEWHERE
from harness.select.protocols import Protocol
from harness.select.ranking import Ranking
from harness.study.row import Row
from harness.text.counts import counted
from harness.text.language import noted, say, told
from harness.text.untrusted import shell_word

MAX_NAMED = 3
"""Others that a sentence names."""


def measured(ranking: Ranking) -> str:
    """How else "nothing else was measured" has to end to be true: `measured under the same terms`."""
    ways = [
        *([say("to the end")] if ranking.pool.pruned else []),
        *([say("under the same terms")] if others(ranking) else []),
        *([say("and can be used")] if ranking.pool.damaged else []),
        *([say("beside depths that ended in the same model")] if any(entry.candidate.twins for entry in ranking.entries) else []),
    ]
    return say("measured{ways}", ways=say(" {ways}", ways=say(" ").join(ways)) if ways else "")


def others(ranking: Ranking) -> list[Protocol]:
    """Protocols that the study holds besides the one that is ranked."""
    return [each for each in ranking.pool.protocols if each.name != ranking.pool.protocol]


def protocols(ranking: Ranking) -> str:
    """Which protocols the study holds, which one is shown, and what shows another."""
    found = others(ranking)
    if not found:
        return ""
    own = next(each for each in ranking.pool.protocols if each.name == ranking.pool.protocol)
    return say(
        "This study holds {protocols}, and jobs of several cannot be ranked together. This is about protocol {name} ({size}). Not shown: {others}.",
        protocols=counted(len(ranking.pool.protocols), "protocol"),
        name=own.name,
        size=_size(own),
        others=formats.clauses([_other(ranking, own, each) for each in found], MAX_NAMED),
    )


def _other(ranking: Ranking, own: Protocol, other: Protocol) -> str:
    return say(
        "{difference} ({size}: `{command}`)",
        difference=formats.one_line(other.difference(own)) or say("other terms"),
        size=_size(other),
        command=f"{ranking.command('report')} {shell_word(f'protocol={other.name}')}",
    )


def _size(found: Protocol) -> str:
    jobs = counted(found.num_jobs, "job")
    return jobs if found.num_good == found.num_jobs else say("{jobs}, {number} of them good", jobs=jobs, number=found.num_good)


def outranked(ranking: Ranking) -> str:
    """Who is ranked by its score alone, where candidates are too many to be compared two by two, and what that leaves open."""
    number, total = len(ranking.pool.outranked), len(ranking.entries)
    if not number:
        return ""
    how = say(
        "Of {total} candidates {compared} are compared with each other: those with the best scores, and the fastest and smallest for theirs. The other "
        "{number} are ranked by their scores alone, on as many images; their scores count in what is expected of all.",
        total=formats.count(total),
        compared=formats.count(total - number),
        number=formats.count(number),
    )
    if ranking.num_possible:
        confidence = formats.confidence(ranking.rank.confidence)
        left = say(
            "{number} of them are not excluded as best by a bound that knows nothing of pairs ({confidence} confidence); more labelled images would.",
            number=formats.count(ranking.num_possible),
            confidence=confidence,
        )
        return told(how, left)
    return told(how, say("None of them can be the best ({confidence} confidence).", confidence=formats.confidence(ranking.rank.confidence)))


def latencies(ranking: Ranking) -> str:
    """Whose latencies do not count, as they are of another machine or device than the others'."""
    reasons = {
        entry.label: reason
        for entry in ranking.entries
        if (reason := entry.candidate.row.details.undefined.get("latency_ms_p50", "")).startswith(say(ELSEWHERE))
    }
    if not reasons:
        return ""
    return say(
        "Latencies that do not count: {names} ({reason}). Sweep all with one device=... on one machine to compare them.",
        names=formats.some(list(reasons), MAX_NAMED),
        reason=formats.one_line(next(iter(reasons.values()))),
    )


def versions(ranking: Ranking) -> str:
    """Candidates whose seeds or folds were made by different versions, or that differ in them: their scores are compared all the same."""
    mixed = {entry.label: said for entry in ranking.entries if (said := _versions([*entry.candidate.rows, *entry.candidate.folds]))}
    if mixed:
        return say(
            "Jobs of one candidate were made by different versions, and are taken together all the same ({candidates}).",
            candidates=formats.clauses([say("{name}: {reason}", name=label, reason=said) for label, said in mixed.items()], MAX_NAMED),
        )
    said = _versions([row for entry in ranking.entries for row in entry.candidate.rows])
    return say("Candidates were measured by different versions, and are compared all the same ({versions}).", versions=said) if said else ""


def _versions(rows: Sequence[Row]) -> str:
    """What differs: `torch 2.8.0 and 2.9.0`; empty where nothing does."""
    seen = {name: sorted({str(getattr(row, f"{name}_version") or say("unknown")) for row in rows}) for name in ("harness", "torch", "timm")}
    return formats.one_line(say(", ").join(f"{name} {say(' and ').join(found)}" for name, found in seen.items() if len(found) > 1))


def images(ranking: Ranking) -> str:
    """Images and classes that the answer does not rest on, and those that it counts twice, from the profile of the data."""
    found = profile(ranking)
    total, used = found.get("num_available") or found.get("num_found") or 0, found.get("num_used") or 0
    parts = [_used(found, used, total)] if total > used > 0 else []
    if classes := found.get("dropped_classes"):
        named = say(", ").join([*map(str, list(classes)[:MAX_NAMED]), *(["..."] if len(classes) > MAX_NAMED else [])])
        parts.append(say("{classes} left out ({names})", classes=counted(len(classes), "class", "classes"), names=formats.one_line(named)))
    parts += [say(sentence, number=counted(found[name], noun)) for name, (noun, sentence) in _COUNTED.items() if found.get(name)]
    return say("{clauses}.", clauses=say("; ").join(parts)) if parts else ""


_UNUSED = {
    "num_dropped": noted("{number} named by data.drop"),
    "num_unreadable": noted("{number} cannot be read"),
    "num_duplicates_across": noted("{number} equal one in val or test"),
}
_COUNTED = {
    "num_duplicates": ("image", noted("{number} equal to another one")),
    "num_duplicates_within": ("image", noted("{number} equal to another one of its split, kept")),
    "num_label_conflicts": ("group", noted("{number} of equal images with different labels")),
}
"""Fields of a data profile, and what their numbers are."""


def _used(found: Mapping[str, Any], used: int, total: int) -> str:
    """How many are used, and why no more."""
    reasons = _unused(found, total - used)
    return say(
        "{used} of {total} are used ({reasons})" if reasons else "{used} of {total} are used",
        used=formats.count(used),
        total=counted(total, "image"),
        reasons=say(", ").join(reasons),
    )


def _unused(found: Mapping[str, Any], number: int) -> list[str]:
    """Why so many images are not used; what has no other reason was not drawn."""
    counts = {sentence: int(found.get(name) or 0) for name, sentence in _UNUSED.items()}
    drawn = number - sum(counts.values())
    reasons = [say(sentence, number=formats.count(count)) for sentence, count in counts.items() if count]
    if drawn > 0 and not found.get("dropped_classes"):
        every = say("{number} not drawn, as data.max_images says; data.max_images=null takes all", number=formats.count(drawn))
        reasons.append(every)
    return reasons
