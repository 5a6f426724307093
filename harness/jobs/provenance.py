"""Where and with what a row was made: versions, machine, commit. Torch is imported only to name an accelerator."""

import os
import platform
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import __version__
from harness.jobs import working_tree

_GIB = 2**30


def versions() -> dict[str, str]:
    """The version columns of a row."""
    return {"harness_version": __version__, "torch_version": version("torch"), "timm_version": version("timm")}


@cache
def libraries() -> dict[str, str]:
    """Versions of what else decides the numbers."""
    found = {name: version(name) for name in ("numpy", "scipy", "scikit-learn", "pillow", "torchvision", "safetensors")}
    return {"python": platform.python_version(), **found}


@cache
def git_commit() -> str | None:
    """Short commit of the working directory, with `+` when files differ from it; None outside a repository."""
    return working_tree.commit()


def machine() -> dict[str, Any]:
    """What step 2 of the report says about the machine; memory in GiB, None for what is not there."""
    import torch

    accelerator = torch.cuda.get_device_properties(0) if torch.cuda.is_available() else None
    cpu = _cpu_name()
    return {
        "device_name": accelerator.name if accelerator else cpu,
        "cpu_name": cpu,
        "num_cores": os.cpu_count(),
        "num_threads": torch.get_num_threads(),
        "memory_gib": _memory_gib(),
        "accelerator_memory_gib": accelerator.total_memory / _GIB if accelerator else None,
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    except (ValueError, OSError, AttributeError):
        return None
