"""The result of one check of `harness.verify`: what was checked, and what does not match."""

from dataclasses import dataclass

from harness.study.store import Damage
from harness.text.counts import counted


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check."""

    looked_at: str
    """A count with its noun; where not everything could be looked at, how much of how much, and why."""
    problems: list[Damage]


def share(number: int, total: int, noun: str, rest: str) -> str:
    """`2 tables` where all were looked at, else `1 of 2 tables (the rest is ...)`; `rest` says what the rest is."""
    return counted(total, noun) if number == total else f"{number} of {counted(total, noun)} (the rest {rest})"
