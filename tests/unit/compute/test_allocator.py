"""Freed memory stays where it is."""

import platform
import subprocess
import sys

import pytest

_CODE = """
import ctypes, resource, sys
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of one size, whatever the machine prefers
from harness.compute.allocator import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
def use():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt, bytearray(b"x") * (48 << 20)
use()
before, _ = use()
for _ in range(10):
    use()
after, _ = use()
print(after - before)
"""


def _num_faults(how: str) -> int:
    run = subprocess.run([sys.executable, "-c", _CODE, how], capture_output=True, text=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such settings")
def test_blocks_are_used_again() -> None:
    """Ten blocks of 48 MiB, one after the other, touch no page that was not there for the first; by default each fetches all of its own."""
    assert _num_faults("kept") < 1_000
    assert _num_faults("default") > 10_000
