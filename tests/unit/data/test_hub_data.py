"""Data sets of the hub and tar shards are the same task as the same images in a folder; what is unclear or untrusted is refused in one line."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from harness.config import DataConfig, HubDataConfig
from harness.data.dataset import Dataset
from harness.data.load import load_dataset
from harness.errors import DataError
from tests.loopback import COMMIT, of_dataset, serving, stalling, whole
from tests.unit.data.pictures import fill

datasets = pytest.importorskip("datasets")


def as_parquet(folder: Path, images: Iterable[tuple[Path, str, str]], names: list[str]) -> Path:
    """The images as the hub keeps them: a Parquet file for each split, a card with a licence."""
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    images = list(images)
    for split in dict.fromkeys(split for *_, split in images):
        own = [(path, names.index(label)) for path, label, of in images if of == split]
        cells = {"image": [{"bytes": path.read_bytes(), "path": path.name} for path, _ in own], "label": [label for _, label in own]}
        (folder / "data").mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(cells, features=features).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    (folder / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# Pictures\n")
    return folder


def images_of(root: Path, split: str = "train") -> list[tuple[Path, str, str]]:
    """Those of a folder with a folder for each class."""
    return [(path, path.parent.name, split) for path in sorted(root.rglob("*.png"))]


def load(place: str | Path, **options: Any) -> Dataset:
    """The data set, as a sweep loads it."""
    cache = options.pop("cache", None) or Path(place).parent / "cache"
    return load_dataset(HubDataConfig(name="mine", source="hf", id=str(place), **options), cache)


def refusal(place: str | Path, **options: Any) -> str:
    """Why there is none: one line."""
    with pytest.raises(DataError) as caught:
        load(place, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def of_folder(root: Path) -> Dataset:
    """The data set of a folder."""
    return load_dataset(DataConfig(name="mine", source="folder", root=str(root)), root.parent / "cache")


def test_a_column_may_say_what_an_image_belongs_to(tmp_path: Path) -> None:
    """No group is in two splits."""
    images = images_of(fill(tmp_path / "root", "cat", "dog", count=10))
    cells = {"image": [{"bytes": path.read_bytes(), "path": path.name} for path, *_ in images], "label": [label for _, label, _ in images]}
    cells["litter"] = [str(number // 2) for number in range(20)]
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_dict(cells).cast_column("image", datasets.Image()).to_parquet(tmp_path / "set" / "train.parquet")
    data = load(tmp_path / "set", group="litter")
    groups = [set(split.groups.tolist()) for split in (data.train, data.val, data.test) if split.groups is not None]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 10
    assert "data.group=flock: " in refusal(tmp_path / "set", group="flock")


def test_a_table_of_pictures_is_the_same_task_as_a_folder(tmp_path: Path) -> None:
    """Pictures inside Parquet have the hashes of their files, whatever the order of the class names; they open after a restart."""
    root = fill(tmp_path / "root", "cat", "dog", count=8)
    found = load(as_parquet(tmp_path / "hub", images_of(root), ["dog", "cat"]))
    plain = of_folder(root)
    assert (found.fingerprint, found.class_names, found.profile.licence) == (plain.fingerprint, ("cat", "dog"), "cc-by-4.0")
    for mine, other in zip(found.train.images, plain.train.images, strict=True):
        assert mine.open().tobytes() == other.open().tobytes()


def test_a_folder_in_a_layout_of_the_hub_is_read(tmp_path: Path) -> None:
    """Splits are kept under any of their names, and images of files are called by their paths."""
    root = fill(tmp_path / "root", "train/cat", "train/dog", "validation/cat", "validation/dog")
    found, plain = load(root), of_folder(root)
    assert found.fingerprint == plain.fingerprint
    assert [image.id for image in found.val.images] == [image.id for image in plain.val.images]
    assert (found.profile.split_origin["val"], found.profile.revision) == ("official", None)


def test_json_lines_name_files_beside_them(tmp_path: Path) -> None:
    """A column of paths is taken where none holds pictures; other names of columns are said or told."""
    root = fill(tmp_path / "root", "pictures", count=10)
    lines = [{"file": f"pictures/{number}.png", "kind": "ab"[number % 2], "age": number} for number in range(10)]
    (root / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert "has no column of labels; its columns are 'file', 'kind', 'age'" in refusal(root)
    found = load(root, label_column="kind")
    assert found.class_names == ("a", "b")
    assert "Columns of the table: image is 'file', label is 'kind'." in found.profile.remarks


def test_splits_without_labels_or_known_names_are_left_out_and_said(tmp_path: Path) -> None:
    """A test split of -1 has no labels; a split called extra is none of ours."""
    root = fill(tmp_path / "root", "cat", "dog", "more", count=8)
    hub = as_parquet(
        tmp_path / "hub",
        [(path, "cat" if label == "more" else label, "extra" if label == "more" else "train") for path, label, _ in images_of(root)],
        ["cat", "dog"],
    )
    more = fill(tmp_path / "unlabelled", "x", count=3)
    cells = {"image": [{"bytes": path.read_bytes(), "path": None} for path, *_ in images_of(more)], "label": [-1] * 3}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    datasets.Dataset.from_dict(cells, features=features).to_parquet(hub / "data" / "test-00000-of-00001.parquet")
    (hub / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        + "".join(f"  - split: {name}\n    path: data/{name}-*\n" for name in ("train", "test", "extra"))
        + "---\n"
    )
    found = load(hub)
    assert "test has no labels: its 3 images not used; test is made as where none is given." in found.profile.left_out
    assert "Split 'extra' is not used: 8 images." in found.profile.left_out
    assert found.profile.num_found == 16


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    """No such folder, nothing to read in it, a script instead of data, an unknown column."""
    assert "no such folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "cannot be read by datasets" in refusal(tmp_path / "empty")
    (tmp_path / "program").mkdir()
    (tmp_path / "program" / "program.py").write_text("raise SystemExit('this must not run')")
    assert "cannot be read by datasets" in refusal(tmp_path / "program")
    hub = as_parquet(tmp_path / "hub", images_of(fill(tmp_path / "root", "cat", "dog")), ["cat", "dog"])
    assert "data.label_column=kind: data.id=" in refusal(hub, label_column="kind")
    assert "BuilderConfig 'other' not found" in refusal(hub, config="other")


SCRIPT = """
import json, sys
from pathlib import Path
from harness.config import HubDataConfig
from harness.data.load import load_dataset
from harness.errors import DataError
for place in sys.argv[2:]:
    id, _, revision = place.partition("@")
    try:
        found = load_dataset(HubDataConfig(name="mine", source="hf", id=id, revision=revision or None), Path(sys.argv[1]))
    except DataError as error:
        print(json.dumps(str(error)))
        continue
    print(json.dumps([found.fingerprint, found.profile.revision, found.profile.licence, found.profile.remarks]))
"""


def from_hub(address: str, folder: Path, *places: str, **variables: str) -> list[Any]:
    """What a fresh process says of each: the hub's client reads its environment when it is imported."""
    environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "0", "no_proxy": "*"} | variables
    command = [sys.executable, "-W", "error", "-c", SCRIPT, str(folder / "cache"), *places]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_data_set_comes_from_the_hub_once(tmp_path: Path) -> None:
    """Commit and licence are told; a second process finds it with the hub off; what is not there, or not whole, is one line."""
    root = fill(tmp_path / "root", "cat", "dog", count=8)
    hub = as_parquet(tmp_path / "hub", images_of(root), ["cat", "dog"])
    files = {path.relative_to(hub).as_posix(): path.read_bytes() for path in hub.rglob("*") if path.is_file()}
    with serving(of_dataset("me/pets", files)) as site:
        found, unknown, other = from_hub(site.address, tmp_path, "me/pets", "me/none", "me/pets@v2")
        said = f"me/pets is taken from the hub at commit {COMMIT}; its licence is cc-by-4.0."
        assert found == [of_folder(root).fingerprint, COMMIT, "cc-by-4.0", [said]]
        assert "data.id=me/none: " in unknown
        assert "HTTP 404" in unknown
        assert "data.id=me/pets data.revision=v2: " in other
        assert from_hub(site.address, tmp_path, "me/pets", HF_HUB_OFFLINE="1") == [found]
    assert "HF_HUB_OFFLINE is set" in from_hub(site.address, tmp_path / "new", "me/pets", HF_HUB_OFFLINE="1")[0]


def test_a_download_that_stalls_is_given_up(tmp_path: Path) -> None:
    """In bounded time, with one line that says how to allow more."""
    files = {"README.md": b"# Pictures", "data/train.parquet": b"x" * 10_000}
    with serving(
        of_dataset("me/pets", files), get=lambda visit, content: (stalling if "parquet" in visit.path else whole)(visit, content)
    ) as site:
        (told,) = from_hub(site.address, tmp_path, "me/pets", HARNESS_DOWNLOAD_STALL_S="1")
    assert "gave none (less than 10 KiB/s in 1 s; HARNESS_DOWNLOAD_STALL_S allows more time" in told


def test_what_others_publish_names_no_file_of_this_machine(tmp_path: Path) -> None:
    """A row may point to a file of its data set, and nowhere else."""
    secret = fill(tmp_path, "secret") / "secret" / "0.png"
    lines = "\n".join(json.dumps({"image": str(secret), "label": name}) for name in ("cat", "dog"))
    with serving(of_dataset("me/spy", {"train.jsonl": lines.encode()})) as site:
        (told,) = from_hub(site.address, tmp_path, "me/spy")
    assert "a file that is not part of it; such a data set is not read." in told
