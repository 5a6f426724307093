"""One pass through a trunk feeds every job that starts from the same fixed part: find kept rows, compute what is missing.

The step between the backbone and training. N images are read in batches, so memory does not grow with their number.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.config import Precision
from harness.errors import StoreError
from harness.features.bank import Bank, InMemory
from harness.features.mode import Chain, choose
from harness.features.rows import Crossing, Layout
from harness.features.store import Entry, EntryWriter, FeatureStore
from harness.progress import track

READ_MIB_S = 256
"""What reading kept rows is taken to bring at least (MiB per second)."""

WORTH = 2.0
"""Rows are kept where computing them again takes at least this many times as long as reading them."""

IN_MEMORY_MIB = 1024
"""What the head sees stays in memory up to this size where the store has no room."""

DECODED = "decoded"
"""The mode of rows that are images."""

BATCH_SIZE = 32
"""Images that go through a trunk together."""
_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Shelf:
    """The places in the store of one view's rows under one trunk."""

    store: FeatureStore
    addresses: Mapping[int, dict[str, Any]]
    """By boundary: of all that may be wanted, the last one and 0 among them."""

    def find(self, boundary: int) -> Entry | None:
        return self.store.find(self.addresses[boundary])

    def create(self, boundary: int, layout: Layout, num_images: int) -> EntryWriter:
        return self.store.create(self.addresses[boundary], layout.row, num_images)


@dataclass(frozen=True, slots=True)
class Wish:
    """Which rows a job wants of a view; every boundary has a clean cut."""

    starts: AbstractSet[int]
    """Boundaries that training starts from; rows are kept there if that is worth it."""
    final: bool
    """Whether it reads what the head sees, which is then there in any case."""
    passing: AbstractSet[int] = frozenset()
    """Boundaries where a pass should keep rows on its way, since other jobs of the sweep start there."""


def fill(bank: Bank, wish: Wish, shelf: Shelf, precision: Precision) -> None:
    """Take kept rows into an empty bank; compute in one pass what is missing and worth keeping.

    Args:
        bank: of the images and the trunk.
        wish: what to provide.
        shelf: where rows are looked for and kept.
        precision: what the user asked for.

    Raises:
        StoreError: the disk failed, or what the head sees fits neither into the store nor into memory.
    """
    for boundary in shelf.addresses:
        if (entry := shelf.find(boundary)) is not None:
            bank.hold(boundary, entry)
    must = {bank.trunk.last} if wish.final else set()
    missing = {boundary for boundary in wish.starts | must if boundary not in bank}
    if not missing:
        return
    source = _Source(bank, start=bank.nearest(min(missing)))
    targets = sorted(k for k in wish.starts | wish.passing | must if k > source.start and k not in bank)
    trial = _try(bank, source, targets, precision)
    keep = _worth_keeping(trial, source, must, shelf.store)
    if missing & keep.keys():
        _run(bank, trial, source, keep, shelf)


@dataclass(frozen=True, slots=True)
class _Batch:
    crossing: Crossing
    """At the boundary where the pass starts, on the device."""
    pixels_BE: npt.NDArray[np.uint8] | None
    """The images themselves, where they were decoded for this pass."""
    waited_s: float


class _Source:
    """What a pass reads: kept rows, or images that other processes decode meanwhile."""

    def __init__(self, bank: Bank, start: int) -> None:
        self.bank = bank
        self.start = start
        self.decodes = start not in bank
        self.num_images = len(bank.view.images)
        self._batches = self._decoded() if self.decodes else self._kept()
        self.first = next(self._batches)

    def __iter__(self) -> Iterator[_Batch]:
        yield self.first
        yield from self._batches

    def _kept(self) -> Iterator[_Batch]:
        for start in range(0, self.num_images, BATCH_SIZE):
            yield _Batch(self.bank.read(self.start, slice(start, start + BATCH_SIZE)), None, 0.0)

    def _decoded(self) -> Iterator[_Batch]:
        decoded = iter(self.bank.runtime.load(self.bank.view.pixels(), BATCH_SIZE))
        while True:
            asked = time.perf_counter()
            pixels_BHWC = next(decoded, None)
            if pixels_BHWC is None:
                return
            waited_s = time.perf_counter() - asked
            crossing = self.bank.enter(0, (pixels_BHWC.permute(0, 3, 1, 2),))
            yield _Batch(crossing, pixels_BHWC.reshape(len(pixels_BHWC), -1).numpy(), waited_s)


@dataclass(frozen=True, slots=True)
class _Trial:
    """A chain in the mode that a pass will use, and what a few images told about it."""

    targets: Sequence[int]
    chain: Chain | None
    """None: there is nothing to compute, only images to decode."""
    note: str | None
    crossings: Sequence[Crossing]
    seconds: Sequence[float]
    """Per image and target, from the target before it."""


def _try(bank: Bank, source: _Source, targets: Sequence[int], precision: Precision) -> _Trial:
    if not targets:
        return _Trial(targets, None, None, [], [])
    num = min(BATCH_SIZE, max(4, source.num_images // 100))
    few = tuple(part[:num] for part in source.first.crossing)
    chain, note = choose(bank.trunk, [source.start, *targets], few, bank.runtime, precision)
    timed = chain.timed(few)
    seconds = [taken / len(few[0]) for _, taken in timed]
    slow = chain.compile_if_it_pays(source.first.crossing, source.num_images, sum(seconds))
    return _Trial(targets, chain, note or slow, [crossing for crossing, _ in timed], seconds)


def _worth_keeping(trial: _Trial, source: _Source, must: AbstractSet[int], store: FeatureStore) -> dict[int, Layout]:
    """Layouts of the rows to keep: those that are read much faster than computed from the kept ones before, while there is room.

    The deepest come first when room is short: they are the smallest and save the most.
    """
    layouts: dict[int, Layout] = {}
    since_s = 0.0
    for boundary, crossing, taken_s in zip(trial.targets, trial.crossings, trial.seconds, strict=True):
        since_s += taken_s
        layout = Layout.of(crossing)
        if layout is not None and (boundary in must or since_s >= WORTH * _reading_s(layout)):
            layouts[boundary], since_s = layout, 0.0
    if source.decodes:
        side = source.bank.view.preprocess.image_size
        pixels = Layout.of((source.first.crossing[0].new_empty((1, 3, side, side)).byte(),))
        assert pixels is not None
        layouts[0] = pixels
    keep: dict[int, Layout] = {}
    for boundary in sorted(layouts, reverse=True):
        total = source.num_images * sum(layout.row.num_bytes for layout in [*keep.values(), layouts[boundary]])
        if boundary in must or store.has_room_for(total):
            keep[boundary] = layouts[boundary]
    return keep


def _reading_s(layout: Layout) -> float:
    return layout.row.num_bytes / (READ_MIB_S * _MIB)


@dataclass(slots=True)
class _Collected:
    """Rows that go into memory instead of the store."""

    parts: list[npt.NDArray[Any]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    def append(self, values_BE: npt.NDArray[Any]) -> None:
        self.parts.append(values_BE)


def _run(bank: Bank, trial: _Trial, source: _Source, keep: Mapping[int, Layout], shelf: Shelf) -> None:
    num_images, effort = source.num_images, bank.effort
    effort.predicted_mib = sum(num_images * layout.row.num_bytes for layout in keep.values()) / _MIB
    effort.note, effort.num_passed = trial.note, num_images if trial.targets else 0
    with ExitStack() as publishing:
        writers = {k: _writer(publishing, shelf, k, layout, num_images) for k, layout in keep.items()}
        spent_s = _compute(trial, source, keep, writers)
        before_s = 0.0 if source.decodes else bank.about(source.start)["seconds"]
        for boundary, layout in keep.items():
            seconds = before_s + spent_s.shared + sum(spent_s.segments[k] for k in trial.targets if k <= boundary)
            mode = str(trial.chain.mode) if trial.chain and boundary else DECODED
            writers[boundary].about |= {"layout": layout.to_json(), "mode": mode, "seconds": seconds}
    effort.wait_frac = spent_s.waited / spent_s.total if source.decodes else None
    for boundary, writer in writers.items():
        if isinstance(writer, _Collected):
            bank.hold(boundary, InMemory(np.concatenate(writer.parts), writer.about))
        elif (entry := shelf.find(boundary)) is not None:
            bank.hold(boundary, entry)


def _writer(publishing: ExitStack, shelf: Shelf, boundary: int, layout: Layout, num_images: int) -> EntryWriter | _Collected:
    num_bytes = num_images * layout.row.num_bytes
    if shelf.store.has_room_for(num_bytes):
        return publishing.enter_context(shelf.create(boundary, layout, num_images))
    if num_bytes > IN_MEMORY_MIB * _MIB:
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


def _compute(trial: _Trial, source: _Source, keep: Mapping[int, Layout], writers: Mapping[int, EntryWriter | _Collected]) -> _Spent:
    spent, started = _Spent(segments=dict.fromkeys(trial.targets, 0.0)), time.perf_counter()
    total = -(-source.num_images // BATCH_SIZE)
    for batch in track(source, "features", total):
        spent.waited += batch.waited_s
        if batch.pixels_BE is not None and 0 in writers:
            writers[0].append(batch.pixels_BE)
        timed = trial.chain.timed(batch.crossing) if trial.chain else []
        for boundary, (crossing, taken_s) in zip(trial.targets, timed, strict=True):
            spent.segments[boundary] += taken_s
            if boundary in writers:
                writers[boundary].append(keep[boundary].pack(crossing))
    spent.total = source.first.waited_s + time.perf_counter() - started
    return spent
