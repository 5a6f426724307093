"""What jobs need, imported once in the process that they are forked from. It never computes, so that forking it is safe."""

import atexit
import gc
import os

# Importing makes a great many objects and no garbage; looking for some takes a third of the time.
gc.disable()

from harness.compute.idle_threads import wait_briefly  # noqa: E402

wait_briefly()  # read when torch is loaded

from harness.compute.allocator import keep_freed_memory  # noqa: E402
from harness.jobs import prepare, run  # noqa: E402

keep_freed_memory()
gc.enable()
gc.freeze()  # looking through what was imported would make every job copy the pages that it shares with this process
atexit.register(os._exit, 0)  # taking down what was imported would keep whoever waits for the output waiting for a second

__all__ = ["prepare", "run"]
