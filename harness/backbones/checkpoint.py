"""Checkpoint files, which are untrusted input: a file becomes tensors by name, or an error. No code in it ever runs.

Between `weights` (which file) and the trunk that it fills; `fit` decides whether the tensors are those of the model. The bytes are read
once: what was hashed is what becomes tensors.
"""

import hashlib
import io
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.backbones.integrity import is_safetensors, why_no_checkpoint
from harness.backbones.quiet import quiet
from harness.errors import BackboneError, is_out_of_memory
from harness.online.reasons import brief

_WRAPPERS = ("state_dict_ema", "model_ema", "ema", "model_state_dict", "state_dict", "model", "net", "network")
"""Keys under which training scripts put the parameters, the averaged ones first, as timm prefers them."""

_MAX_WRAPPERS = 3
"""One in the other; a pickle may even hold itself."""


def read_state_dict(path: Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Parameters and buffers by name, on the CPU, from a safetensors file or a `torch.save` file that holds only tensors.

    Args:
        path: the file.
        sha256: what it held when the job was made exact; None: whatever it holds.

    Raises:
        BackboneError: the file is damaged, would run code when read, holds something else, or other bytes than it did.
    """
    content = _read(path, sha256)
    tensors = _named_tensors(content, _MAX_WRAPPERS)
    if tensors is None:
        raise BackboneError(
            f"weights={path}: holds no named tensors, but {_found(content)}; give a safetensors file or a saved state_dict."
        )
    return {str(name): tensor.detach() for name, tensor in tensors.items()}


def _named_tensors(content: Any, depth: int) -> Mapping[Any, Tensor] | None:
    if not isinstance(content, Mapping) or not content:
        return None
    if all(isinstance(value, Tensor) for value in content.values()):
        return content
    inner = (_named_tensors(content[key], depth - 1) for key in _WRAPPERS if key in content) if depth else ()
    return next((found for found in inner if found is not None), None)


def _found(content: Any) -> str:
    """What a file holds instead, in a few words."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    return f"a dictionary of {shown([str(key) for key in content])}" if content else "an empty dictionary"


def rename_by_position(state: Mapping[str, Tensor], like: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Give tensors that come in the order of `like` its names. Counts and every shape must agree.

    Raises:
        BackboneError: they do not.
    """
    if len(state) != len(like):
        raise BackboneError(f"weights={path}: {len(state)} tensors where the model has {len(like)}; the file does not fit.")
    for (given, tensor), (name, wanted) in zip(state.items(), like.items(), strict=True):
        if tensor.shape != wanted.shape:
            raise BackboneError(
                f"weights={path}: {brief(given)} has shape {size(tensor)} where {name} has {size(wanted)}; the file does not fit."
            )
    return dict(zip(like, state.values(), strict=True))


def require_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Refuse weights with NaN or infinity among them: whatever they touch is lost, and training would only say that it diverged.

    Raises:
        BackboneError: names up to three of the tensors at fault.
    """
    names = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not _is_finite(tensor)]
    if names:
        raise BackboneError(f"weights={path}: NaN or infinity in {shown(names)}; give another file, or weights=pretrained.")


def _is_finite(tensor: Tensor) -> bool:
    """Whether all of it is. A sum is ten times quicker; one that is finite has nothing else in it, and one that is not may only be large."""
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def shown(names: Sequence[str]) -> str:
    """Up to three names of others' choice, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(brief, names[:3])) + more


def _read(path: Path, sha256: str | None) -> Any:
    try:
        fault = why_no_checkpoint(path)
        content = b"" if fault is not None and sha256 is None else path.read_bytes()
    except OSError as error:
        raise BackboneError(f"weights={path}: cannot be read ({error.strerror}); give the path of a checkpoint.") from error
    if sha256 is not None and (now := hashlib.sha256(content).hexdigest()) != sha256:
        raise BackboneError(
            f"weights={path}: holds other bytes than when it was chosen (content hash {now[:8]}, not {sha256[:8]}); put the earlier file back "
            f"and give retry=failed, or run the sweep again to use the file as it is now."
        )
    if fault is not None:
        raise BackboneError(f"weights={path}: no checkpoint: {fault}; give a safetensors file or a saved state_dict.")
    return _read_safetensors(path, content) if is_safetensors(content[:16]) else _read_pickle(path, content)


def size(tensor: Tensor) -> str:
    """Its shape in words."""
    return "x".join(map(str, tensor.shape)) or "scalar"


def _read_safetensors(path: Path, content: bytes) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(content)
    except (SafetensorError, OSError, ValueError) as error:
        raise BackboneError(f"weights={path}: damaged safetensors file ({brief(str(error))}); fetch it again.") from error


def _read_pickle(path: Path, content: bytes) -> Any:
    import torch

    try:
        with quiet():
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BackboneError(
            f"weights={path}: refused: it is damaged, or reading it takes more than tensors (code could run); save the state_dict() alone."
        ) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise
        words = brief(str(error)) or type(error).__name__
        raise BackboneError(f"weights={path}: not a checkpoint, or a damaged one ({words}); fetch it again.") from error
