"""Networks built anew with random weights and timed in turn, in a process that does nothing else.

How long a network takes does not depend on what its weights are. Latency and throughput are those of float32 inference in eval mode, whatever
precision trained the network, so that they compare and do not depend on how well this machine computes bfloat16.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from platform import node
from typing import Any

import torch
from torch import nn

from harness.backbones.backbone import Weights, WeightsSource
from harness.backbones.catalog import resolve_again
from harness.backbones.load import load_backbone
from harness.compute.runtime import Runtime, runtime_of
from harness.config import Device, Features, Head, HeadInit, MeasureConfig, Precision, TrainConfig, Variant, device_of
from harness.jobs.identity import now
from harness.measure.interleave import Block, Call, Pace, interleave, latency, settle
from harness.process.heartbeat import beat
from harness.process.isolate import one_line
from harness.study.row import Row
from harness.study.timing import Timing
from harness.transfer.network import Network, new_head

THROUGHPUT_BATCH_SIZE = 32
_RANDOM = Weights(WeightsSource.random, None, "random", None, None, None)


@dataclass(eq=False)
class _Forward:
    """Sends images of noise through a network, with synchronised clocks: a `Call`."""

    network: nn.Module
    runtime: Runtime
    images_BCHW: torch.Tensor
    taken_ms: float = 0.0
    """By all calls."""
    waited_ms: float | None = 0.0

    def __call__(self) -> float:
        waited_before = _waited_ms()
        self.runtime.synchronise()
        started = time.perf_counter()
        self.network(self.images_BCHW)
        self.runtime.synchronise()
        taken_ms = (time.perf_counter() - started) * 1000
        self.taken_ms += taken_ms
        waited = _waited_ms()
        if self.waited_ms is not None:
            self.waited_ms = None if waited is None or waited_before is None else self.waited_ms + waited - waited_before
        beat()
        return taken_ms

    @property
    def waited_frac(self) -> float | None:
        """How long threads waited for a core, by the time that calls took."""
        return None if self.waited_ms is None or not self.taken_ms else self.waited_ms / self.taken_ms


def _waited_ms() -> float | None:
    """How long threads of this process have been ready to run and have had no core, all together; None where the system does not tell."""
    try:
        return sum(int(path.read_bytes().split()[1]) for path in Path("/proc/self/task").glob("*/schedstat")) / 1e6
    except (OSError, IndexError):
        return None


@dataclass(eq=False)
class _Subject:
    """A network to be timed, or why it cannot be."""

    single: _Forward | None = None
    batch: _Forward | None = None
    """None: there is no memory for a batch."""
    variants: dict[Variant, _Forward] = field(default_factory=dict)
    error: str | None = None


def time_together(rows: Sequence[Row], cfg: MeasureConfig, device: str = Device.auto.value) -> list[Timing]:
    """Time the networks of rows of one device, in turn.

    Args:
        rows: whose networks.
        cfg: how long each is timed.
        device: as the jobs were asked for, with the index of an accelerator if they had one; it counts where the rows are of that device.

    Returns:
        One for each row, in their order; what goes wrong with one network is in its `error`.

    Raises:
        ConfigError: the device is not on this machine.
    """
    own = str(rows[0].device)
    runtime = runtime_of(device if device_of(device)[0].value == own else own, Precision.float32)
    torch.set_flush_denormal(True)  # random weights may shrink images to numbers that a processor is slow with, as trained ones do not
    subjects = [_subject(row, runtime, cfg) for row in rows]
    with torch.inference_mode():
        singles = _turns([s.single for s in subjects], Pace(cfg.timing_s * 1000))
        batches = _turns([s.batch for s in subjects], Pace(cfg.timing_s * 500, max_rounds=3, min_rounds=1, settles=False))
        others = {v: _turns([s.variants.get(v) for s in subjects], Pace(cfg.timing_s * 1000)) for v in cfg.variants}
    about: dict[str, Any] = {
        "timed_on": node(),
        "timed_at": now(),
        "num_threads": torch.get_num_threads(),
        "torch_version": version("torch"),
    }
    timings = []
    for k, (row, subject) in enumerate(zip(rows, subjects, strict=True)):
        of_variants = {variant.column: latency(blocks[k]).latency_ms_p50 for variant, blocks in others.items() if blocks[k]}
        found: dict[str, Any] = {**about, **_columns(subject, singles[k], batches[k]), **of_variants}
        timings.append(Timing(latency_key=str(row.latency_key), error=subject.error, **found))
    return timings


def _turns(calls: Sequence[_Forward | None], pace: Pace) -> list[list[Block]]:
    """The blocks of each call, none of those that cannot be made."""
    found = iter(interleave([call for call in calls if call], pace))
    return [next(found) if call else [] for call in calls]


def _columns(subject: _Subject, singles: Sequence[Block], batches: Sequence[Block]) -> dict[str, Any]:
    """What was measured; nothing of a network that could not be timed."""
    if subject.single is None:
        return {}
    waited_frac = subject.single.waited_frac
    rate = THROUGHPUT_BATCH_SIZE / min(min(block) for block in batches) * 1000 if batches else None
    return asdict(latency(singles, waited_frac)) | {"waited_frac": waited_frac, "throughput_ips": rate}


def _subject(row: Row, runtime: Runtime, cfg: MeasureConfig) -> _Subject:
    """Build a network and call it until it runs evenly."""
    try:
        network = _build(row, runtime)
        single = _forward(network, row, runtime, 1)
        _warm(single, cfg)
    except Exception as error:  # noqa: BLE001  whatever goes wrong with one network is its own
        return _Subject(error=one_line(error))
    batch = _forward(network, row, runtime, THROUGHPUT_BATCH_SIZE)
    variants = {variant: _forward(_varied(network, variant), row, runtime, 1) for variant in cfg.variants}
    return _Subject(
        single=single,
        batch=batch if _works(batch) else None,
        variants={variant: call for variant, call in variants.items() if _works(call)},
    )


def _build(row: Row, runtime: Runtime) -> Network:
    """The network that the row's job has trained, untrained."""
    recipe = row.details.recipe
    assert row.num_classes is not None
    backbone = load_backbone(
        resolve_again(row.backbone, row.model), _RANDOM, image_size=row.image_size, features=Features(recipe["features"]), seed=0
    )
    head_cfg = TrainConfig(head=Head(recipe["head"]), head_hidden=int(recipe["head_hidden"]), head_init=HeadInit.random)
    network = Network(backbone.trunk, new_head(backbone.num_features, row.num_classes, head_cfg, seed=0), runtime)
    runtime.place(network.eval())
    return network


def _varied(network: Network, variant: Variant) -> nn.Module:
    """The same modules, computed in another way."""
    if variant is Variant.bfloat16:
        return Network(network.trunk, network.head, Runtime(network.runtime.device, Precision.bfloat16)).eval()
    compiled: nn.Module = torch.compile(network)  # type: ignore[assignment]
    return compiled


def _forward(network: nn.Module, row: Row, runtime: Runtime, num_images: int) -> _Forward:
    assert row.image_size is not None
    return _Forward(network, runtime, runtime.send(torch.randn(num_images, 3, row.image_size, row.image_size)))


@torch.inference_mode()
def _warm(call: Call, cfg: MeasureConfig) -> None:
    settle(call, cfg.warm_up_s * 1000)


@torch.inference_mode()
def _works(call: Call) -> bool:
    """Whether a call comes back; the first one still gets its memory from the system, or compiles. If it does not, a cell stays empty."""
    try:
        call()
    except Exception:  # noqa: BLE001  memory for a batch, and whatever a compiler raises
        return False
    return True
