"""Every kind of picture file that users have becomes upright 8-bit RGB."""

import os
import pickle
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data import images
from harness.data.images import ArrayImage, FileImage, content_hash, holds_more, opened, quiet, read_file, upright
from harness.data.kinds import open_as_image
from harness.errors import DataError


def _reopened(image: Image.Image, path: Path, **options: Any) -> Image.Image:
    image.save(path, **options)
    return FileImage("x", content_hash(path.read_bytes()), path).open()


@pytest.mark.parametrize(
    ("mode", "colour", "suffix", "expected"),
    [
        ("1", 1, "png", (255, 255, 255)),
        ("L", 100, "png", (100, 100, 100)),
        ("LA", (100, 255), "png", (100, 100, 100)),
        ("LA", (0, 0), "png", (255, 255, 255)),
        ("RGB", (10, 20, 30), "png", (10, 20, 30)),
        ("RGBA", (10, 20, 30, 255), "png", (10, 20, 30)),
        ("RGBA", (10, 20, 30, 0), "png", (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), "webp", (204, 204, 204)),
        ("CMYK", (0, 255, 255, 0), "tif", (255, 0, 0)),
        ("I;16", 25700, "png", (100, 100, 100)),
        ("I;16", 255, "png", (255, 255, 255)),
        ("I;16", 65535, "tif", (255, 255, 255)),
        ("I", 25700, "tif", (100, 100, 100)),
        ("I", 100, "tif", (100, 100, 100)),
        ("F", 0.5, "tif", (128, 128, 128)),
        ("F", 100.0, "tif", (100, 100, 100)),
        ("F", 25700.0, "tif", (100, 100, 100)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str, colour: float | tuple[int, ...], suffix: str, expected: tuple[int, ...]) -> None:
    """Depth is scaled by a fixed rule and transparency is laid on white, whatever the file's mode."""
    options = {"lossless": True} if suffix == "webp" else {}
    opened = _reopened(Image.new(mode, (5, 4), colour), tmp_path / f"x.{suffix}", **options)
    assert (opened.mode, opened.size) == ("RGB", (5, 4))
    assert opened.getpixel((2, 2)) == pytest.approx(expected, abs=1)


def test_big_endian_16_bit(tmp_path: Path) -> None:
    """Byte order of 16-bit files is respected."""
    pixels = np.full((4, 5), 25700, dtype=">u2")
    image = Image.frombytes("I;16B", (5, 4), pixels.tobytes())
    assert upright(image).getpixel((0, 0)) == (100, 100, 100)


def test_palette_transparency(tmp_path: Path) -> None:
    """Transparent palette entries show white and the others their colour, without a warning."""
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    opened = _reopened(image, tmp_path / "x.png", transparency=b"\x00\xff")
    assert [opened.getpixel((x, 0)) for x in range(2)] == [(255, 255, 255), (0, 0, 255)]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path: Path, orientation: int) -> None:
    """All eight EXIF orientations show the same upright picture."""
    upright = np.zeros((16, 32, 3), dtype=np.uint8)
    upright[:8, :16] = 255  # a white quarter at the top left
    undo = [lambda a: a, np.fliplr, lambda a: np.rot90(a, 2), np.flipud, lambda a: a.swapaxes(0, 1)]
    undo += [lambda a: np.rot90(a, 1), lambda a: np.rot90(a, 2).swapaxes(0, 1), lambda a: np.rot90(a, 3)]
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation - 1](upright)))
    opened = _reopened(stored, tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(np.asarray(opened), upright)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("tags", [b"Exif\x00\x00garbage", b"Exif\x00\x00MM\x00*\x00\x00\xff\xffgarbage"])
def test_damaged_exif_does_not_cost_the_picture(tmp_path: Path, suffix: str, tags: bytes) -> None:
    """A picture whose tag block is garbage is shown as stored, without a warning."""
    assert _reopened(Image.new("RGB", (8, 6), "red"), tmp_path / f"x.{suffix}", exif=tags).size == (8, 6)


@pytest.mark.parametrize("value", [-1.0, 70000.0, float("nan")])
def test_unknown_range_is_refused(value: float) -> None:
    """Float pixels whose range cannot be known are refused rather than clipped."""
    with pytest.raises(ValueError, match="no known range"):
        upright(Image.new("F", (2, 2), value))


def test_format_is_restricted(tmp_path: Path) -> None:
    """A PostScript file under a harmless name is not handed to an interpreter."""
    path = tmp_path / "x.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    with pytest.raises(OSError, match="cannot identify"):
        open_as_image(path.read_bytes(), ".png")


def test_file_gone_since_the_audit(tmp_path: Path) -> None:
    """A file that vanished between loading and training is named in one line."""
    with pytest.raises(DataError, match=r"gone\.png': could be read when") as caught:
        FileImage("gone.png", "hash", tmp_path / "gone.png").open()
    assert "\n" not in str(caught.value)


def test_refs_are_picklable_and_light(tmp_path: Path) -> None:
    """A file's handle crosses process borders without its pixels; an array's brings them along."""
    file = FileImage("a.png", "hash", tmp_path / "a.png")
    assert pickle.loads(pickle.dumps(file)) == file
    assert len(pickle.dumps(file)) < 500
    array = ArrayImage("0", "hash", np.full((8, 8), 7, dtype=np.uint8))
    assert pickle.loads(pickle.dumps(array)).open().getpixel((0, 0)) == (7, 7, 7)


def test_quiet_restores_filters_when_users_overlap() -> None:
    """Warning filters are back as they were although the first user left before the second, as threads do."""
    before = list(warnings.filters)
    first, second = quiet(), quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    warnings.warn("odd file", UserWarning, stacklevel=1)
    second.__exit__(None, None, None)
    assert list(warnings.filters) == before
    with pytest.raises(UserWarning, match="heard"):
        warnings.warn("heard", UserWarning, stacklevel=1)


def test_other_bytes_are_never_shown(tmp_path: Path) -> None:
    """A picture that was replaced since the audit by another good one is refused, however alike the files look from outside."""
    path = tmp_path / "x.bmp"
    Image.new("RGB", (8, 8), "red").save(path)
    image, times = FileImage("x.bmp", content_hash(path.read_bytes()), path), path.stat()
    assert image.open().getpixel((0, 0)) == (255, 0, 0)
    size = path.stat().st_size
    Image.new("RGB", (8, 8), "blue").save(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert path.stat().st_size == size
    with pytest.raises(DataError, match=r"x\.bmp': could be read when .* \(it holds other bytes by now\); restore it") as caught:
        image.open()
    assert "\n" not in str(caught.value)


@pytest.mark.timeout(20)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe that nobody writes to, a device that never ends, a folder: refused at once, before the audit and after it."""
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    (tmp_path / "folder.png").mkdir()
    for name in ("pipe.png", "device.png", "folder.png"):
        with pytest.raises(OSError, match="not a regular file"):
            read_file(tmp_path / name)
        with pytest.raises(DataError, match="not a regular file"):
            FileImage(name, "hash", tmp_path / name).open()


def test_a_file_without_end_is_not_read(tmp_path: Path) -> None:
    """A sparse file of a terabyte takes no place on disk and would take all memory."""
    with (tmp_path / "huge.png").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match=r"the file has 1,024\.0 GiB, and at most 1 are read"):
        read_file(tmp_path / "huge.png")


def test_memory_that_ran_out_says_nothing_about_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not turned into an unreadable image."""
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")

    def full(_: Image.Image, *, white: float | None, keep_grey: bool) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(images, "upright", full)
    with pytest.raises(MemoryError):
        FileImage("x", content_hash((tmp_path / "x.png").read_bytes()), tmp_path / "x.png").open()


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "I;16", "I", "F"])
def test_strips_are_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Large pictures are converted a few lines at a time, with the same pixels, turned upright as well."""
    random = np.random.default_rng(0)
    if mode in ("I;16", "I", "F"):
        kinds = {"I;16": np.uint16, "I": np.int32, "F": np.float32}
        picture = Image.fromarray(random.integers(0, 60000, (23, 31)).astype(kinds[mode]))
    else:
        picture = Image.fromarray(random.integers(0, 256, (23, 31, 4), dtype=np.uint8), "RGBA").convert(mode)
    assert picture.mode == mode
    exif = Image.Exif()
    exif[0x0112] = 6
    options: dict[str, Any] = {"transparency": bytes(range(256))} if mode == "P" else {}
    path = tmp_path / ("x.tif" if mode in ("I", "F") else "x.png")
    picture.save(path, exif=exif, **options)
    image = FileImage("x", content_hash(path.read_bytes()), path)
    whole = np.asarray(image.open())
    monkeypatch.setattr(images, "_STRIP_PIXELS", 100)
    np.testing.assert_array_equal(np.asarray(image.open()), whole)
    assert whole.shape == (31, 23, 3)
    assert len(np.unique(whole)) > 20


def test_not_a_number_is_found_in_any_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pixel without a value among many, in a strip of its own."""
    values = np.full((50, 4), 0.5, dtype=np.float32)
    values[20, 2] = np.nan
    monkeypatch.setattr(images, "_STRIP_PIXELS", 4)
    with pytest.raises(ValueError, match="no known range"):
        upright(Image.fromarray(values))


def test_large_pictures_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one large picture is open no other one is decoded; small ones are."""
    Image.new("L", (200, 200)).save(tmp_path / "large.png")
    Image.new("L", (20, 20)).save(tmp_path / "small.png")
    monkeypatch.setattr(images, "_LARGE_PIXELS", 10_000)
    done: list[str] = []

    def read(name: str) -> None:
        with opened(tmp_path / name):
            done.append(name)

    with opened(tmp_path / "large.png"):
        threads = [threading.Thread(target=read, args=(name,)) for name in ("large.png", "small.png")]
        for thread in threads:
            thread.start()
        threads[1].join(10)
        assert done == ["small.png"]
    threads[0].join(10)
    assert done == ["small.png", "large.png"]


@pytest.mark.parametrize(
    ("suffix", "count", "expected"), [("gif", 3, True), ("gif", 1, False), ("tif", 2, True), ("png", 2, True), ("jpg", 1, False)]
)
def test_further_frames_are_noticed_and_the_first_is_shown(tmp_path: Path, suffix: str, count: int, expected: bool) -> None:
    """Animations and pages count as one picture, the first."""
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")][:count]
    path = tmp_path / f"x.{suffix}"
    options: dict[str, Any] = {"save_all": True, "append_images": frames[1:]} if count > 1 else {}
    frames[0].save(path, **options)
    with opened(path) as (_, image):
        shown = upright(image)
        assert holds_more(image) is expected
    assert shown.getpixel((4, 4)) == pytest.approx((255, 0, 0), abs=3)
