"""Odd networks, odd compilers, odd devices: what features do when something is not as usual."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from harness.compute.runtime import Runtime
from harness.compute.thread_pool import ThreadPool
from harness.config import Device, Precision
from harness.features.cut import cut, difference
from harness.features.fold import folded
from harness.features.mode import PLAIN, Chain
from harness.features.view import View
from harness.transfer.split_inputs import DecodedInputs
from tests.unit.tiny import PLAIN_CPU, colours, images_of, own_backbone, random_backbone, settle


class _Halves(nn.Module):
    """Two halves of the channels cross in one value."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        one, other = self.first(x).chunk(2, dim=1)
        features: Tensor = (self.second(one) + other).mean((2, 3))
        return features


class _Changes(nn.Module):
    """A block that writes into the list it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, xs: list[Tensor]) -> Tensor:
        xs[0] = self.conv(xs[0])
        return xs[0] + xs[1]


class _Lists(nn.Module):
    """Hands a list from block to block."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = _Changes()

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        features: Tensor = self.second([x, x]).mean((2, 3))
        return features


@pytest.mark.parametrize("kind", [_Halves, _Lists])
def test_values_in_containers_are_cut_elsewhere_or_not_at_all(kind: Callable[[], nn.Module]) -> None:
    """Tuples and lists of tensors that cross, and recordings that cannot be run, are no reason to fail."""
    backbone = own_backbone(kind(), ["first", "second"])
    trunk, images_BCHW = cut(backbone), images_of(backbone, 3)
    assert {0, 2} <= set(trunk.boundaries)
    with torch.no_grad():
        (found_BD,) = trunk.segment(0, trunk.last)(images_BCHW)
        assert difference(found_BD, backbone.trunk(images_BCHW)) <= 1e-5


@pytest.mark.parametrize(
    ("name", "size"),
    [("selecsls42", 64), ("pit_xs_224", None), ("crossvit_tiny_240", None), ("hrnet_w18_small", 64), ("hiera_tiny_224", None)],
)
def test_published_networks_that_hand_on_several_values(name: str, size: int | None) -> None:
    """They can be cut, or are run whole; they do not fail."""
    backbone = random_backbone(name, size)
    trunk, images_BCHW = cut(backbone), images_of(backbone, 3)
    with torch.no_grad():
        (found_BD,) = trunk.segment(0, trunk.last)(images_BCHW)
        assert difference(found_BD, backbone.trunk(images_BCHW)) <= 1e-5


def test_compiled_code_that_gives_nan_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nan is further off than any bound."""
    backbone = random_backbone("test_resnet", 32)
    trunk, images_BCHW = cut(backbone), images_of(backbone, 8)
    monkeypatch.setattr(
        torch, "compile", lambda segment, **_: lambda *activations: tuple(part * float("nan") for part in segment(*activations))
    )
    chain = Chain(trunk, [0, trunk.last], PLAIN, PLAIN_CPU)
    assert chain.compile_if_it_pays((images_BCHW,), num_images=10**9, seconds_per_image=1.0) == "compiled code gave other features"
    assert chain.mode == PLAIN


def test_an_accelerator_counts_its_waiting() -> None:
    """It computes one piece after the other, so all the time that its source takes is time without a piece."""
    pool, sleeping = ThreadPool(Runtime(Device.cuda, Precision.float32)), __import__("threading").Event()

    def slow() -> Iterator[int]:
        for piece in range(3):
            sleeping.wait(0.05)
            yield piece

    list(pool.map(lambda piece: piece, slow()))
    assert pool.starved_s >= 3 * 0.05 * 0.9


def test_decoded_images_come_channels_last() -> None:
    """As the network is placed, so that no layer rearranges them."""
    backbone, dataset = random_backbone("test_resnet", 32), colours()
    view = View(dataset.train.images, backbone.preprocess)
    samples = DecodedInputs(ThreadPool(PLAIN_CPU), [view], np.arange(25), dataset.train.labels)
    ((images_BCHW,), _), *_ = samples.batches(np.arange(25), 8, seed=0)
    assert images_BCHW.is_contiguous(memory_format=torch.channels_last)


def test_a_folded_copy_is_in_eval_mode() -> None:
    """All of it, the modules that took the place of batch-norms too."""
    assert not any(module.training for module in folded(random_backbone("test_resnet", 32).trunk).modules())


def test_a_batch_norm_without_statistics_is_not_folded() -> None:
    """It has none to fold."""
    trunk = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    images_BCHW = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(folded(trunk)(images_BCHW), trunk(images_BCHW))


class _Doubled(nn.BatchNorm2d):
    """Somebody's own batch-norm, which does more than torch's."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


@pytest.mark.parametrize("fuses", [False, True])
def test_layers_that_are_not_what_they_seem_are_not_folded(fuses: bool) -> None:
    """A convolution whose weight a hook sets in every call, and a batch-norm of somebody's own, stay as they are."""
    hooked = nn.utils.spectral_norm(nn.Conv2d(3, 4, 3))
    trunk = nn.Sequential(hooked, nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), _Doubled(4), nn.ReLU())
    images_BCHW = torch.randn(2, 3, 12, 12)
    settle(trunk, images_BCHW)
    with torch.no_grad():
        assert difference(folded(trunk, fuses=fuses)(images_BCHW), trunk(images_BCHW)) <= 1e-5
