"""Every file in a class folder is used or named, with the way out; a class that loses most of its images stops the sweep."""

import io
import os
import re
import sys
import types
from pathlib import Path

import pytest
from PIL import Image

from harness.data import kinds
from harness.data.kinds import is_image, open_as_image
from tests.unit.data.pictures import draw, fill, load, refusal

HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf"
JXL = b"\xff\x0a\x41\x06\0\x13\x88\x02\0"


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content + os.urandom(8))


@pytest.fixture
def plain_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """No package beside Pillow."""
    monkeypatch.setattr(kinds, "find_spec", lambda _: None)
    monkeypatch.setattr(kinds, "_readable", lambda: [name for name in sorted(kinds._FORMATS) if name not in {"HEIF", "JXL"}])


@pytest.mark.usefixtures("plain_pillow")
@pytest.mark.parametrize(
    ("name", "content", "way_out"),
    [
        ("IMG_{}.HEIC", HEIC, "HEIC; python -m pip install pillow-heif has it read"),
        ("IMG_{}.heif", HEIC.replace(b"ftypheic", b"ftypmif1"), "HEIC; python -m pip install"),
        ("IMG_{}.jpg", HEIC, "HEIC; python -m pip install"),
        ("IMG_{}", HEIC, "HEIC; python -m pip install"),
        ("{}.jxl", JXL, "JPEG XL; python -m pip install pillow-jxl-plugin has it read"),
        ("DSC_{}.NEF", b"MM\0*\0\0\0\x08", "a camera's raw file; develop it to JPEG or TIFF"),
        ("{}.psd", b"8BPS", r"\.psd is not read; store it as PNG, JPEG or TIFF"),
    ],
)
def test_a_class_of_pictures_that_cannot_be_read_stops_the_sweep(tmp_path: Path, name: str, content: bytes, way_out: str) -> None:
    """The class does not vanish; the one line says what reads the files."""
    root = fill(tmp_path / "root", "cat", "dog")
    for number in range(12):
        _put(root / "owl" / name.format(number), content)
    said = refusal(root)
    assert said.startswith("class 'owl': 12 of 12 images cannot be read (owl/"), said
    assert re.search(way_out, said), said


@pytest.mark.usefixtures("plain_pillow")
def test_a_few_are_left_out_and_named(tmp_path: Path) -> None:
    """Less than half of a class: it goes on, and the way out is said where the sweep begins."""
    root = fill(tmp_path / "root", "cat", "dog")
    for number in range(3):
        _put(root / "dog" / f"{number}.heic", HEIC)
    data = load(root)
    assert (data.profile.num_found, data.profile.num_used, data.profile.num_unreadable) == (15, 12, 3)
    _put(root / "cat" / "x.NEF", b"")
    way_out = "HEIC; python -m pip install pillow-heif has it read"
    raw = "a camera's raw file; develop it to JPEG or TIFF"
    assert load(root).profile.left_out == [f"Images that cannot be read: 4 (3 as dog/0.heic: {way_out}; 1 as cat/x.NEF: {raw})."]


@pytest.mark.usefixtures("plain_pillow")
def test_most_of_a_class(tmp_path: Path) -> None:
    """More than half is not the class that was meant; half still is."""
    root = fill(tmp_path / "root", "cat", "dog")
    for number in range(6):
        _put(root / "dog" / f"{number}.heic", HEIC)
    assert load(root).profile.num_used == 12
    _put(root / "dog" / "6.heic", HEIC)
    assert "class 'dog': 7 of 13 images cannot be read (dog/0.heic: HEIC;" in refusal(root)


def test_a_package_that_reads_them_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pillow_heif`, or one in its place: what it registers is read, whatever the file is called."""
    module = types.ModuleType("pillow_heif")

    def opener(file: io.BytesIO, _: object = None) -> Image.Image:
        return Image.new("RGB", (5, 4), (file.getvalue()[-1], file.getvalue()[-2], 0))

    module.register_heif_opener = lambda: Image.register_open("HEIF", opener, lambda first: first[4:12] == b"ftypheic")  # type: ignore[attr-defined, arg-type]
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    monkeypatch.setattr(kinds, "find_spec", lambda name: object() if name == "pillow_heif" else None)
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    kinds._readable.cache_clear()
    try:
        root = fill(tmp_path / "root", "cat", "dog")
        for number in range(12):
            _put(root / "owl" / f"{number}{('.HEIC', '.jpg', '')[number % 3]}", HEIC)
        data = load(root)
        assert data.class_names == ("cat", "dog", "owl")
        assert (data.profile.num_used, data.profile.left_out) == (24, [])
    finally:
        kinds._readable.cache_clear()


def test_files_without_a_suffix(tmp_path: Path) -> None:
    """Pictures by their first bytes, under any name; texts are named."""
    root = fill(tmp_path / "root", "cat", "dog")
    draw(root / "cat" / "frame_0001")
    draw(root / "cat" / "photo.jpg_large", "JPEG")
    draw(root / "cat" / "scan.0001", "TIFF")
    (root / "cat" / "LICENCE").write_text("P3 words\n")
    (root / "dog" / "labels.xml").write_text("<a/>")
    data = load(root)
    assert data.profile.num_used == 15
    assert data.profile.left_out == ["Files that are no images: 1 without suffix, 1 .xml; 'cat/LICENCE', 'dog/labels.xml'."]


def test_what_cannot_be_opened_is_no_image_unless_nothing_says_so(tmp_path: Path) -> None:
    """A pipe is not waited for; a link to nowhere without suffix may be a picture."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "link.txt").symlink_to(tmp_path / "gone")
    assert [is_image(tmp_path / name) for name in ("pipe", "link", "link.txt")] == [False, True, False]


def test_a_raw_file_is_not_read_as_the_preview_inside(tmp_path: Path) -> None:
    """It begins like a TIFF, whose first picture is a thumbnail."""
    content = draw(tmp_path / "x.dng", "TIFF").read_bytes()
    with pytest.raises(OSError, match="a camera's raw file"):
        open_as_image(content, ".DNG")
    assert open_as_image(content, ".tif").size == (10, 12)
