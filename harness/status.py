"""States that a job ends in, and exit statuses of commands."""

from enum import StrEnum

BAD_CONFIG = 2
"""A configuration error: nothing has run; or trouble with a folder: what is finished stays."""
BAD_JOBS = 3
"""Some job is not ok, or what was checked does not match."""
UNREAD = 141
"""Nobody reads the output any more."""


class Status(StrEnum):
    """How a job ended."""

    ok = "ok"
    failed = "failed"  # an error with a message
    oom = "oom"  # out of memory, of the machine or the accelerator
    timeout = "timeout"
    diverged = "diverged"  # the loss stopped being finite
    killed = "killed"  # the process died without a word
    pruned = "pruned"  # a staged search did not train it to the end; its metrics, if any, are those of a short training
