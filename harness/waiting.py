"""How long a thread with nothing to do keeps its core."""

import os


def wait_briefly() -> None:
    """Have OpenMP's threads wait for their next layer for some 0.1 ms, not for milliseconds, before they sleep. To be called before torch is imported.

    They wait by going round in a circle, and torch has no other threads for a layer. Where something else runs, too, they hold the very cores that those
    they wait for need. What the user has set stays.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
