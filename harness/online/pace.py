"""The one rule that bounds every download: it is given up when fewer than 10 KiB/s arrive over `stall_s` seconds."""

import os
from contextlib import suppress

from harness.errors import ConfigError

MIN_KIB_PER_S = 10
_STALL_S = 60.0


def stall_s() -> float:
    """`HARNESS_DOWNLOAD_STALL_S`, or one minute.

    Raises:
        ConfigError: it is not a number of seconds.
    """
    text = os.environ.get("HARNESS_DOWNLOAD_STALL_S", "").strip()
    with suppress(ValueError):
        if (seconds := float(text or _STALL_S)) > 0:
            return seconds
    raise ConfigError(f"HARNESS_DOWNLOAD_STALL_S={text}: not a number of seconds; give one above 0, or unset it for {_STALL_S:g}.")


def too_slow(limit_s: float, note: str = "") -> str:
    """What to say of a download that was given up, `note` in the middle."""
    return f"less than {MIN_KIB_PER_S} KiB/s in {limit_s:g} s{note}; HARNESS_DOWNLOAD_STALL_S allows more time"
