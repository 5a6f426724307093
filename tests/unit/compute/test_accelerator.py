"""An index decides which accelerator a process sees, and nothing else."""

import os
from collections.abc import Iterator

import pytest
import torch

from harness.compute import accelerator
from harness.compute.accelerator import require_there, see_only
from harness.config import Device, device_of, is_device
from harness.errors import ConfigError
from harness.process.place import Place, at

HIDDEN = "CUDA_VISIBLE_DEVICES"


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A driver with four accelerators, which looks at the variable as the real one does."""

    def visible() -> int:
        return len([each for each in os.environ[HIDDEN].split(",") if each]) if HIDDEN in os.environ else 4

    monkeypatch.delenv(HIDDEN, raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", visible)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.setattr(accelerator, "_only", None)
    yield
    os.environ.pop(HIDDEN, None)


@pytest.mark.parametrize("name", ["auto", "cpu", "cuda", "mps", "cuda:0", "cuda:12"])
def test_names(name: str) -> None:
    """A device, and `cuda` with an index."""
    kind, _, index = name.partition(":")
    assert is_device(name)
    assert device_of(name) == (Device(kind), int(index) if index else None)


@pytest.mark.parametrize("name", ["gpu", "cpu:0", "cuda:", "cuda:-1", "cuda:one", "CUDA:1", "cuda:1,2", "cuda:1\n", ""])
def test_no_names(name: str) -> None:
    """Whatever else looks like one."""
    assert not is_device(name)


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("outer", "device", "seen"),
    [
        (None, "cuda:3", "3"),
        (None, "cuda", None),
        ("5,7", "cuda:1", "7"),
        ("GPU-aa, MIG-bb", "cuda:1", "MIG-bb"),
        ("5,7", "cuda", "5,7"),
    ],
)
def test_one_accelerator_is_seen(monkeypatch: pytest.MonkeyPatch, outer: str | None, device: str, seen: str | None) -> None:
    """That of the index, counted in an outer list where there is one; without an index, whatever was seen."""
    if outer is not None:
        monkeypatch.setenv(HIDDEN, outer)
    see_only(device)
    see_only(device)
    assert os.environ.get(HIDDEN) == seen


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("outer", "given"), [(None, "cuda:0 to cuda:3, cpu or auto."), ("5,7", "cuda:0, cuda:1, cpu or auto."), ("", "cpu or auto.")]
)
def test_an_index_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, outer: str | None, given: str) -> None:
    """One line that names what is there; the process sees what it saw."""
    if outer is not None:
        monkeypatch.setenv(HIDDEN, outer)
    for ask in (require_there, see_only):
        with pytest.raises(ConfigError, match=rf"^device=cuda:4: not on this machine; give {given}$"):
            ask("cuda:4")
    assert os.environ.get(HIDDEN) == outer


@pytest.mark.usefixtures("four")
def test_what_a_worker_was_given_stays() -> None:
    """A thread's place says which accelerator its children have; an index of the configuration does not move them."""
    with at(Place(cuda_visible="2")):
        require_there("cuda:9")
        see_only("cuda:3")
    assert HIDDEN not in os.environ


@pytest.mark.usefixtures("four")
def test_a_process_does_not_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver reads the variable once: another index afterwards would silently mean the first."""
    see_only("cuda:1")
    with pytest.raises(ConfigError, match=r"^device=cuda:0: this process has used another accelerator already"):
        see_only("cuda:0")
    monkeypatch.setattr(accelerator, "_only", None)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(ConfigError, match="already"):
        see_only("cuda:2")
    assert os.environ[HIDDEN] == "1"
