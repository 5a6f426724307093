"""How the cores of a processor share work: each takes whole pieces, a few images at a time, instead of a part of every operation.

A piece of a few images stays in a core's cache, no core waits for another after each operation, and the one that computes a piece decodes
it too. An accelerator takes its pieces one after the other.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

from harness.compute.runtime import Runtime
from harness.config import Device

P = TypeVar("P")
R = TypeVar("R")

PIECE = {Device.cpu: 8, Device.cuda: 128, Device.mps: 32}
"""Images that are computed together."""


class ThreadPool:
    """Threads that compute pieces; one per core on a processor."""

    def __init__(self, runtime: Runtime, micro_batch: int | None = None) -> None:
        """Pieces have at most `micro_batch` images, as does what a training step computes at once; None: what is quickest."""
        self.runtime = runtime
        self.micro_batch = micro_batch
        self.piece = min(PIECE[runtime.device], micro_batch or PIECE[runtime.device])
        self.num_threads = torch.get_num_threads() if runtime.device is Device.cpu else 1
        self.starved_s = 0.0
        """Seconds in which a thread had nothing to do because the next piece was not there."""
        # The setting holds for the thread that makes it.
        self._executor = ThreadPoolExecutor(self.num_threads, initializer=torch.set_num_threads, initargs=(1,))
        self._is_alone = runtime.device is not Device.cpu

    def map(self, function: Callable[[P], R], pieces: Iterable[P]) -> Iterator[R]:
        """`function` of every piece, in their order. Pieces are taken from their source a few at a time, by the calling thread."""
        pending: deque[Future[R]] = deque()
        source = iter(pieces)
        if self._is_alone:
            while (piece := self._next(source, pending)) is not None:
                yield function(piece)
            return
        try:
            while (piece := self._next(source, pending)) is not None:
                pending.append(self._executor.submit(function, piece))
                if len(pending) > 2 * self.num_threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def _next(self, source: Iterator[P], pending: Iterable[Future[R]]) -> P | None:
        asked = time.perf_counter()
        piece = next(source, None)
        if piece is not None and sum(not future.done() for future in pending) < self.num_threads:
            self.starved_s += time.perf_counter() - asked
        return piece
