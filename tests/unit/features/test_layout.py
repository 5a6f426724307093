"""Layout: activations survive being laid flat as rows, whatever their parts are."""

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from harness.features.layout import Activations, Layout

KEPT = [torch.float32, torch.bfloat16, torch.float16, torch.uint8]

SHAPES = st.lists(st.lists(st.integers(1, 4), min_size=0, max_size=4).map(tuple), min_size=1, max_size=4)


def _part(num_images: int, shape: tuple[int, ...], dtype: torch.dtype, seed: int, *, is_channels_last: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if dtype is torch.uint8:
        part = torch.randint(0, 256, (num_images, *shape), generator=generator, dtype=torch.uint8)
    else:
        part = (torch.randn(num_images, *shape, generator=generator) * 100).to(dtype)
    return part.contiguous(memory_format=torch.channels_last) if is_channels_last and part.ndim == 4 else part


def _layout(activations: Activations) -> Layout:
    layout = Layout.of(activations)
    assert layout is not None
    return layout


def _there_and_back(activations: Activations) -> Activations:
    """Through rows, and through the text that the store keeps of the layout."""
    layout = _layout(activations)
    rows_BE = layout.pack(activations)
    assert rows_BE.shape == (len(activations[0]), layout.row.num_values)
    assert rows_BE.dtype.name == layout.row.dtype
    read: dict[str, Any] = json.loads(json.dumps(layout.to_json()))
    assert Layout.from_json(read) == layout
    return Layout.from_json(read).unpack(rows_BE.copy())


@settings(deadline=None, max_examples=60)
@given(SHAPES, st.sampled_from(KEPT), st.integers(1, 5), st.booleans(), st.integers(0, 99))
def test_one_type_comes_back_bit_by_bit(shapes: list[tuple[int, ...]], dtype: torch.dtype, num: int, is_last: bool, seed: int) -> None:
    """Several parts of any shapes, contiguous or channels-last, come back with their values, shapes, order and type."""
    activations = tuple(_part(num, shape, dtype, seed + i, is_channels_last=is_last) for i, shape in enumerate(shapes))
    for found, wanted in zip(_there_and_back(activations), activations, strict=True):
        assert found.dtype is dtype
        assert torch.equal(found, wanted)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(KEPT), st.integers(1, 4)), min_size=2, max_size=4), st.integers(0, 99))
def test_mixed_types_come_back_with_their_values(parts: list[tuple[torch.dtype, int]], seed: int) -> None:
    """One row has one type: parts of several types are kept as float32, which holds bfloat16 and bytes exactly."""
    activations = tuple(_part(3, (width, 2, 2), dtype, seed + i) for i, (dtype, width) in enumerate(parts))
    is_mixed = len({dtype for dtype, _ in parts}) > 1
    for found, wanted in zip(_there_and_back(activations), activations, strict=True):
        assert found.dtype is (torch.float32 if is_mixed else wanted.dtype)
        assert torch.equal(found.float(), wanted.float())


@pytest.mark.parametrize("dtype", KEPT)
def test_what_no_number_equals_survives_too(dtype: torch.dtype) -> None:
    """Infinities, nan and minus zero are bits like any others; and so are the ends of a byte."""
    special = [0.0, 255.0] if dtype is torch.uint8 else [math.inf, -math.inf, math.nan, -0.0, 1e-40, 3e38]
    part = torch.tensor([special, special[::-1]]).to(dtype)
    (found,) = _there_and_back((part,))
    assert torch.equal(found.view(torch.uint8), part.view(torch.uint8))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.bool, torch.float64])
def test_other_types_are_not_cached(dtype: torch.dtype) -> None:
    """Whole numbers, and numbers that no kept type holds, have no layout, also beside parts that have one."""
    part = torch.ones(2, 3).to(dtype)
    assert Layout.of((part,)) is None
    assert Layout.of((torch.ones(2, 3), part)) is None


def test_feature_maps_lie_channels_last() -> None:
    """The channels of one place lie side by side in a row, so that rows of a channels-last map are a plain copy."""
    part = torch.arange(2 * 3 * 2 * 2, dtype=torch.float32).reshape(2, 3, 2, 2)
    rows_BE = _layout((part,)).pack((part,))
    assert rows_BE[0].tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    (found,) = _there_and_back((part,))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_parts_lie_one_behind_the_other() -> None:
    """In the order in which they cross."""
    activations = torch.tensor([[1.0, 2.0]]), torch.tensor([3.0]), torch.tensor([[[4.0], [5.0]]])
    assert _layout(activations).pack(activations).tolist() == [[1, 2, 3, 4, 5]]


@pytest.mark.parametrize(("dtype", "num_bytes"), [(torch.float32, 4), (torch.bfloat16, 2), (torch.float16, 2), (torch.uint8, 1)])
def test_a_row_is_as_long_as_its_values(dtype: torch.dtype, num_bytes: int) -> None:
    """Nothing is kept beside the values."""
    activations = torch.zeros(2, 3, 5, 5, dtype=dtype), torch.zeros(2, 7, dtype=dtype)
    assert _layout(activations).row.num_bytes == (75 + 7) * num_bytes
    assert _layout(activations).pack(activations).nbytes == 2 * (75 + 7) * num_bytes


def test_a_layout_does_not_depend_on_the_number_of_images() -> None:
    """A short last batch has the same rows as a full one."""
    activations = torch.randn(5, 3, 2, 2), torch.randn(5, 4)
    layout = _layout(activations)
    short = tuple(part[:1] for part in activations)
    assert _layout(short) == layout
    assert layout.pack(short).tolist() == layout.pack(activations)[:1].tolist()
