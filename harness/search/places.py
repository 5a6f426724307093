"""Where the workers of a sweep compute on this machine: one for each accelerator, or for each group of cores."""

import itertools
import os
from collections.abc import Sequence

from harness.config import AUTO, Device
from harness.errors import ConfigError
from harness.process.cores import cores_of_process
from harness.process.isolate import run_isolated
from harness.process.place import CUDA_VISIBLE, EVERYWHERE, Place
from harness.text.counts import counted

CORES_PER_WORKER = 4
"""With `workers=auto` on a processor: short fine-tunes hardly gain from more, and several at once do."""


def places_of(workers: str, device: Device) -> Sequence[Place]:
    """The place of each worker; a single one has the whole machine.

    Args:
        workers: a number, or `auto`.
        device: of all jobs.

    Raises:
        ConfigError: there are too many for this machine.
    """
    if workers == "1":
        return [EVERYWHERE]
    if device is Device.cuda:
        return _on_accelerators(workers, _accelerators())
    if device is not Device.cpu:
        if workers == AUTO:
            return [EVERYWHERE]
        raise ConfigError(f"workers={workers}: {device.value} is one device; give workers=1.")
    return _on_cores(workers, cores_of_process())


def _on_accelerators(workers: str, names: Sequence[str]) -> Sequence[Place]:
    """More workers than accelerators share them."""
    num = len(names) if workers == AUTO else int(workers)
    return [Place(cuda_visible=names[number % len(names)]) for number in range(num)]


def _on_cores(workers: str, cores: Sequence[int]) -> Sequence[Place]:
    """Groups of neighbouring cores, as equal as can be."""
    num = max(1, len(cores) // CORES_PER_WORKER) if workers == AUTO else int(workers)
    if num > len(cores):
        raise ConfigError(f"workers={workers}: this machine has {counted(len(cores), 'core')}; give {len(cores)} or fewer, or auto.")
    if num == 1:
        return [EVERYWHERE]
    bounds = [len(cores) * number // num for number in range(num + 1)]
    return [Place(cores=tuple(cores[low:high])) for low, high in itertools.pairwise(bounds)]


def _accelerators() -> list[str]:
    """What `CUDA_VISIBLE_DEVICES` calls each that jobs see."""
    if (listed := os.environ.get(CUDA_VISIBLE)) is not None:
        return [name.strip() for name in listed.split(",") if name.strip()]
    return [str(number) for number in range(_count_accelerators())]


def _count_accelerators() -> int:
    """At least one, as jobs were made for it. Asked in another process: whoever asks CUDA anything has its memory taken."""
    return run_isolated("torch.cuda:device_count").value or 1
