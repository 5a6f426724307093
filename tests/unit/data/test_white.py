"""Pictures of more than 8 bits: one white for the whole data set, seen or given, recorded and said."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from harness.data.white import COLOUR, FLOAT, INTEGER, Depth, decide, lowest_white
from harness.errors import DataError
from tests.unit.data.pictures import load, refusal


def _write(root: Path, high: int, kind: Any, *, suffix: str = "png", count: int = 6) -> dict[str, npt.NDArray[Any]]:
    """Two classes of grey pictures with values up to `high`, no single one of which need reach it."""
    random, written = np.random.default_rng(0), {}
    for name, share in (("dark", 0.4), ("light", 1.0)):
        for number in range(count):
            values = (random.random((9, 8)) * share * high).astype(kind)
            values[0, 0] = int(share * high)
            (root / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(root / name / f"{number}.{suffix}")
            written[f"{name}/{number}.{suffix}"] = values
    return written


def _seen(root: Path, **options: object) -> dict[str, npt.NDArray[np.uint8]]:
    data = load(root, **options)  # type: ignore[arg-type]
    images = [image for split in (data.train, data.val, data.test) for image in split.images]
    return {image.id: np.asarray(image.open())[..., 0] for image in images}


@pytest.mark.parametrize(("high", "white"), [(255, 255), (1000, 1023), (4095, 4095), (9000, 16383), (65535, 65535), (20000, 65535)])
def test_the_range_is_that_of_all_files(tmp_path: Path, high: int, white: int) -> None:
    """Each picture is divided by the data set's white, the dark ones too; so 8 bits in a file of 16 are 8 bits."""
    written = _write(tmp_path / "root", high, np.uint16)
    seen = _seen(tmp_path / "root")
    assert len(seen) == 12
    for name, values in written.items():
        np.testing.assert_array_equal(seen[name], np.rint(values * (255 / white)))
    profile = load(tmp_path / "root").profile
    assert profile.max_values == {"integer": float(white)}
    assert profile.remarks == [f"Pictures of mode I;16 hold values up to {high:,} and are read as 0 to {white:,} (data.max_value)."]


@pytest.mark.parametrize(("high", "white"), [(1, 1), (200, 255), (3000, 4095)])
def test_floats(tmp_path: Path, high: int, white: int) -> None:
    """From 0 to 1 as well, and not by the file: a picture that happens to stay below 1 is dark."""
    written = _write(tmp_path / "root", high, np.float32, suffix="tif")
    for name, values in _seen(tmp_path / "root").items():
        np.testing.assert_allclose(values, written[name] * (255 / white), atol=0.51)
    assert load(tmp_path / "root").profile.max_values == {"float": float(white)}


def test_eight_bits_in_sixteen_are_the_same_pictures(tmp_path: Path) -> None:
    """Pixel by pixel those of the files of 8 bits."""
    _write(tmp_path / "a" / "root", 255, np.uint8)
    _write(tmp_path / "b" / "root", 255, np.uint16)
    one, two = _seen(tmp_path / "a" / "root"), _seen(tmp_path / "b" / "root")
    assert one.keys() == two.keys()
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert load(tmp_path / "a" / "root").profile.max_values == {}


def test_a_given_value(tmp_path: Path) -> None:
    """`data.max_value` stands above what is seen; other pixels are another data set, so that no kept activations are taken for them."""
    written = _write(tmp_path / "root", 3000, np.uint16)
    seen = _seen(tmp_path / "root", max_value=65535.0)
    assert all(np.array_equal(seen[name], np.rint(values * (255 / 65535))) for name, values in written.items())
    one, two = load(tmp_path / "root"), load(tmp_path / "root", max_value=65535.0)
    assert one.fingerprint != two.fingerprint
    assert {image.content_hash for image in one.train.images}.isdisjoint(image.content_hash for image in two.train.images)
    assert [image.id for image in one.val.images] == [image.id for image in two.val.images]


def test_values_above_the_given_one_are_named(tmp_path: Path) -> None:
    """They are no pictures of this range: left out, or the end where they are most of a class."""
    _write(tmp_path / "root", 3000, np.uint16)
    with pytest.raises(DataError, match=r"class 'light': 6 of 6 .* values up to 3,000, above 2,000; data\.max_value=\.\.\. gives another"):
        load(tmp_path / "root", max_value=2000.0)


def test_above_sixteen_bits(tmp_path: Path) -> None:
    """One picture with a value of no known range does not decide the range of the others."""
    _write(tmp_path / "root", 200, np.int32, suffix="tif")
    Image.fromarray(np.full((9, 8), 70000, dtype=np.int32)).save(tmp_path / "root" / "dark" / "odd.tif")
    profile = load(tmp_path / "root").profile
    assert profile.max_values == {"integer": 255.0}
    assert profile.unreadable == ["dark/odd.tif: values up to 70,000, above 255; data.max_value=... gives another white"]


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_whose_upper_bits_are_empty_is_refused(tmp_path: Path, channels: int) -> None:
    """Pillow keeps the upper 8 of 16 bits: 8 or 12 bits in files of 16 would be black."""
    for name in ("a", "b"):
        for number in range(5):
            (tmp_path / "root" / name).mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number + 10 * ord(name)).integers(0, 4096, (6, 5, channels), dtype=np.uint16)
            (tmp_path / "root" / name / f"{number}.png").write_bytes(_png16(pixels))
    said = refusal(tmp_path / "root")
    assert "values up to 4,095 at most" in said
    assert "store them with 8 bits a channel" in said


def _png16(pixels: npt.NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits a channel, which Pillow does not write in colour."""
    import zlib

    height, width, channels = pixels.shape
    kind = {3: 2, 4: 6}[channels]
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in pixels)
    parts = [
        (b"IHDR", width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([16, kind, 0, 0, 0])),
        (b"IDAT", zlib.compress(lines)),
        (b"IEND", b""),
    ]
    body = b"".join(len(part).to_bytes(4, "big") + tag + part + zlib.crc32(tag + part).to_bytes(4, "big") for tag, part in parts)
    return b"\x89PNG\r\n\x1a\n" + body


def test_the_ladder() -> None:
    """The first usual white that holds all; kinds do not share one; a dark picture in colour is nothing odd among bright ones."""
    assert [lowest_white(INTEGER, high) for high in (0, 1, 255, 256, 65536)] == [255, 255, 255, 1023, None]
    assert [lowest_white(FLOAT, high) for high in (0.5, 1, 1.5)] == [1, 1, 255]
    depths = [Depth("I;16", 300), Depth("F", 0.7), Depth("RGB;16", 511), Depth("RGB;16", 65535)]
    assert decide(depths, None) == {INTEGER: 1023.0, FLOAT: 1.0}
    assert Depth("LA;16", 1).kind == COLOUR
