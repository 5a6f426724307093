"""Counters of energy, read where there are some; what cannot be read is said and stops no job."""

import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.jobs import energy as energy_module
from harness.jobs.energy import metered


class NVMLError(Exception):
    """As NVML raises it."""


def _package(root: Path, number: str, name: str, energy_uj: int, most_uj: int = 262_143_328_850) -> Path:
    folder = root / f"intel-rapl:{number}"
    folder.mkdir(parents=True)
    for key, value in {"name": name, "energy_uj": energy_uj, "max_energy_range_uj": most_uj}.items():
        (folder / key).write_text(f"{value}\n", encoding="ascii")
    return folder / "energy_uj"


def _nvml(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> None:
    def handle(identifier: str) -> str:
        if identifier != "GPU-1":
            raise NVMLError("Not Found")
        return "handle"

    fake = SimpleNamespace(NVMLError=NVMLError, nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=handle, **functions)
    monkeypatch.setitem(sys.modules, "pynvml", fake)


def test_packages_are_summed_and_nothing_that_is_in_them_or_around_them(tmp_path: Path) -> None:
    """Two packages count; the cores of one and the whole system do not."""
    first = _package(tmp_path, "0", "package-0", 1_000_000)
    second = _package(tmp_path, "1", "package-1", 0)
    others = [_package(tmp_path, "0:0", "core", 0), _package(tmp_path, "2", "psys", 0)]
    with metered(None, tmp_path) as energy:
        first.write_text("3600001000000\n", encoding="ascii")
        second.write_text("7200000000\n", encoding="ascii")
        for other in others:
            other.write_text("999999999999\n", encoding="ascii")
    assert energy.wh == pytest.approx(1000 + 2)
    assert (energy.of, energy.note) == ("processor", "")


def test_a_counter_that_begins_again_is_followed(tmp_path: Path) -> None:
    """More than once, as it is read meanwhile."""
    counter = _package(tmp_path, "0", "package-0", 900, most_uj=1000)
    (package,) = energy_module._packages(tmp_path)
    for value in (100, 800, 100):
        counter.write_text(f"{value}\n", encoding="ascii")
        package.advance()
    assert package.joules == pytest.approx((200 + 700 + 300) / 1e6)


def test_counters_are_read_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a thread of its own, however long the job computes."""
    monkeypatch.setattr(energy_module, "_EVERY_S", 0.001)
    readings, is_read = iter(range(1_000_000)), threading.Event()

    def total(_: str) -> int:
        reading = next(readings)
        if reading > 5:
            is_read.set()
        return reading

    _nvml(monkeypatch, nvmlDeviceGetTotalEnergyConsumption=total)
    with metered("GPU-1", tmp_path):
        assert is_read.wait(30)
    last = next(readings)
    time.sleep(0.02)
    assert next(readings) == last + 1, "nobody reads any more"


def test_a_counter_of_the_accelerator_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own total, with that of the processor where that can be read too."""
    totals = iter([5_000, 5_000 + 3_600_000, 5_000 + 7_200_000])
    _nvml(monkeypatch, nvmlDeviceGetTotalEnergyConsumption=lambda _: next(totals))
    with metered("GPU-1", tmp_path) as energy:
        pass
    assert energy.wh == pytest.approx(1)
    assert (energy.of, energy.note) == ("accelerator", "processor: the system shows no energy counter")
    counter = _package(tmp_path, "0", "package-0", 0)
    totals = iter([0, 3_600_000])
    with metered("GPU-1", tmp_path) as energy:
        counter.write_text("3600000000\n", encoding="ascii")
    assert energy.wh == pytest.approx(2)
    assert (energy.of, energy.note) == ("accelerator+processor", "")


def test_power_is_summed_where_there_is_no_counter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Older accelerators tell their power alone: 100 W, then 300 W, are 200 W between the two readings."""

    def unsupported(_: str) -> int:
        raise NVMLError("Not Supported")

    powers = iter([100_000, 300_000])
    times = iter([0.0, 36.0])
    _nvml(monkeypatch, nvmlDeviceGetTotalEnergyConsumption=unsupported, nvmlDeviceGetPowerUsage=lambda _: next(powers))
    monkeypatch.setattr(energy_module, "time", SimpleNamespace(monotonic=lambda: next(times)))
    with metered("GPU-1", tmp_path) as energy:
        pass
    assert energy.wh == pytest.approx(2)


def test_what_cannot_be_read_is_empty_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No package, no such accelerator, a counter for the administrator alone: each is named, and the job goes on."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with metered("GPU-1", tmp_path) as energy:
        pass
    assert (energy.wh, energy.of) == (None, None)
    assert energy.note == (
        "accelerator: nvidia-ml-py is not installed; pip install 'model-selection-harness[gpu]'; processor: the system shows no energy counter"
    )
    _nvml(monkeypatch)
    _package(tmp_path, "0", "package-0", 0)

    def refuse(self: Path, encoding: str) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with metered("GPU-2", tmp_path) as energy:
        pass
    assert energy.note == "accelerator: Not Found; processor: only the system's administrator may read its counter"


def test_a_counter_that_fails_on_the_way_counts_nothing(tmp_path: Path) -> None:
    """Part of a job's energy would look like a frugal job."""
    counter = _package(tmp_path, "0", "package-0", 0)
    with metered(None, tmp_path) as energy:
        counter.unlink()
    assert (energy.wh, energy.of) == (None, None)
    assert energy.note.startswith("processor: [Errno 2]")


def test_an_error_of_the_job_is_passed_on(tmp_path: Path) -> None:
    """And the thread that reads is gone."""
    _package(tmp_path, "0", "package-0", 0)
    with pytest.raises(ValueError, match="x"), metered(None, tmp_path):
        raise ValueError("x")
