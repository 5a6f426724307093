"""Batches that other processes decode: what goes wrong there arrives as it was said."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from harness.config import Device, Precision
from harness.data.images import FileImage
from harness.errors import DataError
from harness.runtime import Runtime


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
