"""Images in tar shards are the same task as the same images in a folder, and stay packed."""

import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import pytest

from harness.cli.own_images import source_of
from harness.config import DataConfig, ShardsConfig, TableConfig
from harness.data.dataset import Dataset
from harness.data.load import load_dataset
from harness.data.shards import shards_of
from harness.errors import DataError
from tests.unit.data.pictures import fill

Members = dict[str, bytes]


def shard(path: Path, members: Members, mode: str = "w") -> Path:
    """A tar file of these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def samples(root: Path, label: str = "cls") -> Members:
    """Each image of a folder, and its class beside it."""
    members: Members = {}
    for path in sorted(root.rglob("*.png")):
        key = path.relative_to(root).with_suffix("")
        name = path.parent.name
        members[f"{key}.png"] = path.read_bytes()
        members[f"{key}.{label}"] = json.dumps({"label": name}).encode() if label == "json" else name.encode()
    return members


def load(root: str | Path, cache: Path, **options: Any) -> Dataset:
    """The data set, as a sweep loads it."""
    return load_dataset(ShardsConfig(name="mine", source="webdataset", root=str(root), **options), cache)


def refusal(root: str | Path, **options: Any) -> str:
    """Why there is none: one line."""
    with pytest.raises(DataError) as caught:
        load(root, Path("nowhere"), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def of_folder(root: Path) -> Dataset:
    """The data set of a folder."""
    return load_dataset(DataConfig(name="mine", source="folder", root=str(root)), root.parent / "cache")


@pytest.mark.parametrize("label", ["cls", "txt", "json"])
def test_shards_are_the_same_task_as_a_folder(tmp_path: Path, label: str) -> None:
    """Whatever says the class; images have the names and the bytes of their files, also in another process."""
    root = fill(tmp_path / "root", "cat", "dog", count=8)
    members = list(samples(root, label).items())
    shard(tmp_path / "shards" / "00.tar", dict(members[:20]))
    shard(tmp_path / "shards" / "01.tar", dict(members[20:]))
    found, plain = load(tmp_path / "shards" / "{00..01}.tar", tmp_path / "cache"), of_folder(root)
    assert found.fingerprint == plain.fingerprint
    for mine, other in zip(pickle.loads(pickle.dumps(found.train.images)), plain.train.images, strict=True):
        assert (mine.id, mine.open().tobytes()) == (other.id, other.open().tobytes())


def test_names_of_shards_say_the_split(tmp_path: Path) -> None:
    """As a word in any place, or as the name of their folder; the same name in two shards is two images."""
    for number, split in enumerate(("train", "val", "test")):
        root = fill(tmp_path / str(number), "cat", "dog")
        shard(tmp_path / "named" / f"pets-{split}-000.tar", samples(root))
        shard(tmp_path / "folders" / split / "000.tar", samples(root))
    for where in ("named", "folders"):
        found = load(tmp_path / where, tmp_path / "cache")
        assert (len(found.train), len(found.val), len(found.test)) == (12, 12, 12)
        assert found.profile.split_origin["test"] == "official"
    shard(tmp_path / "named" / "more.tar", samples(root))
    assert "beside others that say one: 'more.tar'" in refusal(tmp_path / "named")
    assert "only of test and val" in refusal(tmp_path / "named" / "pets-[vt][ae][ls]*-000.tar")


def test_json_may_say_the_split(tmp_path: Path) -> None:
    """Of every sample or of none; the key of the class may be told."""
    members = samples(fill(tmp_path / "root", "cat", "dog", count=10), "json")
    for number, name in enumerate(name for name in members if name.endswith("json")):
        members[name] = json.dumps({"kind": number % 2, "split": ["train", "train", "train", "valid", "valid"][number % 5]}).encode()
    found = load(shard(tmp_path / "a.tar", members), tmp_path / "cache", label_column="kind")
    assert (found.class_names, len(found.val), found.profile.split_origin["val"]) == (("0", "1"), 8, "official")
    members["cat/0.json"] = b'{"kind": 1}'
    assert "19 of 20 samples say in their json" in refusal(shard(tmp_path / "a.tar", members), label_column="kind")


def test_json_may_say_what_an_image_belongs_to(tmp_path: Path) -> None:
    """Groups are those of a table of the same images; an image without one is named."""
    root = fill(tmp_path / "root", "cat", "dog", count=10)
    members, lines = samples(root, "json"), ["path,label,litter"]
    for name in [name for name in members if name.endswith("json")]:
        kind, number = name.removesuffix(".json").split("/")
        lines.append(f"root/{kind}/{number}.png,{kind},{kind} {int(number) // 2}")
        members[name] = json.dumps({"label": kind, "litter": f"{kind} {int(number) // 2}"}).encode()
    (tmp_path / "images.csv").write_text("\n".join(lines))
    table = TableConfig(name="mine", source="table", root=str(tmp_path / "images.csv"), group="litter")
    data = load(shard(tmp_path / "a.tar", members), tmp_path / "cache", group="litter")
    assert data.fingerprint == load_dataset(table, tmp_path / "cache").fingerprint
    assert sum(data.profile.num_groups.values()) == 10
    members["cat/0.json"] = b'{"label": "cat"}'
    assert "images without 'litter' (1): 'cat/0.png'" in refusal(shard(tmp_path / "a.tar", members), group="litter")


def test_what_is_wrong_is_one_line(tmp_path: Path) -> None:
    """Compressed, damaged, missing, without labels, with two images."""
    members = samples(fill(tmp_path / "root", "cat", "dog"))
    assert "it is compressed, and images are read where they lie; undo that with gunzip" in refusal(
        shard(tmp_path / "a.tar", members, "w:gz")
    )
    (tmp_path / "b.tar").write_bytes(b"no tar at all" * 100)
    assert "cannot be read as a tar file" in refusal(tmp_path / "b.tar")
    assert "shards that are not there (2): " in refusal(tmp_path / "x{0,1}.tar")
    assert "holds no tar file" in refusal(tmp_path / "root")
    assert "is neither a range nor a list" in refusal(tmp_path / "{0-9}.tar")
    assert "is not a range" in refusal(tmp_path / "{0..99999999}.tar")
    pictures = {name: content for name, content in members.items() if name.endswith("png")}
    assert "samples have no label; give KEY.cls" in refusal(shard(tmp_path / "c.tar", pictures))
    double = {**members, "cat/0.seg.png": members["cat/0.png"]}
    assert "say which is meant: data.image_column=png" in refusal(shard(tmp_path / "d.tar", double))
    assert len(load(tmp_path / "d.tar", tmp_path / "cache", image_column="png").train) == 8


def test_what_is_no_sample_is_left_out_and_said(tmp_path: Path) -> None:
    """Labels without an image, and links; a hard link, which tar makes of equal files, is the file."""
    members = samples(fill(tmp_path / "root", "cat", "dog", count=8))
    path = shard(tmp_path / "a.tar", {**members, "cat/x.cls": b"cat", "cat/y.cls": b"cat"})
    with tarfile.open(path, "a") as archive:
        for name, kind, target in (("cat/y.png", tarfile.LNKTYPE, "cat/0.png"), ("cat/z.png", tarfile.SYMTYPE, "/etc/passwd")):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, target
            archive.addfile(link)
    found = load(path, tmp_path / "cache")
    assert found.profile.num_found == 17
    assert found.profile.left_out == ["Samples without an image: 1; 'cat/x'.", "Links to nothing in their shard: 1; 'cat/z.png'."]


def test_a_shard_that_changes_is_noticed(tmp_path: Path) -> None:
    """What was hashed is what is used."""
    root = fill(tmp_path / "root", "cat", "dog")
    path = shard(tmp_path / "a.tar", samples(root))
    found = load(path, tmp_path / "cache")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"IDAT", b"IDAX"))
    with pytest.raises(DataError, match=r"'cat/\d.png' in .*it holds other bytes by now"):
        found.train.images[0].open()
    path.write_bytes(content[:1500])
    with pytest.raises(DataError, match="ends before it does"):
        found.train.images[-1].open()


def test_patterns_are_as_in_a_shell(tmp_path: Path) -> None:
    """Ranges keep their zeros; each shard is taken once, in order."""
    for name in ("a-08.tar", "a-09.tar", "a-10.tar", "b-9.tar"):
        (tmp_path / name).touch()
    assert [path.name for path in shards_of(f"{tmp_path}/a-{{08..10}}.tar")] == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert [path.name for path in shards_of(f"{tmp_path}/{{b-9,a-{{08..09}}}}.tar")] == ["b-9.tar", "a-08.tar", "a-09.tar"]
    assert len(shards_of(f"{tmp_path}/*.tar")) == 4
    assert source_of(f"{tmp_path}/a-{{08..10}}.tar") == "webdataset"
