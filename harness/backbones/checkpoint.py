"""Checkpoint files, which are untrusted input: a file becomes tensors by name, or an error. No code in it ever runs.

Between `weights` (which file) and the trunk that it fills; what makes a file fit a network is decided here too.
"""

import pickle
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.backbones.integrity import is_safetensors, why_no_checkpoint
from harness.backbones.quiet import quiet
from harness.errors import BackboneError, is_out_of_memory
from harness.online.reasons import brief

_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which training scripts put the parameters, the averaged ones first, as timm prefers them."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers by name, on the CPU, from a safetensors file or a `torch.save` file that holds only tensors.

    Raises:
        BackboneError: the file is damaged, would run code when read, or holds something else.
    """
    content = _read(path)
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise BackboneError(f"weights={path}: holds no named tensors; give a safetensors file or a saved state_dict.")
    return {str(name).removeprefix("module."): tensor.detach() for name, tensor in content.items()}


def rename_by_position(state: Mapping[str, Tensor], like: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Give tensors that come in the order of `like` its names. Counts and every shape must agree.

    Raises:
        BackboneError: they do not.
    """
    if len(state) != len(like):
        raise BackboneError(f"weights={path}: {len(state)} tensors where the network has {len(like)}; the file does not fit.")
    for (given, tensor), (name, wanted) in zip(state.items(), like.items(), strict=True):
        if tensor.shape != wanted.shape:
            raise BackboneError(
                f"weights={path}: {brief(given)} has shape {_size(tensor)} where {name} has {_size(wanted)}; the file does not fit."
            )
    return dict(zip(like, state.values(), strict=True))


def require_fit(path: Path, *, missing: Collection[str], unexpected: Collection[str], mismatched: Collection[str]) -> None:
    """Refuse a file that does not fill the network: no tensor may silently stay at its random start.

    Raises:
        BackboneError: names up to three of the tensors at fault.
    """
    # A counter of training batches; it has no influence once the statistics themselves are there.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    faults = {"lacks": missing, "has another shape or type for": list(mismatched), "holds unknown": list(unexpected)}
    for fault, names in faults.items():
        if names:
            raise BackboneError(
                f"weights={path}: does not fit the backbone: {fault} {_shown(names)}; "
                f"give the file of this very architecture, or weights=pretrained."
            )


def fits(tensor: Tensor, place: Tensor) -> bool:
    """Whether a tensor of a file can fill a place in the network as it is; torch would turn whole or complex numbers into real ones."""
    is_real = tensor.is_floating_point() or not place.is_floating_point()
    return tensor.shape == place.shape and is_real and tensor.layout == place.layout


def require_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights with NaN or infinity among them: whatever they touch is lost, and training would only say that it diverged.

    Raises:
        BackboneError: names up to three of the tensors at fault.
    """
    names = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not _is_finite(tensor)]
    if names:
        raise BackboneError(f"weights={path}: NaN or infinity in {_shown(names)}; give another file, or weights=pretrained.")


def _is_finite(tensor: Tensor) -> bool:
    """Whether all of it is. A sum is ten times quicker; one that is finite has nothing else in it, and one that is not may only be large."""
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(brief, names[:3])) + more


def _read(path: Path) -> Any:
    try:
        fault = why_no_checkpoint(path)
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise BackboneError(f"weights={path}: cannot be read ({error.strerror}); give the path of a checkpoint.") from error
    if fault is not None:
        raise BackboneError(f"weights={path}: no checkpoint: {fault}; give a safetensors file or a saved state_dict.")
    return _read_safetensors(path) if is_safetensors(start) else _read_pickle(path)


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BackboneError(f"weights={path}: damaged safetensors file ({brief(str(error))}); fetch it again.") from error


def _read_pickle(path: Path) -> Any:
    import torch

    try:
        with quiet():
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BackboneError(
            f"weights={path}: refused: it is damaged, or reading it takes more than tensors (code could run); save the state_dict() alone."
        ) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        words = brief(str(error)) or type(error).__name__
        raise BackboneError(f"weights={path}: not a checkpoint, or a damaged one ({words}); fetch it again.") from error
