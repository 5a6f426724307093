"""What a network costs: parameters, multiply-adds, latency, throughput, memory, size on disk.

Latency and throughput are those of float32 inference in eval mode, whatever precision trained the network, so that
they compare across jobs and do not depend on how well this machine computes bfloat16.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.special import ndtri, stdtrit
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.backbones.tensors import tensors_of
from harness.config import Device, MeasureConfig, Precision
from harness.errors import is_out_of_memory
from harness.heartbeat import beat
from harness.runtime import Runtime
from harness.transfer.freeze import FreezePlan
from harness.transfer.network import Network

THROUGHPUT_BATCH_SIZE = 32
_MIB = 2**20
_NUM_BLOCKS = 3
"""Calls are timed in blocks; the last three are the measurement."""
_MIN_CALLS, _FEW_CALLS = 7, 1
"""Of a block, whatever its length, unless that takes too long."""
_TOO_LONG_S = 1.7
"""A machine shared with others may take seconds for what it does in milliseconds alone; more of the same would say no more."""
_STEADY_FRAC = 0.02
_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Macs:
    """Multiply-adds of one image."""

    gmacs: float
    frozen_frac: float
    """Share that happens in the frozen blocks, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Inference times of this machine, under the names of their columns; p50 and p95 at batch 1."""

    latency_ms_p50: float
    latency_ms_low: float
    """Lower end of the 95 % interval of the median."""
    latency_ms_high: float
    latency_ms_p95: float
    latency_steady: bool
    """False: the three blocks of calls that were kept differed by more than 2 %."""
    throughput_ips: float | None
    """None: there was no memory for a batch."""


def count_macs(network: nn.Module, plan: FreezePlan, image_size: int, runtime: Runtime) -> Macs:
    """Count the multiply-adds of one image and those of the frozen blocks, with torch's flop counter (two flops each).

    A module's own operations belong to the frozen part when every tensor it owns is frozen.
    """
    network.eval()
    image_1CHW = runtime.send(torch.zeros(1, 3, image_size, image_size))
    # Fused attention kernels hide their multiply-adds on some devices; the plain formula is counted everywhere.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        network(image_1CHW)
    flops = {name: sum(operations.values()) for name, operations in counter.get_flop_counts().items()}
    total = flops.get("Global", 0)
    root = type(network).__name__
    frozen = sum(_outermost_frozen_flops(network, plan, {name.removeprefix(f"{root}."): count for name, count in flops.items()}))
    return Macs(gmacs=total / 2e9, frozen_frac=frozen / total if total else 0.0)


def _outermost_frozen_flops(network: nn.Module, plan: FreezePlan, flops: dict[str, int]) -> list[int]:
    """Flops of each module that is frozen as a whole and does not lie inside another such module."""
    found: dict[str, int] = {}
    for name, module in network.named_modules():
        owned = [f"{name}.{key}".removeprefix("trunk.") for key in tensors_of(module)]
        is_inside = any(name.startswith(f"{outer}.") for outer in found)
        if name.startswith("trunk") and owned and not is_inside and plan.frozen.issuperset(owned):
            found[name] = flops.get(name, 0)
    return list(found.values())


def measure_timing(network: Network, image_size: int, cfg: MeasureConfig) -> Timing:
    """Time single images until times agree, then one batch size, with synchronised clocks; in float32, whatever the network's own runtime."""
    runtime = replace(network.runtime, precision=Precision.float32)
    network = Network(network.trunk, network.head, runtime).eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        one = runtime.send(torch.randn(1, 3, image_size, image_size))
        many = runtime.send(torch.randn(THROUGHPUT_BATCH_SIZE, 3, image_size, image_size))
        latencies_ms, is_steady = _steady(lambda: _timed_ms(network, one, runtime), cfg.timing_s, cfg.warm_up_s)
        throughput_ips = _throughput_ips(network, many, runtime, cfg.timing_s / 2)
    low_ms, high_ms = median_interval(latencies_ms)
    return Timing(
        latency_ms_p50=statistics.median(latencies_ms),
        latency_ms_low=low_ms,
        latency_ms_high=high_ms,
        latency_ms_p95=statistics.quantiles(latencies_ms, n=20, method="inclusive")[-1],
        latency_steady=is_steady,
        throughput_ips=throughput_ips,
    )


def _throughput_ips(network: nn.Module, images_BCHW: torch.Tensor, runtime: Runtime, seconds: float) -> float | None:
    """None where memory does not hold the batch: the rate of a smaller one would not compare.

    That of the quickest call: on a processor the first ones still get their memory from the system, and there may be time for two only.
    """
    try:
        network(images_BCHW)
        batches_ms = _repeat(lambda: _timed_ms(network, images_BCHW, runtime), seconds, 1)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    return len(images_BCHW) / min(batches_ms) * 1000


def median_interval(times: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the median of correlated times, by bootstrap: resampled are blocks of consecutive calls, around the end too.

    Blocks are as long as the square root of the number of calls, so that there are as many of them; for their small number the
    interval is widened as Student's distribution is.
    """
    times_N = np.array(times)
    num_calls, length = len(times_N), math.isqrt(len(times_N))
    num_blocks = -(-num_calls // length)
    firsts = np.random.default_rng(0).integers(num_calls, size=(_DRAWS, num_blocks, 1))
    drawn = times_N[(firsts + np.arange(length)) % num_calls].reshape(_DRAWS, -1)[:, :num_calls]
    median, ends = np.median(times_N), np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    low, high = median + (ends - median) * stdtrit(num_blocks - 1, 0.975) / ndtri(0.975)
    return float(low), float(high)


def _timed_ms(network: nn.Module, images_BCHW: torch.Tensor, runtime: Runtime) -> float:
    started = time.perf_counter()
    network(images_BCHW)
    runtime.synchronise()
    return (time.perf_counter() - started) * 1000


def _repeat(call: Callable[[], float], seconds: float, at_least: int) -> list[float]:
    """Times (milliseconds) of calls for so long, and of `at_least` calls unless they take too long: then of a few."""
    times_ms: list[float] = []
    started = time.perf_counter()
    while (taken_s := time.perf_counter() - started) < seconds or len(times_ms) < (at_least if taken_s < _TOO_LONG_S else _FEW_CALLS):
        times_ms.append(call())
        beat()
    return times_ms


def _steady(call: Callable[[], float], seconds: float, cap_s: float) -> tuple[list[float], bool]:
    """Times of calls over so many seconds, as soon as they agree or `cap_s` were spent before them.

    Returns:
        The times (milliseconds) of the last three blocks, and whether their medians agree within 2 %.
    """
    call()  # what is only done once would be the longest time
    blocks: list[list[float]] = []
    started = time.perf_counter()
    while True:
        blocks.append(_repeat(call, seconds / _NUM_BLOCKS, _MIN_CALLS))
        kept = blocks[-_NUM_BLOCKS:]
        medians = [statistics.median(block) for block in kept]
        is_steady = len(kept) == _NUM_BLOCKS and max(medians) <= min(medians) * (1 + _STEADY_FRAC)
        if is_steady or (len(kept) == _NUM_BLOCKS and time.perf_counter() - started >= cap_s + seconds):
            return [taken for block in kept for taken in block], is_steady


def params_m(network: nn.Module, *, trainable_only: bool = False) -> float:
    """Parameters in millions."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad or not trainable_only) / 1e6


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
