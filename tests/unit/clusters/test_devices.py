"""What `device=auto` means for workers elsewhere."""

import pytest

from harness.clusters.devices import devices_of
from harness.compute.runtime import resolve_runtime
from harness.config import DataConfig, Device, On, Precision, RayConfig, SlurmConfig, SweepConfig, device_of
from harness.errors import ConfigError


def sweep_on(on: On, num_gpus: int, device: Device = Device.auto) -> SweepConfig:
    """A job whose workers have so many accelerators."""
    data = DataConfig(name="n", source="s")
    given = {"slurm": SlurmConfig(gpus_per_task=num_gpus), "ray": RayConfig(num_gpus=num_gpus)}
    return SweepConfig(backbone="x", data=data, study="n", on=on, device=device.value, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("on", [On.slurm, On.ray])
def test_auto_is_what_workers_are_given(on: On, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine has on which the command is typed."""
    for here in ([Device.cpu], [Device.cuda, Device.cpu], [Device.mps, Device.cpu]):
        monkeypatch.setattr("harness.compute.runtime._available", lambda here=here: here)
        for num_gpus, meant in ((0, Device.cpu), (1, Device.cuda)):
            cfg = sweep_on(on, num_gpus)
            assert resolve_runtime(device_of(cfg.device)[0], cfg.precision, devices_of(cfg)).device is meant
        assert resolve_runtime(Device.auto, Precision.auto, devices_of(sweep_on(On.here, 1))).device is here[0]


def test_a_device_that_is_named_is_taken_at_its_word() -> None:
    """An accelerator may be asked for by other options; what no cluster has is refused."""
    assert resolve_runtime(Device.cuda, Precision.tf32, devices_of(sweep_on(On.slurm, 0))).device is Device.cuda
    with pytest.raises(ConfigError, match="device=mps: not where its workers are; give cpu, cuda or auto"):
        resolve_runtime(Device.mps, Precision.auto, devices_of(sweep_on(On.slurm, 0)))
