"""Batches that other processes decode: what goes wrong there arrives as it was said."""

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from harness.compute import loading
from harness.compute.loading import ahead
from harness.compute.runtime import Runtime
from harness.config import Device, Precision
from harness.data.images import FileImage
from harness.errors import DataError


class _Missing(Dataset[torch.Tensor]):
    """Images whose files are gone."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        FileImage("x", "hash", Path("/nowhere") / f"Error: {index}.png").open()
        raise AssertionError("unreachable")


class _Numbers(Dataset[torch.Tensor]):
    """Items that count."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor(index)


def test_an_error_in_a_decoding_process_is_one_line() -> None:
    """The message of the image, not the traceback of the process around it."""
    loader = Runtime(Device.cpu, Precision.float32).load(_Missing(), 2)
    with pytest.raises(DataError) as caught:
        list(loader)
    assert str(caught.value).startswith("'/nowhere/Error: 0.png': could be read when the data set was loaded and no longer can")
    assert "\n" not in str(caught.value)


def test_batches_come_as_they_are() -> None:
    """In order, the last one smaller, and as many as the loader says."""
    loader = Runtime(Device.cpu, Precision.float32).load(_Numbers(), 2)
    assert [batch.tolist() for batch in loader] == [[0, 1], [2, 3], [4]]
    assert len(loader) == 3


class _Drawn(Dataset[int]):
    """Items that are drawn at random."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        return int(torch.randint(1000, (1,))) + 1000 * random.randrange(1000) + 0 * index


def test_without_shared_locks_images_are_decoded_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the same batches, with random numbers that the seed decides and that whoever computes does not miss; errors come as they are."""
    monkeypatch.setattr(loading, "can_share_locks", lambda: False)
    runtime = Runtime(Device.cpu, Precision.float32)
    assert [batch.tolist() for batch in runtime.load(_Numbers(), 2, [4, 0, 2])] == [[4, 0], [2]]
    torch.manual_seed(3)
    wanted = torch.rand(1)
    torch.manual_seed(3)
    first = [batch.tolist() for batch in runtime.load(_Drawn(), 2, seed=5)]
    assert torch.equal(torch.rand(1), wanted)
    assert first == [batch.tolist() for batch in runtime.load(_Drawn(), 2, seed=5)]
    assert first != [batch.tolist() for batch in runtime.load(_Drawn(), 2, seed=6)]
    assert first[0] != first[1]
    with pytest.raises(DataError, match="no longer can"):
        list(runtime.load(_Missing(), 2))


def test_batches_need_no_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """They come through a pipe: nothing of torch's shared memory is asked for."""
    monkeypatch.setattr("torch.multiprocessing.reductions.reduce_tensor", lambda _: pytest.fail("shared"))
    assert [batch.tolist() for batch in Runtime(Device.cpu, Precision.float32).load(_Numbers(), 2)] == [[0, 1], [2, 3], [4]]


@pytest.fixture
def pinned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The threads that pinned something, one for each time; what is pinned here stays as it is."""
    threads: list[int] = []

    def pin(batch: torch.Tensor) -> torch.Tensor:
        threads.append(threading.get_ident())
        return batch

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    return threads


def test_batches_for_an_accelerator_are_pinned_by_a_thread(pinned: list[int]) -> None:
    """Not the one that computes; the batches are those of a processor, errors too."""
    runtime = Runtime(Device.cuda, Precision.float32)
    assert [batch.tolist() for batch in runtime.load(_Numbers(), 2, [4, 0, 2])] == [[4, 0], [2]]
    assert [[part.tolist() for part in batch] for batch in runtime.ahead(iter([(torch.ones(1), torch.zeros(1))]))] == [[[1.0], [0.0]]]
    assert (len(pinned), threading.get_ident() in pinned) == (4, False)
    with pytest.raises(DataError, match=r"^'/nowhere/Error: 0.png': could be read[^\n]*$"):
        list(runtime.load(_Missing(), 2))


def test_nothing_is_pinned_for_a_processor(pinned: list[int]) -> None:
    """There batches come from the loop that asks for them."""
    runtime = Runtime(Device.cpu, Precision.float32)
    assert len(list(runtime.load(_Numbers(), 2))) == 3
    assert len(list(runtime.ahead(iter([(torch.ones(1),)])))) == 1
    assert pinned == []


def test_a_thread_stays_a_little_ahead_and_ends_with_who_takes() -> None:
    """Two items wait at most; when nobody wants more, no more are made."""
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    items = ahead(numbers())
    assert next(items) == 0
    assert next(items) == 1
    items.close()  # type: ignore[attr-defined]
    assert 2 <= len(made) <= 4
    assert list(ahead(iter(range(5)))) == list(range(5))
