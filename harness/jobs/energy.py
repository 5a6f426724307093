"""Energy of a job, by the counters of its accelerator (NVML) and of the processor's packages (RAPL), as far as they can be read.

They know no processes: what others do on the same chips meanwhile is in them. Torch-free; both are read by a thread once a second, as
power has to be summed and the processor's counters begin again at zero every quarter of an hour or so.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

_EVERY_S = 1.0
_JOULES_PER_WH = 3600.0
_POWERCAP = Path("/sys/class/powercap")


@dataclass(slots=True)
class Energy:
    """What was measured between two moments."""

    wh: float | None = None
    of: str | None = None
    """What has been counted: accelerator, processor, or accelerator+processor."""
    note: str = ""
    """Why one of them, or both, were not."""

    def give_up(self, reason: str) -> None:
        """What was counted is not the job's."""
        self.wh, self.of, self.note = None, None, reason


class Counter(Protocol):
    """Joules since it was made, as of the last call of `advance`; that raises whatever its source raises."""

    @property
    def joules(self) -> float: ...
    def advance(self) -> None: ...


@contextmanager
def metered(accelerator: str | None, packages: Path = _POWERCAP) -> Iterator[Energy]:
    """Measure what happens meanwhile; the value is filled when it is over.

    Args:
        accelerator: identifier of the CUDA device that computes (`GPU-...`); None: none does.
        packages: where the system shows the processor's counters.
    """
    energy, made, reasons = Energy(), dict[str, Sequence[Counter]](), list[str]()
    sources: dict[str, Callable[[], Sequence[Counter]]] = {"processor": lambda: _packages(packages)}
    if accelerator is not None:
        sources = {"accelerator": lambda: [_of_accelerator(accelerator)]} | sources
    for name, make in sources.items():
        try:
            made[name] = make()
        except Exception as error:  # noqa: BLE001  NVML has errors of its own; no job fails for want of a meter
            reasons.append(_reason(name, error))
    meter = _Meter(made)
    if made:
        meter.start()
    try:
        yield energy
    finally:
        meter.finish()
        reasons += [_reason(name, error) for name, error in meter.errors.items()]
        joules = {name: sum(counter.joules for counter in made[name]) for name in made if name not in meter.errors}
        energy.wh = sum(joules.values()) / _JOULES_PER_WH if joules else None
        energy.of, energy.note = "+".join(joules) or None, "; ".join(reasons)


class _Meter(threading.Thread):
    """Reads counters once a second, and once more at the end."""

    def __init__(self, counters: dict[str, Sequence[Counter]]) -> None:
        super().__init__(daemon=True)
        self.counters = counters
        self.errors: dict[str, Exception] = {}
        self._is_over = threading.Event()

    def run(self) -> None:
        while not self._is_over.wait(_EVERY_S):
            self._advance()

    def finish(self) -> None:
        """Stop, with what the counters say now."""
        if self.counters:
            self._is_over.set()
            self.join()
            self._advance()

    def _advance(self) -> None:
        for name, counters in self.counters.items():
            try:
                for counter in counters:
                    counter.advance()
            except Exception as error:  # noqa: BLE001  as above
                self.errors.setdefault(name, error)


class _Package:
    """A processor package of RAPL, whose counter (microjoules) begins again at zero at the end of its range."""

    def __init__(self, folder: Path) -> None:
        self._counter = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text(encoding="ascii"))
        self._last = self._read()
        self.joules = 0.0

    def advance(self) -> None:
        now = self._read()
        self.joules += (now - self._last + (self._range if now < self._last else 0)) / 1e6
        self._last = now

    def _read(self) -> int:
        return int(self._counter.read_text(encoding="ascii"))


def _packages(root: Path) -> list[Counter]:
    """Packages alone: the cores and the memory controller of one are parts of it, the whole system has others in it."""
    folders = sorted(path for path in root.glob("intel-rapl:*") if path.name.count(":") == 1)
    named = [path for path in folders if (path / "name").read_text(encoding="ascii").startswith("package")]
    if not named:
        raise OSError("the system shows no energy counter")
    return [_Package(path) for path in named]


class _Total:
    """An accelerator's own counter (millijoules)."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._read: Callable[[], int] = lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        self._first = self._read()
        self.joules = 0.0

    def advance(self) -> None:
        self.joules = (self._read() - self._first) / 1e3


class _Power:
    """An accelerator's power (milliwatts), summed by the trapezoid rule."""

    def __init__(self, nvml: Any, handle: Any) -> None:
        self._read: Callable[[], tuple[float, int]] = lambda: (time.monotonic(), nvml.nvmlDeviceGetPowerUsage(handle))
        self._last = self._read()
        self.joules = 0.0

    def advance(self) -> None:
        now = self._read()
        self.joules += (now[0] - self._last[0]) * (now[1] + self._last[1]) / 2e3
        self._last = now


def _of_accelerator(identifier: str) -> Counter:
    try:
        import pynvml
    except ImportError as error:
        raise OSError("nvidia-ml-py is not installed; pip install 'model-selection-harness[gpu]'") from error
    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByUUID(identifier)
    try:
        return _Total(pynvml, handle)
    except pynvml.NVMLError:  # accelerators before Volta have no such counter
        return _Power(pynvml, handle)


def _reason(name: str, error: Exception) -> str:
    said = "only the system's administrator may read its counter" if isinstance(error, PermissionError) else str(error)
    return f"{name}: {' '.join(said.split())}"
