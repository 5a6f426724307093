"""Watching the memory of a process tree, and the images that the memory benchmark writes."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.memory import session_mib, size_mib, watch, write_images
from benchmarks.side_by_side import BenchmarkError

TREE = """
import subprocess, sys, time
block = b"x" * (40 * 2**20)
child = "import time; block = b'y' * (40 * 2**20); print(1, flush=True); time.sleep(1.5)"
process = subprocess.Popen([sys.executable, "-c", child])
sys.exit(process.wait())
"""


def test_the_whole_tree_counts() -> None:
    """A parent and its child with 40 MiB each come to more than one of them has."""
    watched = watch([sys.executable, "-c", TREE])
    assert 80 < watched.peak_mib < 160
    assert watched.num_samples > 1


def test_a_session_without_processes_has_no_memory() -> None:
    """A process that has ended counts nothing."""
    process = subprocess.Popen([sys.executable, "-c", ""], start_new_session=True)
    process.wait()
    assert session_mib(process.pid) == 0


def test_a_command_that_fails_is_an_error_with_its_last_line() -> None:
    """A sweep that was refused must not pass for a small one."""
    with pytest.raises(BenchmarkError, match=r"exit status 3 \(why\)"):
        watch([sys.executable, "-c", "import sys; print('why'); sys.exit(3)"])


def test_images_are_all_different_files_of_two_classes(tmp_path: Path) -> None:
    """Equal files would be one image to the harness, and the store smaller than it should be."""
    write_images(tmp_path, 10)
    files = sorted(tmp_path.rglob("*.jpg"))
    assert [len(list((tmp_path / name).iterdir())) for name in ("class0", "class1")] == [5, 5]
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in files}) == 10
    with Image.open(files[0]) as image:
        assert image.size == (224, 224)


def test_size_counts_files_at_any_depth(tmp_path: Path) -> None:
    """Entries of the store are folders of files."""
    (tmp_path / "entry").mkdir()
    (tmp_path / "entry" / "rows.npy").write_bytes(bytes(3 * 2**20))
    (tmp_path / "note").write_bytes(bytes(2**20))
    assert size_mib(tmp_path) == 4
