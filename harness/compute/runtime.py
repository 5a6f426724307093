"""Where and in which arithmetic a job computes: what the user asked for made exact on this machine."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import GradScaler
from torch.overrides import TorchFunctionMode
from torch.utils.data import Dataset

from harness.compute.accelerator import see_only
from harness.compute.loading import Loader, ahead
from harness.config import Device, Precision, device_of
from harness.errors import ConfigError

LOWER = {Precision.bfloat16: torch.bfloat16, Precision.float16: torch.float16}
"""Precisions below float32, in which autocast computes what can be computed so."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A resolved device and precision; neither field is `auto`, nor is the precision `mixed`."""

    device: Device
    precision: Precision

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.device.value)

    def autocast(self, precision: Precision, *, trains: bool = False) -> AbstractContextManager[object]:
        """The context in which a trunk runs in a precision; `trains` when gradients are to follow."""
        if precision not in LOWER:
            return nullcontext()
        lower = torch.autocast(self.device.value, dtype=LOWER[precision])
        return _depthwise_apart(lower) if trains and self.device is Device.cpu else lower

    def scaler(self) -> GradScaler | None:
        """What keeps gradients within the range of float16; None: no other precision needs it."""
        return GradScaler(self.device.value) if self.precision is Precision.float16 else None

    def place(self, module: nn.Module) -> nn.Module:
        """Move a module to the device, in channels-last memory format, which convolutions prefer everywhere; done before anything computes."""
        _allow_tf32(self.precision is Precision.tf32)
        return module.to(self.torch_device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def send(self, batch: Tensor) -> Tensor:
        """Move a batch of images (B x C x H x W), features (B x D) or labels (B) to the device, while that goes on computing: pinned, if it is not yet."""
        layout = torch.channels_last if batch.ndim == 4 else torch.preserve_format
        if self.device is Device.cuda and not batch.is_pinned():
            batch = batch.pin_memory()
        return batch.to(self.torch_device, non_blocking=True, memory_format=layout)

    def load(self, samples: Dataset[Any], batch_size: int, order: Sequence[int] | None = None, seed: int = 0) -> Loader:
        """Batches that other processes decode while this one computes.

        Args:
            samples: arrays of one shape; what changes them at random draws from the global generators.
            batch_size: samples of a batch; the last one may have fewer.
            order: which samples, in which order; None: all as they come.
            seed: decides the random changes of samples that have some.
        """
        return Loader(samples, batch_size, order, seed, pins=self.device is Device.cuda)

    def ahead(self, batches: Iterator[tuple[Tensor, ...]]) -> Iterator[tuple[Tensor, ...]]:
        """Batches on the host, ready for `send`: for CUDA a thread makes and pins them while the device computes; else they come as they are."""
        return ahead(tuple(part.pin_memory() for part in batch) for batch in batches) if self.device is Device.cuda else batches

    def synchronise(self) -> None:
        """Wait until the device has done what was asked of it; needed before reading a clock."""
        if self.device is Device.cuda:
            torch.cuda.synchronize()
        elif self.device is Device.mps:
            torch.mps.synchronize()


@contextmanager
def _depthwise_apart(lower: AbstractContextManager[object]) -> Iterator[None]:
    with lower, _DepthwiseInFloat32():
        yield


class _DepthwiseInFloat32(TorchFunctionMode):
    """Convolutions with one input channel a group, whose gradients a processor computes in bfloat16 several times slower."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        is_depthwise = func is torch.conv2d and len(args) > 1 and args[1].shape[1] == 1 < args[0].shape[-3]
        if not is_depthwise:
            return func(*args, **(kwargs or {}))
        with torch.autocast("cpu", enabled=False):
            return func(args[0].float(), *args[1:], **(kwargs or {})).bfloat16()


def resolve_runtime(device: Device, precision: Precision, there: Sequence[Device] | None = None) -> Runtime:
    """Make `auto` and `mixed` exact. With `auto` training and evaluation are in float32, as nothing less is known to give its answers.

    Args:
        device: asked for.
        precision: asked for.
        there: devices of the machine that is to compute, best first; None: it is this one.

    Raises:
        ConfigError: the device is not there or cannot compute in the precision asked for.
    """
    found = _available() if there is None else there
    resolved = found[0] if device is Device.auto else device
    if resolved not in found:
        where = "on this machine" if there is None else "where its workers are"
        raise ConfigError(f"device={device.value}: not {where}; give {', '.join(d.value for d in found)} or auto.")
    if precision in {Precision.bfloat16, Precision.mixed} and resolved is Device.mps:
        raise ConfigError(f"precision={precision.value}: not supported on mps here; give precision=float32 or auto.")
    if precision in {Precision.tf32, Precision.float16} and resolved is not Device.cuda:
        raise ConfigError(f"precision={precision.value}: only cuda has it, and this is {resolved.value}; give precision=float32 or auto.")
    if precision is Precision.mixed and there is not None and resolved is Device.cuda:
        raise ConfigError("precision=mixed: which of the two it is depends on accelerators that are not here; give bfloat16 or float16.")
    return Runtime(resolved, _exact(precision, resolved))


def _exact(precision: Precision, device: Device) -> Precision:
    if precision is Precision.mixed:
        return Precision.float16 if device is Device.cuda and not computes_bfloat16(device) else Precision.bfloat16
    return Precision.float32 if precision is Precision.auto else precision


def runtime_of(device: str, precision: Precision) -> Runtime:
    """`resolve_runtime` of a device's name, for this process, which sees no other accelerator from now on where the name has an index."""
    see_only(device)
    return resolve_runtime(device_of(device)[0], precision)


def require_device(device: Device) -> None:
    """See that a device, not `auto`, is on this machine. Raises ConfigError."""
    resolve_runtime(device, Precision.float32)


def _allow_tf32(is_allowed: bool) -> None:
    """Of this process; torch's own default is yes for convolutions, which then keep 10 bits of float32's 23."""
    torch.backends.cudnn.allow_tf32 = is_allowed
    torch.backends.cuda.matmul.allow_tf32 = is_allowed


def _available() -> list[Device]:
    """Devices of this machine, best first."""
    there = {Device.cuda: torch.cuda.is_available(), Device.mps: torch.backends.mps.is_available(), Device.cpu: True}
    return [device for device, is_there in there.items() if is_there]


def computes_bfloat16(device: Device) -> bool:
    """Whether bfloat16 is a native instruction; emulated, it is slower than float32."""
    if device is Device.cuda:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device is Device.cpu and _processor_computes_bfloat16()


def _processor_computes_bfloat16() -> bool:
    if hasattr(torch.cpu, "get_capabilities"):
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # what the lowest torch that is allowed has instead
    return any(bool(getattr(torch.cpu, name)()) for name in names)
