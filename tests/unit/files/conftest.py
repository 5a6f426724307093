"""A folder of the bucket for each test."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.files import mirror
from tests.s3 import Bucket


@pytest.fixture
def bucket(s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A folder of its own in the bucket, as this process sees it."""
    for name, value in s3.variables(tmp_path).items():
        monkeypatch.setenv(name, value)
    mirror.forget()
    return Bucket(f"{s3.name}/{tmp_path.name}", s3.address)


@pytest.fixture
def become(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """From then on this process is on another host: with a mirror of its own, and nothing in memory."""

    def become(name: str) -> None:
        for variable, value in bucket.variables(tmp_path / name).items():
            monkeypatch.setenv(variable, value)
        mirror.forget()

    return become
