"""Networks built from rows and timed in turn. What is looked at is what is run, never how long it takes."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from harness.config import MeasureConfig, Variant
from harness.errors import ConfigError
from harness.jobs import latency
from harness.jobs.latency import THROUGHPUT_BATCH_SIZE, time_together
from harness.study.row import Details, Row
from harness.transfer.network import Network
from tests.unit.reporting.fake_study import make_row

RECIPE = {"head": "linear", "head_hidden": 8, "features": "pooled"}
NO_TIME = MeasureConfig(warm_up_s=0, timing_s=0)


def row(backbone: str, **columns: Any) -> Row:
    """One of a network with random weights, of three classes."""
    details = Details(recipe=RECIPE | columns.pop("recipe", {}))
    return make_row(backbone, backbone, latency_key=backbone, image_size=32, num_classes=3, details=details, **columns)


@pytest.fixture(autouse=True)
def denormal() -> Iterator[None]:
    """The tests' own process goes on with small numbers as they are."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, bool, bool]]:
    """Batch, classes, whether in training mode, whether under autocast: of every call of a network."""
    calls: list[tuple[int, int, bool, bool]] = []
    forward = Network.forward

    def noting(network: Network, images_BCHW: torch.Tensor) -> torch.Tensor:
        logits_BC = forward(network, images_BCHW)
        calls.append((*logits_BC.shape, network.training, network.runtime.precision.value == "bfloat16"))
        return logits_BC

    monkeypatch.setattr(Network, "forward", noting)
    return calls


def test_a_network_is_built_from_its_row_and_run_alone_and_in_batches(seen: list[tuple[int, int, bool, bool]]) -> None:
    """In eval mode and float32, with the head that the job trained."""
    (found,) = time_together([row("test_resnet", recipe={"head": "mlp"}, precision="bfloat16")], NO_TIME)
    assert set(seen) == {(1, 3, False, False), (THROUGHPUT_BATCH_SIZE, 3, False, False)}
    assert (found.latency_key, found.error, found.num_threads) == ("test_resnet", None, torch.get_num_threads())
    assert found.latency_ms_p50
    assert found.throughput_ips
    assert found.latency_ms_bfloat16 is None


def test_variants_are_timed_when_asked_for(seen: list[tuple[int, int, bool, bool]]) -> None:
    """bfloat16 beside float32, in a column of its own."""
    (found,) = time_together([row("test_resnet")], MeasureConfig(warm_up_s=0, timing_s=0, variants=[Variant.bfloat16]))
    assert found.latency_ms_bfloat16
    assert (1, 3, False, True) in seen
    assert found.latency_ms_compile is None


def test_what_cannot_be_built_does_not_take_the_others_along() -> None:
    """Its timing says why, on one line, and has no numbers; the order is that of the rows."""
    gone, odd, good = time_together([row("no_such_net"), row("test_resnet", recipe={"head": "hydra"}), row("test_vit")], NO_TIME)
    assert "no_such_net: unknown" in (gone.error or "")
    assert "hydra" in (odd.error or "")
    assert (gone.latency_ms_p50, gone.latency_steady, gone.throughput_ips) == (None, None, None)
    assert good.error is None
    assert good.latency_ms_p50


def test_without_memory_for_a_batch_there_is_no_throughput(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate of a smaller one would not compare; single images are timed all the same."""
    forward = Network.forward

    def small(network: Network, images_BCHW: torch.Tensor) -> torch.Tensor:
        if len(images_BCHW) > 1:
            raise MemoryError
        return forward(network, images_BCHW)

    monkeypatch.setattr(Network, "forward", small)
    (found,) = time_together([row("test_resnet")], NO_TIME)
    assert (found.error, found.throughput_ips) == (None, None)
    assert found.latency_ms_p50


def test_waiting_for_a_core_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the time that calls took was spent waiting: the machine was busy, and the times are not steady."""
    clock = iter(range(10**6))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock) / 1000)
    waited = iter(range(10**6))
    monkeypatch.setattr(latency, "_waited_ms", lambda: next(waited) / 2)
    (found,) = time_together([row("test_resnet")], NO_TIME)
    assert [found.latency_ms_p50, found.waited_frac] == pytest.approx([1.0, 0.5])
    assert found.latency_steady is False
    monkeypatch.setattr(latency, "_waited_ms", lambda: None)
    (untold,) = time_together([row("test_resnet")], NO_TIME)
    assert (untold.waited_frac, untold.latency_steady) == (None, True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_here_is_refused() -> None:
    """Before anything is built."""
    with pytest.raises(ConfigError, match="device=cuda: not on this machine"):
        time_together([row("test_resnet", device="cuda")], NO_TIME)


def test_compiled_networks_that_do_not_compile_leave_a_cell_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that is not installed costs a column, not the timing."""

    class _Broken(nn.Module):
        def forward(self, _: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", lambda _: _Broken())
    (found,) = time_together([row("test_resnet")], MeasureConfig(warm_up_s=0, timing_s=0, variants=[Variant.compile]))
    assert (found.error, found.latency_ms_compile) == (None, None)
    assert found.latency_ms_p50
