"""Whatever bytes a file called an image holds: facts and the picture they promise, or a reason on one line."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, features

from harness.data.audit import audit
from harness.data.facts import Facts
from harness.data.images import read_file
from harness.data.listing import FileCandidate
from harness.text.untrusted import one_line
from tests.unit.fuzzing import examples


def _saved(mode: str, kind: str, **options: object) -> bytes:
    random = np.random.default_rng(len(mode) + len(kind))
    picture = Image.fromarray(random.integers(0, 256, (13, 17, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    (Image.new(mode, (17, 13), 300) if mode in ("I;16", "I", "F") else picture.convert(mode)).save(buffer, format=kind, **options)
    return buffer.getvalue()


def _seeds() -> Iterator[bytes]:
    yield from (_saved(mode, "PNG") for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"))
    yield from (
        _saved(mode, "JPEG", exif=exif) for mode in ("L", "RGB", "CMYK") for exif in (b"", b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00")
    )
    yield from (_saved(mode, "TIFF") for mode in ("L", "RGB", "CMYK", "I;16", "I", "F"))
    yield from (_saved("RGB", "TIFF", compression=packed) for packed in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"))
    yield _saved("P", "PNG", transparency=3)
    yield _saved("P", "GIF")
    yield _saved("P", "GIF", save_all=True, append_images=[Image.new("P", (17, 13), 7), Image.new("P", (17, 13), 9)])
    yield from (_saved("RGB", kind) for kind in ("BMP", "PPM", "TGA", "PCX", "ICO", "WEBP"))
    yield from (_saved("RGB", kind) for kind, part in (("JPEG2000", "jpg_2000"), ("AVIF", "avif")) if features.check(part))


SEEDS = list(_seeds())


@dataclass(frozen=True)
class Change:
    """One way to damage bytes, at places given as fractions of their length."""

    kind: str
    at: float
    size: float
    with_: bytes
    other: int

    def apply(self, content: bytes) -> bytes:
        start = int(self.at * len(content))
        stop = start + int(self.size * 40)
        if self.kind == "flip" and start < len(content):
            return content[:start] + bytes([content[start] ^ (self.with_[0] if self.with_ else 255)]) + content[start + 1 :]
        if self.kind == "cut":
            return content[:start]
        if self.kind == "drop":
            return content[:start] + content[stop:]
        if self.kind == "insert":
            return content[:start] + self.with_ + content[start:]
        if self.kind == "repeat":
            return content[:stop] + content[start:]
        return content[:start] + SEEDS[self.other % len(SEEDS)][start:]  # spliced


CHANGES = st.builds(
    Change,
    kind=st.sampled_from(["flip", "flip", "flip", "cut", "drop", "insert", "repeat", "splice"]),
    # Headers decide more than pixels do.
    at=st.one_of(st.floats(0, 1), st.floats(0, 0.1)),
    size=st.floats(0, 1),
    with_=st.one_of(
        st.binary(max_size=8), st.sampled_from([b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff", b"IEND", b"\xff\xd9"])
    ),
    other=st.integers(0, len(SEEDS) - 1),
)


def _check(path: Path, content: bytes, cache: Path) -> Facts | str:
    path.write_bytes(content)
    candidate = FileCandidate("x", path)
    (found,) = audit([candidate], cache, "fuzz")
    if isinstance(found, str):
        assert found
        assert one_line(found) == found
        return found
    picture = candidate.ref(found, found.high).open()
    assert (picture.mode, picture.size) == ("RGB", (found.width, found.height))
    assert np.asarray(picture).shape == (found.height, found.width, 3)
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all examples."""
    return tmp_path_factory.mktemp("fuzz")


def test_every_seed_is_a_picture(place: Path) -> None:
    """What is damaged below was whole before."""
    for content in SEEDS:
        assert isinstance(_check(place / "seed.png", content, place / "cache"), Facts)


@pytest.mark.timeout(3600)
@examples(300)
@given(st.sampled_from(SEEDS), st.lists(CHANGES, min_size=1, max_size=6))
def test_damaged_bytes_are_facts_or_a_reason(place: Path, content: bytes, changes: list[Change]) -> None:
    """Flipped, cut, dropped, doubled and spliced: nothing but an outcome comes back, and the facts hold for the picture."""
    for change in changes:
        content = change.apply(content)
    _check(place / "x.png", content, place / "cache")


@examples(100)
@given(st.binary(max_size=400), st.sampled_from([seed[:12] for seed in SEEDS]))
def test_noise_behind_a_true_beginning(place: Path, noise: bytes, beginning: bytes) -> None:
    """Any bytes behind the mark of a format, and any bytes without one."""
    for content in (beginning + noise, noise):
        _check(place / "x.png", content, place / "cache")


def test_nothing_is_read_of_what_is_no_file(place: Path) -> None:
    """A folder is refused like a pipe."""
    with pytest.raises(OSError, match="not a regular file"):
        read_file(place)
