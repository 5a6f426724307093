"""Modes: the fastest is taken only where it gives the trunk's answers, and every refusal says why."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness.backbones.backbone import Backbone
from harness.compute.runtime import Runtime
from harness.compute.thread_pool import ThreadPool
from harness.config import Device, Precision
from harness.features import mode as modes_module
from harness.features.cut import CutTrunk, cut, difference
from harness.features.fold import folded
from harness.features.layout import Activations
from harness.features.mode import PLAIN, Chain, Mode, choose, modes
from tests.unit.tiny import PLAIN_CPU, images_of, random_backbone

LOW = Mode(Precision.bfloat16, is_channels_last=True, is_folded=True)
FOLDED = Mode(Precision.float32, is_channels_last=True, is_folded=True)
LOW_FUSED, FUSED = replace(LOW, is_fused=True), replace(FOLDED, is_fused=True)
"""What a processor does, if it has kernels for the first."""


@pytest.fixture
def trunk(resnet: Backbone) -> CutTrunk:
    """Of the tiny network."""
    return cut(resnet)


@pytest.fixture
def images(resnet: Backbone) -> Tensor:
    """Eight of them."""
    return images_of(resnet, 8)


def _wanted(trunk: CutTrunk, images_BCHW: Tensor) -> Tensor:
    with torch.no_grad():
        wanted: Tensor = trunk.trunk(images_BCHW)
    return wanted


@pytest.mark.parametrize(
    ("device", "is_native", "asked", "expected"),
    [
        (Device.cpu, True, (Precision.float32, True), [PLAIN]),
        (Device.cuda, True, (Precision.float32, True), [PLAIN]),
        (Device.mps, False, (Precision.float32, True), [PLAIN]),
        (Device.cuda, True, (Precision.tf32, True), [Mode(Precision.tf32)]),
        (Device.cpu, True, (Precision.bfloat16, False), [LOW_FUSED]),
        (Device.cuda, True, (Precision.bfloat16, False), [LOW]),
        (Device.cuda, False, (Precision.float16, True), [replace(LOW, precision=Precision.float16)]),
        (Device.cpu, True, (Precision.auto, False), [FUSED, PLAIN]),
        (Device.cpu, False, (Precision.auto, True), [FUSED, PLAIN]),
        (Device.cpu, True, (Precision.auto, True), [LOW_FUSED, FUSED, PLAIN]),
        (Device.cuda, True, (Precision.auto, True), [LOW, FOLDED, PLAIN]),
        (Device.mps, False, (Precision.auto, True), [FOLDED, PLAIN]),
    ],
)
def test_the_wish_decides_what_is_tried(
    device: Device, is_native: bool, asked: tuple[Precision, bool], expected: list[Mode], monkeypatch: pytest.MonkeyPatch
) -> None:
    """float32 and tf32 are the network as it is, bfloat16 nothing else, and auto tries low precision only where it is native and somebody judges it."""
    monkeypatch.setattr(modes_module, "can_fuse", lambda device, _: device is Device.cpu)
    monkeypatch.setattr(modes_module, "computes_bfloat16", lambda _: is_native)
    assert modes(Runtime(device, Precision.float32), asked[0], lower=asked[1]) == expected


def test_a_mode_says_what_it_is() -> None:
    """In the words that rows carry."""
    assert [str(mode) for mode in (PLAIN, LOW, FUSED)] == ["float32", "bfloat16 channels-last folded", "float32 channels-last folded fused"]


@pytest.mark.parametrize("mode", [PLAIN, FOLDED, FUSED])
def test_a_chain_gives_what_the_segments_give(trunk: CutTrunk, images: Tensor, mode: Mode) -> None:
    """At each of its boundaries, in any float32 mode, from the image or from inside."""
    with torch.no_grad():
        second = trunk.segment(0, 2)(images)
    found = Chain(trunk, [0, 2, trunk.last], mode, PLAIN_CPU).run((images,))
    assert [len(activations) for activations in found] == [1, 1]
    assert difference(found[0][0], second[0]) <= 1e-4
    assert difference(found[1][0], _wanted(trunk, images)) <= 1e-4
    (later,) = Chain(trunk, [2, trunk.last], mode, PLAIN_CPU).run(second)
    assert difference(later[0], _wanted(trunk, images)) <= 1e-4


@pytest.mark.parametrize("mode", [PLAIN, FOLDED, FUSED, Mode(Precision.float32, is_channels_last=True)])
def test_a_chain_leaves_the_network_alone(trunk: CutTrunk, images: Tensor, mode: Mode) -> None:
    """The trunk's own modules go on to train: no gradient, no memory format, no tensor of theirs changes."""
    before = {name: (tensor.clone(), tensor.stride()) for name, tensor in trunk.trunk.state_dict().items()}
    Chain(trunk, [0, trunk.last], mode, PLAIN_CPU).run((images,))
    after = trunk.trunk.state_dict()
    assert all(torch.equal(after[name], tensor) and after[name].stride() == stride for name, (tensor, stride) in before.items())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in trunk.trunk.parameters())


def test_plain_is_what_float32_asks_for(trunk: CutTrunk, images: Tensor, pool: ThreadPool) -> None:
    """Bit by bit what the trunk gives; nothing is tried."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(modes_module, "folded", lambda _: pytest.fail("tried"))
        chain, note = choose(trunk, [0, trunk.last], (images,), pool, Precision.float32)
    assert (chain.mode, note) == (PLAIN, None)
    assert torch.equal(chain.run((images,))[-1][0], _wanted(trunk, images))


def test_a_chosen_mode_agrees_at_every_boundary(trunk: CutTrunk, images: Tensor, pool: ThreadPool) -> None:
    """Whichever is the fastest here, its features are the trunk's."""
    chain, note = choose(trunk, [0, 2, trunk.last], (images,), pool, Precision.auto)
    assert chain.mode in {FUSED, PLAIN}
    assert note is None
    assert difference(chain.run((images,))[-1][0], _wanted(trunk, images)) <= 1e-4


@pytest.mark.parametrize(
    ("slow", "expected"), [({PLAIN}, FUSED), ({FUSED}, PLAIN), ({PLAIN, FUSED}, FUSED)], ids=["plain", "fused", "both"]
)
def test_a_chosen_mode_is_faster(
    resnet: Backbone, pool: ThreadPool, slow: set[Mode], expected: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folded network is taken unless plain is clearly faster: between equals the order decides, so that noise does not."""
    honest = Chain.run

    def run(self: Chain, activations: Activations) -> list[Activations]:
        if self.mode in slow:
            time.sleep(0.3)
        return honest(self, activations)

    trunk, images = cut(resnet), images_of(resnet, 8)
    monkeypatch.setattr(Chain, "run", run)
    chain, note = choose(trunk, [0, trunk.last], (images,), pool, Precision.auto)
    assert (chain.mode, note) == (expected, None)


def test_one_disturbance_does_not_change_the_mode(resnet: Backbone, pool: ThreadPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is about to lose to a slower one, because it was disturbed while it was timed, is timed again."""
    honest, disturbed = Chain.run, [False, True]

    def run(self: Chain, activations: Activations) -> list[Activations]:
        time.sleep(0.02 if self.mode == PLAIN else 0.5 if disturbed and disturbed.pop(0) else 0)
        return honest(self, activations)

    trunk, images = cut(resnet), images_of(resnet, 8)
    pool.num_threads = 1
    monkeypatch.setattr(Chain, "run", run)
    assert choose(trunk, [0, trunk.last], (images,), pool, Precision.auto)[0].mode == FUSED
    assert not disturbed


def _scaled(factor: float) -> Callable[..., nn.Module]:
    """A fold that gets one weight wrong."""

    def broken(trunk: nn.Module, *, fuses: bool) -> nn.Module:
        twin = folded(trunk, fuses=fuses)
        with torch.no_grad():
            next(parameter for parameter in twin.parameters() if parameter.ndim == 4).mul_(factor)
        return twin

    return broken


@pytest.mark.parametrize("factor", [1.5, 1.01, float("nan")])
def test_a_mode_that_is_off_is_never_taken(
    trunk: CutTrunk, images: Tensor, pool: ThreadPool, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However fast it is: another mode is taken, and the note names the one that was off."""
    honest = Chain.run

    def slow_plain(self: Chain, activations: Activations) -> list[Activations]:
        if self.mode == PLAIN:
            time.sleep(0.05)
        return honest(self, activations)

    monkeypatch.setattr(Chain, "run", slow_plain)
    monkeypatch.setattr(modes_module, "folded", _scaled(factor))
    chain, note = choose(trunk, [0, trunk.last], (images,), pool, Precision.auto)
    assert chain.mode == PLAIN
    assert note is not None
    assert note.startswith("float32 channels-last folded fused was ")
    assert note.endswith("% off")
    assert torch.equal(honest(chain, (images,))[-1][0], _wanted(trunk, images))


def test_bfloat16_that_loses_values_gives_way(trunk: CutTrunk, images: Tensor, pool: ThreadPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked for by the user, it is still not taken when it gives other features; the trunk runs as it is, and the note says so."""
    monkeypatch.setattr(modes_module, "folded", _scaled(1.5))
    chain, note = choose(trunk, [0, trunk.last], (images,), pool, Precision.bfloat16)
    assert chain.mode == PLAIN
    assert note is not None
    (tried,) = modes(pool.runtime, Precision.bfloat16)  # fused, where the processor has such kernels
    assert note.startswith(f"{tried} was ")


def test_joined_kernels_are_not_compiled(trunk: CutTrunk, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are those that compiled code would call: nothing is left to gain, however many images are still to come."""
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("compiled"))
    chain = Chain(trunk, [0, trunk.last], FUSED, PLAIN_CPU)
    assert chain.compile_if_it_pays((images,), num_images=10**9, seconds_per_image=1.0) is None
    assert chain.mode == FUSED


def test_a_mode_is_called_fused_only_where_something_was() -> None:
    """A network without convolutions before activations runs folded, and may be compiled."""
    assert Chain(cut(random_backbone("test_vit")), [0, 1], FUSED, PLAIN_CPU).mode == FOLDED


def test_few_images_are_not_worth_compiling(trunk: CutTrunk, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the whole pass takes less than compiling, the compiler is not even asked."""
    monkeypatch.setattr(torch, "compile", lambda *_, **__: pytest.fail("compiled"))
    chain = Chain(trunk, [0, trunk.last], PLAIN, PLAIN_CPU)
    assert chain.compile_if_it_pays((images,), num_images=100, seconds_per_image=0.001) is None
    assert chain.mode == PLAIN


class _Fake:
    """Stands in for the compiler; counts the batch sizes that its code was run with."""

    def __init__(self, *, factor: float = 1.0, delay_s: float = 0.0, error: Exception | None = None) -> None:
        self.factor, self.delay_s, self.error = factor, delay_s, error
        self.sizes: list[int] = []

    def __call__(self, segment: nn.Module, **_: Any) -> Callable[..., Activations]:
        if self.error is not None:
            raise self.error

        def compiled(*activations: Tensor) -> Activations:
            self.sizes.append(len(activations[0]))
            time.sleep(self.delay_s)
            return tuple(part * self.factor for part in segment(*activations))

        return compiled


def _compile(chain: Chain, images_BCHW: Tensor, seconds_per_image: float = 1.0) -> str | None:
    return chain.compile_if_it_pays((images_BCHW,), num_images=10**9, seconds_per_image=seconds_per_image)


@pytest.mark.parametrize(
    ("fake", "eager_s", "reason"),
    [
        (_Fake(error=RuntimeError("no compiler")), 1.0, "compiling failed (RuntimeError)"),
        (_Fake(factor=1.01), 1.0, "compiled code gave other features"),
        (_Fake(delay_s=0.05), 1e-4, "compiled code was slower"),
    ],
    ids=["raises", "wrong", "slow"],
)
def test_compiled_code_that_is_no_good_gives_way(
    resnet: Backbone, fake: _Fake, eager_s: float, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chain goes on as it was, for any number of images, and the reason is handed back."""
    trunk, images = cut(resnet), images_of(resnet, 8)
    monkeypatch.setattr(torch, "compile", fake)
    chain = Chain(trunk, [0, 2, trunk.last], PLAIN, PLAIN_CPU)
    found = _compile(chain, images, eager_s)
    assert found == reason
    assert chain.mode == PLAIN
    fake.sizes.clear()
    assert torch.equal(chain.run((images[:3],))[-1][0], _wanted(trunk, images[:3]))
    assert fake.sizes == []


def test_compiled_code_that_agrees_is_kept(trunk: CutTrunk, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is run with one batch size only: a short last batch is padded, and its rows are those of the same images in a full one."""
    fake = _Fake()
    monkeypatch.setattr(torch, "compile", fake)
    chain = Chain(trunk, [0, 2, trunk.last], PLAIN, PLAIN_CPU)
    assert _compile(chain, images) is None
    assert str(chain.mode) == "float32 compiled"
    full, short = (chain.run((batch,)) for batch in (images, images[:3]))
    for whole, part in zip(full, short, strict=True):
        assert [len(tensor) for tensor in part] == [3]
        assert torch.equal(part[0], whole[0][:3])
    assert set(fake.sizes) == {8}
    assert difference(short[-1][0], _wanted(trunk, images[:3])) <= 1e-6
