"""Who computes when, on a machine whose cores several sweeps want. Nothing is computed."""

import multiprocessing
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from harness.process import cores
from harness.process.cores import num_threads, taken
from harness.process.isolate import end_all
from harness.process.place import Place, at


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four cores, and nobody else on them."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(cores, "cores_of_process", lambda: range(4))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def nobody(_: str) -> None:
    """Is told."""


def _overlap(places: list[Place]) -> int:
    """How many of so many threads had their cores at once, at most."""
    running, most, lock = 0, 0, threading.Lock()

    def work(place: Place) -> None:
        nonlocal running, most
        with at(place), taken(nobody):
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.3)
            with lock:
                running -= 1

    threads = [threading.Thread(target=work, args=(place,)) for place in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert running == 0
    return most


def test_jobs_with_all_cores_take_turns() -> None:
    """However many want them."""
    assert _overlap([Place()] * 3) == 1


def test_jobs_with_some_run_side_by_side() -> None:
    """Each on its own; those on one core take turns."""
    assert _overlap([Place(cores=(0, 1)), Place(cores=(2, 3))]) == 2
    assert _overlap([Place(cores=(number % 4,)) for number in range(6)]) == 4
    assert _overlap([Place(cores=(0,))] * 3) == 1


def test_threads_are_what_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread needs one core, wherever it may run; nonsense in the variable says nothing."""
    for told, number in (("1", 1), ("3", 3), ("64", 4), ("", 4), ("0", 4), ("2,1", 4)):
        monkeypatch.setenv("OMP_NUM_THREADS", told)
        assert num_threads() == number
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert _overlap([Place()] * 3) == 3


def _hold(folder: str, sender: Any) -> None:
    tempfile.tempdir = folder
    cores.cores_of_process = lambda: range(4)
    with taken(nobody):
        sender.send("held")
        time.sleep(60)


def test_a_killed_holder_frees_its_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whoever waits is told that it does."""
    monkeypatch.setattr(cores, "_TELL_S", 0.0)
    receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
    holder = multiprocessing.get_context("spawn").Process(target=_hold, args=(str(tmp_path), sender))
    holder.start()
    assert receiver.recv() == "held"
    said = list[str]()

    def say(text: str) -> None:
        said.append(text)
        holder.kill()

    with taken(say):
        holder.join()
    assert said == ["waiting for cores: another sweep computes on them"]


def test_an_interrupt_reaches_whoever_waits() -> None:
    """Though nobody gives up the cores."""
    ended = list[str]()

    def wait() -> None:
        try:
            with taken(nobody):
                ended.append("had them")
        except KeyboardInterrupt:
            ended.append("interrupted")

    with taken(nobody):
        waiting = threading.Thread(target=wait)
        waiting.start()
        with end_all():
            waiting.join(10)
    assert ended == ["interrupted"]


def test_without_a_place_for_locks_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for itself."""
    monkeypatch.setattr(tempfile, "tempdir", "/proc/nowhere")
    with taken(nobody), taken(nobody):
        pass
