"""The candidates of a search, and how each ended."""

from dataclasses import dataclass
from enum import StrEnum

from harness.transfer.rungs import Rung


@dataclass(frozen=True, slots=True)
class Trial:
    """A candidate in a search: one backbone at one freeze depth, all its seeds together."""

    name: str
    """Unique."""
    backbone: str
    """Its depths have it in common, and its linear probe."""
    prior: float | None
    """What is known of the backbone from other data, higher is better: the order in which backbones are probed."""
    is_probe: bool
    """Its backbone is frozen and only a head is trained: it is complete at the first rung. At most one per backbone."""


class Ending(StrEnum):
    """Why a trial went no further."""

    complete = "complete"
    failed = "failed"
    probe = "probe"  # the linear probe of its backbone failed
    limit = "limit"  # a limit of the user's excludes it
    unlikely = "unlikely"  # training all that is left would gain less than the loss that is allowed
    time = "time"  # there was no time left for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Where a trial ended."""

    trial: Trial
    rung: Rung | None
    """The last that it went through; None: it never ran."""
    ending: Ending
    prob_better: float | None
    """That its true score is above that of the best that is complete, as believed at the end; None where nothing can be said."""
    needed_s: float
    """What bringing it to the end would have taken from there."""
