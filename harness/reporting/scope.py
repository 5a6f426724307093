"""What the answer is about, and what it leaves out: other protocols, other versions, other machines. Shared by the page and the terminal.

Each function is one sentence or two, and empty where there is nothing to say.
"""

from harness.reporting import formats
from harness.select.protocols import Protocol
from harness.select.ranking import Ranking
from harness.untrusted import shell_word
from harness.words import counted

MAX_NAMED = 3
"""Others that a sentence names."""


def measured(ranking: Ranking) -> str:
    """How else "nothing else was measured" has to end to be true: `measured under the same terms`."""
    ways = [
        *(["to the end"] if ranking.pruned else []),
        *(["under the same terms"] if others(ranking) else []),
        *(["and can be used"] if ranking.damaged else []),
    ]
    return " ".join(["measured", *ways])


def others(ranking: Ranking) -> list[Protocol]:
    """Protocols that the study holds besides the one that is ranked."""
    return [each for each in ranking.protocols if each.name != ranking.protocol]


def protocols(ranking: Ranking) -> str:
    """Which protocols the study holds, which one is shown, and what shows another."""
    found = others(ranking)
    if not found:
        return ""
    own = next(each for each in ranking.protocols if each.name == ranking.protocol)
    named = "; ".join(_other(ranking, own, each) for each in found[:MAX_NAMED])
    more = f"; and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return (
        f"This study holds {counted(len(ranking.protocols), 'protocol')}, and jobs of several cannot be ranked together. "
        f"This is about protocol {own.name} ({_size(own)}). Not shown: {named}{more}."
    )


def _other(ranking: Ranking, own: Protocol, other: Protocol) -> str:
    how = formats.one_line(other.difference(own)) or "other terms"
    return f"{how} ({_size(other)}: `{ranking.ask_again} {shell_word(f'protocol={other.name}')}`)"


def _size(found: Protocol) -> str:
    good = "" if found.num_good == found.num_jobs else f", {found.num_good} of them good"
    return f"{counted(found.num_jobs, 'job')}{good}"
