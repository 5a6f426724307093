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
from harness.text.untrusted import shell_word

MAX_NAMED = 3
"""Others that a sentence names."""


def measured(ranking: Ranking) -> str:
    """How else "nothing else was measured" has to end to be true: `measured under the same terms`."""
    ways = [
        *(["to the end"] if ranking.pool.pruned else []),
        *(["under the same terms"] if others(ranking) else []),
        *(["and can be used"] if ranking.pool.damaged else []),
        *(["beside depths that ended in the same model"] if any(entry.candidate.twins for entry in ranking.entries) else []),
    ]
    return " ".join(["measured", *ways])


def others(ranking: Ranking) -> list[Protocol]:
    """Protocols that the study holds besides the one that is ranked."""
    return [each for each in ranking.pool.protocols if each.name != ranking.pool.protocol]


def protocols(ranking: Ranking) -> str:
    """Which protocols the study holds, which one is shown, and what shows another."""
    found = others(ranking)
    if not found:
        return ""
    own = next(each for each in ranking.pool.protocols if each.name == ranking.pool.protocol)
    named = "; ".join(_other(ranking, own, each) for each in found[:MAX_NAMED])
    more = f"; and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return (
        f"This study holds {counted(len(ranking.pool.protocols), 'protocol')}, and jobs of several cannot be ranked together. "
        f"This is about protocol {own.name} ({_size(own)}). Not shown: {named}{more}."
    )


def _other(ranking: Ranking, own: Protocol, other: Protocol) -> str:
    how = formats.one_line(other.difference(own)) or "other terms"
    return f"{how} ({_size(other)}: `{ranking.command('report')} {shell_word(f'protocol={other.name}')}`)"


def _size(found: Protocol) -> str:
    good = "" if found.num_good == found.num_jobs else f", {found.num_good} of them good"
    return f"{counted(found.num_jobs, 'job')}{good}"


def latencies(ranking: Ranking) -> str:
    """Whose latencies do not count, as they are of another machine or device than the others'."""
    reasons = {
        entry.label: reason
        for entry in ranking.entries
        if (reason := entry.candidate.row.details.undefined.get("latency_ms_p50", "")).startswith(ELSEWHERE)
    }
    if not reasons:
        return ""
    named = ", ".join(list(reasons)[:MAX_NAMED]) + (f" and {len(reasons) - MAX_NAMED} more" if len(reasons) > MAX_NAMED else "")
    reason = formats.one_line(next(iter(reasons.values())))
    return f"Latencies that do not count: {named} ({reason}). Sweep all with one device=... on one machine to compare them."


def versions(ranking: Ranking) -> str:
    """Candidates whose seeds or folds were made by different versions, or that differ in them: their scores are compared all the same."""
    mixed = {entry.label: said for entry in ranking.entries if (said := _versions([*entry.candidate.rows, *entry.candidate.folds]))}
    if mixed:
        named = "; ".join(f"{label}: {said}" for label, said in list(mixed.items())[:MAX_NAMED])
        more = f"; and {len(mixed) - MAX_NAMED} more" if len(mixed) > MAX_NAMED else ""
        return f"Jobs of one candidate were made by different versions, and are taken together all the same ({named}{more})."
    said = _versions([row for entry in ranking.entries for row in entry.candidate.rows])
    return f"Candidates were measured by different versions, and are compared all the same ({said})." if said else ""


def _versions(rows: Sequence[Row]) -> str:
    """What differs: `torch 2.8.0 and 2.9.0`; empty where nothing does."""
    seen = {name: sorted({str(getattr(row, f"{name}_version") or "unknown") for row in rows}) for name in ("harness", "torch", "timm")}
    return formats.one_line(", ".join(f"{name} {' and '.join(found)}" for name, found in seen.items() if len(found) > 1))


def images(ranking: Ranking) -> str:
    """Images and classes that the answer does not rest on, and those that it counts twice, from the profile of the data."""
    found = profile(ranking)
    total, used = found.get("num_available") or found.get("num_found") or 0, found.get("num_used") or 0
    parts = [f"{formats.count(used)} of {counted(total, 'image')} are used{_unused(found, total - used)}"] if total > used > 0 else []
    if classes := found.get("dropped_classes"):
        named = ", ".join(str(name) for name in list(classes)[:MAX_NAMED]) + (", ..." if len(classes) > MAX_NAMED else "")
        parts.append(f"{counted(len(classes), 'class', 'classes')} left out ({formats.one_line(named)})")
    parts += [f"{counted(found[name], noun)} {what}" for name, (noun, what) in _COUNTED.items() if found.get(name)]
    return f"{'; '.join(parts)}." if parts else ""


_UNUSED = {"num_dropped": "named by data.drop", "num_unreadable": "cannot be read", "num_duplicates_across": "equal one in val or test"}
_COUNTED = {
    "num_duplicates": ("image", "equal to another one"),
    "num_duplicates_within": ("image", "equal to another one of its split, kept"),
    "num_label_conflicts": ("group", "of equal images with different labels"),
}
"""Fields of a data profile, and what their numbers are."""


def _unused(found: Mapping[str, Any], number: int) -> str:
    """Why so many images are not used; what has no other reason was not drawn."""
    counts = {what: int(found.get(name) or 0) for name, what in _UNUSED.items()}
    drawn = number - sum(counts.values())
    reasons = [f"{formats.count(count)} {what}" for what, count in counts.items() if count]
    if drawn > 0 and not found.get("dropped_classes"):
        reasons.append(f"{formats.count(drawn)} not drawn, as data.max_images says; data.max_images=null takes all")
    return f" ({', '.join(reasons)})" if reasons else ""
