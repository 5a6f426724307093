"""How freed memory is kept for the next layer instead of going back to the system."""

import ctypes
from contextlib import suppress

_MIB = 2**20
_M_MMAP_THRESHOLD = -3
"""Smaller blocks are no mappings of their own. Older releases of glibc take half of a thread's heap at most."""
_OPTIONS = {
    -1: 1024 * _MIB,  # M_TRIM_THRESHOLD: what is free at the end of the heap stays
    -2: 128 * _MIB,  # M_TOP_PAD: heaps of threads (64 MiB) stay, too
}


def keep_freed_memory() -> None:
    """Have the C library keep what is freed, from now on and in processes forked later. Does nothing where it is not glibc.

    A layer's output has megabytes. By default glibc gives such a block back as soon as it is freed and gets it again for the next layer,
    page by page and filled with zeros: a third of a training step on a processor.
    """
    with suppress(OSError, AttributeError, TypeError):  # no such library, no such function
        mallopt = ctypes.CDLL(None).mallopt
        if mallopt(_M_MMAP_THRESHOLD, 1024 * _MIB) or mallopt(_M_MMAP_THRESHOLD, 32 * _MIB):
            # Without the first, these would make it worse: setting any of them ends glibc's own way to raise the first.
            for option, value in _OPTIONS.items():
                mallopt(option, value)
