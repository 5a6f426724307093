"""The activations that a job reads: those in the store are found; what is missing and worth caching is computed in one pass for all jobs.

The step between the backbone and training. N images are read in batches, so memory does not grow with their number.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import torch

from harness.config import Precision
from harness.errors import StoreError
from harness.features.cached_activations import CachedActivations, ViewCache
from harness.features.cut import CutTrunk
from harness.features.layout import Layout
from harness.features.pass_source import PassSource
from harness.features.run_pass import fits_in_memory, run_pass
from harness.features.store import FeatureStore
from harness.features.trial import Judge, Trial, try_chain

READ_MIB_S = 256
"""What reading cached activations is taken to bring at least (MiB per second)."""

WORTH = 2.0
"""Activations are cached where computing them again takes at least this many times as long as reading them."""

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Request:
    """Which activations of a view a job asks for; every boundary has a clean cut."""

    starts: AbstractSet[int]
    """Boundaries that training starts from; activations are cached there if that is worth it."""
    final: bool
    """Whether it reads what the head sees, which is then there in any case."""
    passing: AbstractSet[int] = frozenset()
    """Boundaries where a pass should cache activations on its way, since other jobs of the sweep start there."""
    judge: Judge | None = None
    """Says whether features of a lower precision will do; None: they never do, unless the user asks for them."""


def fill(cached: CachedActivations, trunk: CutTrunk, request: Request, cache: ViewCache, precision: Precision) -> None:
    """Take what the store has; compute in one pass what is missing and worth caching.

    Args:
        cached: empty; of the view.
        trunk: whose activations they are.
        request: what to provide.
        cache: where activations are looked for and written.
        precision: what the user asked for.

    Raises:
        StoreError: what the head sees fits neither into the store nor into memory.
    """
    try:
        _fill(cached, trunk, request, cache, precision)
    except StoreError as trouble:
        _fill_memory(cached, trunk, request, precision, trouble)


def _fill(cached: CachedActivations, trunk: CutTrunk, request: Request, cache: ViewCache, precision: Precision) -> None:
    for boundary in cache.addresses:
        if (entry := cache.find(boundary)) is not None:
            cached.hold(boundary, entry)
    must = {trunk.last} if request.final else set()
    missing = {boundary for boundary in request.starts | must if boundary not in cached}
    if not missing:
        return
    source = PassSource(cached, start=cached.nearest(min(missing)))
    targets = sorted(k for k in request.starts | request.passing | must if k > source.start and k not in cached)
    trial = try_chain(trunk, source, targets, precision, request.judge)
    layouts = _worth_caching(trial, source, must, cache.store)
    if not any(layouts.keys() - {0}):
        trial = replace(trial, targets=[], chain=None)  # only images, if anything
    if missing & layouts.keys() or (request.starts and 0 in layouts):
        run_pass(source, trial, layouts, cache)
    if any(boundary not in cached for boundary in must):
        raise StoreError(
            "store.max_gib: features were removed while this job kept them; run again, with a larger store.max_gib if it persists."
        )


def _fill_memory(cached: CachedActivations, trunk: CutTrunk, request: Request, precision: Precision, trouble: StoreError) -> None:
    """Do without the store when the disk refuses: hold in memory what the head sees, and leave the rest to be computed whenever it is read.

    Raises:
        StoreError: the same, where what the head sees does not fit into memory either.
    """
    last, effort = trunk.last, cached.effort
    effort.predicted_mib = 0.0
    if request.final and last not in cached:
        source = PassSource(cached, start=cached.nearest(last))
        trial = try_chain(trunk, source, [last], precision, request.judge)
        layout = Layout.of(trial.activations[0])
        if layout is None or not fits_in_memory(source.num_images * layout.row.num_bytes):
            raise trouble
        run_pass(source, trial, {last: layout}, cache=None)
    effort.note = f"not kept: {trouble}"


def _worth_caching(trial: Trial, source: PassSource, must: AbstractSet[int], store: FeatureStore) -> dict[int, Layout]:
    """Layouts of the activations to cache: those read much faster than computed from the cached ones before, while there is room.

    The deepest come first when room is short: they are the smallest and save the most.
    """
    layouts: dict[int, Layout] = {}
    since_s = 0.0
    for boundary, activations, taken_s in zip(trial.targets, trial.activations, trial.seconds, strict=True):
        since_s += taken_s
        layout = Layout.of(activations)
        if layout is not None and (boundary in must or since_s >= WORTH * _reading_s(layout)):
            layouts[boundary], since_s = layout, 0.0
    if source.decodes:
        side = source.cached.view.preprocess.image_size
        layouts[0] = Layout(((3, side, side),), torch.uint8)
    chosen: dict[int, Layout] = {}
    for boundary in sorted(layouts, reverse=True):
        total = source.num_images * sum(layout.row.num_bytes for layout in [*chosen.values(), layouts[boundary]])
        if boundary in must or store.has_room_for(total):
            chosen[boundary] = layouts[boundary]
    return chosen


def _reading_s(layout: Layout) -> float:
    return layout.row.num_bytes / (READ_MIB_S * _MIB)
