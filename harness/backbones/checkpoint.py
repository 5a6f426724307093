"""Checkpoint files, which are untrusted input: a file becomes tensors by name, or an error. No code in it ever runs.

Between `weights` (which file) and the trunk that it fills; what makes a file fit a network is decided here too.
"""

import pickle
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from harness.backbones.quiet import quiet
from harness.errors import BackboneError

_WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which training scripts put the parameters, the averaged ones first, as timm prefers them."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers by name, on the CPU, from a safetensors file or a `torch.save` file that holds only tensors.

    Raises:
        BackboneError: the file is damaged, would run code when read, or holds something else.
    """
    content = _read_safetensors(path) if _is_safetensors(path) else _read_pickle(path)
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content or not all(isinstance(value, Tensor) for value in content.values()):
        raise BackboneError(f"weights={path}: holds no named tensors; give a safetensors file or a saved state_dict.")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


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
                f"weights={path}: {given} has shape {_size(tensor)} where {name} has {_size(wanted)}; the file does not fit."
            )
    return dict(zip(like, state.values(), strict=True))


def require_fit(path: Path, *, missing: Collection[str], unexpected: Collection[str], mismatched: Collection[str]) -> None:
    """Refuse a file that does not fill the network: no tensor may silently stay at its random start.

    Raises:
        BackboneError: names up to three of the tensors at fault.
    """
    # A counter of training batches; it has no influence once the statistics themselves are there.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    faults = {"lacks": missing, "has another shape for": list(mismatched), "holds unknown": list(unexpected)}
    for fault, names in faults.items():
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise BackboneError(
                f"weights={path}: does not fit the backbone: {fault} {', '.join(names[:3])}{more}; "
                f"give the file of this very architecture, or weights=pretrained."
            )


def _size(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _is_safetensors(path: Path) -> bool:
    """Told by content, since hub caches and users rename files: eight bytes of header length, then JSON."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BackboneError(f"weights={path}: damaged safetensors file ({_first_line(error)}); fetch it again.") from error


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
        raise BackboneError(f"weights={path}: not a checkpoint, or a damaged one ({_first_line(error)}); fetch it again.") from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
