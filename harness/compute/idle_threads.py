"""How long a thread with nothing to do keeps its core."""

import os


def wait_briefly() -> None:
    """Have OpenMP's threads spin for some 0.1 ms, not for milliseconds, before they sleep. To be called before torch is imported.

    Between two layers a thread waits for the others by spinning. If another program runs, too, it spins on a core that the thread it waits for
    could use. What the user has set stays.
    """
    if "OMP_WAIT_POLICY" not in os.environ:  # which means the same, and would lose
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
