"""What the user asked for, made exact on this machine or refused."""

import pytest
import torch

from harness.compute import runtime as runtime_module
from harness.compute.runtime import resolve_runtime
from harness.config import Device, Precision
from harness.errors import ConfigError


@pytest.fixture(params=[(Device.cuda, True), (Device.cuda, False), (Device.cpu, True), (Device.mps, False)], ids=str)
def machine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[Device, bool]:
    """Its best device, and whether that computes in bfloat16."""
    device, is_native = request.param
    monkeypatch.setattr(runtime_module, "_available", lambda: [device, Device.cpu])
    monkeypatch.setattr(runtime_module, "computes_bfloat16", lambda _: is_native)
    return device, is_native


def test_auto_is_float32_everywhere(machine: tuple[Device, bool]) -> None:
    """Whatever is faster: nothing less is known to give the same answers."""
    found = resolve_runtime(Device.auto, Precision.auto)
    assert (found.device, found.precision, found.scaler()) == (machine[0], Precision.float32, None)


def test_mixed_is_what_the_accelerator_computes(machine: tuple[Device, bool]) -> None:
    """bfloat16 where that is native, else float16; on a processor bfloat16; refused on mps."""
    device, is_native = machine
    if device is Device.mps:
        with pytest.raises(ConfigError, match=r"^precision=mixed: not supported on mps here; give precision=float32 or auto\.$"):
            resolve_runtime(Device.auto, Precision.mixed)
        return
    found = resolve_runtime(Device.auto, Precision.mixed)
    assert found.precision is (Precision.float16 if device is Device.cuda and not is_native else Precision.bfloat16)


def test_float16_is_for_cuda_alone(machine: tuple[Device, bool]) -> None:
    """Elsewhere one line says so."""
    device, _ = machine
    if device is Device.cuda:
        assert resolve_runtime(Device.auto, Precision.float16).precision is Precision.float16
        return
    said = rf"^precision=float16: only cuda has it, and this is {device.value}; give precision=float32 or auto\.$"
    with pytest.raises(ConfigError, match=said):
        resolve_runtime(Device.auto, Precision.float16)


@pytest.mark.parametrize(("precision", "dtype"), [(Precision.bfloat16, torch.bfloat16), (Precision.float16, torch.float16)])
def test_products_are_in_the_precision_that_is_asked_for(precision: Precision, dtype: torch.dtype) -> None:
    """Parameters stay float32."""
    own = resolve_runtime(Device.cpu, Precision.float32)
    layer = torch.nn.Linear(4, 2)
    with torch.no_grad(), own.autocast(precision):
        assert layer(torch.ones(3, 4)).dtype is dtype
    with torch.no_grad(), own.autocast(Precision.float32):
        assert layer(torch.ones(3, 4)).dtype is torch.float32
