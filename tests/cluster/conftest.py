"""What tests on clusters share: the same sweep, undisturbed on this machine, and short folders."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.sweeps import Results, run_here


@pytest.fixture(scope="session")
def here(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Of the sweep that the tests disturb."""
    return run_here(tmp_path_factory.mktemp("here"))


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path is short enough for sockets in it."""
    with tempfile.TemporaryDirectory(prefix="c") as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def from_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers import what is tested, with one thread each."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
