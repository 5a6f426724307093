"""Which protocols a study holds, and which of them a ranking is about: rows of one compare, rows of several do not.

Before the pool. No clock has a say: a machine whose clock was ahead would decide what everybody reads.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import TableError
from harness.status import Status
from harness.study.row import Row
from harness.study.store import Study
from harness.text.language import say

_IMAGES = "fingerprint"


@dataclass(frozen=True, slots=True)
class Protocol:
    """What rows must share to be compared, and how many jobs of a study share it."""

    name: str
    """Its hash, as in the column `protocol`."""
    values: dict[str, Any]
    """What the hash covers."""
    num_good: int
    num_jobs: int
    """Those that did not end well included; folds are no jobs."""

    def difference(self, other: "Protocol") -> str:
        """Which of its values differ from those of another, in words: `other images; epochs is 2 instead of 1`. A hash tells a reader nothing."""
        ours, theirs = self.values, other.values
        names = [name for name in {**theirs, **ours} if ours.get(name) != theirs.get(name)]
        said = [
            say("{name} is {own} instead of {other}", name=name, own=ours.get(name), other=theirs.get(name))
            for name in names
            if name != _IMAGES
        ]
        return say("; ").join([*([say("other images")] if _IMAGES in names else []), *said])


def protocols_of(rows: Iterable[Row], lost: Collection[str | None] = ()) -> tuple[Protocol, ...]:
    """Every protocol of some rows, the one with the most good jobs first; of equals the one with the most jobs, then by name.

    Args:
        rows: of one study; folds are passed over.
        lost: ids of jobs whose predictions cannot be used, which are not good.
    """
    own = [row for row in rows if row.fold is None]
    jobs = Counter(row.protocol for row in own)
    good = Counter(row.protocol for row in own if row.status == Status.ok and row.job_id not in lost)
    values = {row.protocol: row.details.protocol for row in own if row.details.protocol}
    found = [Protocol(name, values.get(name, {}), good[name], number) for name, number in jobs.items()]
    return tuple(sorted(found, key=lambda each: (-each.num_good, -each.num_jobs, each.name)))


def find_protocol(study: Study, held: Sequence[Protocol], name: str) -> Protocol:
    """The protocol of that name, or of the start of it. Raises TableError where there is none, or several."""
    named = [each for each in held if name and each.name.startswith(name)]
    if len(named) != 1:
        how = "the start of several" if named else "not"
        raise TableError(f"protocol={name}: {how} in {study.root}; there are {', '.join(each.name for each in held)}.")
    return named[0]
