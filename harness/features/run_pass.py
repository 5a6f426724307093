"""One pass of all images of a view: pieces are computed side by side, their activations written to the store or into memory.

Below `provide`, which says what to compute and what to cache. Shapes: B images of a piece, E values of a row.
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.errors import StoreError
from harness.features.cached_activations import InMemory, ViewCache
from harness.features.entry import EntryWriter
from harness.features.layout import Layout
from harness.features.pass_source import PassSource, Piece
from harness.features.trial import Trial
from harness.process.progress import track

IN_MEMORY_MIB = 1024
"""What the head sees stays in memory up to this size where the store has no room."""

DECODED = "decoded"
"""The mode of activations that are images."""

_MIB = 2**20


@dataclass(slots=True)
class _Collected:
    """Rows that go into memory instead of the store."""

    parts: list[npt.NDArray[Any]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    def append(self, values_BE: npt.NDArray[Any]) -> None:
        self.parts.append(values_BE)


def run_pass(source: PassSource, trial: Trial, layouts: Mapping[int, Layout], cache: ViewCache | None) -> None:
    """Compute the trial's targets for all images of a source, and hold in its `cached` those that have a layout.

    Args:
        source: of the pass.
        trial: says what is computed, and how.
        layouts: by boundary, of the activations to cache.
        cache: where they are written; None: into memory.

    Raises:
        StoreError: some fit neither into the store nor into memory.
    """
    num_images, cached = source.num_images, source.cached
    effort = cached.effort
    effort.note, effort.num_passed = trial.note, num_images if trial.targets else 0
    with ExitStack() as publishing:
        writers = {k: _writer(publishing, cache, k, layout, num_images) for k, layout in layouts.items()}
        stored = [layouts[k] for k, writer in writers.items() if isinstance(writer, EntryWriter)]
        effort.predicted_mib = sum(num_images * layout.row.num_bytes for layout in stored) / _MIB
        spent_s = _compute(trial, source, layouts, writers)
        before_s = 0.0 if source.decodes else cached.about(source.start)["seconds"]
        for boundary, layout in layouts.items():
            seconds = before_s + spent_s.shared + sum(spent_s.segments[k] for k in trial.targets if k <= boundary)
            mode = str(trial.chain.mode) if trial.chain and boundary else DECODED
            writers[boundary].about |= {"layout": layout.to_json(), "mode": mode, "seconds": seconds}
    effort.wait_frac = spent_s.waited / spent_s.total if source.decodes else None
    for boundary, writer in writers.items():
        if isinstance(writer, _Collected):
            cached.hold(boundary, InMemory(np.concatenate(writer.parts), writer.about))
        elif cache and (entry := cache.find(boundary)) is not None:
            cached.hold(boundary, entry)


def fits_in_memory(num_bytes: int) -> bool:
    """Return whether activations of this size may be held without the store."""
    return num_bytes <= IN_MEMORY_MIB * _MIB


def _writer(publishing: ExitStack, cache: ViewCache | None, boundary: int, layout: Layout, num_images: int) -> EntryWriter | _Collected:
    """Into the store; into memory where that has no room, or there is none."""
    num_bytes = num_images * layout.row.num_bytes
    if cache and cache.store.has_room_for(num_bytes):
        return publishing.enter_context(cache.create(boundary, layout, num_images))
    if not fits_in_memory(num_bytes):
        raise StoreError(
            f"store.max_gib: {num_bytes / 2**30:.1f} GiB of features fit neither into the store nor into memory; "
            f"give a larger store.max_gib, free some disk, or lower data.max_images."
        )
    return _Collected()


@dataclass(slots=True)
class _Spent:
    """Seconds of a pass."""

    total: float = 0.0
    waited: float = 0.0
    """For images to be decoded."""
    segments: dict[int, float] = field(default_factory=dict)
    """By the boundary at their end."""

    @property
    def shared(self) -> float:
        """Of everything but the segments: decoding, moving, writing."""
        return self.total - sum(self.segments.values())


def _compute(trial: Trial, source: PassSource, layouts: Mapping[int, Layout], writers: Mapping[int, EntryWriter | _Collected]) -> _Spent:
    pool = source.cached.pool
    spent, started, starved_s = _Spent(segments=dict.fromkeys(trial.targets, 0.0)), time.perf_counter(), pool.starved_s

    def compute(piece: Piece) -> tuple[npt.NDArray[np.uint8] | None, list[tuple[npt.NDArray[Any] | None, float]]]:
        entering, pixels_BE = source.enter(piece)
        timed = trial.chain.timed(entering) if trial.chain else []
        packed = [
            (layouts[boundary].pack(activations) if boundary in layouts else None, taken_s)
            for boundary, (activations, taken_s) in zip(trial.targets, timed, strict=True)
        ]
        return pixels_BE, packed

    total = -(-source.num_images // pool.piece)
    for pixels_BE, packed in track(pool.map(compute, source), "features", total, source.num_images):
        if pixels_BE is not None and 0 in writers:
            writers[0].append(pixels_BE)
        for boundary, (rows_BE, taken_s) in zip(trial.targets, packed, strict=True):
            spent.segments[boundary] += taken_s / pool.num_threads
            if rows_BE is not None:
                writers[boundary].append(rows_BE)
    spent.total = time.perf_counter() - started
    spent.waited = pool.starved_s - starved_s
    return spent
