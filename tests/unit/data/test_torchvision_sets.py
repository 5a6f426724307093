"""torchvision's sets: found on disk, fetched from a server, or refused in seconds with what to type instead."""

import hashlib
import io
import pickle
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets as tv

from harness.config import TorchvisionConfig
from harness.data.load import load_dataset
from harness.data.torchvision_sets import SETS
from harness.errors import ConfigError, DataError
from tests import loopback
from tests.loopback import Site, serving

CIFAR10 = TorchvisionConfig(name="cifar10", source="torchvision")


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the machine that runs the tests has no part in loopback traffic."""
    monkeypatch.setenv("no_proxy", "*")


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server of a CIFAR-10 archive of 100 pictures, in CIFAR's own layout, with the checksums torchvision will ask for."""
    random = np.random.default_rng(0)
    batches = {
        name: pickle.dumps({"data": random.integers(0, 256, (50, 3072), dtype=np.uint8), "labels": [n % 10 for n in range(50)]})
        for name in ("data_batch_1", "test_batch")
    }
    files = {**batches, "batches.meta": pickle.dumps({"label_names": [f"kind {n}" for n in range(10)]})}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    md5 = {name: _md5(content) for name, content in files.items()}
    with serving({"/cifar-10-python.tar.gz": packed.getvalue()}) as site:
        monkeypatch.setattr(tv.CIFAR10, "url", f"{site.address}/cifar-10-python.tar.gz")
        monkeypatch.setattr(tv.CIFAR10, "tgz_md5", _md5(packed.getvalue()))
        monkeypatch.setattr(tv.CIFAR10, "train_list", [["data_batch_1", md5["data_batch_1"]]])
        monkeypatch.setattr(tv.CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
        monkeypatch.setattr(tv.CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": md5["batches.meta"]})
        yield site


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _refusal(cache: Path) -> str:
    """What is said when CIFAR-10 does not come; nothing that came is left."""
    with pytest.raises(DataError, match="the download failed: ") as caught:
        load_dataset(CIFAR10, cache)
    assert "\n" not in str(caught.value)
    assert [path.name for path in (cache / "datasets").iterdir()] == [".cifar10.lock"]
    return str(caught.value)


def test_cifar10_is_fetched_once(tmp_path: Path, site: Site) -> None:
    """The archive is downloaded below the cache folder, official splits are kept, and a second load asks no server."""
    data = load_dataset(CIFAR10, tmp_path)
    assert data.class_names == tuple(f"kind {n}" for n in range(10))
    assert (len(data.train), len(data.val), len(data.test)) == (40, 10, 50)
    assert data.profile.split_origin["test"] == "official"
    image = data.test.images[0].open()
    assert (image.mode, image.size) == ("RGB", (32, 32))
    site.asked.clear()
    assert load_dataset(CIFAR10, tmp_path).fingerprint == data.fingerprint
    assert site.asked == []


def test_two_at_once_fetch_once(tmp_path: Path, site: Site) -> None:
    """The second waits for the first and takes what it fetched."""
    loaders = [threading.Thread(target=load_dataset, args=(CIFAR10, tmp_path)) for _ in range(2)]

    def slowly(visit: loopback.Visit, content: bytes) -> None:
        time.sleep(0.5)
        loopback.whole(visit, content)

    site.get = slowly
    for loader in loaders:
        loader.start()
    for loader in loaders:
        loader.join()
    assert len(load_dataset(CIFAR10, tmp_path).test) == 50
    num_probes, num_each = 2, 2  # torchvision follows redirects with one request and reads with the next
    assert len(site.asked) == num_probes + num_each


@pytest.mark.parametrize(
    ("get", "words"),
    [
        (loopback.trickling, "less than 10 KiB/s in 1 s; HARNESS_DOWNLOAD_STALL_S allows more time"),
        (loopback.stalling, "less than 10 KiB/s in 1 s; HARNESS_DOWNLOAD_STALL_S allows more time"),
        (loopback.half, "bytes too soon"),
        (loopback.changed, "corrupted"),
        (loopback.page, "corrupted"),
    ],
)
def test_a_download_that_is_slow_cut_or_wrong_is_given_up(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, get: loopback.Reply, words: str
) -> None:
    """In bounded time, with one line that says why; nothing of it is kept, and the next try starts anew and is good."""
    monkeypatch.setenv("HARNESS_DOWNLOAD_STALL_S", "1")
    site.get = get
    assert words in _refusal(tmp_path)
    site.get = loopback.whole
    assert len(load_dataset(CIFAR10, tmp_path).test) == 50


def test_trickling_headers_are_given_up(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that never comes to the point is bounded by the same rule."""
    monkeypatch.setenv("HARNESS_DOWNLOAD_STALL_S", "1")
    asked = []

    def reply(visit: loopback.Visit, content: bytes) -> None:
        asked.append(visit)
        if len(asked) == 1:  # the probe
            loopback.whole(visit, content)
            return
        visit.wfile.write(b"HTTP/1.0 200 OK\r\nX-Long: ")
        while not visit.site.closing.wait(0.1):
            visit.wfile.write(b"x")

    site.get = reply
    assert "less than 10 KiB/s in 1 s" in _refusal(tmp_path)


def test_what_a_killed_download_left_is_not_taken(tmp_path: Path, site: Site) -> None:
    """The folder that it was fetched into goes with the next download; files that somebody else put beside it stay."""
    left = tmp_path / "datasets" / ".cifar10.incomplete" / "cifar-10-batches-py"
    left.mkdir(parents=True)
    (left / "half").touch()
    mine = tmp_path / "datasets" / "cifar-10-batches-py"
    mine.mkdir()
    (mine / "note.txt").write_text("mine", encoding="utf-8")
    assert len(load_dataset(CIFAR10, tmp_path).test) == 50
    assert not left.parent.exists()
    assert sorted(path.name for path in mine.iterdir()) == ["batches.meta", "data_batch_1", "note.txt", "test_batch"]


def test_unreachable_host_is_known_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network the message comes within seconds and says what, where, from where, and what to type instead."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/cifar-10-python.tar.gz"
    monkeypatch.setattr(tv.CIFAR10, "url", url)
    started = time.monotonic()
    with pytest.raises(DataError) as caught:
        load_dataset(CIFAR10, tmp_path)
    assert time.monotonic() - started < 8
    message = str(caught.value)
    for part in ("data=cifar10", str(tmp_path / "datasets"), url, "data.root=FOLDER", "data=folder", "data=digits", "data=elpv"):
        assert part in message
    assert "\n" not in message


def test_silent_host_is_known_in_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that accepts the connection and never answers is given up after three seconds."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setattr(tv.CIFAR10, "url", f"http://127.0.0.1:{mute.getsockname()[1]}/x")
        started = time.monotonic()
        with pytest.raises(DataError, match=r"no answer within 3 s|timed out"):
            load_dataset(CIFAR10, tmp_path)
        assert time.monotonic() - started < 8


def test_download_can_be_forbidden(tmp_path: Path, site: Site) -> None:
    """With `data.download=false` nothing is fetched even where it could be."""
    with pytest.raises(DataError, match=r"data\.download=false"):
        load_dataset(TorchvisionConfig(name="cifar10", source="torchvision", download=False), tmp_path)
    assert site.asked == []


def test_fashionmnist_on_disk(tmp_path: Path) -> None:
    """Files that the user put under `data.root` are used without any request, and their pixels arrive unchanged."""
    raw = tmp_path / "mine" / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        header = b"".join(number.to_bytes(4, "big") for number in (0x803, 40, 28, 28))
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + (pixels if part == "train" else 255 - pixels).tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(
            (0x801).to_bytes(4, "big") + (40).to_bytes(4, "big") + bytes(n % 10 for n in range(40))
        )
    cfg = TorchvisionConfig(name="fashionmnist", source="torchvision", root=str(tmp_path / "mine"), download=False)
    data = load_dataset(cfg, tmp_path / "cache")
    assert (len(data.train), len(data.val), len(data.test)) == (30, 10, 40)
    assert data.class_names[0] == "T-shirt/top"
    for image, label in zip(data.test.images, data.test.labels, strict=True):
        index = int(image.id.split("/")[1])
        assert label == index % 10
        np.testing.assert_array_equal(np.asarray(image.open())[..., 0], 255 - pixels[index])


def test_file_based_set_on_disk(tmp_path: Path) -> None:
    """A set of image files (EuroSAT's layout) is listed by path, so that its audit is remembered like a folder's."""
    from PIL import Image

    random = np.random.default_rng(0)
    for name in ("Forest", "River"):
        folder = tmp_path / "eurosat" / "2750" / name
        folder.mkdir(parents=True)
        for number in range(5):
            Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{name}_{number}.png")
    data = load_dataset(TorchvisionConfig(name="eurosat", source="torchvision", root=str(tmp_path)), tmp_path / "cache")
    assert data.class_names == ("Forest", "River")
    assert (len(data.train), len(data.val), len(data.test)) == (6, 2, 2)
    assert data.train.images[0].id.startswith("eurosat/2750/Forest/")
    assert len(list((tmp_path / "cache" / "audit").iterdir())) == 1


def test_unknown_name(tmp_path: Path) -> None:
    """A misspelt set is a configuration error with the nearest name."""
    with pytest.raises(ConfigError, match=r"data\.name='cifar': unknown; did you mean 'cifar10'"):
        load_dataset(TorchvisionConfig(name="cifar", source="torchvision"), tmp_path)


@pytest.mark.parametrize("name", sorted(SETS))
def test_every_entry_can_be_asked_for(tmp_path: Path, name: str) -> None:
    """Each set has an address and constructors that this torchvision understands: an empty folder is 'not found', nothing else."""
    assert SETS[name].url().startswith("http")
    with pytest.raises(DataError, match=rf"data={name}: no complete copy in .*data\.download=false"):
        load_dataset(TorchvisionConfig(name=name, source="torchvision", root=str(tmp_path), download=False), tmp_path)
