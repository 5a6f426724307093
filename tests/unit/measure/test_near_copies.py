"""Near copies are found whatever was done to them, and pictures of alike things are no copies."""

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageEnhance

from harness.data.facts import Measures, small_grey
from harness.measure import near_copies as module
from harness.measure.near_copies import near_copies
from harness.measure.odd_images import odd_images

FloatArray = npt.NDArray[np.float64]


def picture(seed: int, side: int = 160) -> Image.Image:
    """Cloudy texture under the same three dark bars in every picture, as in photographs of one kind of thing."""
    rng = np.random.default_rng(seed)
    clouds = sum(
        np.asarray(Image.fromarray(rng.normal(0, 1, (n, n)).astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC))
        for n in (5, 12, 30)
    )
    grey = 130 + 18 * np.asarray(clouds)
    for bar in (30, 80, 130):
        grey[bar : bar + 5] -= 90
    return Image.fromarray(grey.clip(0, 255).astype(np.uint8))


def changed(image: Image.Image) -> list[Image.Image]:
    """The same picture, re-encoded, brighter and cut a little."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=50)
    cut = image.crop((2, 2, *image.size))
    return [Image.open(buffer), ImageEnhance.Brightness(image).enhance(1.2), cut, image.resize((100, 100))]


def features_of(images: list[Image.Image]) -> FloatArray:
    """Coarse values whatever the brightness, alike for pictures that appear alike."""
    values_ND = np.stack(
        [np.asarray(image.convert("L").resize((8, 8), Image.Resampling.BOX), dtype=np.float64).ravel() for image in images]
    )
    return np.asarray((values_ND - values_ND.mean(axis=1, keepdims=True)) / values_ND.std(axis=1, keepdims=True))


def pairs_of(images: list[Image.Image], features_ND: FloatArray | None = None) -> set[tuple[int, int]]:
    """As the audit asks."""
    hashes = [Measures.of(image).dhash for image in images]
    found = near_copies(
        hashes, features_of(images) if features_ND is None else features_ND, lambda place: small_grey(images[place].convert("L"))
    )
    assert found.is_complete
    return {(i, j) for i, j in found.pairs_P2.tolist()}


def test_changed_copies_are_found_and_alike_pictures_are_not() -> None:
    """Each of twelve pictures with four copies of its own; no pair crosses two pictures."""
    images = [image for seed in range(12) for image in (picture(seed), *changed(picture(seed)))]
    pairs = pairs_of(images)
    assert all(i // 5 == j // 5 for i, j in pairs)
    assert len({j for i, j in pairs if i % 5 == 0}) >= 44


def test_features_have_to_agree() -> None:
    """What hashes call a copy is none where a network sees something else."""
    images = [picture(1), *changed(picture(1))[:1], *(picture(seed) for seed in range(2, 8))]
    assert pairs_of(images) == {(0, 1)}
    features_ND = features_of(images)
    features_ND[1] = 2 * features_ND.mean(axis=0) - features_ND[1]
    assert pairs_of(images, features_ND) == set()


def test_too_many_alike_pictures_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of pairs is bounded, and what is found says that it is not all; images that are too small are not compared."""
    monkeypatch.setattr(module, "MAX_PAIRS", 10)
    hashes = [Measures.of(picture(0)).dhash] * 8
    found = near_copies([*hashes, None], np.random.default_rng(0).normal(1, 0.001, (9, 4)), lambda _: small_grey(picture(0)))
    assert not found.is_complete
    assert len(found.pairs_P2) <= 10
    alone = near_copies([None, hashes[0]], np.ones((2, 4)), lambda _: small_grey(picture(0)))
    none = near_copies([None, None], np.ones((2, 4)), lambda _: small_grey(picture(0)))
    assert alone.is_complete
    assert len(alone.pairs_P2) == len(none.pairs_P2) == 0


def test_images_unlike_the_others_are_named() -> None:
    """A black one, a dark one, a blurred one and a strip among a hundred; a property of many is none of single images."""
    measures = [Measures.of(picture(seed)) for seed in range(4)] * 25
    dark, blank, blurred = (
        Measures.of(each)
        for each in (
            ImageEnhance.Brightness(picture(1)).enhance(0.15),
            Image.new("L", (160, 160)),
            Image.linear_gradient("L"),
        )
    )

    def problems(found: list[Measures], widths: list[int]) -> list[tuple[int, str]]:
        columns = ([each.highlight for each in found], [each.contrast for each in found], [each.sharpness for each in found])
        return [(each.place, each.problem) for each in odd_images(widths, [160] * len(found), *columns)]

    found = [*measures, dark, blank, blurred, measures[0]]
    assert problems(found, [160] * 103 + [900]) == [(100, "dark"), (101, "blank"), (102, "blurred"), (103, "odd size")]
    assert problems([*measures, *[dark] * 10], [160] * 110) == []
