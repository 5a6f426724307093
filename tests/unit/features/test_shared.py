"""Entries of the feature store that machines share through a bucket, on a real S3 server."""

import logging
from pathlib import Path

import numpy as np
import pytest

from harness.features.store import FeatureStore
from harness.files import objects
from tests.s3 import Bucket
from tests.unit.features.test_store import contents, found, numbers, write

ADDRESS = {"weights": "abc"}


@pytest.fixture
def url(s3: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where entries are shared."""
    for name, value in s3.variables(tmp_path).items():
        monkeypatch.setenv(name, value)
    return f"{s3.url}/{tmp_path.name}"


def store(root: Path, url: str, max_gib: float = 1) -> FeatureStore:
    """Of a machine whose cache is there."""
    return FeatureStore(root, max_gib, url)


def test_what_one_machine_publishes_another_finds(tmp_path: Path, url: str) -> None:
    """Bit by bit, with its notes; from then on it has it, whatever becomes of the bucket. A third sees nothing at another address."""
    write(store(tmp_path / "a", url), ADDRESS, numbers(20), seconds=1.5)
    entry = found(store(tmp_path / "b", url), ADDRESS)
    assert entry.about == {"seconds": 1.5}
    np.testing.assert_array_equal(entry.read(slice(None)), numbers(20))
    found(FeatureStore(tmp_path / "b", 1), ADDRESS)
    assert store(tmp_path / "c", url).find({"weights": "other"}) is None
    assert contents(tmp_path / "c") == []


def test_an_entry_is_whole_or_not_there(tmp_path: Path, url: str) -> None:
    """A machine that dies between the rows and the entry has published nothing."""
    write(FeatureStore(tmp_path / "a", 1), ADDRESS, numbers(20))
    (folder,) = contents(tmp_path / "a")
    objects.put_file(folder / "rows.npy", f"{url}/{folder.name}/0123.npy")
    assert store(tmp_path / "b", url).find(ADDRESS) is None
    objects.put(b"{", f"{url}/{folder.name}/entry.json")
    assert store(tmp_path / "b", url).find(ADDRESS) is None
    assert contents(tmp_path / "b") == []


def test_a_damaged_entry_is_taken_away_and_computed_again(tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is verified like any other, so nobody computes with it; who computes it anew publishes it."""
    write(store(tmp_path / "a", url), ADDRESS, numbers(20))
    (folder,) = contents(tmp_path / "a")
    (rows,) = [name for name in objects.names(f"{url}/{folder.name}") if name.endswith(".npy")]
    objects.put((folder / "rows.npy").read_bytes()[:-1] + b"x", f"{url}/{folder.name}/{rows}")
    other = store(tmp_path / "b", url)
    with caplog.at_level(logging.WARNING, "harness"):
        assert other.find(ADDRESS) is None
    assert "damaged and removed, to be computed again" in caplog.text
    write(other, ADDRESS, numbers(20))
    found(store(tmp_path / "c", url), ADDRESS)


def test_what_is_brought_stays_within_the_bounds(tmp_path: Path, url: str) -> None:
    """The least recently used make room for it; what has no room at all stays where it is."""
    write(store(tmp_path / "a", url), ADDRESS, numbers(1000))
    write(store(tmp_path / "a", url), {"weights": "next"}, numbers(1000))
    room = 1.5 * 1000 * 12 / 2**30
    for address in (ADDRESS, {"weights": "next"}):
        found(store(tmp_path / "b", url, room), address)
        assert len(contents(tmp_path / "b")) == 1
    assert store(tmp_path / "c", url, room / 2).find(ADDRESS) is None
    assert contents(tmp_path / "c") == []
    assert store(tmp_path / "c", url, 0).find(ADDRESS) is None


def test_a_bucket_that_fails_costs_sharing_and_nothing_else(tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture) -> None:
    """One line, once; entries are kept and found on this machine."""
    mine = store(tmp_path / "a", "s3://no-such-bucket/features")
    with caplog.at_level(logging.WARNING, "harness"):
        assert mine.find(ADDRESS) is None
        write(mine, ADDRESS, numbers(20))
        found(mine, ADDRESS)
    (said,) = caplog.messages
    assert said.startswith("Cached activations are not shared from here on: s3://no-such-bucket/features/")
