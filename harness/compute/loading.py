"""Batches that other processes decode while this one computes; where the system does not let processes share, they are decoded here.

A batch comes through a pipe and not through shared memory, of which a container may have as little as 64 KiB, or none. For an accelerator a
thread takes batches from the pipe and pins them while it computes. Below `runtime`.
"""

import random
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_all_start_methods, get_context
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.compute.seeding import seed_generators
from harness.errors import HarnessError
from harness.process.place import num_cores

T = TypeVar("T")

MAX_WORKERS = 8
"""Processes that decode; more are rarely needed to keep one device busy."""


_AHEAD = 2
"""Batches that wait pinned for an accelerator at most."""


class Loader:
    """Stacked samples in order, batch by batch, as often as they are asked for."""

    def __init__(self, samples: Dataset[Any], batch_size: int, order: Sequence[int] | None, seed: int, *, pins: bool) -> None:
        """Like `Runtime.load`; `pins`: for an accelerator that copies pinned batches while it computes."""
        self._samples, self._batch_size, self._seed, self._pins = samples, batch_size, seed, pins
        self._order: Sequence[int] = range(len(samples)) if order is None else order  # type: ignore[arg-type]  # every one here has a length

    def __len__(self) -> int:
        return (len(self._order) + self._batch_size - 1) // self._batch_size

    def __iter__(self) -> Iterator[Tensor]:
        if not can_share_locks():
            return map(torch.from_numpy, self._here())  # in the thread that computes, as it draws from the same generators
        batches = map(torch.from_numpy, self._elsewhere())
        return ahead(batch.pin_memory() for batch in batches) if self._pins else batches

    def _elsewhere(self) -> Iterator[Any]:
        """The processes start at once: to fork them while other threads compute would not be safe."""
        workers = min(MAX_WORKERS, max(1, num_cores() - 1))
        loader: DataLoader[Any] = DataLoader(
            self._samples,
            batch_size=self._batch_size,
            sampler=self._order,
            num_workers=workers,
            # A job's own start method imports everything anew in each of its children, which takes seconds.
            multiprocessing_context="fork" if "fork" in get_all_start_methods() else None,
            collate_fn=np.stack,
            generator=torch.Generator().manual_seed(self._seed),
        )
        return _told(iter(loader))

    def _here(self) -> Iterator[Any]:
        """Every batch with random numbers of its own, so that whoever computes meanwhile draws what it would have drawn."""
        for number, start in enumerate(range(0, len(self._order), self._batch_size)):
            with _random_apart(self._seed + 1_000_003 * number):
                pixels = np.stack([self._samples[index] for index in self._order[start : start + self._batch_size]])
            yield pixels


def ahead(items: Iterator[T]) -> Iterator[T]:
    """`items`, made by a thread that stays a little before who takes them. Who stops taking them ends it."""
    end = object()
    with ThreadPoolExecutor(1) as maker:
        pending = deque(maker.submit(next, items, end) for _ in range(_AHEAD))
        while (item := pending.popleft().result()) is not end:
            pending.append(maker.submit(next, items, end))
            yield item  # type: ignore[misc]


def _told(batches: Iterator[T]) -> Iterator[T]:
    try:
        yield from batches
    except HarnessError as error:
        raise _as_raised(error) from error


def _as_raised(error: HarnessError) -> HarnessError:
    """What a user can act on, without the worker's traceback wrapped around it."""
    kind = type(error)
    return kind(str(error).rstrip().rpartition("\n")[2].removeprefix(f"{kind.__module__}.{kind.__qualname__}: "))


@cache
def can_share_locks() -> bool:
    """Whether processes can have a lock in common, which takes a file in /dev/shm; a container may have that read-only, or not at all."""
    try:
        get_context().Lock()
    except (OSError, ImportError):
        return False
    return True


@contextmanager
def _random_apart(seed: int) -> Iterator[None]:
    """Seed the global generators, and put them back as they were."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    seed_generators(seed)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002
        torch.set_rng_state(before[2])
