"""What decides cached activations, as plain values whose hash names their entry: equal addresses hold equal values."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from harness.backbones.backbone import Backbone
from harness.backbones.tensors import tensor_digest, tensors_of
from harness.config import Device, Precision
from harness.data.dataset import ImageRef
from harness.features.view import View

ARITHMETIC = 3
"""Of what a precision that is asked for means; raised whenever it changes, so that rows of an earlier version are not taken for those of this one.

2: `auto` goes below float32 only where a judge agrees, and float32 on an accelerator is without TF32. 3: only heads read what `auto` computes in another form."""


def pixel_address(view: View) -> dict[str, Any]:
    """Of decoded images. Mean and deviation are applied later, so that backbones with one geometry share them."""
    geometry = {name: value for name, value in asdict(view.preprocess).items() if name not in {"mean", "std"}}
    return {
        "kind": "pixels",
        "images": _images(view.images),
        "geometry": geometry,
        "augment": view.augment.value,
        "view": view.number,
        "pillow": version("pillow"),
        "timm": version("timm"),
    }


def feature_address(view: View, digests: Sequence[str], boundary: int, device: Device, precision: Precision) -> dict[str, Any]:
    """Of the activations at a boundary; `precision` is what the user asked for. `digests` are those of `block_digests`."""
    return {
        "kind": "features",
        "pixels": pixel_address(view),
        "normalised": [list(view.preprocess.mean), list(view.preprocess.std)],
        "blocks": _hash("".join(digests[:boundary])),
        "boundary": [boundary, len(digests)],
        "device": device.value,
        "precision": [precision.value, ARITHMETIC],
        "torch": version("torch"),
    }


def block_digests(backbone: Backbone) -> list[str]:
    """A hash for each block: the network's name and every tensor of the block.

    By its tensors, and not only by its name: what a name stands for may be other weights tomorrow.
    """
    tensors = tensors_of(backbone.trunk)
    network = f"{backbone.spec.library} {backbone.spec.identity} {type(backbone.trunk).__name__}"
    return [_hash("\n".join([network, *(f"{name} {tensor_digest(tensors[name])}" for name in block.tensors)])) for block in backbone.blocks]


def _images(images: Sequence[ImageRef]) -> str:
    return _hash("\n".join(image.content_hash for image in images))


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
