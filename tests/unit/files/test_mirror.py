"""Files of a mirror and their objects, on a real S3 server."""

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.errors import StoreError
from harness.files import (
    append_line,
    changed_s,
    fetched,
    is_folder,
    is_there,
    listed,
    local_folder,
    mirror,
    num_bytes,
    objects,
    open_plain,
    read_lines,
    remove,
    require_writable,
    skim,
    write_durably,
)
from tests.s3 import Bucket

Become = Callable[[str], None]


def content(path: Path) -> bytes:
    """As a reader gets it."""
    with open_plain(path) as file:
        return file.read()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> "Counter[str]":
    """How often the store was asked for what."""
    counts = Counter[str]()

    def counting(name: str) -> Callable[..., Any]:
        right = getattr(objects, name)

        def ask(*arguments: Any) -> Any:
            counts[name] += 1
            return right(*arguments)

        return ask

    for name in ("put_file", "put", "create", "read", "get_file", "about", "names", "delete"):
        monkeypatch.setattr(objects, name, counting(name))
    return counts


def test_what_one_host_writes_another_reads(bucket: Bucket, become: Become) -> None:
    """By its name and by a listing, also after it was replaced; folders are seen without anything being brought."""
    become("a")
    write_durably(local_folder(bucket.url) / "study" / "rows" / "x.json", b"first")
    become("b")
    study = local_folder(bucket.url) / "study"
    assert is_folder(study / "rows")
    assert not is_folder(study / "models")
    assert is_there(study / "rows" / "x.json")
    assert not is_there(study / "rows" / "y.json")
    assert num_bytes(study / "rows" / "x.json") == 5
    assert listed(study.parent, "") == [study]
    assert listed(study / "rows", ".json") == [study / "rows" / "x.json"]
    assert not study.exists()
    assert content(study / "rows" / "x.json") == b"first"
    become("a")
    write_durably(local_folder(bucket.url) / "study" / "rows" / "x.json", b"second")
    become("b")
    assert content(study / "rows" / "x.json") == b"second"
    assert [path.read_bytes() for path in fetched(listed(study / "rows", ".json"))] == [b"second"]
    with pytest.raises(FileNotFoundError):
        content(study / "rows" / "y.json")


def test_reading_a_folder_asks_for_its_listing_and_what_is_new(bucket: Bucket, become: Become, asked: "Counter[str]") -> None:
    """One request for the names, one for each file that is not here; a second time one in all."""
    become("a")
    rows = local_folder(bucket.url) / "rows"
    for number in range(20):
        write_durably(rows / f"{number}.json", b"content")
    become("b")
    rows = local_folder(bucket.url) / "rows"
    asked.clear()
    assert {content(path) for path in fetched(listed(rows, ".json"))} == {b"content"}
    assert asked == {"names": 1, "get_file": 20}
    mirror.forget()
    asked.clear()
    assert len([content(path) for path in fetched(listed(rows, ".json"))]) == 20
    assert asked == {"names": 1}


def test_a_skimmed_folder_answers_for_what_is_missing(bucket: Bucket, become: Become, asked: "Counter[str]") -> None:
    """Many names are looked up for one listing; whoever forgets, or asks for many by name, is told of what came since."""
    become("a")
    rows = local_folder(bucket.url) / "rows"
    write_durably(rows / "0.json", b"content")
    become("b")
    mine = local_folder(bucket.url) / "rows"
    skim(mine, ".json")
    objects.put(b"content", f"{bucket.url}/rows/1.json")
    asked.clear()
    skim(mine, ".json")
    assert content(mine / "0.json") == b"content"
    for number in (1, 2, 3):
        with pytest.raises(FileNotFoundError):
            content(mine / f"{number}.json")
        assert not is_there(mine / f"{number}.json")
    assert asked == {}
    assert [path.exists() for path in fetched([mine / "1.json", mine / "2.json"])] == [True, False]
    mirror.forget()
    assert content(mine / "1.json") == b"content"
    objects.put(b"content", f"{bucket.url}/models/m")
    skim(local_folder(bucket.url) / "models", None)
    assert is_there(local_folder(bucket.url) / "models" / "m")
    assert not (local_folder(bucket.url) / "models").exists()


def test_what_could_not_be_sent_is_kept_and_sent_later(bucket: Bucket, become: Become, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is one line; readers here have the file, and the next command that writes sends it."""
    become("a")
    folder = local_folder(bucket.url)
    path = folder / "rows" / "x.json"
    write_durably(path, b"old")
    with monkeypatch.context() as broken:
        broken.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        broken.setattr(objects, "put_file", refused)
        with pytest.raises(StoreError, match=r"the store refuses \(no route\).*run the same command again") as caught:
            write_durably(path, b"new")
        assert "\n" not in str(caught.value)
    mirror.forget()
    assert content(path) == b"new"
    assert [each.read_bytes() for each in fetched(listed(path.parent, ""))] == [b"new"]
    become("b")
    assert content(local_folder(bucket.url) / "rows" / "x.json") == b"old"
    become("a")
    require_writable(folder)
    become("b")
    assert content(local_folder(bucket.url) / "rows" / "x.json") == b"new"
    assert objects.names(bucket.url).keys() == {"rows"}  # the check leaves nothing behind


def refused(path: Path, url: str) -> None:
    """As a store that cannot be reached."""
    with objects.trouble(url):
        raise ConnectionError("no route")


def test_what_others_wrote_since_wins_over_what_could_not_be_sent(bucket: Bucket, become: Become, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is right."""
    become("a")
    folder = local_folder(bucket.url)
    with monkeypatch.context() as broken:
        broken.setattr(objects, "put_file", refused)
        with pytest.raises(StoreError):
            write_durably(folder / "x", b"mine")
    become("b")
    write_durably(local_folder(bucket.url) / "x", b"theirs")
    become("a")
    require_writable(folder)
    assert objects.read(f"{bucket.url}/x") == b"theirs"
    assert content(folder / "x") == b"theirs"


def test_lines_of_two_hosts_are_all_there(bucket: Bucket, become: Become) -> None:
    """Objects cannot be appended to; nobody's line replaces another's."""
    for line in range(3):
        for host in ("a", "b"):
            become(host)
            append_line(local_folder(bucket.url) / "log.jsonl", f"{host}{line}")
    for host in ("a", "b", "c"):
        become(host)
        assert read_lines(local_folder(bucket.url) / "log.jsonl") == [b"a0", b"b0", b"a1", b"b1", b"a2", b"b2"]
        assert read_lines(local_folder(bucket.url) / "none.jsonl") == []


def test_what_is_removed_on_one_host_goes_on_others(bucket: Bucket, become: Become) -> None:
    """When it is asked for by its name. A copy is only put aside, and never put there again; what was never there stays."""
    become("a")
    for name in ("x", "y"):
        write_durably(local_folder(bucket.url) / name, b"content")
    become("b")
    folder = local_folder(bucket.url)
    assert len(fetched(listed(folder, ""))) == 2
    (folder / "own").write_bytes(b"own")
    become("a")
    remove(local_folder(bucket.url) / "x")
    remove(local_folder(bucket.url) / "x")
    assert not (local_folder(bucket.url) / "x").exists()
    become("b")
    with pytest.raises(FileNotFoundError):
        content(folder / "x")
    assert [path.read_bytes() for path in folder.glob(".x.*")] == [b"content"]
    require_writable(folder)
    assert [content(path) for path in fetched(listed(folder, ""))] == [b"own", b"content"]
    assert sorted(objects.names(bucket.url)) == ["y"]


def test_what_was_put_last_is_told_by_the_store(bucket: Bucket, become: Become) -> None:
    """By one clock, whoever put it and whoever fetched it when."""
    become("a")
    for name in ("z", "a"):
        write_durably(local_folder(bucket.url) / name, b"content")
        time.sleep(1.1)  # the store's clock has no smaller step
    become("b")
    paths = [local_folder(bucket.url) / name for name in ("a", "z")]
    for path in paths:
        content(path)
    assert [path.name for path in sorted(paths, key=changed_s)] == ["z", "a"]
    assert changed_s(paths[0].with_name("none")) == 0


def test_a_file_that_was_changed_by_hand_is_replaced(bucket: Bucket) -> None:
    """It is no copy of anything."""
    path = local_folder(bucket.url) / "x"
    write_durably(path, b"right")
    path.write_bytes(b"wrong")
    os.utime(path, (1, 1))
    mirror.forget()
    assert content(path) == b"right"


def test_folders_of_this_machine_ask_nobody(tmp_path: Path, asked: "Counter[str]") -> None:
    """Whatever is done with them."""
    folder = tmp_path / "folder"
    require_writable(folder)
    write_durably(folder / "x", b"content")
    append_line(folder / "log", "line")
    skim(folder, "")
    assert [content(path) for path in fetched(listed(folder, ""))] == [b"line\n", b"content"]
    assert read_lines(folder / "log") == [b"line"]
    assert (is_there(folder / "x"), is_folder(folder), num_bytes(folder / "x")) == (True, True, 7)
    remove(folder / "x")
    assert asked == {}


def test_a_bucket_that_is_not_there_is_no_empty_folder(bucket: Bucket) -> None:
    """Neither reading nor writing takes it for one."""
    folder = local_folder("s3://no-such-bucket/results")
    for act in (
        lambda: listed(folder, ""),
        lambda: content(folder / "x"),
        lambda: write_durably(folder / "x", b""),
        lambda: require_writable(folder),
    ):
        with pytest.raises(StoreError, match=r"^s3://no-such-bucket/results.*the store refuses \(.*does not exist\)"):
            act()
    assert (folder / "x").read_bytes() == b""


def test_a_store_that_replaces_what_it_should_not_is_refused(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims rest on it."""
    right = objects.create

    def replacing(content: bytes, url: str) -> bool:
        if not right(content, url):
            objects.put(content, url)
        return True

    monkeypatch.setattr(objects, "create", replacing)
    with pytest.raises(StoreError, match=r"replaces an object when it is asked not to \(If-None-Match\)"):
        require_writable(local_folder(bucket.url) / "study")
    assert objects.names(bucket.url) == {}
