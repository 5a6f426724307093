"""The one switch that turns tracebacks on."""

import os


def is_debugging() -> bool:
    """Whether `HARNESS_DEBUG=1` is set: errors then come with their traceback."""
    return os.environ.get("HARNESS_DEBUG", "") not in {"", "0"}
