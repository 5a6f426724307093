"""What is remembered of files of weights: never more than is so, and nothing that a lost memory would cost but time."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.backbones.known_files import known_sha256, remember, state_of

SHA256 = "5" * 64
YESTERDAY = 1_700_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that nobody has written to lately."""
    found = tmp_path / "weights"
    found.write_bytes(b"content")
    os.utime(found, (YESTERDAY, YESTERDAY))
    return found


def test_a_file_is_known_until_it_is_written_to(path: Path, tmp_path: Path) -> None:
    """Also where its size and the time of its content are set back, and where a link leads to it."""
    folder, state = tmp_path / "memory", state_of(path)
    assert known_sha256(folder, state) is None
    remember(folder, path, state, SHA256)
    (tmp_path / "link").symlink_to(path)
    assert known_sha256(folder, state_of(tmp_path / "link")) == SHA256
    path.write_bytes(b"CONTENT")
    os.utime(path, (YESTERDAY, YESTERDAY))
    assert known_sha256(folder, state_of(path)) is None


def test_another_file_in_its_place_is_not_known(path: Path, tmp_path: Path) -> None:
    """Of the same size and time."""
    folder, state = tmp_path / "memory", state_of(path)
    remember(folder, path, state, SHA256)
    (tmp_path / "other").write_bytes(b"CONTENT")
    os.utime(tmp_path / "other", (YESTERDAY, YESTERDAY))
    (tmp_path / "other").replace(path)
    assert known_sha256(folder, state_of(path)) is None


def test_a_file_that_changed_while_it_was_read_is_not_remembered(path: Path, tmp_path: Path) -> None:
    """Nor is one that was written to just now, as the next change may leave no trace."""
    folder, state = tmp_path / "memory", state_of(path)
    path.write_bytes(b"CONTENT")
    os.utime(path, (YESTERDAY, YESTERDAY))
    remember(folder, path, state, SHA256)
    path.write_bytes(b"content")
    remember(folder, path, state_of(path), SHA256)
    assert not folder.exists()


def test_a_folder_that_takes_no_file_is_no_error(path: Path, tmp_path: Path) -> None:
    """What is missing is read again."""
    (tmp_path / "memory").write_bytes(b"")
    remember(tmp_path / "memory", path, state_of(path), SHA256)
    assert known_sha256(tmp_path / "memory", state_of(path)) is None


@given(position=st.integers(0, 10_000), byte=st.integers(0, 255), kept=st.integers(0, 10_000))
def test_what_is_damaged_is_not_believed(tmp_path_factory: pytest.TempPathFactory, position: int, byte: int, kept: int) -> None:
    """One byte is another, or the end is missing: the hash as it was, or none."""
    folder = tmp_path_factory.mktemp("memory")
    path = folder / "weights"
    path.write_bytes(b"content")
    os.utime(path, (YESTERDAY, YESTERDAY))
    state = state_of(path)
    remember(folder, path, state, SHA256)
    content = bytearray((folder / state).read_bytes())
    for damaged in (content[: kept % len(content)], _with(content, position % len(content), byte)):
        (folder / state).write_bytes(damaged)
        assert known_sha256(folder, state) in ({None} if damaged != content else {SHA256})


def _with(content: bytearray, position: int, byte: int) -> bytes:
    return bytes(content[:position]) + bytes([byte]) + bytes(content[position + 1 :])
