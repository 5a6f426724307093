"""Where the processes that a thread starts compute: which accelerators they see, which cores are theirs.

A sweep with several workers is one process with a thread for each, and each thread says so for its own children.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

CUDA_VISIBLE = "CUDA_VISIBLE_DEVICES"
TAKEN_OVER = (CUDA_VISIBLE, "CUDA_DEVICE_ORDER")
"""Variables that a child has from its caller, whatever they were when the server started that it is forked from."""


@dataclass(frozen=True, slots=True)
class Place:
    """Part of a machine."""

    cuda_visible: str | None = None
    """As `CUDA_VISIBLE_DEVICES`: indices or UUIDs with commas between them; empty: no accelerator. None: whichever the caller sees."""
    cores: tuple[int, ...] | None = None
    """Numbers of processor cores, as the system counts them. None: all that the caller may use."""

    def settle(self, variables: Mapping[str, str | None]) -> None:
        """Have this process compute here; before it uses an accelerator, or a thread besides its first.

        Args:
            variables: `TAKEN_OVER` of the caller; None: it has no such variable.

        Raises:
            OSError: none of the cores is there, or may be used.
        """
        _here.set(self)
        own = {} if self.cuda_visible is None else {CUDA_VISIBLE: self.cuda_visible}
        for name, value in {**variables, **own}.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if self.cores is not None:
            _keep_to(self.cores)


EVERYWHERE = Place()
"""All that the caller has."""

_here: ContextVar[Place] = ContextVar("here", default=EVERYWHERE)


def here() -> Place:
    """Where processes compute that this thread starts; in such a process, where it computes itself."""
    return _here.get()


@contextmanager
def at(place: Place) -> Iterator[None]:
    """Processes that this thread starts meanwhile compute there; those of other threads do not."""
    before = _here.set(place)
    try:
        yield
    finally:
        _here.reset(before)


def variables() -> dict[str, str | None]:
    """`TAKEN_OVER` of this process, as they are now."""
    return {name: os.environ.get(name) for name in TAKEN_OVER}


def num_cores() -> int:
    """Cores that this process may use, at least one."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _keep_to(cores: tuple[int, ...]) -> None:
    """Run nowhere else, with no more threads than cores; fewer where whoever set `OMP_NUM_THREADS` or the like wants fewer."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    if "torch" in sys.modules:  # a light process has not imported it, and libraries count the cores that are theirs when they are loaded
        import torch
        from threadpoolctl import threadpool_info, threadpool_limits

        torch.set_num_threads(min(len(cores), torch.get_num_threads()))
        threadpool_limits({library["prefix"]: min(len(cores), library["num_threads"]) for library in threadpool_info()})
