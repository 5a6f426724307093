"""The bundled sources, the audit and its memory, and what a data set promises as a whole."""

import io
import json
import os
import pickle
import shutil
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.config import DataConfig, ElpvCells, ElpvConfig, ElpvTask
from harness.data.dataset import Dataset
from harness.data.file_images import FileImages
from harness.data.listing import FileCandidate
from harness.data.load import load_dataset
from harness.errors import ConfigError, DataError


def _folder(root: Path, count: int = 6) -> Path:
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(random.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(root / name / f"{number}.png")
    return root


def _load(root: Path, cache_dir: Path) -> Dataset:
    return load_dataset(DataConfig(name="mine", source="folder", root=str(root)), cache_dir)


def _ids(data: Dataset) -> set[str]:
    return {image.id for split in (data.train, data.val, data.test) for image in split.images}


def test_digits(tmp_path: Path) -> None:
    """All 1,797 digits load from scikit-learn, ten stratified classes, black to white."""
    data = load_dataset(DataConfig(name="digits", source="digits"), tmp_path)
    assert (len(data.train), len(data.val), len(data.test)) == (1079, 359, 359)
    assert data.class_names == tuple("0123456789")
    assert data.profile.modes == {"L": 1797}
    extrema = np.array([image.open().getextrema() for image in data.val.images])
    assert (extrema.min(), extrema.max()) == (0, 255)


def test_digits_are_the_same_everywhere(tmp_path: Path) -> None:
    """Split and fingerprint depend on the split seed and nothing else."""
    first, again = (load_dataset(DataConfig(name=name, source="digits", max_images=100), tmp_path / name) for name in ("x", "y"))
    other = load_dataset(DataConfig(name="x", source="digits", max_images=100, split_seed=1), tmp_path)
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("task", "cells", "found"),
    [
        (ElpvTask.binary, ElpvCells.all, {"functional": 1803, "defective": 821}),
        (ElpvTask.binary, ElpvCells.mono, {"functional": 704, "defective": 370}),
        (ElpvTask.levels, ElpvCells.all, {"p=0": 1508, "p=1/3": 295, "p=2/3": 106, "p=1": 715}),
        (ElpvTask.cell_type, ElpvCells.all, {"mono": 1074, "poly": 1550}),
    ],
)
def test_elpv_labels(tmp_path: Path, task: ElpvTask, cells: ElpvCells, found: dict[str, int]) -> None:
    """The installed photographs carry the published counts of each task, and a draw keeps their proportions."""
    data = load_dataset(ElpvConfig(name="elpv", source="elpv", task=task, cells=cells, max_images=100), tmp_path)
    assert data.class_names == tuple(found)
    assert data.profile.num_found == sum(found.values())
    used = Counter(name for counts in data.profile.class_counts.values() for name, count in counts.items() for _ in range(count))
    for name, count in found.items():
        assert used[name] == pytest.approx(100 * count / sum(found.values()), abs=1.0)
    assert data.train.images[0].open().size == (300, 300)


def test_elpv_of_one_cell_type_has_no_cell_types(tmp_path: Path) -> None:
    """Options that leave a class without images are refused."""
    with pytest.raises(DataError, match="class 'poly': has no images"):
        load_dataset(ElpvConfig(name="elpv", source="elpv", task=ElpvTask.cell_type, cells=ElpvCells.mono), tmp_path)


def test_elpv_package_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the message is the command that installs it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DataError, match="python -m pip install elpv-dataset"):
        load_dataset(ElpvConfig(name="elpv", source="elpv"), tmp_path)


def test_elpv_damaged_labels(tmp_path: Path) -> None:
    """A labels file with an unknown cell type is refused, naming the file."""
    (tmp_path / "labels.csv").write_text("images/cell0001.png 1.0 plastic\n")
    with pytest.raises(DataError, match=r"labels\.csv: cannot be read as elpv labels"):
        load_dataset(ElpvConfig(name="elpv", source="elpv", root=str(tmp_path)), tmp_path)


@pytest.mark.parametrize(
    ("cfg", "message"),
    [
        (DataConfig(name="x", source="floder"), r"data\.source='floder': unknown; did you mean 'folder'"),
        (DataConfig(name="elpv", source="elpv"), "elpv_schema"),
        (DataConfig(name="digits", source="digits", root="/tmp"), r"data\.root=/tmp: data=digits comes with"),
    ],
)
def test_wrong_options(tmp_path: Path, cfg: DataConfig, message: str) -> None:
    """A wrong source or option is a configuration error that offers the repair."""
    with pytest.raises(ConfigError, match=message):
        load_dataset(cfg, tmp_path)


def _bomb() -> bytes:
    """A small PNG whose header claims 40,000 x 40,000 pixels."""
    buffer = io.BytesIO()
    Image.new("1", (1, 1)).save(buffer, format="PNG")
    content = buffer.getvalue()
    header = b"IHDR" + (40000).to_bytes(4, "big") * 2 + content[24:29]
    return content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]


def test_unreadable_files_are_left_out_with_reasons(tmp_path: Path) -> None:
    """Truncated, corrupt, empty, oversized and dangling files and pipes are named; everything else is used."""
    root = _folder(tmp_path / "root")
    whole = (root / "a" / "0.png").read_bytes()
    (root / "a" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "a" / "noise.jpg").write_bytes(b"not a picture at all")
    (root / "a" / "void.png").touch()
    (root / "a" / "bomb.png").write_bytes(_bomb())
    (root / "a" / "gone.png").symlink_to(root / "nowhere.png")
    os.mkfifo(root / "a" / "pipe.png")
    data = _load(root, tmp_path / "cache")
    reasons = dict(line.split(": ", 1) for line in data.profile.unreadable)
    assert set(reasons) == {f"a/{name}" for name in ("cut.png", "noise.jpg", "void.png", "bomb.png", "gone.png", "pipe.png")}
    assert "truncated" in reasons["a/cut.png"]
    assert reasons["a/noise.jpg"] == "not an image that Pillow can read"
    assert reasons["a/void.png"] == "the file is empty"
    assert "decompression bomb" in reasons["a/bomb.png"]
    assert reasons["a/pipe.png"] == "not a regular file"
    assert (data.profile.num_found, data.profile.num_used, data.profile.num_unreadable) == (18, 12, 6)
    assert len(_ids(data)) == 12


def test_nothing_readable(tmp_path: Path) -> None:
    """When no file can be read there is one line that shows the first reason."""
    for name in ("a", "b"):
        (tmp_path / "root" / name).mkdir(parents=True)
        (tmp_path / "root" / name / "x.png").touch()
    with pytest.raises(DataError, match=r"not one of 2 images can be read \(a/x\.png: the file is empty\)"):
        _load(tmp_path / "root", tmp_path / "cache")


def test_a_second_load_reads_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Audit results are remembered: unchanged files are not opened again, and the outcome is the same."""
    root = _folder(tmp_path / "root")
    first = _load(root, tmp_path / "cache")
    examined: list[Path] = []
    whole = FileCandidate.examine
    monkeypatch.setattr(FileCandidate, "examine", lambda self: examined.append(self.path) or whole(self))  # type: ignore[func-returns-value]
    again = _load(root, tmp_path / "cache")
    assert (again.fingerprint, again.profile) == (first.fingerprint, first.profile)
    assert examined == []
    shutil.copy(root / "a" / "1.png", root / "a" / "0.png")
    changed = _load(root, tmp_path / "cache")
    assert examined == [root / "a" / "0.png"]
    assert changed.profile.num_duplicates_within == 1


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"pillow": 1}', "null"])
def test_a_damaged_memory_is_rewritten(tmp_path: Path, damage: str) -> None:
    """A cache file that cannot be understood costs a decode, never the load, and is whole afterwards."""
    root = _folder(tmp_path / "root")
    first = _load(root, tmp_path / "cache")
    (memory,) = (tmp_path / "cache" / "audit").iterdir()
    memory.write_text(damage)
    assert _load(root, tmp_path / "cache").fingerprint == first.fingerprint
    assert len(json.loads(memory.read_text())["files"]) == 12


def test_damaged_entries_are_not_believed(tmp_path: Path) -> None:
    """Entries of the wrong shape are examined afresh."""
    root = _folder(tmp_path / "root")
    first = _load(root, tmp_path / "cache")
    (memory,) = (tmp_path / "cache" / "audit").iterdir()
    stored = json.loads(memory.read_text())
    stored["files"] = {path: entry[:3] for path, entry in stored["files"].items()}
    memory.write_text(json.dumps(stored))
    assert _load(root, tmp_path / "cache").fingerprint == first.fingerprint


def test_profile_of_sizes_and_modes(tmp_path: Path) -> None:
    """Sizes are those of the upright pictures, modes those of the files, and imbalance is said in words."""
    root = _folder(tmp_path / "root")
    for number in range(12):
        Image.new("L", (100 + number, 50), number).save(root / "b" / f"grey{number}.png")
    profile = _load(root, tmp_path / "cache").profile
    assert profile.modes == {"RGB": 12, "L": 12}
    assert (profile.widths["min"], profile.widths["max"], profile.heights["max"]) == (30, 111, 50)
    assert profile.imbalance_ratio == profile.class_counts["train"]["b"] / profile.class_counts["train"]["a"]
    assert any(note.startswith("Train is imbalanced") for note in profile.notes)


def test_a_change_that_hides_its_time_is_seen(tmp_path: Path) -> None:
    """Another picture of the same size under the same modification time, as unpacking and synchronising leave it, is examined anew."""
    root = _folder(tmp_path / "root")
    path = root / "a" / "0.bmp"
    Image.new("RGB", (40, 30), "red").save(path)
    first, times = _load(root, tmp_path / "cache"), path.stat()
    Image.new("RGB", (40, 30), "blue").save(path)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    again = _load(root, tmp_path / "cache")
    assert again.fingerprint != first.fingerprint
    assert all(image.open() for split in (again.train, again.val, again.test) for image in split.images)


def test_every_image_is_what_the_fingerprint_says(tmp_path: Path) -> None:
    """A file that changes after the data set was loaded cannot be opened any more: it is not the image that was counted."""
    root = _folder(tmp_path / "root")
    data = _load(root, tmp_path / "cache")
    image = data.train.images[0]
    Image.new("RGB", (40, 30), "blue").save(root / image.id)
    with pytest.raises(DataError, match="holds other bytes by now"):
        image.open()


def test_wrong_extensions_and_odd_files(tmp_path: Path) -> None:
    """What a file holds counts, not what it is called; text called an image, PostScript among it, is named as such."""
    root = _folder(tmp_path / "root")
    (root / "a" / "0.png").rename(root / "a" / "photo.jpg")
    (root / "a" / "letter.png").write_text("dear reader", encoding="utf-8")
    (root / "a" / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    Image.new("RGB", (8, 8)).save(root / "a" / "anim.gif", save_all=True, append_images=[Image.new("RGB", (8, 8), "red")])
    data = _load(root, tmp_path / "cache")
    assert "a/photo.jpg" in _ids(data)
    assert sorted(data.profile.unreadable) == [f"a/{name}.png: not an image that Pillow can read" for name in ("letter", "program")]
    assert any(note.endswith("frames or pages, of which the first is used: 1.") for note in data.profile.notes)
    assert _load(root, tmp_path / "cache").profile == data.profile


def test_a_split_travels_as_lists(tmp_path: Path) -> None:
    """Images of files are made when they are asked for, and are the same ones in another process."""
    split = _load(_folder(tmp_path / "root"), tmp_path / "cache").train
    again = pickle.loads(pickle.dumps(split)).images
    assert isinstance(again, FileImages)
    assert list(again) == list(split.images)
    assert (again[-1], again[1:3]) == (split.images[len(split) - 1], tuple(split.images)[1:3])
    with pytest.raises(IndexError):
        again[len(split)]
