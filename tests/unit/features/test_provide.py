"""One pass provides activations: computed once, from as deep as possible, cached while it pays and fits, found again only by their equals."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from torch import nn

from harness.backbones.backbone import Backbone
from harness.compute.thread_pool import ThreadPool
from harness.config import Augment, Precision
from harness.data.dataset import ImageRef
from harness.data.transforms import eval_transform
from harness.errors import StoreError
from harness.features import provide, run_pass, trial
from harness.features.address import block_digests, feature_address, pixel_address
from harness.features.cached_activations import CachedActivations, InMemory, ViewCache
from harness.features.cut import CutTrunk, cut, difference
from harness.features.entry import EntryWriter
from harness.features.layout import Activations, Layout
from harness.features.mode import PLAIN, Chain, Mode
from harness.features.provide import Request, fill
from harness.features.run_pass import DECODED
from harness.features.store import FeatureStore
from harness.features.trial import Judge
from harness.features.view import View
from tests.unit.tiny import Pixels, split

NUM_IMAGES = 19
"""Two pieces and a short one."""

LAST = 5
"""Boundary of the tiny network's head."""


@dataclass
class Provider:
    """Fills caches for one backbone and one list of images, each cached with a store object of its own on the same folder."""

    backbone: Backbone
    pool: ThreadPool
    root: Path
    images: Sequence[ImageRef] = field(default_factory=lambda: split(0, NUM_IMAGES).images)
    augment: Augment = Augment.none
    number: int | None = None
    max_gib: float = 1.0
    precision: Precision = Precision.float32

    def __call__(self, *starts: int, final: bool = False, passing: Sequence[int] = (), judge: Judge | None = None) -> CachedActivations:
        trunk, view = cut(self.backbone), View(self.images, self.backbone.preprocess, self.augment, self.number)
        digests, device = block_digests(self.backbone), self.pool.runtime.device
        addresses = {k: feature_address(view, digests, k, device, self.precision) for k in range(1, LAST + 1)} | {0: pixel_address(view)}
        cached = CachedActivations(view, trunk.last, self.pool)
        cache = ViewCache(FeatureStore(self.root, self.max_gib), addresses)
        fill(cached, trunk, Request(set(starts), final, frozenset(passing), judge), cache, self.precision)
        return cached

    def entries(self) -> list[Path]:
        """Every file of rows on disk."""
        return sorted(self.root.rglob("rows.npy"))


@pytest.fixture
def provider(resnet: Backbone, pool: ThreadPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Provider:
    """In plain float32. All activations are worth caching, however fast this machine computes them."""
    monkeypatch.setattr(provide, "READ_MIB_S", 1e12)
    return Provider(resnet, pool, tmp_path / "features")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the images that this process has decoded."""
    seen: list[str] = []
    honest = Pixels.open

    def opened(self: Pixels, *, keep_grey: bool = False) -> Image.Image:
        seen.append(self.id)
        return honest(self, keep_grey=keep_grey)

    monkeypatch.setattr(Pixels, "open", opened)
    return seen


@pytest.fixture
def segments(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The segments that passes have asked for; those of `cut` itself are not among them, since it gives no root."""
    seen: list[tuple[int, int]] = []
    honest = CutTrunk.segment

    def segment(self: CutTrunk, start: int, end: int, root: nn.Module | None = None) -> nn.Module:
        if root is not None:
            seen.append((start, end))
        return honest(self, start, end, root)

    monkeypatch.setattr(CutTrunk, "segment", segment)
    return seen


def _seen(provider: Provider) -> torch.Tensor:
    """The images as the trunk sees them, by the transform that decoding is defined by."""
    transform = eval_transform(provider.backbone.preprocess)
    return torch.stack([transform(image.open()) for image in provider.images])


def _mib(paths: Sequence[Path]) -> float:
    return sum(path.stat().st_size - 128 for path in paths) / 2**20


def test_activations_at_each_boundary_are_what_the_segments_give(provider: Provider) -> None:
    """Of each image on its own, in the images' order: a pass of pieces, through disk, changes nothing."""
    cached, trunk = provider(*range(LAST), final=True), cut(provider.backbone)
    images_NCHW = _seen(provider)
    assert torch.equal(cached.read(0, slice(None))[0], images_NCHW)
    for boundary in range(1, LAST + 1):
        found = cached.read(boundary, slice(None))
        for image in (0, 7, 8, NUM_IMAGES - 1):
            with torch.no_grad():
                wanted = trunk.segment(0, boundary)(images_NCHW[image : image + 1])
            for part, own in zip(found, wanted, strict=True):
                assert difference(part[image : image + 1], own) <= 1e-5
    with torch.no_grad():
        assert difference(torch.from_numpy(cached.final()), provider.backbone.trunk(images_NCHW)) <= 1e-5


def test_activations_are_read_in_the_asked_order(provider: Provider) -> None:
    """Any rows, some twice."""
    cached = provider(2)
    rows = np.array([18, 0, 7, 7])
    (everything,), (some,) = cached.read(2, slice(None)), cached.read(2, rows)
    assert torch.equal(some, everything[torch.from_numpy(rows)])


def test_a_second_fill_passes_no_image(provider: Provider, decoded: list[str], segments: list[tuple[int, int]]) -> None:
    """Nothing is decoded and nothing computed, and the rows are the same bits."""
    first = provider(0, 2, final=True)
    assert (first.effort.num_passed, sorted(set(decoded))) == (NUM_IMAGES, sorted(image.id for image in provider.images))
    assert len(decoded) <= NUM_IMAGES + provider.pool.piece  # the first piece is decoded for the trial too
    decoded.clear()
    segments.clear()
    again = provider(0, 2, final=True)
    assert (decoded, segments) == ([], [])
    assert (again.effort.num_passed, again.effort.wait_frac, again.effort.predicted_mib) == (0, None, 0.0)
    for boundary in (0, 2, LAST):
        assert torch.equal(first.raw(boundary, slice(None))[0], again.raw(boundary, slice(None))[0])


def test_a_deeper_boundary_is_computed_from_the_nearest_cached_one(
    provider: Provider, decoded: list[str], segments: list[tuple[int, int]]
) -> None:
    """No image is decoded again and no block before it runs again; what comes out is what the whole way gives."""
    provider(1, 3)
    decoded.clear()
    segments.clear()
    cached = provider(4, final=True)
    assert decoded == []
    assert set(segments) == {(3, 4), (4, LAST)}
    assert (cached.effort.num_passed, cached.effort.wait_frac) == (NUM_IMAGES, None)
    with torch.no_grad():
        assert difference(torch.from_numpy(cached.final()), provider.backbone.trunk(_seen(provider))) <= 1e-5


def test_an_earlier_boundary_needs_the_images(provider: Provider, segments: list[tuple[int, int]]) -> None:
    """Activations at 4 do not help to fill 2; one pass from the pixels fills 2 and what else is missing, and does not cache 4 twice."""
    provider(4)
    segments.clear()
    cached = provider(2, final=True)
    assert set(segments) == {(0, 2), (2, LAST)}
    assert [boundary for boundary in range(LAST + 1) if boundary in cached] == [0, 2, 4, LAST]
    assert len(provider.entries()) == 4


def test_cached_pixels_are_not_decoded_again(provider: Provider, decoded: list[str]) -> None:
    """A pass that decodes caches what it decoded; the next one, with another start, reads it."""
    provider(4)
    decoded.clear()
    assert provider(1).effort.num_passed == NUM_IMAGES
    assert decoded == []


def test_a_pass_caches_activations_for_other_jobs_on_its_way(provider: Provider, segments: list[tuple[int, int]]) -> None:
    """Their boundaries are filled by a pass that happens anyway, and are no reason for one."""
    assert provider(passing=[1, 2]).effort.num_passed == 0
    assert segments == []
    cached = provider(3, passing=[1])
    assert [boundary for boundary in range(LAST + 1) if boundary in cached] == [0, 1, 3]
    assert [cached.nearest(boundary) for boundary in range(LAST + 1)] == [0, 1, 1, 3, 3, 3]
    segments.clear()
    assert provider(1).effort.num_passed == 0


def test_a_request_for_images_alone_computes_nothing(provider: Provider, segments: list[tuple[int, int]]) -> None:
    """Images are decoded and cached as they are, before normalisation; no layer ran, which the row says."""
    cached = provider(0)
    assert segments == []
    assert (cached.effort.num_passed, cached.about(0)["mode"]) == (0, DECODED)
    assert cached.raw(0, slice(None))[0].dtype is torch.uint8


def test_activations_that_are_read_no_faster_than_computed_are_not_cached(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where reading takes long, a job starts from the nearest cached boundary before; what the head sees is there in any case."""
    provider(1)
    monkeypatch.setattr(provide, "READ_MIB_S", 1e-6)
    num_entries = len(provider.entries())
    cached = provider(3)
    assert 3 not in cached
    assert cached.nearest(3) == 1
    assert (cached.effort.num_passed, len(provider.entries())) == (0, num_entries)
    cached = provider(3, final=True)
    assert 3 not in cached
    assert cached.nearest(3) == 1
    assert LAST in cached


def test_where_no_activations_are_worth_it_images_are_cached(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training then starts from decoded images, and no layer runs before it does."""
    monkeypatch.setattr(provide, "READ_MIB_S", 1e-6)
    cached = provider(3)
    assert [boundary for boundary in range(LAST + 1) if boundary in cached] == [0]
    assert cached.nearest(3) == 0
    assert (cached.effort.num_passed, len(provider.entries())) == (0, 1)
    assert provider(3).effort.predicted_mib == 0.0


@pytest.mark.parametrize(("seconds", "expected"), [((1.0, 1.0), [2]), ((9.0, 0.1), [1]), ((9.0, 9.0), [1, 2]), ((0.1, 0.1), [])])
def test_activations_are_worth_what_lies_between_them_and_the_cached_ones_before(
    provider: Provider, seconds: tuple[float, float], expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Work since the last cached boundary counts: two segments that each save too little save enough together, and nothing is saved twice."""
    probe = replace(provider, root=provider.root / "probe")(1, 2)
    at_1, at_2 = (Layout.from_json(probe.about(k)["layout"]).row.num_bytes / 2**20 for k in (1, 2))
    assert at_2 <= at_1 < 1.5 * at_2
    # Reading a row at 2 takes 0.75 s, and one at 1 at least that: they are worth 1.5 s and more.
    monkeypatch.setattr(provide, "READ_MIB_S", at_2 / 0.75)
    honest = Chain.timed

    def timed(self: Chain, activations: Activations) -> list[tuple[Activations, float]]:
        found = honest(self, activations)
        return [(part, taken_s * len(activations[0])) for (part, _), taken_s in zip(found, seconds, strict=True)]

    monkeypatch.setattr(Chain, "timed", timed)
    cached = provider(1, 2)
    assert [boundary for boundary in (1, 2) if boundary in cached] == expected


def test_with_the_store_off_the_head_s_features_are_in_memory(provider: Provider) -> None:
    """Nothing touches the disk, nothing else is cached, and the features are the same bits as with a store."""
    provider.max_gib = 0
    cached = provider(2, final=True)
    assert not provider.root.exists()
    assert cached.effort.predicted_mib == 0.0
    assert [boundary for boundary in range(LAST + 1) if boundary in cached] == [LAST]
    assert isinstance(cached._rows[LAST][1], InMemory)
    provider.max_gib = 1
    assert np.array_equal(cached.final(), provider(2, final=True).final())
    before = cached.final().copy()
    cached.raw(LAST, slice(None))[0].zero_()  # a reader may change what it was given
    assert np.array_equal(cached.final(), before)


def test_with_the_store_off_and_nothing_requested_at_the_head_nothing_is_passed(provider: Provider, decoded: list[str]) -> None:
    """What could not be cached is not computed; the trial alone reads images."""
    provider.max_gib = 0
    cached = provider(2)
    assert (cached.effort.num_passed, cached.nearest(2)) == (0, 0)
    assert len(decoded) <= provider.pool.piece


def test_features_that_fit_nowhere_are_an_error(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that says how large they are and what to change."""
    provider.max_gib = 0
    monkeypatch.setattr(run_pass, "IN_MEMORY_MIB", 0)
    with pytest.raises(StoreError, match=r"^store\.max_gib: 0\.0 GiB of features fit neither .*larger store\.max_gib.*data\.max_images\.$"):
        provider(final=True)
    assert not provider.root.exists()


def test_when_room_is_short_the_deepest_activations_are_cached(provider: Provider) -> None:
    """They are the smallest and save the most: with room for two of them, the last two are there and no other."""
    whole = provider(1, 2, 3, 4, final=True)
    sizes = {k: NUM_IMAGES * Layout.from_json(whole.about(k)["layout"]).row.num_bytes for k in range(LAST + 1)}
    small = replace(provider, root=provider.root / "small", max_gib=(sizes[LAST] + sizes[4] + 1) / 2**30)
    cached = small(1, 2, 3, 4, final=True)
    assert [boundary for boundary in range(LAST + 1) if boundary in cached] == [4, LAST]
    assert _mib(small.entries()) * 2**20 == sizes[LAST] + sizes[4]


def test_a_damaged_entry_is_computed_again(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    """With equal rows; the others stay as they were."""
    honest = provider(3, final=True)
    wanted = {boundary: honest.raw(boundary, slice(None))[0].clone() for boundary in (3, LAST)}
    for path in provider.entries():
        if path.stat().st_size == 128 + wanted[LAST].numel() * 4:
            path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    cached = provider(3, final=True)
    assert "damaged and removed" in caplog.text
    assert cached.effort.num_passed == NUM_IMAGES
    for boundary, rows in wanted.items():
        assert difference(cached.raw(boundary, slice(None))[0], rows) <= 1e-6
    assert provider(3, final=True).effort.num_passed == 0


def test_what_a_pass_adds_is_known_before(provider: Provider) -> None:
    """The rows on disk are as large as predicted, within 5 %."""
    first = provider(2, final=True)
    before = _mib(provider.entries())
    assert first.effort.predicted_mib == pytest.approx(before, rel=0.05)
    second = provider(1, 4)
    assert second.effort.predicted_mib == pytest.approx(_mib(provider.entries()) - before, rel=0.05)


def test_cached_activations_say_how_they_were_computed(provider: Provider) -> None:
    """The arithmetic, and the seconds from image files to them: more for deeper ones, also when they were computed from cached ones."""
    provider(2)
    cached = provider(4, final=True)
    abouts = [cached.about(boundary) for boundary in (0, 2, 4, LAST)]
    assert [about["mode"] for about in abouts] == [DECODED, "float32", "float32", "float32"]
    seconds = [about["seconds"] for about in abouts]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


@pytest.mark.parametrize(("number", "augment"), [(None, Augment.none), (0, Augment.light)])
def test_the_share_of_waiting_is_a_fraction(provider: Provider, number: int | None, augment: Augment) -> None:
    """Of a pass that decodes; also one whose images other processes decode."""
    provider.number, provider.augment = number, augment
    cached = provider(2)
    assert cached.effort.wait_frac is not None
    assert 0 <= cached.effort.wait_frac <= 1


def test_the_number_of_an_augmented_view_decides_its_changes(provider: Provider) -> None:
    """Two numbers change the same images in two ways; the same number, in a store of its own, does the same again."""

    def pixels(number: int, root: str) -> torch.Tensor:
        cached = replace(provider, number=number, augment=Augment.light, root=provider.root / root)(0)
        return cached.raw(0, slice(None))[0]

    first = pixels(0, "a")
    assert not torch.equal(first, pixels(1, "a"))
    assert torch.equal(first, pixels(0, "b"))


def _one_weight(provider: Provider, block: int) -> None:
    name = next(name for name in provider.backbone.blocks[block].tensors if name.endswith("weight"))
    with torch.no_grad():
        dict(provider.backbone.trunk.named_parameters())[name].view(-1)[0] += 1e-3


def _statistics(provider: Provider) -> None:
    name = next(name for name in provider.backbone.blocks[0].tensors if name.endswith("running_mean"))
    with torch.no_grad():
        dict(provider.backbone.trunk.named_buffers())[name].view(-1)[0] += 1e-3


def _preprocess(provider: Provider, **changes: Any) -> None:
    provider.backbone = replace(provider.backbone, preprocess=replace(provider.backbone.preprocess, **changes))


def _images(provider: Provider, images: Sequence[ImageRef]) -> None:
    provider.images = images


def _view(provider: Provider, number: int) -> None:
    provider.number, provider.augment = number, Augment.flip


CHANGES: dict[str, tuple[Callable[[Provider], None], list[int]]] = {
    "nothing": (lambda _: None, [0, 2, LAST]),
    "first block": (lambda provider: _one_weight(provider, 0), [0]),
    "block behind 2": (lambda provider: _one_weight(provider, 2), [0, 2]),
    "running mean": (_statistics, [0]),
    "order": (lambda provider: _images(provider, provider.images[::-1]), []),
    "one image less": (lambda provider: _images(provider, provider.images[:-1]), []),
    "other content": (lambda provider: _images(provider, [*provider.images[:-1], Pixels("18", "other", 99, 0)]), []),
    "other names": (lambda provider: _images(provider, [replace(image, id="x") for image in provider.images]), [0, 2, LAST]),  # type: ignore[type-var]
    "crop": (lambda provider: _preprocess(provider, crop_frac=0.5), []),
    "interpolation": (lambda provider: _preprocess(provider, interpolation="nearest"), []),
    "mean": (lambda provider: _preprocess(provider, mean=(0.1, 0.1, 0.1)), [0]),
    "std": (lambda provider: _preprocess(provider, std=(0.1, 0.1, 0.1)), [0]),
    "view": (lambda provider: _view(provider, 0), []),
    "precision": (lambda provider: setattr(provider, "precision", Precision.auto), [0]),
}
"""What is changed -> the boundaries whose rows are still found."""


@pytest.mark.parametrize("change", CHANGES)
def test_activations_are_found_only_by_an_equal_address(provider: Provider, change: str) -> None:
    """Whatever decides activations is in their address, and nothing else is: earlier boundaries outlive a change behind them, pixels one of normalising."""
    provider(2, final=True)
    alter, expected = CHANGES[change]
    alter(provider)
    cached = provider()
    assert [boundary for boundary in range(LAST + 1) if boundary in cached] == expected


def test_a_pass_that_fails_leaves_nothing(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half an entry is no entry: when an image cannot be read, its error comes out and the store is as empty as before."""

    def unreadable(self: Pixels, *, keep_grey: bool) -> Image.Image:
        if self.id == "17":
            raise OSError("gone")
        return Image.new("RGB", (32, 32))

    with monkeypatch.context() as patch:
        patch.setattr(Pixels, "open", unreadable)
        with pytest.raises(OSError, match="gone"):
            provider(2, final=True)
    assert list(provider.root.iterdir()) == []
    assert provider(2, final=True).effort.num_passed == NUM_IMAGES


def test_a_store_that_refuses_does_not_cost_the_job(provider: Provider) -> None:
    """A file lies where its folder should be: what the head sees is in memory, with the same bits, and the reason is noted."""
    honest = replace(provider, root=provider.root / "good")(2, final=True)
    provider.root.mkdir(parents=True, exist_ok=True)
    (provider.root / "file").touch()
    cached = replace(provider, root=provider.root / "file" / "features")(2, final=True)
    assert [boundary for boundary in range(LAST + 1) if boundary in cached] == [LAST]
    assert np.array_equal(cached.final(), honest.final())
    assert cached.effort.predicted_mib == 0.0
    assert cached.effort.note is not None
    assert cached.effort.note.startswith("not kept: ")
    assert "the feature store cannot be used (Not a directory)" in cached.effort.note
    nothing_final = replace(provider, root=provider.root / "file" / "features")(2)
    assert (nothing_final.nearest(2), nothing_final.effort.note is None) == (0, False)


def test_a_disk_that_fills_up_in_the_middle_of_a_pass_does_not_cost_the_job(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer fails halfway; the pass is made again into memory, and nothing is left in the store."""
    honest = replace(provider, root=provider.root / "good")(final=True)
    full = replace(provider, root=provider.root / "full")
    append = EntryWriter.append

    def refuse(self: EntryWriter, values_BE: np.ndarray[tuple[int, ...], np.dtype[Any]]) -> None:
        if self._num_appended:
            raise StoreError("the disk is full.")
        append(self, values_BE)

    monkeypatch.setattr(EntryWriter, "append", refuse)
    cached = full(final=True)
    assert np.array_equal(cached.final(), honest.final())
    assert cached.effort.note == "not kept: the disk is full."
    assert full.entries() == []
    monkeypatch.setattr(run_pass, "IN_MEMORY_MIB", 0)
    with pytest.raises(StoreError, match=r"^the disk is full\.$"):
        full(final=True)


@dataclass(frozen=True)
class _Judge:
    """Some of the images, and a verdict."""

    rows_N: npt.NDArray[np.int64]
    said: str | None
    seen: list[tuple[int, float]] = field(default_factory=list)

    def __call__(self, fast_ND: npt.NDArray[np.float32], exact_ND: npt.NDArray[np.float32]) -> str | None:
        self.seen.append((len(fast_ND), float(np.abs(fast_ND - exact_ND).max() / np.abs(exact_ND).max())))
        return self.said


@pytest.mark.parametrize("said", [None, "changed 1 of 4 decisions"])
@pytest.mark.parametrize("starts", [(), (2,)])
def test_a_lower_precision_is_taken_when_a_judge_agrees(
    provider: Provider, said: str | None, starts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shown what the head would see of its images in both ways, wherever the pass ends; else the pass is in float32 and the row says why."""
    monkeypatch.setattr(trial, "choose", _only_low)
    provider.precision = Precision.auto
    judge = _Judge(np.array([0, 3, 9, 18]), said)
    cached = provider(*starts, final=not starts, judge=judge)
    ((num_images, off),) = judge.seen
    assert num_images == 4
    assert 0 < off < 0.1
    assert cached.about(starts[0] if starts else LAST)["mode"].startswith("float32" if said else "bfloat16")
    assert (cached.effort.note or "").endswith(said or "")
    assert (cached.effort.note is None) == (said is None)


def _only_low(
    trunk: CutTrunk, boundaries: Sequence[int], _: Activations, pool: ThreadPool, asked: Precision, *, lower: bool = False
) -> tuple[Chain, str | None]:
    """The mode that would be quickest somewhere."""
    assert asked is Precision.auto
    low = Mode(Precision.bfloat16, is_channels_last=True, is_folded=True)
    return Chain(trunk, boundaries, low if lower else PLAIN, pool.runtime), None
