"""A thread says where its child processes compute, and nobody else's do."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from harness.process.isolate import run_isolated, warm_up
from harness.process.place import EVERYWHERE, Place, at, here, num_cores

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system does not bind processes to cores")


def _found() -> dict[str, Any]:
    import torch
    from threadpoolctl import threadpool_info

    return {
        "cuda": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "cores": sorted(os.sched_getaffinity(0)),
        "num_cores": num_cores(),
        "threads": torch.get_num_threads(),
        "blas": {library["num_threads"] for library in threadpool_info()},
        "here": here(),
    }


def _found_at(place: Place, *, is_light: bool = False) -> dict[str, Any]:
    with at(place):
        outcome = run_isolated(f"{__name__}:_found", is_light=is_light)
    assert outcome.value is not None, outcome.error
    return outcome.value  # type: ignore[no-any-return]


def test_a_child_sees_the_accelerators_that_its_caller_sees_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server that it is forked from was started with other variables; what the caller unset is unset."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    warm_up()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5ebe9f43")
    assert _found_at(EVERYWHERE)["cuda"] == "2,GPU-5ebe9f43"
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert _found_at(EVERYWHERE)["cuda"] is None


@pytest.mark.parametrize("is_light", [False, True])
def test_a_child_computes_where_its_thread_says(monkeypatch: pytest.MonkeyPatch, *, is_light: bool) -> None:
    """An accelerator of its own, or none, whatever the caller sees; and the child knows."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    place = Place(cuda_visible="1")
    found = _found_at(place, is_light=is_light)
    assert (found["cuda"], found["here"]) == ("1", place)
    assert _found_at(Place(cuda_visible=""), is_light=is_light)["cuda"] == ""
    assert here() == EVERYWHERE


@needs_affinity
@pytest.mark.parametrize("is_light", [False, True])
def test_cores_decide_the_number_of_threads(*, is_light: bool) -> None:
    """A child with one core runs there, decodes for one and computes with one thread, in torch and in BLAS."""
    core = max(os.sched_getaffinity(0))
    found = _found_at(Place(cores=(core,)), is_light=is_light)
    assert (found["cores"], found["num_cores"], found["threads"], found["blas"]) == ([core], 1, 1, {1})


@needs_affinity
def test_threads_of_one_process_have_places_of_their_own() -> None:
    """Each worker's children are where that worker says, while others start theirs; a thread that says nothing has all there is."""
    core = max(os.sched_getaffinity(0))
    places = [Place("0"), Place("1"), Place("2", (core,)), EVERYWHERE]
    with ThreadPoolExecutor(len(places)) as workers:
        found = list(workers.map(_found_at, places))
    assert [each["here"] for each in found] == places
    assert [each["cuda"] for each in found] == ["0", "1", "2", os.environ.get("CUDA_VISIBLE_DEVICES")]
    assert [each["num_cores"] for each in found] == [num_cores(), num_cores(), 1, num_cores()]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take any core")
def test_cores_that_are_not_there_are_an_outcome() -> None:
    """One line, and no death without a word."""
    with at(Place(cores=(4000,))):
        outcome = run_isolated("builtins:len", [])
    assert outcome.value is None
    assert outcome.error is not None
    assert "Invalid argument" in outcome.error


def test_a_place_ends_with_its_block_also_where_something_is_raised() -> None:
    """Later children are where they were before."""
    with pytest.raises(ValueError, match="x"), at(Place("3")):
        raise ValueError("x")
    assert here() == EVERYWHERE
