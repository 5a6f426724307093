"""What a network costs: parameters, multiply-adds, memory, size on disk. How long it takes is measured after the jobs (`timing`)."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.backbones.tensors import tensors_of
from harness.compute.runtime import Runtime
from harness.config import Device

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class Macs:
    """Multiply-adds of one image."""

    gmacs: float
    frozen_frac: float
    """Share that happens in frozen blocks before any that an adapter is in, in [0, 1]."""


def count_macs(network: nn.Module, frozen: AbstractSet[str], image_size: int, runtime: Runtime) -> Macs:
    """Count the multiply-adds of one image and those of the frozen blocks, with torch's flop counter (two flops each).

    A module's own operations belong to the frozen part when every tensor it owns is among the `frozen` ones of the trunk.
    """
    network.eval()
    image_1CHW = runtime.send(torch.zeros(1, 3, image_size, image_size))
    # Fused attention kernels hide their multiply-adds on some devices; the plain formula is counted everywhere.
    with _without_gradients(network), FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        network(image_1CHW)
    flops = {name: sum(operations.values()) for name, operations in counter.get_flop_counts().items()}
    total = flops.get("Global", 0)
    root = type(network).__name__
    frozen_flops = sum(_outermost_frozen_flops(network, frozen, {name.removeprefix(f"{root}."): count for name, count in flops.items()}))
    return Macs(gmacs=total / 2e9, frozen_frac=frozen_flops / total if total else 0.0)


@contextmanager
def _without_gradients(network: nn.Module) -> Iterator[None]:
    """Torch's counter follows gradients wherever a parameter asks for them, and fails where a view of one is handed to a module."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad = False
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad = True


def _outermost_frozen_flops(network: nn.Module, frozen: AbstractSet[str], flops: dict[str, int]) -> list[int]:
    """Flops of each module that is frozen as a whole and does not lie inside another such module."""
    found: dict[str, int] = {}
    for name, module in network.named_modules():
        owned = [f"{name}.{key}".removeprefix("trunk.") for key in tensors_of(module)]
        is_inside = any(name.startswith(f"{outer}.") for outer in found)
        if name.startswith("trunk") and owned and not is_inside and frozen >= set(owned):
            found[name] = flops.get(name, 0)
    return list(found.values())


def params_m(network: nn.Module) -> float:
    """Parameters in millions."""
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6


def weights_mib(network: nn.Module) -> float:
    """Size of the tensors a checkpoint of the network holds (MiB)."""
    return float(sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values()) / _MIB)


def peak_memory_mib(runtime: Runtime) -> float | None:
    """Peak memory of the accelerator on CUDA, else of this process (MiB); None where the system does not tell.

    `ru_maxrss` is of no use: a child process inherits its parent's peak.
    """
    if runtime.device is Device.cuda:
        return float(torch.cuda.max_memory_allocated() / _MIB)
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    for line in status.read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return None
