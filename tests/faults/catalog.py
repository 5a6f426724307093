"""Every fault that is injected, by name: `python -m tests.faults` makes a table of them, `test_faults.py` a test of each."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from tests.faults.box import Box


class Outcome(StrEnum):
    """What becomes of the work."""

    row = "row"  # the job has a row with its status and a one-line error; all others are good
    refused = "refused"  # said before anything ran; nothing was written
    left_out = "left out"  # what is damaged is left out, and said so; all else is good
    recovered = "recovered"  # noticed and made good; the table is that of an undisturbed run
    resumed = "resumed"  # the sweep ended; the same command went on and the table is that of an undisturbed run


@dataclass(frozen=True)
class Seen:
    """What came of a fault."""

    outcome: Outcome
    words: str
    """What the user reads, as it was printed; or what is different where there is nothing to read."""


@dataclass(frozen=True)
class Fault:
    """One fault, with what injects it and checks that nothing is lost and nothing wrong."""

    area: str
    name: str
    injected: str
    """How, in words."""
    inject: Callable[[Box], Seen]


FAULTS: dict[str, Fault] = {}


def add(each: Fault) -> None:
    """Put one into the catalogue."""
    assert each.name not in FAULTS, each.name
    FAULTS[each.name] = each


def fault(area: str, injected: str) -> Callable[[Callable[[Box], Seen]], Callable[[Box], Seen]]:
    """Register a function whose docstring is the fault in a few words. It asserts what must hold and returns what was seen."""

    def register(inject: Callable[[Box], Seen]) -> Callable[[Box], Seen]:
        name = (inject.__doc__ or "").strip()
        assert name, "the docstring names the fault"
        add(Fault(area, name, injected, inject))
        return inject

    return register
