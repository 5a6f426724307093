"""Which folders are splits and which are classes: read as documented, or refused with what settles it; never another task."""

from pathlib import Path

import pytest

from harness.config import Layout
from harness.data.dataset import Dataset
from tests.unit.data.pictures import draw, fill, load, refusal


def _splits(data: Dataset) -> dict[str, set[str]]:
    """Split -> folders that its images come from."""
    return {name: {str(Path(image.id).parent) for image in getattr(data, name).images} for name in ("train", "val", "test")}


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Training", None, "Testing"),
        ("training", "validation", "evaluation"),
        ("TRAIN", "Valid", "Test"),
        ("train", "dev", "eval"),
        ("Train", "DEV", "Evaluation"),
    ],
)
def test_words_for_splits(tmp_path: Path, train: str, val: str | None, test: str) -> None:
    """All words of the ecosystem, in any case; the classes are what is inside."""
    names = [name for name in (train, val, test) if name]
    data = load(fill(tmp_path / "root", *(f"{name}/{each}" for name in names for each in ("cat", "dog"))))
    assert data.class_names == ("cat", "dog")
    assert _splits(data)["test"] == {f"{test}/cat", f"{test}/dog"}
    assert _splits(data)["train"] == {f"{train}/cat", f"{train}/dog"}
    assert val is None or _splits(data)["val"] == {f"{val}/cat", f"{val}/dog"}
    assert any(f"'{test}' is test" in remark for remark in data.profile.remarks) or test == "test"


@pytest.mark.parametrize(
    "folders",
    [
        ["part_a/cat", "part_a/dog", "part_b/cat", "part_b/dog"],
        ["Training_set/cat", "Training_set/dog", "Test_set/cat", "Test_set/dog", "Test_set/owl"],
        ["fold1/1", "fold1/2", "fold2/1", "fold2/2", "fold3/1", "fold3/2"],
    ],
)
def test_splits_with_unknown_names_are_asked_about(tmp_path: Path, folders: list[str]) -> None:
    """Several folders with folders of the same names inside are splits, or several data sets, and no classes."""
    said = refusal(fill(tmp_path / "root", *folders))
    for part in ("hold folders of the same names", "name splits train, val and test", "data.layout=classes"):
        assert part in said, said


def test_the_same_folders_as_classes_when_told_so(tmp_path: Path) -> None:
    """`data.layout=classes` settles what looks like splits: cameras below classes."""
    root = fill(tmp_path / "root", "ok/cam1", "ok/cam2", "broken/cam1", "broken/cam2")
    assert "hold folders of the same names" in refusal(root)
    data = load(root, Layout.classes)
    assert data.class_names == ("broken", "ok")
    assert any("count to the class: 'broken/cam1', 'broken/cam2'" in remark for remark in data.profile.remarks)


def test_one_folder_of_the_same_name_in_every_class_is_no_split(tmp_path: Path) -> None:
    """`CLASS/images/*`, as some data sets have it."""
    data = load(fill(tmp_path / "root", "cat/images", "dog/images"))
    assert data.class_names == ("cat", "dog")
    assert data.profile.remarks == ["Folders inside class folders, whose images count to the class: 'cat/images', 'dog/images'."]


def test_a_vehicle_called_train(tmp_path: Path) -> None:
    """A class `train` with folders inside, beside other classes, is not a split: asked, and settled by one key either way."""
    root = fill(tmp_path / "root", "car", "plane", "train/steam", "train/diesel")
    said = refusal(root)
    for part in ("'train', by name a split, beside 'car', 'plane'", "data.layout=splits", "data.layout=classes"):
        assert part in said, said
    assert load(root, Layout.classes).class_names == ("car", "plane", "train")
    data = load(root, Layout.splits)
    assert data.class_names == ("diesel", "steam")
    assert "Folders beside the splits: 'car', 'plane'." in data.profile.left_out


@pytest.mark.parametrize("folders", [["cat", "dog", "test"], ["cat", "dog", "test/cat", "test/dog"], ["cat", "dog", "Validation/cat"]])
def test_a_split_beside_classes_is_no_class(tmp_path: Path, folders: list[str]) -> None:
    """Classes on top and a test folder beside them: not a class more."""
    assert "by name a split, beside 'cat', 'dog'" in refusal(fill(tmp_path / "root", *folders))


@pytest.mark.parametrize("folders", [["cat/train", "cat/test", "dog/train", "dog/test"], ["pets/train/cat", "pets/val/cat", "cars"]])
def test_splits_inside_folders(tmp_path: Path, folders: list[str]) -> None:
    """CLASS/train, or a data set beside others: nothing is merged."""
    said = refusal(fill(tmp_path / "root", *folders))
    assert "holds splits of its own" in said
    assert "data.root=" in said


def test_a_second_split_with_the_same_classes_is_enough(tmp_path: Path) -> None:
    """Train and test repeat each other's classes: a third folder is none, and is said to be left out."""
    data = load(fill(tmp_path / "root", "train/cat", "train/dog", "test/cat", "test/dog", "extra/cat", "extra/dog"))
    assert data.class_names == ("cat", "dog")
    assert "Folders beside the splits: 'extra'." in data.profile.left_out


def test_merged_folders_are_reported(tmp_path: Path) -> None:
    """Birds and fish are the classes of `birds/robin`, and that is said; also that they may be two data sets."""
    data = load(fill(tmp_path / "root", "birds/robin", "birds/owl", "fish/eel", "fish/trout"))
    assert data.class_names == ("birds", "fish")
    assert data.profile.remarks == [
        (
            "Folders inside class folders, whose images count to the class: 'birds/owl', 'birds/robin', 'fish/eel', 'fish/trout'; "
            "if they are several data sets, give one of them as data.root."
        )
    ]
    assert data.profile.remarks[0] in data.profile.notes


@pytest.mark.parametrize("inside", [["cat", "dog"], ["train/cat", "train/dog", "test/cat", "test/dog"]])
def test_one_folder_too_high(tmp_path: Path, inside: list[str]) -> None:
    """An unpacked archive holds one folder with everything in it."""
    root = fill(tmp_path / "root", *(f"dataset/{name}" for name in inside))
    (root / "docs").mkdir()
    said = refusal(root)
    assert f"give data.root={root / 'dataset'}" in said


def test_two_data_sets(tmp_path: Path) -> None:
    """One folder too high: neither data set becomes a class."""
    folders = [f"{data}/{split}/{name}" for data in ("pets", "cars") for split in ("train", "test") for name in ("a", "b")]
    root = fill(tmp_path / "root", *folders)
    assert f"give data.root={root / 'cars'} if it is a data set" in refusal(root)


def test_one_folder_too_low(tmp_path: Path) -> None:
    """A class folder as the root: the one above is named."""
    root = fill(tmp_path / "root", "cat", "dog")
    said = refusal(root / "cat")
    assert "it looks like one of the classes 'cat', 'dog'" in said
    assert f"give data.root={root} to go one level up" in said


def test_a_split_as_the_root(tmp_path: Path) -> None:
    """What lies beside it and is not used is said."""
    root = fill(tmp_path / "root", "train/cat", "train/dog", "test/cat", "test/dog")
    data = load(root / "train")
    assert data.class_names == ("cat", "dog")
    assert data.profile.remarks == [f"Splits beside data.root that are not used: 'test'; data.root={root} takes them."]


@pytest.mark.parametrize(
    ("folder", "why"), [("test", "its 6 images not used"), ("test/unknown", "its 6 images not used ('unknown' is no class of train)")]
)
def test_a_test_split_without_labels(tmp_path: Path, folder: str, why: str) -> None:
    """As on Kaggle: train is taken, test is carved out of it, and that is said."""
    data = load(fill(tmp_path / "root", "train/cat", "train/dog", folder))
    assert data.class_names == ("cat", "dog")
    assert {name: len(getattr(data, name)) for name in ("train", "val", "test")} == {"train": 8, "val": 2, "test": 2}
    assert all(folders <= {"train/cat", "train/dog"} for folders in _splits(data).values())
    assert data.profile.left_out == [f"test has no labels: {why}; test is made as where none is given."]
    assert data.profile.split_origin["test"] == "carved from train, 20 %, stratified"


def test_no_test_split_is_carved_where_none_is_wanted(tmp_path: Path) -> None:
    """`data.test_frac=0` holds there too, and nothing else is said."""
    data = load(fill(tmp_path / "root", "train/cat", "train/dog", "test"), test_frac=0.0)
    assert len(data.test) == 0
    assert data.profile.left_out == ["test has no labels: its 6 images not used; test is made as where none is given."]


def test_a_labelled_test_split_with_loose_images(tmp_path: Path) -> None:
    """The labelled ones are used, the others named."""
    root = fill(tmp_path / "root", "train/cat", "train/dog", "test/cat", "test/dog")
    draw(root / "test" / "loose.png")
    data = load(root)
    assert len(data.test) == 12
    assert data.profile.left_out == ["Images outside of every class folder: 1; 'test/loose.png'."]


@pytest.mark.parametrize("name", ["@eaDir", "__MACOSX", ".ipynb_checkpoints", "$RECYCLE.BIN", "lost+found", "System Volume Information"])
def test_system_folders(tmp_path: Path, name: str) -> None:
    """Neither classes nor places of images, at any depth, with or without splits."""
    plain = fill(tmp_path / "plain" / "root", "cat", "dog", name, f"cat/{name}", f"{name}/cat")
    split = fill(tmp_path / "split" / "root", "train/cat", "train/dog", name, f"train/{name}", f"train/cat/{name}")
    for data in (load(plain), load(split)):
        assert data.class_names == ("cat", "dog")
        assert data.profile.num_found == 12
        assert any(name in sentence for sentence in data.profile.left_out) is not name.startswith(".")


def test_a_system_folder_is_not_opened(tmp_path: Path) -> None:
    """`lost+found` may be read by the system alone."""
    root = fill(tmp_path / "root", "cat", "dog", "lost+found")
    (root / "lost+found").chmod(0)
    assert load(root).class_names == ("cat", "dog")


def test_results_among_the_images(tmp_path: Path) -> None:
    """Whatever the harness writes to is left out by its place: also under another name, in a class folder, or through a link."""
    root = fill(tmp_path / "root", "cat", "dog", "pictures/study/report/plots", "cat/store/plots")
    before = load(fill(tmp_path / "other" / "root", "cat", "dog"))
    (tmp_path / "link").symlink_to(root / "cat" / "store")
    cfg_results = root / "pictures"
    data = load(root, results=cfg_results)
    assert data.class_names == before.class_names
    assert data.profile.num_found == 18, "the pictures of the other folder below cat are the user's"
    assert load(root, results=tmp_path / "link").profile.num_found == 18
    assert "Folders that hold what the harness wrote: 'pictures'." in data.profile.left_out


def test_studies_of_other_sweeps_are_known_by_what_they_hold(tmp_path: Path) -> None:
    """Results that an earlier sweep wrote to another folder."""
    root = fill(tmp_path / "root", "cat", "dog", "old/mine/report/plots")
    (root / "old" / "mine" / "rows").mkdir()
    (root / "old" / "mine" / "results.csv").touch()
    data = load(root, results=tmp_path / "results")
    assert (data.class_names, data.profile.num_found) == (("cat", "dog"), 12)
    assert "Folders that hold what the harness wrote: 'old/mine'." in data.profile.left_out


def test_a_folder_of_results_that_cannot_be_distinguished(tmp_path: Path) -> None:
    """The root itself, or a class folder: no class may vanish."""
    root = fill(tmp_path / "root", "cat", "dog")
    assert "is data.root itself; give results_dir and cache_dir folders of their own" in refusal(root, results=root)
    assert "holds images and lies in data.root" in refusal(root, results=root / "cat")
