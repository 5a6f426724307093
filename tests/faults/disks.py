"""Real disks for faults: small ones, and ones that take nothing."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path


@cache
def can_mount() -> bool:
    """Whether this process has the right to."""
    with tempfile.TemporaryDirectory() as folder:
        is_mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", folder], check=False, capture_output=True).returncode == 0
        if is_mounted:
            _run("umount", folder)
    return is_mounted


@contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[None]:
    """A disk of this size (`16m`) at `folder`. Takes the right to mount."""
    folder.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield
    finally:
        _run("umount", "--lazy", str(folder))


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing can be written to `folder`: a read-only mount.

    Where none can be made, root, who may write where permissions forbid it, gets a folder marked as unchangeable, and anybody else one
    without the permission to write.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seal, unseal = _ways(str(folder))
    for command in seal:
        _run(*command)
    try:
        yield
    finally:
        _run(*unseal)


def _ways(folder: str) -> tuple[list[list[str]], list[str]]:
    if can_mount():
        return [["mount", "--bind", folder, folder], ["mount", "-o", "remount,bind,ro", folder]], ["umount", "--lazy", folder]
    if os.geteuid() == 0:
        return [["chattr", "+i", folder]], ["chattr", "-i", folder]
    return [["chmod", "a-w", folder]], ["chmod", "u+w", folder]


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
