"""Freeze depths as users write them. No torch: the command line checks depths before anything heavy is imported."""

import math
from dataclasses import dataclass

from harness.errors import ConfigError
from harness.text.untrusted import one_line


@dataclass(frozen=True, slots=True)
class FreezeDepth:
    """How much of a backbone stays frozen, counted in blocks from the input. Exactly one field is set."""

    frozen_frac: float | None = None
    """Share of the blocks that is frozen, in [0, 1]."""
    num_free: int | None = None
    """Blocks at the output that stay trainable."""

    @property
    def is_whole(self) -> bool:
        """Whether everything is frozen, whatever the backbone: the head alone is trained."""
        return self == WHOLE

    def __str__(self) -> str:
        if self.num_free is not None:
            return f"-{self.num_free}"
        return {0.0: "none", 1.0: "all"}.get(self.frozen_frac or 0.0, f"{self.frozen_frac!r}")

    def num_frozen(self, num_blocks: int) -> int:
        """Frozen blocks of a backbone with `num_blocks`; fractions round half up. Raises ConfigError when it has too few."""
        if self.num_free is None:
            return math.floor((self.frozen_frac or 0.0) * num_blocks + 0.5)
        if self.num_free > num_blocks:
            raise ConfigError(f"freeze={self}: this backbone has {num_blocks} blocks; give -1 to -{num_blocks}, a fraction, all or none.")
        return num_blocks - self.num_free


WHOLE = FreezeDepth(frozen_frac=1.0)


def parse_freeze(text: str, key: str = "freeze") -> FreezeDepth:
    """Read `all`, `none`, a fraction of the blocks from the input (`0.5`), or minus the blocks left free (`-4`)."""
    words = {"all": WHOLE, "none": FreezeDepth(frozen_frac=0.0)}
    if text in words:
        return words[text]
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if 0 <= number <= 1:
        return FreezeDepth(frozen_frac=number)
    if number <= -1 and number.is_integer() and "." not in text:
        return FreezeDepth(num_free=-int(number))
    raise ConfigError(
        f"{key}={one_line(text)}: not a freeze depth; give all, none, a fraction of the blocks from 0 to 1 (0.5), or minus the blocks to leave free (-4)."
    )
