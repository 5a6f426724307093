"""Networks built anew with random weights and timed in turn, in a process that does nothing else.

How long a network takes does not depend on what its weights are. Latency and throughput are those of float32 inference in eval mode, whatever
precision trained the network, so that they compare and do not depend on how well this machine computes bfloat16.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from platform import node

import torch
from torch import nn

from harness.backbones.backbone import Weights, WeightsSource
from harness.backbones.catalog import resolve
from harness.backbones.load import load_backbone
from harness.config import Device, Features, Head, HeadInit, MeasureConfig, Precision, TrainConfig, Variant
from harness.heartbeat import beat
from harness.identity import now
from harness.isolate import one_line
from harness.measure.interleave import Block, Call, Pace, interleave, latency, settle
from harness.runtime import Runtime, resolve_runtime
from harness.study.row import Row
from harness.study.timing import Timing
from harness.transfer.network import Network, new_head

THROUGHPUT_BATCH_SIZE = 32
_RANDOM = Weights(WeightsSource.random, None, "random", None, None, None)


@dataclass(eq=False)
class _Subject:
    """A network to be timed, or why it cannot be."""

    single: Call | None = None
    batch: Call | None = None
    """None: there is no memory for a batch."""
    variants: dict[Variant, Call] = field(default_factory=dict)
    error: str | None = None


def time_together(rows: Sequence[Row], cfg: MeasureConfig) -> list[Timing]:
    """Time the networks of rows of one device, in turn.

    Returns:
        One for each row, in their order; what goes wrong with one network is in its `error`.

    Raises:
        ConfigError: the device is not on this machine.
    """
    runtime = resolve_runtime(Device(rows[0].device), Precision.float32)
    torch.set_flush_denormal(True)  # random weights may shrink images to numbers that a processor is slow with, as trained ones do not
    subjects = [_subject(row, runtime, cfg) for row in rows]
    with torch.inference_mode():
        singles = _turns([s.single for s in subjects], Pace(cfg.timing_s * 1000))
        batches = _turns([s.batch for s in subjects], Pace(cfg.timing_s * 500, max_rounds=3, min_rounds=2, settles=False))
        others = {v: _turns([s.variants.get(v) for s in subjects], Pace(cfg.timing_s * 1000)) for v in cfg.variants}
    about = {"timed_on": node(), "timed_at": now(), "num_threads": torch.get_num_threads(), "torch_version": version("torch")}
    return [
        Timing(
            latency_key=str(row.latency_key),
            error=subject.error,
            **about,
            **(asdict(latency(single)) if single else {}),
            throughput_ips=THROUGHPUT_BATCH_SIZE / min(min(block) for block in batch) * 1000 if batch else None,
            **{variant.column: latency(blocks[k]).latency_ms_p50 for variant, blocks in others.items() if blocks[k]},
        )
        for k, (row, subject, single, batch) in enumerate(zip(rows, subjects, singles, batches, strict=True))
    ]


def _turns(calls: Sequence[Call | None], pace: Pace) -> list[list[Block]]:
    """The blocks of each call, none of those that cannot be made."""
    found = iter(interleave([call for call in calls if call], pace))
    return [next(found) if call else [] for call in calls]


def _subject(row: Row, runtime: Runtime, cfg: MeasureConfig) -> _Subject:
    """Build a network and call it until it runs evenly."""
    try:
        network = _build(row, runtime)
        subject = _Subject(single=_call(network, row, runtime, 1))
        _warm(subject.single, cfg)
    except Exception as error:  # noqa: BLE001  whatever goes wrong with one network is its own
        return _Subject(error=one_line(error))
    batch = _call(network, row, runtime, THROUGHPUT_BATCH_SIZE)
    subject.batch = batch if _works(batch) else None
    made = {variant: _call(_varied(network, variant), row, runtime, 1) for variant in cfg.variants}
    subject.variants = {variant: call for variant, call in made.items() if _works(call)}
    return subject


def _build(row: Row, runtime: Runtime) -> Network:
    """The network that the row's job has trained, untrained."""
    recipe = row.details.recipe
    assert row.num_classes is not None
    backbone = load_backbone(resolve(row.backbone), _RANDOM, image_size=row.image_size, features=Features(recipe["features"]), seed=0)
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


def _call(network: nn.Module, row: Row, runtime: Runtime, num_images: int) -> Call:
    """Sends images of noise through the network, with synchronised clocks."""
    assert row.image_size is not None
    images_BCHW = runtime.send(torch.randn(num_images, 3, row.image_size, row.image_size))

    def call() -> float:
        runtime.synchronise()
        started = time.perf_counter()
        network(images_BCHW)
        runtime.synchronise()
        beat()
        return (time.perf_counter() - started) * 1000

    return call


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
