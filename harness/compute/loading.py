"""Batches that other processes decode while this one computes; where the system does not let processes share, they are decoded here.

A batch comes through a pipe and not through shared memory, of which a container may have as little as 64 KiB, or none. Below `runtime`.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_all_start_methods, get_context
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness.compute.seeding import seed_generators
from harness.errors import HarnessError
from harness.process.place import num_cores

MAX_WORKERS = 8
"""Processes that decode; more are rarely needed to keep one device busy."""


class Loader:
    """Stacked samples in order, batch by batch, as often as they are asked for."""

    def __init__(self, samples: Dataset[Any], batch_size: int, order: Sequence[int] | None, seed: int) -> None:
        """Like `Runtime.load`."""
        self._samples, self._batch_size, self._seed = samples, batch_size, seed
        self._order: Sequence[int] = range(len(samples)) if order is None else order  # type: ignore[arg-type]  # every one here has a length

    def __len__(self) -> int:
        return (len(self._order) + self._batch_size - 1) // self._batch_size

    def __iter__(self) -> Iterator[Tensor]:
        return map(torch.from_numpy, self._elsewhere() if can_share_locks() else self._here())

    def _elsewhere(self) -> Iterator[Any]:
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
        try:
            yield from loader
        except HarnessError as error:
            raise _as_raised(error) from error

    def _here(self) -> Iterator[Any]:
        """Every batch with random numbers of its own, so that whoever computes meanwhile draws what it would have drawn."""
        for number, start in enumerate(range(0, len(self._order), self._batch_size)):
            with _random_apart(self._seed + 1_000_003 * number):
                pixels = np.stack([self._samples[index] for index in self._order[start : start + self._batch_size]])
            yield pixels


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
