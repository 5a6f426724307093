"""A few images go through a chain before all of them do: in which mode, how long each segment takes, which activations it gives.

Between `mode`, which compares modes, and `provide`, which decides what is worth caching. Shapes: N images that a judge knows, D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from harness.config import Precision
from harness.features.cut import CutTrunk
from harness.features.layout import Activations
from harness.features.mode import AS_BUILT, PLAIN, Chain, choose
from harness.features.pass_source import PassSource


class Judge(Protocol):
    """Compares what the head would see of some images of a view with the same in float32."""

    @property
    def rows_N(self) -> npt.NDArray[np.int64]: ...

    def __call__(self, fast_ND: npt.NDArray[Any], exact_ND: npt.NDArray[Any]) -> str | None:
        """What is wrong with the first; None: nothing."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A chain in the mode that a pass will use, and what a few images told about it."""

    targets: Sequence[int]
    chain: Chain | None
    """None: there is nothing to compute, only images to decode."""
    note: str | None
    activations: Sequence[Activations]
    seconds: Sequence[float]
    """Per image and target, from the target before it."""


def try_chain(trunk: CutTrunk, source: PassSource, targets: Sequence[int], precision: Precision, judge: Judge | None) -> Trial:
    """Return the chain from where a pass starts to its targets, tried on its first images.

    Args:
        trunk: that is run.
        source: of the pass.
        targets: boundaries to compute, ascending.
        precision: what the user asked for.
        judge: says whether `auto` may go below float32; None: it may not.
    """
    if not targets:
        return Trial(targets, None, None, [], [])
    first, _ = source.enter(source.first)
    num_images = max(4, source.num_images // 100)
    activations = tuple(part[:num_images] for part in first)

    def trial(*, lower: bool) -> Trial:
        chain, note = choose(trunk, [source.start, *targets], activations, source.cached.pool, precision, lower=lower)
        timed = chain.timed(activations)
        seconds = [taken / len(activations[0]) for _, taken in timed]
        slow = None if precision in AS_BUILT else chain.compile_if_it_pays(first, source.num_images, sum(seconds))
        return Trial(targets, chain, note or slow, [computed for computed, _ in timed], seconds)

    found = trial(lower=judge is not None)
    if judge is None or precision is not Precision.auto or found.chain is None:
        return found
    wrong = _wrong(trunk, source, found.chain, targets[-1], judge)
    return found if wrong is None else replace(trial(lower=False), note=wrong)


def _wrong(trunk: CutTrunk, source: PassSource, chain: Chain, end: int, judge: Judge) -> str | None:
    """What a judge says of a chain in a lower precision: the rest of the trunk, and all of it for comparison, is in float32."""
    if chain.mode.precision is Precision.float32:
        return None
    pool = source.cached.pool
    plain = Chain(trunk, [source.start, trunk.last], PLAIN, pool.runtime)
    rest = Chain(trunk, [end, trunk.last], PLAIN, pool.runtime) if end < trunk.last else None

    def both(rows_B: npt.NDArray[np.int64]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        entering = source.some(rows_B)
        fast = tuple(part.float() if part.is_floating_point() else part for part in chain.run(entering)[-1])
        ((fast_BD,), (exact_BD,)) = rest.run(fast)[-1] if rest else fast, plain.run(entering)[-1]
        return fast_BD.float().cpu().numpy(), exact_BD.float().cpu().numpy()

    pieces = [judge.rows_N[start : start + pool.piece] for start in range(0, len(judge.rows_N), pool.piece)]
    fast_ND, exact_ND = (np.concatenate(parts) for parts in zip(*pool.map(both, pieces), strict=True))
    reason = judge(fast_ND, exact_ND)
    return None if reason is None else f"{chain.mode} {reason}"
