"""How a machine is shared out among workers."""

import os
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config import Device
from harness.errors import ConfigError
from harness.process.place import EVERYWHERE
from harness.search import places
from harness.search.places import places_of


def _has(monkeypatch: pytest.MonkeyPatch, cores: Sequence[int]) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(cores), raising=False)


def test_one_worker_has_everything() -> None:
    """Whatever the device."""
    assert [list(places_of("1", device)) for device in (Device.cpu, Device.cuda, Device.mps)] == [[EVERYWHERE]] * 3


@given(st.sets(st.integers(0, 200), min_size=2, max_size=70), st.data())
def test_every_core_has_one_worker(cores: set[int], data: st.DataObject) -> None:
    """Groups are neighbours, as large as each other but for one core, and all cores together."""
    num = data.draw(st.integers(2, len(cores)))
    with pytest.MonkeyPatch.context() as patch:
        _has(patch, sorted(cores))
        found = [place.cores or () for place in places_of(str(num), Device.cpu)]
    assert [core for group in found for core in group] == sorted(cores)
    sizes = [len(group) for group in found]
    assert len(found) == num
    assert max(sizes) - min(sizes) <= 1


def test_auto_is_four_cores_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small machine has one worker."""
    for num_cores, num_workers in ((2, 1), (7, 1), (8, 2), (64, 16)):
        _has(monkeypatch, range(num_cores))
        assert len(places_of("auto", Device.cpu)) == num_workers


def test_each_accelerator_that_is_to_be_seen_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words of CUDA_VISIBLE_DEVICES, where it is set; more workers share them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, GPU-8932f937,6")
    assert [place.cuda_visible for place in places_of("auto", Device.cuda)] == ["4", "GPU-8932f937", "6"]
    assert [place.cuda_visible for place in places_of("4", Device.cuda)] == ["4", "GPU-8932f937", "6", "4"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setattr(places, "_count_accelerators", lambda: 8)
    assert [place.cuda_visible for place in places_of("auto", Device.cuda)] == [str(number) for number in range(8)]


def test_too_many_workers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is allowed."""
    _has(monkeypatch, range(2))
    with pytest.raises(ConfigError, match=r"workers=3: this machine has 2 cores; give 2 or fewer, or auto."):
        places_of("3", Device.cpu)
    with pytest.raises(ConfigError, match=r"workers=2: mps is one device; give workers=1."):
        places_of("2", Device.mps)
