"""How frozen parts of a network are computed: the fastest mode that gives the trunk's answers, found by a short trial.

Used by the passes that cache activations; training and the timing of inference have rules of their own.
Shapes: B images of a batch.
"""

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from harness.compute.runtime import LOWER, Runtime, computes_bfloat16
from harness.compute.thread_pool import ThreadPool
from harness.config import Precision
from harness.features.cut import CutTrunk
from harness.features.fold import folded
from harness.features.fuse import FusedConv, can_fuse
from harness.features.layout import Activations

CLOSE = {Precision.float32: 1e-4, Precision.bfloat16: 0.1, Precision.float16: 0.02}
"""Largest root-mean-square difference of features from the trunk's own in float32, relative to their root-mean-square.

Float32 modes differ by rounding only. Bfloat16 keeps 8 bits of each value, and some hundred roundings in a row come to a few
percent; more means that a value was lost. Float16 keeps 11, and loses values beyond 65504.
"""

_CLEARLY = 1.1
"""A later mode must be this much faster than an earlier one, so that noise does not change the arithmetic from run to run."""

_HOPELESS = 1.5
"""A mode whose first call takes this much longer than the best so far is not timed again."""

COMPILE_S_PER_LAYER = 0.5
COMPILE_SPEEDUP = 1.2
"""What compiling costs and gains (seconds per convolution or linear layer; times faster), measured on two processor cores."""


@dataclass(frozen=True, slots=True)
class Mode:
    """Arithmetic and form of a trunk that only computes."""

    precision: Precision
    """Never auto."""
    is_channels_last: bool = False
    is_folded: bool = False
    is_fused: bool = False
    is_compiled: bool = False

    def __str__(self) -> str:
        words = (
            ("channels-last", self.is_channels_last),
            ("folded", self.is_folded),
            ("fused", self.is_fused),
            ("compiled", self.is_compiled),
        )
        return " ".join([self.precision.value, *(word for word, applies in words if applies)])


PLAIN = Mode(Precision.float32)
"""The network as it was built, in eval mode: what every other mode must agree with."""

AS_BUILT = (Precision.float32, Precision.tf32)
"""Precisions asked for that leave the network as it is."""

_FOLDED = Mode(Precision.float32, is_channels_last=True, is_folded=True)


Forms = dict[tuple[bool, bool], nn.Module]
"""Copies of a trunk by whether they are folded and fused."""


class Chain:
    """The segments between chosen boundaries of a trunk, in one mode."""

    def __init__(self, trunk: CutTrunk, boundaries: Sequence[int], mode: Mode, runtime: Runtime, forms: Forms | None = None) -> None:
        self._runtime = runtime
        root = _in_form(trunk.trunk, mode, {} if forms is None else forms)
        self.mode = replace(mode, is_fused=any(isinstance(module, FusedConv) for module in root.modules()))
        self._segments: list[Callable[..., Activations]] = [trunk.segment(start, end, root) for start, end in pairwise(boundaries)]
        self._num_layers = sum(isinstance(module, (nn.Conv2d, nn.Linear)) for module in root.modules())
        self._batch_size: int | None = None

    def run(self, activations: Activations) -> list[Activations]:
        """Return the activations at each boundary after the first, from those at the first."""
        return [found for found, _ in self.timed(activations)]

    @torch.inference_mode()
    def timed(self, activations: Activations) -> list[tuple[Activations, float]]:
        """As `run`, each with the seconds that its segment took."""
        num_images, found = len(activations[0]), []
        activations = tuple(self._laid_out(part) for part in activations)
        for segment in self._segments:
            started = time.perf_counter()
            with self._runtime.autocast(self.mode.precision):
                activations = segment(*activations)
            self._runtime.synchronise()
            found.append((tuple(part[:num_images] for part in activations), time.perf_counter() - started))
        return found

    def _laid_out(self, part: Tensor) -> Tensor:
        if self._batch_size is not None and len(part) < self._batch_size:  # compiled code is for one batch size
            part = torch.cat([part, part[:1].expand(self._batch_size - len(part), *part.shape[1:])])
        if part.ndim != 4:
            return part
        return part.contiguous(memory_format=torch.channels_last if self.mode.is_channels_last else torch.contiguous_format)

    def compile_if_it_pays(self, activations: Activations, num_images: int, seconds_per_image: float) -> str | None:
        """Compile when the images still to come would repay it twice, and keep that when it is faster and agrees.

        Returns:
            Why not, when it was tried in vain.
        """
        if self.mode.is_fused:  # with the kernels that compiled code would call
            return None
        saved_s = num_images * seconds_per_image * (1 - 1 / COMPILE_SPEEDUP)
        if saved_s < 2 * COMPILE_S_PER_LAYER * self._num_layers:
            return None
        eager, wanted = self._segments, self.run(activations)[-1]
        try:
            self._segments = [torch.compile(segment, dynamic=False) for segment in eager]
            self._batch_size = len(activations[0])
            found = self.run(activations)[-1]
            started = time.perf_counter()
            self.run(activations)
            compiled_s = time.perf_counter() - started
            reason = None if compiled_s < seconds_per_image * len(activations[0]) else "compiled code was slower"
            if not _apart(found, wanted) <= CLOSE[self.mode.precision]:  # also when it is no number
                reason = "compiled code gave other features"
        except Exception as error:  # noqa: BLE001  compilers fail in any way; the trunk runs without
            reason = f"compiling failed ({type(error).__name__})"
        if reason is not None:
            self._segments, self._batch_size = eager, None
        else:
            self.mode = replace(self.mode, is_compiled=True)
        return reason


def modes(runtime: Runtime, asked: Precision, *, lower: bool = False) -> list[Mode]:
    """Modes worth trying, the most likely first. `float32` and `tf32` ask for the network as it is; `bfloat16` and `float16` for nothing else.

    Args:
        runtime: the device.
        asked: what the user asked for.
        lower: whether `auto` may go below float32, which the caller then judges; done only where that is native.
    """
    if asked in AS_BUILT:
        return [replace(PLAIN, precision=asked)]
    high, low = (
        replace(_FOLDED, precision=each, is_fused=can_fuse(runtime.device, each))
        for each in (Precision.float32, Precision.bfloat16 if asked is Precision.auto else asked)
    )
    if asked in LOWER:
        return [low]
    return [low, high, PLAIN] if lower and computes_bfloat16(runtime.device) else [high, PLAIN]


def choose(
    trunk: CutTrunk, boundaries: Sequence[int], activations: Activations, pool: ThreadPool, asked: Precision, *, lower: bool = False
) -> tuple[Chain, str | None]:
    """The fastest mode whose features agree with the trunk's own on a few images.

    Args:
        trunk: on the pool's device.
        boundaries: where the chain begins, where it gives something, and where it ends.
        activations: of a few images, at the first boundary.
        pool: who computes.
        asked: what the user asked for.
        lower: as in `modes`.

    Returns:
        The chain in that mode, and what was wrong with a faster one, if anything.
    """
    runtime = pool.runtime
    plain = Chain(trunk, boundaries, replace(PLAIN, precision=asked) if asked in AS_BUILT else PLAIN, runtime)
    if asked in AS_BUILT:
        return plain, None
    pieces = list(zip(*(part.chunk(pool.num_threads) for part in activations), strict=True))

    def run(chain: Chain) -> tuple[Activations, float]:
        started = time.perf_counter()
        ends = [found[-1] for found in pool.map(chain.run, pieces)]
        return tuple(torch.cat(parts) for parts in zip(*ends, strict=True)), time.perf_counter() - started

    wanted, plain_s = run(plain)
    best: Chain | None = None
    best_s, note = float("inf"), None
    forms: Forms = {}
    for mode in modes(runtime, asked, lower=lower):
        chain, first_s = plain, plain_s
        if mode != PLAIN:
            chain = Chain(trunk, boundaries, mode, runtime, forms)
            found, first_s = run(chain)
            if not (apart := _apart(found, wanted)) <= CLOSE[mode.precision]:
                note = f"{chain.mode} was {apart:.1%} off"
                continue
        if first_s < best_s * _HOPELESS and (seconds := run(chain)[1]) * _CLEARLY < best_s:
            if best and (best_s := min(best_s, run(best)[1])) <= seconds * _CLEARLY:  # it had been disturbed
                continue
            best, best_s = chain, seconds
    return best or plain, note


def _in_form(trunk: nn.Module, mode: Mode, forms: Forms) -> nn.Module:
    """A copy, since the network's own modules go on to train in a form of their own; modes of one form share it."""
    form = (mode.is_folded, mode.is_fused)
    if form not in forms:
        twin = folded(trunk, fuses=mode.is_fused) if mode.is_folded else copy.deepcopy(trunk).eval()
        layout: Any = torch.channels_last if mode.is_channels_last else torch.contiguous_format
        forms[form] = twin.to(memory_format=layout)
    return forms[form]


def _apart(found: Activations, wanted: Activations) -> float:
    gap = sum(((a.float() - b.float()) ** 2).sum().item() for a, b in zip(found, wanted, strict=True))
    size = sum((b.float() ** 2).sum().item() for b in wanted)
    return float((gap / size) ** 0.5) if size else float(gap > 0)
