"""Mixup and CutMix: images of a batch, and their classes, mixed with each other.

Between the inputs and the loop. timm's `Mixup` does the same, but takes batches of even size only and draws from numpy's global generator,
so that an epoch would depend on what ran before it. One share is drawn for a batch, and the batch is mixed with itself in reverse.

Sources: Zhang et al., mixup, ICLR 2018; Yun et al., CutMix, ICCV 2019. Shapes: B images of a batch, C classes, H, W pixels.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np
from torch import Tensor
from torch.nn.functional import one_hot

from harness.config import TrainConfig
from harness.transfer.split_inputs import Batch


def mixed(batches: Iterable[Batch], cfg: TrainConfig, num_classes: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Yield batches of images mixed as the recipe asks, their labels as shares of classes, shape B x C; with both ways, either for half of them."""
    for (images_BCHW,), labels_B in batches:
        cuts = cfg.cutmix > 0 and (cfg.mixup == 0 or rng.random() < 0.5)
        mixed_BCHW, share = (_cut if cuts else _blended)(images_BCHW, cfg.cutmix if cuts else cfg.mixup, rng)
        own_BC = (labels_B if labels_B.ndim == 2 else one_hot(labels_B, num_classes)).to(mixed_BCHW.dtype)
        yield (mixed_BCHW,), share * own_BC + (1 - share) * own_BC.flip(0)


def _blended(images_BCHW: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Images blended with another one, and what share of their own is left."""
    share = rng.beta(alpha, alpha)
    return share * images_BCHW + (1 - share) * images_BCHW.flip(0), share


def _cut(images_BCHW: Tensor, alpha: float, rng: np.random.Generator) -> tuple[Tensor, float]:
    """Images with a rectangle of another one, and what share of their own area is left."""
    height, width = images_BCHW.shape[-2:]
    side = math.sqrt(1 - rng.beta(alpha, alpha))
    (top, bottom), (left, right) = (_span(size, side, rng) for size in (height, width))
    found_BCHW = images_BCHW.clone()
    found_BCHW[..., top:bottom, left:right] = images_BCHW.flip(0)[..., top:bottom, left:right]
    return found_BCHW, 1 - (bottom - top) * (right - left) / (height * width)


def _span(size: int, side: float, rng: np.random.Generator) -> tuple[int, int]:
    """First and last + 1 pixel of a rectangle along one axis; its centre is anywhere, what lies outside is lost."""
    centre, half = int(rng.integers(size)), int(size * side) // 2
    return max(centre - half, 0), min(centre + half, size)
