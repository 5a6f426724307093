"""Names and digests of everything a model holds, to check that nothing in it has changed."""

import hashlib

import torch
from torch import Tensor, nn


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Every parameter and buffer by name, non-persistent buffers included."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def tensor_digest(tensor: Tensor) -> str:
    """A hash of a tensor's bytes."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return hashlib.blake2b(flat.view(torch.uint8).numpy().data if flat.numel() else b"", digest_size=16).hexdigest()


def network_digest(network: nn.Module) -> str:
    """Of all weights: equal for two jobs that ended in the same model."""
    text = " ".join(f"{name} {tensor_digest(tensor)}" for name, tensor in sorted(tensors_of(network).items()))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
