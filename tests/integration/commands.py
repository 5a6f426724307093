"""What integration tests share: options of quick sweeps, and how a command ended."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.study.row import Row
from harness.study.store import Study

QUICK = ("measure.warm_up_s=0", "measure.timing_s=0")
"""Hardly any timing: these tests look at other things."""

TINY = (*QUICK, "weights=random", "data=digits", "data.max_images=60", "train.epochs=1", "data.image_size=32")
"""Options of a sweep that takes seconds."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str
    results: Path

    def study(self, name: str = "digits") -> Study:
        return Study(self.results / name)

    def rows(self, name: str = "digits") -> list[Row]:
        return self.study(name).rows()


Command = Callable[..., Ended]
