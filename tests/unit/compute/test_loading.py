"""Batches that other processes decode: what goes wrong there arrives as it was said."""

import random
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from harness.compute import loading
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
