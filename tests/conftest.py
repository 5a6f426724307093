"""Every test is offline: sockets other than loopback are blocked (pyproject.toml), and the model hub is never asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.s3 import Bucket, serving

settings.register_profile("untimed", deadline=None)  # how long an example takes says how busy the machine is
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No hub, no cache of the user's, no colours or bars; child processes inherit this."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("HARNESS_DEBUG", raising=False)


@pytest.fixture(scope="session")
def s3() -> Iterator[Bucket]:
    """A bucket on a server for the whole run, as a process speaks to one only."""
    with serving() as bucket:
        yield bucket
