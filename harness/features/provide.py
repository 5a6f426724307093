"""One pass through a trunk feeds every job that starts from the same fixed part: find kept rows, compute what is missing.

The step between the backbone and training. N images are read in batches, so memory does not grow with their number.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from harness.config import Device, Precision
from harness.data.transforms import PixelDataset
from harness.errors import StoreError
from harness.features.bank import Bank, InMemory
from harness.features.mode import AS_BUILT, PLAIN, Chain, choose
from harness.features.rows import Crossing, Layout
from harness.features.store import Entry, EntryWriter, FeatureStore
from harness.process.progress import track

READ_MIB_S = 256
"""What reading kept rows is taken to bring at least (MiB per second)."""

WORTH = 2.0
"""Rows are kept where computing them again takes at least this many times as long as reading them."""

IN_MEMORY_MIB = 1024
"""What the head sees stays in memory up to this size where the store has no room."""

DECODED = "decoded"
"""The mode of rows that are images."""

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


class Judge(Protocol):
    """Knows some images of a view, and holds what the head would see of them against the same in float32."""

    @property
    def rows_N(self) -> npt.NDArray[np.int64]: ...

    def __call__(self, fast_ND: npt.NDArray[Any], exact_ND: npt.NDArray[Any]) -> str | None:
        """What is wrong with the first; None: nothing."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Which rows a job wants of a view; every boundary has a clean cut."""

    starts: AbstractSet[int]
    """Boundaries that training starts from; rows are kept there if that is worth it."""
    final: bool
    """Whether it reads what the head sees, which is then there in any case."""
    passing: AbstractSet[int] = frozenset()
    """Boundaries where a pass should keep rows on its way, since other jobs of the sweep start there."""
    judge: Judge | None = None
    """Says whether features of a lower precision will do; None: they never do, unless the user asks for them."""


def fill(bank: Bank, wish: Wish, shelf: Shelf, precision: Precision) -> None:
    """Take kept rows into an empty bank; compute in one pass what is missing and worth keeping.

    Args:
        bank: of the images and the trunk.
        wish: what to provide.
        shelf: where rows are looked for and kept.
        precision: what the user asked for.

    Raises:
        StoreError: what the head sees fits neither into the store nor into memory.
    """
    try:
        _fill(bank, wish, shelf, precision)
    except StoreError as trouble:
        _fill_memory(bank, wish, precision, trouble)


def _fill(bank: Bank, wish: Wish, shelf: Shelf, precision: Precision) -> None:
    for boundary in shelf.addresses:
        if (entry := shelf.find(boundary)) is not None:
            bank.hold(boundary, entry)
    must = {bank.trunk.last} if wish.final else set()
    missing = {boundary for boundary in wish.starts | must if boundary not in bank}
    if not missing:
        return
    source = _Source(bank, start=bank.nearest(min(missing)))
    targets = sorted(k for k in wish.starts | wish.passing | must if k > source.start and k not in bank)
    trial = _try(bank, source, targets, precision, wish.judge)
    keep = _worth_keeping(trial, source, must, shelf.store)
    if not any(keep.keys() - {0}):
        trial = replace(trial, targets=[], chain=None)  # only images, if anything
    if missing & keep.keys() or (wish.starts and 0 in keep):
        _run(bank, trial, source, keep, shelf)
    if any(boundary not in bank for boundary in must):
        raise StoreError(
            "store.max_gib: features were removed while this job kept them; run again, with a larger store.max_gib if it persists."
        )


def _fill_memory(bank: Bank, wish: Wish, precision: Precision, trouble: StoreError) -> None:
    """Do without the store when the disk refuses: keep in memory what the head sees, and leave the rest to be computed whenever it is read.

    Raises:
        StoreError: the same, where what the head sees does not fit into memory either.
    """
    last, effort = bank.trunk.last, bank.effort
    effort.predicted_mib = 0.0
    if wish.final and last not in bank:
        source = _Source(bank, start=bank.nearest(last))
        trial = _try(bank, source, [last], precision, wish.judge)
        layout = Layout.of(trial.crossings[0])
        if layout is None or source.num_images * layout.row.num_bytes > IN_MEMORY_MIB * _MIB:
            raise trouble
        _run(bank, trial, source, {last: layout}, shelf=None)
    effort.note = f"not kept: {trouble}"


_Piece = Callable[[], npt.NDArray[np.uint8] | Crossing]
"""A few images of a pass: gives what crosses the boundary where the pass starts as it was kept, or, decoded, pixels (B, S, S, 3)."""


class _Source:
    """What a pass reads: kept rows or images.

    On a processor whoever computes a piece decodes it first, so that no core ever waits. Beside an accelerator other
    processes decode meanwhile, and where images change at random too, since that takes global generators of its own.
    """

    def __init__(self, bank: Bank, start: int) -> None:
        self.bank = bank
        self.start = start
        self.decodes = start not in bank
        self.num_images = len(bank.view.images)
        self._pieces = iter(self._images() if self.decodes else self._kept())
        self.first = next(self._pieces)

    def __iter__(self) -> Iterator[_Piece]:
        yield self.first
        yield from self._pieces

    def _kept(self) -> Iterator[_Piece]:
        size = self.bank.pool.piece
        for start in range(0, self.num_images, size):
            rows = self.bank.raw(self.start, slice(start, start + size))
            yield partial(lambda found: found, rows)

    def _images(self) -> Iterator[_Piece]:
        size, pixels, runtime = self.bank.pool.piece, self.bank.view.pixels(), self.bank.pool.runtime
        if runtime.device is Device.cpu and self.bank.view.number is None:
            for start in range(0, self.num_images, size):
                yield partial(_decode, pixels, range(start, min(start + size, self.num_images)))
        else:
            for pixels_BHWC in runtime.load(pixels, size):
                yield partial(lambda found: found, pixels_BHWC.numpy())

    def some(self, rows_B: npt.NDArray[np.int64]) -> Crossing:
        """The crossing of chosen images, on the device; of views whose images do not change at random."""
        if not self.decodes:
            return self.bank.read(self.start, rows_B)
        return self.enter(partial(_decode, self.bank.view.pixels(), rows_B.tolist()))[0]

    def enter(self, piece: _Piece) -> tuple[Crossing, npt.NDArray[np.uint8] | None]:
        """The crossing on the device, and the rows of pixels where they are new."""
        found = piece()
        if isinstance(found, tuple):
            return self.bank.enter(self.start, found), None
        pixels_BHWC = torch.from_numpy(found)
        return self.bank.enter(0, (pixels_BHWC.permute(0, 3, 1, 2),)), found.reshape(len(found), -1)


def _decode(pixels: PixelDataset, indices: Sequence[int]) -> npt.NDArray[np.uint8]:
    return np.stack([pixels[index] for index in indices])


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


def _try(bank: Bank, source: _Source, targets: Sequence[int], precision: Precision, judge: Judge | None) -> _Trial:
    if not targets:
        return _Trial(targets, None, None, [], [])
    first, _ = source.enter(source.first)
    num_images = max(4, source.num_images // 100)
    crossing = tuple(part[:num_images] for part in first)

    def trial(*, lower: bool) -> _Trial:
        chain, note = choose(bank.trunk, [source.start, *targets], crossing, bank.pool, precision, lower=lower)
        timed = chain.timed(crossing)
        seconds = [taken / len(crossing[0]) for _, taken in timed]
        slow = None if precision in AS_BUILT else chain.compile_if_it_pays(first, source.num_images, sum(seconds))
        return _Trial(targets, chain, note or slow, [crossing for crossing, _ in timed], seconds)

    found = trial(lower=judge is not None)
    if judge is None or precision is not Precision.auto or found.chain is None:
        return found
    wrong = _wrong(bank, source, found.chain, targets[-1], judge)
    return found if wrong is None else replace(trial(lower=False), note=wrong)


def _wrong(bank: Bank, source: _Source, chain: Chain, end: int, judge: Judge) -> str | None:
    """What a judge says of a chain in a lower precision: the rest of the trunk, and all of it for comparison, is in float32."""
    if chain.mode.precision is Precision.float32:
        return None
    trunk, runtime, step = bank.trunk, bank.pool.runtime, bank.pool.piece
    plain = Chain(trunk, [source.start, trunk.last], PLAIN, runtime)
    rest = Chain(trunk, [end, trunk.last], PLAIN, runtime) if end < trunk.last else None

    def both(rows_B: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        entering = source.some(rows_B)
        fast = tuple(part.float() if part.is_floating_point() else part for part in chain.run(entering)[-1])
        ((fast_BD,), (exact_BD,)) = rest.run(fast)[-1] if rest else fast, plain.run(entering)[-1]
        return fast_BD.float().cpu().numpy(), exact_BD.float().cpu().numpy()

    pieces = [judge.rows_N[start : start + step] for start in range(0, len(judge.rows_N), step)]
    fast_ND, exact_ND = (np.concatenate(parts) for parts in zip(*bank.pool.map(both, pieces), strict=True))
    reason = judge(fast_ND, exact_ND)
    return None if reason is None else f"{chain.mode} {reason}"


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
        layouts[0] = Layout(((3, side, side),), torch.uint8)
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


def _run(bank: Bank, trial: _Trial, source: _Source, keep: Mapping[int, Layout], shelf: Shelf | None) -> None:
    num_images, effort = source.num_images, bank.effort
    effort.note, effort.num_passed = trial.note, num_images if trial.targets else 0
    with ExitStack() as publishing:
        writers = {k: _writer(publishing, shelf, k, layout, num_images) for k, layout in keep.items()}
        stored = [keep[k] for k, writer in writers.items() if isinstance(writer, EntryWriter)]
        effort.predicted_mib = sum(num_images * layout.row.num_bytes for layout in stored) / _MIB
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
        elif shelf and (entry := shelf.find(boundary)) is not None:
            bank.hold(boundary, entry)


def _writer(publishing: ExitStack, shelf: Shelf | None, boundary: int, layout: Layout, num_images: int) -> EntryWriter | _Collected:
    """Into the store; into memory where that has no room, or there is none."""
    num_bytes = num_images * layout.row.num_bytes
    if shelf and shelf.store.has_room_for(num_bytes):
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
    pool = source.bank.pool
    spent, started, starved_s = _Spent(segments=dict.fromkeys(trial.targets, 0.0)), time.perf_counter(), pool.starved_s

    def compute(piece: _Piece) -> tuple[npt.NDArray[np.uint8] | None, list[tuple[npt.NDArray[Any] | None, float]]]:
        entering, pixels_BE = source.enter(piece)
        timed = trial.chain.timed(entering) if trial.chain else []
        packed = [
            (keep[boundary].pack(crossing) if boundary in keep else None, taken_s)
            for boundary, (crossing, taken_s) in zip(trial.targets, timed, strict=True)
        ]
        return pixels_BE, packed

    total = -(-source.num_images // pool.piece)
    for pixels_BE, packed in track(pool.map(compute, source), "features", total):
        if pixels_BE is not None and 0 in writers:
            writers[0].append(pixels_BE)
        for boundary, (rows_BE, taken_s) in zip(trial.targets, packed, strict=True):
            spent.segments[boundary] += taken_s / pool.num_threads
            if rows_BE is not None:
                writers[boundary].append(rows_BE)
    spent.total = time.perf_counter() - started
    spent.waited = pool.starved_s - starved_s
    return spent
