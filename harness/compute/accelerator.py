"""Which of several accelerators a process uses: it sees that one alone, so that everything behind it says `cuda` and no index.

The index is the driver's, or a place in the list of an outer `CUDA_VISIBLE_DEVICES`, as it is for torch.
"""

import os

import torch

from harness.config import Device, device_of
from harness.errors import ConfigError
from harness.process import place


def require_there(device: str) -> None:
    """See that an index is one of this machine's, without touching an accelerator. Raises ConfigError."""
    _, index = device_of(device)
    if index is None or place.here().cuda_visible is not None:
        return
    if index >= (count := torch.cuda.device_count()):
        raise ConfigError(f"device={device}: not on this machine; give {', '.join([*_named(count), 'cpu'])} or auto.")


_only: int | None = None
"""The index that this process has come down to."""


def see_only(device: str) -> None:
    """Hide all accelerators but that of an index from this process, before it uses any.

    Where a thread of the caller has chosen one for it (`place.at`), that stays.

    Raises:
        ConfigError: it is not here, or the process uses another one already.
    """
    global _only  # noqa: PLW0603  the driver reads the variable once in a process
    _, index = device_of(device)
    if index is None or index == _only or place.here().cuda_visible is not None:
        return
    if _only is not None or torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        raise _late(device)
    require_there(device)
    os.environ[place.CUDA_VISIBLE] = _visible(os.environ.get(place.CUDA_VISIBLE), index)
    torch.cuda.init()  # type: ignore[no-untyped-call]
    if torch.cuda.device_count() != 1:
        raise _late(device)
    _only = index


def identifier(device: Device) -> str | None:
    """What the driver calls the accelerator that this process computes on, as `GPU-...`; None: it is none of CUDA."""
    if device is not Device.cuda:
        return None
    uuid = str(torch.cuda.get_device_properties(0).uuid)
    return uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"


def _late(device: str) -> ConfigError:
    return ConfigError(f"device={device}: this process has used another accelerator already; start a new one for this.")


def _visible(outer: str | None, index: int) -> str:
    """What stands at a place of an outer list of indices or UUIDs."""
    return str(index) if outer is None else [each.strip() for each in outer.split(",")][index]


def _named(count: int) -> list[str]:
    names = [f"cuda:{index}" for index in range(count)]
    return names if count < 4 else [f"{names[0]} to {names[-1]}"]
