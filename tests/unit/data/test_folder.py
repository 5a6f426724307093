"""Folders as users have them: both layouts, odd names, links, stray files, and layouts that must be refused."""

import os
import subprocess
import tempfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.config import DataConfig
from harness.data.dataset import Dataset
from harness.data.load import load_dataset
from harness.errors import ConfigError, DataError
from tests.permissions import as_nobody


def _draw_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 10, 3), dtype=np.uint8)).save(path, format="PNG")


def _fill(folder: Path, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        _draw_image(folder / f"{number}.png", zlib.crc32(os.fsencode(f"{folder.name} {number}")))


def _load(root: Path, **options: object) -> Dataset:
    return load_dataset(DataConfig(name="mine", source="folder", root=str(root), **options), root.parent / "cache")  # type: ignore[arg-type]


def _sizes(data: Dataset) -> tuple[int, int, int]:
    return len(data.train), len(data.val), len(data.test)


def test_classes_are_folders(tmp_path: Path) -> None:
    """Each folder is a class; three disjoint splits come out of it, and labels follow the sorted names."""
    for name in ("b", "a"):
        _fill(tmp_path / "root" / name, 10)
    data = _load(tmp_path / "root")
    assert data.class_names == ("a", "b")
    assert _sizes(data) == (12, 4, 4)
    for split in (data.train, data.val, data.test):
        assert [data.class_names[label] for label in split.labels] == [image.id.split("/")[0] for image in split.images]
    assert data.train.images[0].open().size == (10, 12)


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_official_splits(tmp_path: Path, val: str) -> None:
    """`train`, any name of val, and `test` are kept as they are."""
    root = tmp_path / "root"
    for start, split in ((0, "train"), (10, val), (20, "test")):
        for name in ("cat", "dog"):
            _fill(root / split / name, 4, start)
    data = _load(root)
    assert _sizes(data) == (8, 8, 8)
    assert set(data.profile.split_origin.values()) == {"official"}
    assert all(image.id.startswith(val) for image in data.val.images)


def test_missing_val_is_carved_from_train(tmp_path: Path) -> None:
    """Train and test alone: val comes out of train, and the profile says so."""
    for start, split in ((0, "train"), (10, "test")):
        for name in ("cat", "dog"):
            _fill(tmp_path / "root" / split / name, 10, start)
    data = _load(tmp_path / "root")
    assert _sizes(data) == (16, 4, 20)
    assert data.profile.split_origin["val"] == "carved from train, 20 %, stratified"


def test_odd_names_are_only_strings(tmp_path: Path) -> None:
    """Spaces, umlauts, markup, quotes, line ends and bytes outside UTF-8 in names neither break nor change anything."""
    names = ["two words", "Größe", "<script>alert('x')<", 'quo"te', "line\nend", b"\xff\xfe".decode("utf-8", "surrogateescape")]
    for name in names:
        _fill(tmp_path / "root" / name, 3)
    data = _load(tmp_path / "root")
    assert set(data.class_names) == {*names[:-1], "\\xff\\xfe"}
    str(data.profile).encode()
    assert _load(tmp_path / "root").fingerprint == data.fingerprint


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    """Hidden files and folders are invisible; other files and folders without images are named in notes; suffixes have no case."""
    root = tmp_path / "root"
    for name in ("a", "b"):
        _fill(root / name, 5)
        _fill(root / name / "deeper", 1, start=50)
        _draw_image(root / name / "LOUD.PNG", 99)
        (root / name / "notes.txt").write_text("x")
        (root / name / "._0.png").write_text("x")
    (root / "Thumbs.db").write_text("x")
    (root / ".git" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    data = _load(root)
    assert sum(_sizes(data)) == data.profile.num_found == 14
    assert "Files that are no images: 2 .txt, 1 .db; 'Thumbs.db', 'a/notes.txt', 'b/notes.txt'." in data.profile.left_out
    assert any("Folders without images" in note and "'empty'" in note for note in data.profile.notes)
    assert data.class_names == ("a", "b")


@pytest.mark.timeout(20)
def test_link_loops_end(tmp_path: Path) -> None:
    """A link to a folder above is not followed round and round; a link to a folder elsewhere is followed."""
    root = tmp_path / "root"
    _fill(root / "a", 5)
    _fill(tmp_path / "elsewhere", 5)
    (root / "b").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "self").symlink_to(root / "a")
    (root / "a" / "up").symlink_to(root / "a" / "self")
    assert sum(_sizes(_load(root))) == 10


def test_order_on_disk_does_not_matter(tmp_path: Path) -> None:
    """The same files made in another order and elsewhere have the same splits and fingerprint; other content has another."""
    for number in range(12):
        for root, place in ((tmp_path / "one" / "root", number), (tmp_path / "two" / "root", 11 - number)):
            for name in ("a", "b"):
                _draw_image(root / name / f"{place}.png", zlib.crc32(f"{name} {place}".encode()))
    one, two = _load(tmp_path / "one" / "root"), _load(tmp_path / "two" / "root")
    assert one.fingerprint == two.fingerprint
    assert [image.id for image in one.val.images] == [image.id for image in two.val.images]
    _draw_image(tmp_path / "two" / "root" / "a" / "0.png", 7)
    assert _load(tmp_path / "two" / "root").fingerprint != one.fingerprint


def test_duplicates_stay_together_and_leaks_go(tmp_path: Path) -> None:
    """Copies inside a pool share a split and are counted; a copy of an official test image leaves train."""
    pool, split = tmp_path / "pool", tmp_path / "split"
    for name in ("a", "b"):
        _fill(pool / name, 8)
        (pool / name / "copy.png").write_bytes((pool / name / "0.png").read_bytes())
        for start, part in ((0, "train"), (10, "test")):
            _fill(split / part / name, 8, start)
        (split / "train" / name / "leak.png").write_bytes((split / "test" / name / "10.png").read_bytes())
    data = _load(pool)
    where = {image.id: place for place, part in enumerate((data.train, data.val, data.test)) for image in part.images}
    assert where["a/copy.png"] == where["a/0.png"]
    assert data.profile.num_duplicates_within == 2
    leaky = _load(split)
    assert not {image.content_hash for image in leaky.train.images} & {image.content_hash for image in leaky.test.images}
    assert (leaky.profile.num_duplicates_across, len(leaky.test), leaky.profile.num_used) == (2, 16, 32)


def test_conflicting_labels_are_counted(tmp_path: Path) -> None:
    """One picture in two class folders is kept on one side and reported."""
    for name in ("a", "b"):
        _fill(tmp_path / "root" / name, 8)
    (tmp_path / "root" / "b" / "same.png").write_bytes((tmp_path / "root" / "a" / "0.png").read_bytes())
    data = _load(tmp_path / "root")
    assert data.profile.num_label_conflicts == 1
    assert any("different labels" in note for note in data.profile.notes)
    places = Counter(image.content_hash for part in (data.train, data.val, data.test) for image in part.images)
    assert places.most_common(1)[0][1] == 2


def test_subsample_is_nested_stratified_and_split(tmp_path: Path) -> None:
    """`max_images` draws the same share of each class, and a small draw is part of a larger one."""
    _fill(tmp_path / "root" / "a", 40)
    _fill(tmp_path / "root" / "b", 20)
    small, large = _load(tmp_path / "root", max_images=12), _load(tmp_path / "root", max_images=30)
    ids = [{image.id for part in (d.train, d.val, d.test) for image in part.images} for d in (small, large)]
    assert ids[0] < ids[1]
    assert Counter(name[0] for name in ids[1]) == {"a": 20, "b": 10}
    assert small.profile.num_found == 60
    assert "12 drawn (data.max_images=12)" in small.profile.notes[0]


def test_max_images_too_small_for_the_classes(tmp_path: Path) -> None:
    """A draw that cannot give every class an image in every split is refused with the number that can."""
    for name in "abcd":
        _fill(tmp_path / "root" / name, 5)
    with pytest.raises(DataError, match=r"data\.max_images=8: too few for 4 classes .* give 12 or more"):
        _load(tmp_path / "root", max_images=8)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "holds no class folders with images"),
        (["loose.png"], "holds images and no class folders; the layout is"),
        (["only/1.png", "only/2.png", "only/3.png"], "only one class, 'only'"),
        (["val/a/1.png", "test/a/1.png"], "'test', 'val' but no train"),
        (["train/a/1.png", "val/a/1.png", "valid/a/1.png"], "name a split twice"),
        (["train/a/1.png", "val/a/2.png", "val/b/3.png"], "class 'b': has images in val and none in train"),
        (["a/1.png", "a/2.png", "a/3.png", "b/1.png"], "class 'b': 1 distinct readable image to"),
        (
            ["train/a/1.png", "train/b/2.png", "val/a/3.png", "test/a/4.png", "test/b/5.png"],
            "class 'b': 0 readable images in val .* move some of its train images there",
        ),
    ],
)
def test_layouts_that_cannot_work(tmp_path: Path, files: list[str], message: str) -> None:
    """Each is refused in one line that names the place."""
    (tmp_path / "root").mkdir()
    for number, name in enumerate(files):
        _draw_image(tmp_path / "root" / name, number)
    with pytest.raises(DataError, match=message) as caught:
        _load(tmp_path / "root")
    assert "\n" not in str(caught.value)


def test_missing_root(tmp_path: Path) -> None:
    """No root is a configuration error that shows what to type; a root that is not there, or is a file, is a data error."""
    with pytest.raises(ConfigError, match=r"data\.root: not given; type data=folder data\.root="):
        load_dataset(DataConfig(name="mine", source="folder"), tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        _load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="is a file"):
        _load(tmp_path / "file")


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` in the root means the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a", "b"):
        _fill(tmp_path / "photos" / name, 3)
    data = load_dataset(DataConfig(name="mine", source="folder", root="~/photos"), Path("~/cache"))
    assert data.profile.root == str(tmp_path / "photos")
    assert (tmp_path / "cache" / "audit").is_dir()


def test_a_class_called_train(tmp_path: Path) -> None:
    """A folder `train` that holds pictures beside other classes is a class, not a split."""
    for name in ("bus", "train"):
        _fill(tmp_path / "root" / name, 4)
    assert _load(tmp_path / "root").class_names == ("bus", "train")


@pytest.mark.timeout(20)
def test_a_link_upwards_brings_no_foreign_images(tmp_path: Path) -> None:
    """A link in a class folder to the root, or to what lies above it, must not put the other classes' images under its label."""
    root = tmp_path / "root"
    for name in ("a", "b"):
        _fill(root / name, 5)
    _fill(tmp_path / "elsewhere" / "c", 5)
    (root / "c").symlink_to(tmp_path / "elsewhere" / "c")
    (root / "a" / "up").symlink_to(root)
    (root / "b" / "top").symlink_to("/")
    (tmp_path / "elsewhere" / "c" / "back").symlink_to(root)
    (root / "itself").symlink_to(root)
    data = _load(root)
    assert (sum(_sizes(data)), data.profile.num_label_conflicts, data.profile.num_duplicates_within) == (15, 0, 0)
    assert data.class_names == ("a", "b", "c")
    assert any("Folders without images" in note and "'itself'" in note for note in data.profile.notes)


@pytest.mark.parametrize("target", ["nowhere", "c"])
def test_a_class_that_is_not_mounted_is_not_forgotten(tmp_path: Path, target: str) -> None:
    """A link beside the classes that leads nowhere, or to itself, may be a class: the task would be another without it."""
    root = tmp_path / "root"
    for name in ("a", "b"):
        _fill(root / name, 5)
    (root / "c").symlink_to(root / target)
    with pytest.raises(DataError, match="c: is a link that leads nowhere and may stand for a class; restore its target"):
        _load(root)


@pytest.mark.timeout(60)
def test_folders_nested_deeper_than_python_recurses(tmp_path: Path) -> None:
    """Fifteen hundred folders in each other are walked like any other; deeper than a path can be long is said in one line."""
    root = tmp_path / "root"
    for name in ("a", "b"):
        _fill(root / name, 5)
    deep = root / "a"
    for _ in range(1500):
        deep /= "d"
        deep.mkdir()
    try:
        _draw_image(deep / "0.png", 77)
        assert sum(_sizes(_load(root))) == 11
        inside = os.open(deep, os.O_RDONLY)
        for _ in range(6):
            os.mkdir("x" * 250, dir_fd=inside)
            inside = os.open("x" * 250, os.O_RDONLY, dir_fd=inside)
        with pytest.raises(DataError, match=r"cannot be listed \(File name too long\); mend it") as caught:
            _load(root)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 1000
    finally:
        subprocess.run(["rm", "-rf", str(root)], check=True)  # Python's own removal recurses


@pytest.mark.parametrize("place", ["a", ".", "a/deeper"])
def test_a_folder_without_permission(tmp_path_factory: pytest.TempPathFactory, place: str) -> None:
    """One line that names the folder; no class or image is left out without a word."""
    with tempfile.TemporaryDirectory() as folder:  # outside of pytest's own, which nobody else may enter
        root = Path(folder, "root")
        for name in ("a/deeper", "b"):
            _fill(root / name, 5)
        Path(folder).chmod(0o755)
        (root / place).chmod(0)
        with as_nobody(), pytest.raises(DataError, match=r"(cannot be listed|cannot be opened) \(Permission denied\)") as caught:
            _load(root)
        (root / place).chmod(0o755)
    assert "\n" not in str(caught.value)
    assert str(root / place) in str(caught.value)


def test_names_that_are_not_utf_8_stay_apart(tmp_path: Path) -> None:
    """A byte as it is and the text that stands for it are two names, of classes and of files; both can be written."""
    root = tmp_path / "root"
    names = [os.fsdecode(b"h\xfcnd"), "h\\xfcnd", "hünd"]
    for name in names:
        _fill(root / name, 5)
        _draw_image(root / name / os.fsdecode(b"\xff.png"), zlib.crc32(os.fsencode(name)))
        _draw_image(root / name / "\\xff.png", zlib.crc32(os.fsencode(name)) + 1)
    data = _load(root)
    assert set(data.class_names) == {"h\\xfcnd", "h\\\\xfcnd", "hünd"}
    ids = [image.id for split in (data.train, data.val, data.test) for image in split.images]
    assert len(set(ids)) == len(ids) == 21
    "".join(ids).encode("utf-8")
    assert data.train.images[0].open().size == (10, 12)


def test_a_root_that_is_not_utf_8(tmp_path: Path) -> None:
    """The folder's own name reaches the profile as text that can be written."""
    root = tmp_path / os.fsdecode(b"d\xfcrer")
    for name in ("a", "b"):
        _fill(root / name, 5)
    data = _load(root)
    assert data.profile.root == f"{tmp_path}/d\\udcfcrer"
    assert data.val.images[0].open().mode == "RGB"


@pytest.mark.parametrize(
    ("names", "said"),
    [(["Cat", "cat", "dog"], "kept apart: 'Cat', 'cat'."), (["\u00e9", "e\u0301"], "'e\\u0301', '\\xe9'"), (["cat", "dog"], None)],
)
def test_classes_that_look_alike_are_kept_apart_and_told(tmp_path: Path, names: list[str], said: str | None) -> None:
    """Names that differ in case or in their code points only are two classes, and the report says that they are."""
    for number, name in enumerate(names):
        _fill(tmp_path / "root" / name, 5, start=10 * number)
    if len(list((tmp_path / "root").iterdir())) < len(names):  # a file system that does not tell them apart
        return
    data = _load(tmp_path / "root")
    assert sorted(data.class_names) == sorted(names)
    assert sum(data.profile.class_counts["train"].values()) == len(data.train)
    notes = [note for note in data.profile.notes if "kept apart" in note]
    assert len(notes) == (said is not None)
    assert all(said in note for note in notes if said is not None)


@pytest.mark.parametrize("root", ["a\nb", "a\x1b[31mb", "\0", "a\ud800b", "x" * 5000])
def test_a_root_with_an_odd_name_is_one_line(tmp_path: Path, root: str) -> None:
    """Whatever is typed as data.root comes back as text on one line."""
    with pytest.raises(DataError, match=r"^data\.root=") as caught:
        _load(tmp_path / root)
    assert str(caught.value).isprintable()
