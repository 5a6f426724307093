"""Files that are whole or not there, and a disk's refusals as one line."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.files import append_line, atomic_write, digest, listed, open_plain, remove_leftovers, require_writable, write_durably


def put(path: Path, text: str = "new") -> None:
    """Write a text atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    """Until the block ends the old one is there; a block that fails leaves it, and nothing beside it."""
    path = tmp_path / "deep" / "file"
    put(path, "old")
    with atomic_write(path, is_durable=True) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with pytest.raises(ZeroDivisionError), atomic_write(path) as temporary:
        temporary.write_text(str(1 / 0))
    assert [each.name for each in path.parent.iterdir()] == ["file"]
    assert path.read_text() == "new"


def test_what_is_durable_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is flushed while the old file still has the name."""
    path, seen = tmp_path / "file", []
    monkeypatch.setattr(os, "fsync", lambda number: seen.append((os.fstat(number).st_size, path.exists())))
    write_durably(path, b"12345")
    assert seen == [(5, False)]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "No space left on device.*free some space"),
        (errno.EDQUOT, "quota.*free some space"),
        (errno.EROFS, "Read-only file system.*make the folder writable"),
        (errno.EACCES, "Permission denied.*make the folder writable"),
        (errno.ENOTDIR, "Not a directory.*move away"),
        (errno.EIO, "Input/output error.*check the disk"),
    ],
)
def test_a_refusal_is_one_line_with_a_next_step(tmp_path: Path, number: int, said: str) -> None:
    """Path, reason and what to do, whatever the system says."""
    with (
        pytest.raises(StoreError, match=rf"file: cannot be written \(.*{said}.*run the same command again") as caught,
        atomic_write(tmp_path / "file"),
    ):
        raise OSError(number, os.strerror(number))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_said(tmp_path: Path) -> None:
    """For files, for logs and for the check beforehand."""
    (tmp_path / "file").touch()
    for write in (put, lambda path: append_line(path, "x"), require_writable):
        with pytest.raises(StoreError, match=r"file/.*: cannot be written \(.*\); move away what lies in its place"):
            write(tmp_path / "file" / "deep")
    with pytest.raises(StoreError, match="move away"):
        require_writable(tmp_path / "file")
    with pytest.raises(StoreError, match="move away"):
        put(tmp_path)


def test_the_check_beforehand_makes_the_folder_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    """It really writes, and as much as a row takes."""
    require_writable(tmp_path / "a" / "b")
    require_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_disk_that_takes_only_a_little_does_not_pass(tmp_path: Path) -> None:
    """A real limit on the size of files, in a process of its own."""
    code = f"""
import resource, signal
from pathlib import Path
from harness.errors import StoreError
from harness.files import require_writable
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
try:
    require_writable(Path({str(tmp_path)!r}, "results", "study"))
except StoreError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot be written (File too large); free some space" in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN  # as Python starts: a limit is an error and no death
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_only_old_temporary_files_are_swept_away(tmp_path: Path) -> None:
    """What a writer may still be at stays, and so does every other hidden file."""
    old, fresh, other = (tmp_path / "rows" / name for name in (f".a.json.{'0' * 32}", f".a.json.{'1' * 32}", ".keep"))
    old.parent.mkdir()
    for path in (old, fresh, other):
        path.touch()
    two_days_ago = time.time() - 2 * 24 * 3600
    for path in (old, other):
        os.utime(path, (two_days_ago, two_days_ago))
    remove_leftovers(tmp_path)
    assert sorted(old.parent.iterdir()) == sorted([fresh, other])
    remove_leftovers(tmp_path / "missing")


def test_lines_of_two_writers_never_mix(tmp_path: Path) -> None:
    """Two real processes append at once; every line is there and whole. Whoever meets the other halfway leaves an empty line."""
    code = f"""
from pathlib import Path
from harness.files import append_line
for number in range(300):
    append_line(Path({str(tmp_path / "log")!r}), str(number) * 20)
"""
    writers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    lines = [line for line in (tmp_path / "log").read_text().splitlines() if line]
    assert sorted(lines) == sorted(2 * [str(number) * 20 for number in range(300)])


def test_a_listing_is_of_visible_files_in_order(tmp_path: Path) -> None:
    """None where there is no folder."""
    for name in ("b.json", "a.json", ".c.json", "d.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in listed(tmp_path, ".json")] == ["a.json", "b.json"]
    assert listed(tmp_path / "missing", ".json") == []


def test_only_plain_files_are_opened(tmp_path: Path) -> None:
    """A pipe would be waited on for ever; a hash of a file is that of its bytes."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(OSError, match="is not a file"):
            open_plain(path)
    (tmp_path / "file").write_bytes(b"content")
    with open_plain(tmp_path / "file") as file:
        assert digest(file) == digest(b"content")
