"""Whether the tensors of a checkpoint are those of a model: names freed of what training scripts put in front, heads passed over.

Between `checkpoint`, which reads a file, and the builders, which fill a model. No tensor of the model may stay at its random start.
"""

from collections.abc import Collection, Mapping
from itertools import accumulate, takewhile
from pathlib import Path

from torch import Tensor

from harness.backbones.checkpoint import shown, size
from harness.errors import BackboneError

_HEADS = frozenset({"head", "heads", "head_dist", "fc", "classifier", "last_linear", "linear", "logits", "projector", "predictor"})
"""Modules that training scripts put behind a backbone: not part of it, whatever their shape."""

_BESIDE = _HEADS | {"criterion", "loss", "loss_fn", "n_averaged"}
"""What may lie beside a backbone in a file."""

_WRAPPERS = ("module.", "_orig_mod.")
"""What data-parallel, averaged and compiled models put in front of every name."""


def bare(state: Mapping[str, Tensor], known: Collection[str]) -> dict[str, Tensor]:
    """A checkpoint without the prefix that all of its tensors share, those of heads and losses beside it aside.

    Args:
        state: as the file has it.
        known: names of the model, by which a prefix is told from a first module; some checkpoints have names of their own.
    """
    own = [name for name in state if not is_beside(name)] or list(state)
    levels = zip(*(name.split(".")[:-1] for name in own), strict=False)
    shared = (f"{parts[0]}." for parts in takewhile(lambda parts: len(set(parts)) == 1, levels))
    prefixes = list(accumulate(shared, initial=""))
    counts = [sum(name.startswith(prefix) and name.removeprefix(prefix) in known for name in own) for prefix in prefixes]
    best = prefixes[counts.index(max(counts))] if any(counts) else _wrapped(prefixes[-1])
    inside = {name.removeprefix(best): tensor for name, tensor in state.items() if name.startswith(best)}
    return {name: tensor for name, tensor in state.items() if not name.startswith(best)} | inside


def _wrapped(prefix: str) -> str:
    """As much of a prefix as wrappers are known to make."""
    found = ""
    while wrapper := next((each for each in _WRAPPERS if prefix.startswith(found + each)), ""):
        found += wrapper
    return found


def is_beside(name: str) -> bool:
    """Whether a tensor that the model does not have is a head's, or something else that may lie beside a backbone."""
    return name.partition(".")[0] in _BESIDE


def fits(tensor: Tensor, place: Tensor) -> bool:
    """Whether a tensor of a file can fill a place in the model as it is; torch would turn whole or complex numbers into real ones."""
    is_real = tensor.is_floating_point() or not place.is_floating_point()
    return tensor.shape == place.shape and is_real and tensor.layout == place.layout


def misfit(tensor: Tensor, place: Tensor) -> str:
    """In what a tensor does not fit: `3x3 instead of 64x64x3x3`."""
    if tensor.shape != place.shape:
        return f"{size(tensor)} instead of {size(place)}"
    return f"{str(tensor.dtype).removeprefix('torch.')} instead of {str(place.dtype).removeprefix('torch.')}"


def require_fit(
    path: Path, found: Collection[str], *, missing: Collection[str], unexpected: Collection[str], mismatched: Mapping[str, str]
) -> None:
    """Refuse a file that does not fill the model: no tensor may silently stay at its random start.

    Args:
        path: the file.
        found: names of all that it holds.
        missing: names that only the model has.
        unexpected: names that only the file has.
        mismatched: name -> in what the tensor of the file differs.

    Raises:
        BackboneError: names up to three of the tensors at fault, and of those found.
    """
    # A counter of training batches; it has no influence once the statistics themselves are there.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    shapes = f" ({next(iter(mismatched.values()))})" if mismatched else ""
    faults = {
        f"lacks {shown(list(missing))}": missing,
        f"has another shape or type for {shown(list(mismatched))}{shapes}": mismatched,
        f"holds unknown {shown(list(unexpected))}": unexpected,
    }
    for fault, names in faults.items():
        if names:
            raise BackboneError(
                f"weights={path}: does not fit the backbone: {fault}; its {len(found)} tensors are {shown(sorted(found))}; "
                f"give the file of this very architecture, or weights=pretrained."
            )
