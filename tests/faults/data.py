"""Images that are damaged, lie, lead elsewhere, are not images at all, or change while a sweep runs."""

import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

from harness.config import DataConfig
from harness.data.load import load_dataset
from harness.errors import DataError
from harness.search.display import Progress
from harness.status import Status
from harness.study.row import Row
from tests.faults.box import TINY, Box, Ended
from tests.faults.catalog import Outcome, Seen, fault
from tests.permissions import as_nobody

LATIN = os.fsdecode(b"h\xfcnd")
"""A name as older systems wrote it: its bytes are not UTF-8."""


def picture(path: Path, seed: int, mode: str = "RGB") -> None:
    """A small picture that no other seed makes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)).convert(mode).save(path)


def photos(root: Path, *names: str, count: int = 8) -> Path:
    """A folder of classes."""
    for number, name in enumerate(names):
        for image in range(count):
            picture(root / name / f"{image}.png", 100 * number + image)
    return root


def folder(root: Path) -> tuple[str, ...]:
    """Options of a sweep over such a folder."""
    return "data=folder", f"data.root={root}", "data.max_images=null", "backbone=test_resnet"


def bomb(side: int = 40000) -> bytes:
    """A PNG of 67 bytes whose header claims `side` squared pixels."""
    buffer = io.BytesIO()
    Image.new("1", (1, 1)).save(buffer, format="PNG")
    content = buffer.getvalue()
    header = b"IHDR" + side.to_bytes(4, "big") * 2 + content[24:29]
    return content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]


def _odd_files(odd: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, format="JPEG")
    (odd / "zero.png").touch()
    (odd / "cut.jpg").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    (odd / "letter.png").write_text("dear reader", encoding="utf-8")
    (odd / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
    (odd / "bomb.png").write_bytes(bomb())
    (odd / "nowhere.png").symlink_to(odd / "gone" / "0.png")
    (odd / "itself.png").symlink_to(odd / "itself.png")
    (odd / "device.png").symlink_to("/dev/zero")
    (odd / "up").symlink_to(odd.parent)
    (odd / os.fsdecode(b"\xff.png")).write_bytes(b"not a picture")
    with (odd / "huge.png").open("wb") as file:
        file.truncate(2**40)
    os.mkfifo(odd / "pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(odd / "socket.png"))


def _good_files(odd: Path) -> None:
    picture(odd / "new.png", 900)
    (odd / "new.png").rename(odd / "photo.jpg")
    frames = [Image.new("RGB", (24, 24), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(odd / "anim.gif", save_all=True, append_images=frames[1:])
    Image.fromarray(np.arange(576, dtype=np.uint16).reshape(24, 24) * 100).save(odd / "deep.png")
    picture(odd / "print.jpg", 901, "CMYK")


@dataclass(frozen=True)
class _Found:
    """What a sweep over all of them left."""

    row: Row
    report: Ended
    """The report's text, as if it had been printed."""


@cache
def _zoo() -> _Found:
    """One real sweep over all of them."""
    place = Path(tempfile.mkdtemp())
    try:
        root = photos(place / "photos", "Katze", "katze", LATIN)
        _odd_files(root / "Katze")
        _good_files(root / "Katze")
        box = Box(place, study_name="folder")
        ended = box.sweep(*folder(root), "freeze=all")
        assert ended.status == 0, ended.err
        (row,) = box.rows()
        assert row.status == Status.ok
        assert row.details.profile["num_used"] == 3 * 8 + 4, "8 good images in each class, and 4 odd but good ones"
        assert row.details.profile["num_label_conflicts"] == 0
        "".join(box.study.val_predictions(row.job_id).ids_N).encode("utf-8")
        report = (box.study.report_dir / "report.md").read_text(encoding="utf-8")
        return _Found(row, Ended(0, report, ""))
    finally:
        shutil.rmtree(place)


def _left_out(name: str, why: str) -> Seen:
    """The file is named with its reason, in the row and in the report; the sweep was a good one without it."""
    zoo = _zoo()
    (told,) = [line for line in zoo.row.details.profile["unreadable"] if f"/{name}" in line]
    assert why in told, told
    return Seen(Outcome.left_out, zoo.report.line(name, why))


@fault("data", "a file of no bytes called .png")
def an_empty_file(_: Box) -> Seen:
    """an image file is empty"""
    return _left_out("zero.png", "the file is empty")


@fault("data", "the first half of a JPEG")
def a_truncated_file(_: Box) -> Seen:
    """an image is cut short"""
    return _left_out("cut.jpg", "truncated")


@fault("data", "text called .png")
def no_image(_: Box) -> Seen:
    """a file is called an image and is none"""
    return _left_out("letter.png", "not an image that Pillow can read")


@fault("data", "a PNG of 67 bytes that claims 40,000 x 40,000 pixels")
def a_decompression_bomb(_: Box) -> Seen:
    """an image claims more pixels than memory holds"""
    return _left_out("bomb.png", "decompression bomb")


@fault("data", "a sparse file of one tebibyte called .png")
def a_huge_file(_: Box) -> Seen:
    """a file is larger than memory"""
    return _left_out("huge.png", "1,024.0 GiB")


@fault("data", "a symbolic link to what is not there")
def a_broken_link(_: Box) -> Seen:
    """an image is a broken link"""
    return _left_out("nowhere.png", "No such file or directory")


@fault("data", "a symbolic link to itself")
def a_looping_link(_: Box) -> Seen:
    """an image is a link to itself"""
    return _left_out("itself.png", "Too many levels of symbolic links")


@fault("data", "mkfifo; nobody writes to it")
def a_pipe(_: Box) -> Seen:
    """a pipe is called an image"""
    return _left_out("pipe.png", "not a regular file")


@fault("data", "a socket that is bound to the name")
def a_socket(_: Box) -> Seen:
    """a socket is called an image"""
    return _left_out("socket.png", "")


@fault("data", "a symbolic link to /dev/zero")
def a_device(_: Box) -> Seen:
    """a device without end is called an image"""
    return _left_out("device.png", "not a regular file")


@fault("data", "rubbish in a file whose name is the byte 0xff")
def a_name_that_is_not_utf_8(_: Box) -> Seen:
    """the names of a file and a class are not UTF-8"""
    zoo = _zoo()
    assert "h\\xfcnd" in zoo.row.details.class_names
    assert zoo.report.line("h\\xfcnd")
    return _left_out("\\xff.png", "not an image")


@fault("data", "a folder link in a class folder to the folder above")
def a_link_upwards(_: Box) -> Seen:
    """a link leads up to the other classes"""
    zoo = _zoo()
    assert zoo.row.details.profile["num_found"] == 3 * 8 + 4 + 12, "each file once"
    return Seen(Outcome.recovered, zoo.report.line("images found"))


@fault("data", "the folders Katze and katze")
def classes_that_differ_in_case(_: Box) -> Seen:
    """two classes differ only in case"""
    zoo = _zoo()
    assert zoo.row.details.class_names == ["Katze", "h\\xfcnd", "katze"]
    assert zoo.row.details.profile["class_counts"]["train"]["katze"] > 0
    return Seen(Outcome.recovered, zoo.report.line("kept apart", "Katze", "katze"))


@fault("data", "a PNG called .jpg")
def a_wrong_extension(_: Box) -> Seen:
    """an image is called by another format's name"""
    zoo = _zoo()
    assert not [line for line in zoo.row.details.profile["unreadable"] if "photo.jpg" in line]
    return Seen(Outcome.recovered, zoo.report.line("images found", "used"))


@fault("data", "a GIF of three frames")
def an_animation(_: Box) -> Seen:
    """an image is animated"""
    zoo = _zoo()
    return Seen(Outcome.recovered, zoo.report.line("frames or pages", "the first is used: 1"))


@fault("data", "a PNG of 16 bits and a JPEG of four inks")
def odd_modes(_: Box) -> Seen:
    """images are 16-bit and CMYK"""
    zoo = _zoo()
    assert zoo.row.details.profile["modes"].keys() >= {"I;16", "CMYK", "RGB"}
    return Seen(Outcome.recovered, zoo.report.line("modes as stored", "I;16", "CMYK"))


_UNDER_THE_LIMIT = """
import resource, sys, threading
from pathlib import Path
from harness.data.listing import FileCandidate
from harness.data.audit import audit
threading.stack_size(2**20)
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + int(1.4 * 2**30),) * 2)
for facts in audit([FileCandidate(name, Path(name)) for name in sys.argv[1:-1]], Path(sys.argv[-1]), "x"):
    print(f"{facts.width} x {facts.height} pixels of mode {facts.mode}" if not isinstance(facts, str) else facts)
"""


def _flat(path: Path, side: int) -> None:
    """A whole PNG of one colour with a palette that is partly transparent."""
    packer = zlib.compressobj(1)
    line = bytes(side + 1)
    body = b"".join(packer.compress(line) for _ in range(side)) + packer.flush()
    header = side.to_bytes(4, "big") * 2 + bytes([8, 3, 0, 0, 0])
    parts = [(b"IHDR", header), (b"PLTE", bytes(6)), (b"tRNS", bytes([0, 128])), (b"IDAT", body), (b"IEND", b"")]
    packed = b"".join(len(text).to_bytes(4, "big") + kind + text + zlib.crc32(kind + text).to_bytes(4, "big") for kind, text in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + packed)


@fault("data", "two whole PNGs of 177 million pixels with transparency, in a process that may hold 1.4 GiB more (RLIMIT_AS)")
def pictures_just_under_the_limit(box: Box) -> Seen:
    """images are as large as is allowed"""
    names = [str(box.root / f"{number}.png") for number in range(2)]
    _flat(Path(names[0]), 13300)
    shutil.copy(names[0], names[1])
    done = subprocess.run(
        [sys.executable, "-c", _UNDER_THE_LIMIT, *names, str(box.cache)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.stdout.splitlines() == ["13300 x 13300 pixels of mode P"] * 2, (done.stdout, done.stderr[-2000:])
    return Seen(Outcome.recovered, Ended(0, done.stdout, "").line("13300 x 13300"))


def _refused(box: Box, *said: str) -> Seen:
    """One line before anything runs, through the real command."""
    ended = box.sweep(*folder(box.root / "photos"), "freeze=all")
    assert (ended.status, ended.err.count("\n")) == (2, 1), ended
    assert not box.results.exists() or not list(box.results.rglob("*.json"))
    return Seen(Outcome.refused, ended.line(*said).replace(str(box.root), ""))


@fault("data", "train/cat, train/dog, val/cat, val/bird")
def a_class_without_training_images(box: Box) -> Seen:
    """a class is in val and not in train"""
    photos(box.root / "photos" / "train", "cat", "dog")
    photos(box.root / "photos" / "val", "cat", "dog", "bird")
    return _refused(box, "class 'bird': has images in val and none in train")


@fault("data", "cat, dog and an owl folder with one image")
def a_class_with_one_image(box: Box) -> Seen:
    """a class has one image"""
    photos(box.root / "photos", "cat", "dog", "owl")
    for number in range(1, 8):
        (box.root / "photos" / "owl" / f"{number}.png").unlink()
    seen = _refused(box, "class 'owl': 1 distinct readable image")
    assert "add 2 other images of it" in seen.words, seen
    assert "test_frac" not in seen.words, "it would not help"
    return seen


@fault("data", "all images of dog copied from cat")
def copies_under_two_labels(box: Box) -> Seen:
    """the images of a class are copies of another's"""
    photos(box.root / "photos", "cat", "owl")
    shutil.copytree(box.root / "photos" / "cat", box.root / "photos" / "dog")
    return _refused(box, "8 of its images lie in 'cat' as well")


@fault("data", "train/cat, train/dog, val/cat")
def a_class_without_val_images(box: Box) -> Seen:
    """a class is in train and not in val"""
    photos(box.root / "photos" / "train", "cat", "dog")
    for number in range(900, 908):
        picture(box.root / "photos" / "val" / "cat" / f"{number}.png", number)
    return _refused(box, "class 'dog': 0 readable images in val")


@fault("data", "a class folder that is a link to a disk that is not mounted")
def a_class_that_is_not_there(box: Box) -> Seen:
    """a class folder is a broken link"""
    photos(box.root / "photos", "cat", "dog")
    (box.root / "photos" / "bird").symlink_to("/media/not-mounted/bird")
    return _refused(box, "bird: is a link that leads nowhere")


@contextmanager
def once_read(change: Callable[[], None]) -> Iterator[None]:
    """In a sweep of this process, another program does this when the data set has been read and no job has begun."""
    announce = Progress.announce

    def and_change(progress: Progress, *arguments: int, **named: int) -> None:
        announce(progress, *arguments, **named)
        change()

    with patch.object(Progress, "announce", and_change):
        yield


def _changing(box: Box, change: Callable[[Path], None], *options: str) -> tuple[Ended, Row]:
    """A sweep of one job in which another program changes images meanwhile."""
    root = photos(box.root / "photos", "cat", "dog")
    with once_read(lambda: change(root)):
        ended = box.sweep(*folder(root), *options)
    (row,) = box.rows()
    assert (ended.status, row.status, row.val_accuracy, row.train_accuracy) == (3, Status.failed, None, None), row
    assert not box.study.predictions_path(row.job_id).exists()
    assert "Traceback" not in (row.error or "")
    return ended, row


def _row(box: Box, why: str, change: Callable[[Path], None], *options: str) -> Seen:
    def change_all(root: Path) -> None:
        for path in sorted(root.rglob("*.png")):
            change(path)

    ended, row = _changing(Box(box.root, study_name="folder"), change_all, *options)
    assert (row.error or "").startswith("'/"), row.error
    assert f"no longer can ({why}); restore it, or run the sweep again" in (row.error or ""), row.error
    return Seen(Outcome.row, ended.line(why).replace(str(box.root), ""))


@fault("data", "all images are turned upside down, and their times set back, once the data set has been read")
def images_that_change(box: Box) -> Seen:
    """images change during the sweep"""

    def turn(path: Path) -> None:
        times = path.stat()
        Image.open(path).transpose(Image.Transpose.ROTATE_180).save(path)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    return _row(box, "it holds other bytes by now", turn, "freeze=all")


@fault("data", "all images are deleted once the data set has been read; decoded by helper processes (train.augment=flip)")
def images_that_vanish(box: Box) -> Seen:
    """images vanish during the sweep"""
    return _row(box, "No such file or directory", Path.unlink, "freeze=none", "train.augment=flip", "train.head_init=random")


@fault("data", "all images become pipes once the data set has been read")
def images_that_become_pipes(box: Box) -> Seen:
    """images turn into what never ends"""

    def swap(path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    return _row(box, "not a regular file", swap, "freeze=all")


def _load(root: Path) -> str:
    """What a sweep over the folder says before it begins, or what it finds."""
    try:
        data = load_dataset(DataConfig(name="folder", source="folder", root=str(root)), root.parent / "cache")
    except DataError as error:
        return str(error)
    return " ".join(data.profile.notes)


@fault("data", "chmod 0 on a class folder, read by another user than root")
def a_folder_without_permission(_: Box) -> Seen:
    """a class folder may not be read"""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        root = photos(Path(place, "photos"), "cat", "dog")
        (root / "cat").chmod(0)
        with as_nobody():
            said = _load(root)
        (root / "cat").chmod(0o755)
    assert "cat: cannot be listed (Permission denied); check its permissions." in said
    return Seen(Outcome.refused, f"error: {said.replace(place, '')}")


@fault("data", "1,500 folders in each other, an image in the last")
def deep_folders(box: Box) -> Seen:
    """folders are nested deeper than Python recurses"""
    root = photos(box.root / "photos", "cat", "dog")
    deep = root / "cat"
    try:
        for _ in range(1500):
            deep /= "d"
            deep.mkdir()
        picture(deep / "0.png", 77)
        said = _load(root)
    finally:
        subprocess.run(["rm", "-rf", str(root)], check=True)  # Python's own removal recurses
    assert said.startswith("17 images found; 17 used."), said
    return Seen(Outcome.recovered, said)


def _told(box: Box, *said: str, options: tuple[str, ...] = ()) -> Seen:
    """A good sweep, through the real command, that says so before the first job and in the row's profile."""
    box = Box(box.root, study_name="folder")
    ended = box.sweep(*folder(box.root / "photos"), "freeze=all", *options)
    (row,) = box.rows()
    assert (ended.status, row.status) == (0, Status.ok), ended
    line = ended.line("folder: ", *said)
    profile = row.details.profile
    sentences = [*profile["remarks"], *profile["left_out"]]
    assert any(all(part in sentence for part in said) for sentence in sentences), sentences
    return Seen(Outcome.left_out if line.startswith("folder: not used") else Outcome.recovered, line.replace(str(box.root), ""))


def _classes(box: Box, *expected: str) -> None:
    (row,) = Box(box.root, study_name="folder").rows()
    assert row.details.class_names == list(expected), row.details.class_names


@fault("data", "results_dir below data.root; the same sweep twice")
def results_among_the_images(box: Box) -> Seen:
    """results are written among the images"""
    inside = Box(photos(box.root / "photos", "cat", "dog"), study_name="folder")
    ran = [inside.sweep(*folder(inside.root), "freeze=all") for _ in range(2)]
    assert [ended.status for ended in ran] == [0, 0], ran
    (row,) = inside.rows()
    assert row.details.class_names == ["cat", "dog"]
    return Seen(Outcome.left_out, ran[1].line("not used", "'results'"))


@fault("data", "Training/{cat,dog}, Testing/{cat,dog}")
def splits_by_other_names(box: Box) -> Seen:
    """split folders are called Training and Testing"""
    photos(box.root / "photos", "Training/cat", "Training/dog", "Testing/cat", "Testing/dog")
    seen = _told(box, "'Testing' is test, 'Training' is train")
    _classes(box, "cat", "dog")
    return seen


@fault("data", "part_a/{cat,dog}, part_b/{cat,dog}")
def splits_without_a_known_name(box: Box) -> Seen:
    """folders may be splits or classes"""
    for part in ("part_a", "part_b"):
        photos(box.root / "photos" / part, "cat", "dog")
    return _refused(box, "'part_a' and 'part_b' hold folders of the same names", "data.layout=classes")


@fault("data", "car/, plane/, train/{steam,diesel}")
def a_class_called_train(box: Box) -> Seen:
    """a class is called like a split"""
    photos(box.root / "photos", "car", "plane", "train/steam", "train/diesel")
    return _refused(box, "'train', by name a split, beside 'car', 'plane'")


@fault("data", "birds/{robin,owl}, fish/*.png")
def folders_below_a_class(box: Box) -> Seen:
    """a class folder holds folders"""
    photos(box.root / "photos", "birds/robin", "birds/owl", "fish")
    return _told(box, "count to the class", "birds/owl", "birds/robin")


@fault("data", "train/{cat,dog}, test/*.png")
def a_test_split_without_labels(box: Box) -> Seen:
    """the test images have no labels"""
    photos(box.root / "photos" / "train", "cat", "dog")
    photos(box.root / "photos", "test", count=5)
    seen = _told(box, "test has no labels: its 5 images not used")
    _classes(box, "cat", "dog")
    return seen


@fault("data", "values from 0 to 255 in PNGs of 16 bits")
def eight_bits_in_sixteen(box: Box) -> Seen:
    """16-bit images hold 8-bit values"""
    for number in range(16):
        path = box.root / "photos" / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (24, 24), dtype=np.uint16)).save(path)
    return _told(box, "I;16", "are read as 0 to 255")


@fault("data", "a third class of 8 camera raw files")
def a_class_in_a_format_that_is_not_read(box: Box) -> Seen:
    """all images of a class are in a format that is not read"""
    photos(box.root / "photos", "cat", "dog", "owl")
    for path in (box.root / "photos" / "owl").iterdir():
        path.rename(path.with_suffix(".NEF"))
    return _refused(box, "class 'owl': 8 of 8 images cannot be read", "a camera's raw file; develop it to JPEG or TIFF")


@fault("data", "one HEIC among 8 images of a class, without pillow-heif")
def an_image_in_a_format_that_takes_a_package(box: Box) -> Seen:
    """an image is HEIC, and what reads it is not installed"""
    root = photos(box.root / "photos", "cat", "dog")
    (root / "cat" / "IMG_1.HEIC").write_bytes(b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf")
    with patch.dict(sys.modules, {"pillow_heif": None}):
        return _told(box, "cat/IMG_1.HEIC: HEIC")


@fault("data", "a letter, a table and a picture without suffix in class folders")
def files_that_are_no_images(box: Box) -> Seen:
    """other files lie among the images"""
    root = photos(box.root / "photos", "cat", "dog")
    (root / "cat" / "notes.txt").write_text("dear reader", encoding="utf-8")
    (root / "dog" / "boxes.xml").write_text("<boxes/>", encoding="utf-8")
    (root / "dog" / "0.png").rename(root / "dog" / "0")
    seen = _told(box, "Files that are no images: 1 .txt, 1 .xml")
    (row,) = Box(box.root, study_name="folder").rows()
    assert row.details.profile["num_used"] == 16
    return seen


@fault("data", "data.max_images=12 of 16")
def not_all_images(box: Box) -> Seen:
    """there are more images than data.max_images"""
    photos(box.root / "photos", "cat", "dog")
    return _told(box, "4 of 16 images, by data.max_images=12", options=("data.max_images=12",))


@fault("data", "data.root=FOLDER without data=")
def a_forgotten_source(box: Box) -> Seen:
    """data=folder is forgotten"""
    root = photos(box.root / "photos", "cat", "dog")
    quick = [option for option in TINY if not option.startswith(("data=", "data.max_images="))]
    done = subprocess.run(
        [sys.executable, "-m", "harness.sweep", f"data.root={root}", "backbone=test_resnet", "freeze=all", *box.folders, *quick],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    ended = Ended(done.returncode, done.stdout, done.stderr)
    assert ended.status == 0, ended
    (row,) = Box(box.root, study_name="folder").rows()
    assert row.details.class_names == ["cat", "dog"]
    return Seen(Outcome.recovered, ended.line("folder: ", "2 classes").replace(str(box.root), ""))


@fault("data", "photos/{pets,cars}/{train,test}/CLASS, and data.root=photos")
def two_data_sets_in_one_folder(box: Box) -> Seen:
    """data.root is one folder too high"""
    for name in ("pets", "cars"):
        for split in ("train", "test"):
            photos(box.root / "photos" / name / split, "a", "b")
    return _refused(box, "photos/cars: holds splits of its own", "give data.root=")


@fault("data", "the folder of one class as data.root, another class beside it")
def a_class_as_the_root(box: Box) -> Seen:
    """data.root is one folder too low"""
    root = photos(box.root / "photos", "cat", "dog")
    ended = box.sweep(*folder(root / "cat"), "freeze=all")
    assert (ended.status, ended.err.count("\n"), box.results.exists()) == (2, 1, False), ended
    return Seen(Outcome.refused, ended.line("one of the classes 'cat', 'dog'", "to go one level up").replace(str(box.root), ""))


@fault("data", "@eaDir, __MACOSX, $RECYCLE.BIN and lost+found with pictures in them, beside and below the classes")
def system_folders(box: Box) -> Seen:
    """systems have left folders among the images"""
    root = photos(box.root / "photos", "cat", "dog", "@eaDir", "__MACOSX", "$RECYCLE.BIN", "lost+found")
    photos(root / "cat", "@eaDir")
    seen = _told(box, "Folders of the system", "'@eaDir'", "'lost+found'")
    _classes(box, "cat", "dog")
    return seen
