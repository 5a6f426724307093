"""Downloads that are watched, against a server on loopback. What can go wrong on the way is in `tests/faults/hub.py`."""

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from harness.backbones.download import Order
from harness.backbones.fetch import NotFetchedError, fetch
from tests import loopback

CONTENT = save({"a.weight": torch.arange(60_000.0)})
NAME = f"net-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


def _order(address: str, folder: Path) -> Order:
    return Order(f"{address}/{NAME}", None, None, (NAME,), str(folder))


def test_a_file_comes_whole_under_its_name_alone(tmp_path: Path) -> None:
    """The folder is made, the file is there, and nothing else is."""
    with loopback.serving({f"/{NAME}": CONTENT}) as site:
        path = fetch(_order(site.address, tmp_path / "new"))
    assert path == tmp_path / "new" / NAME
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_grows_slowly_but_enough_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is on the rate in each stretch, not on the time that the whole takes."""
    monkeypatch.setenv("HARNESS_DOWNLOAD_STALL_S", "3")

    def in_pieces(visit: loopback.Visit, content: bytes) -> None:
        visit.begin(200, loopback.described(content))
        for start in range(0, len(content), 1 << 15):
            visit.give(content[start : start + (1 << 15)])
            visit.site.closing.wait(0.6)

    with loopback.serving({f"/{NAME}": CONTENT}, get=in_pieces) as site:
        assert fetch(_order(site.address, tmp_path)).read_bytes() == CONTENT


def test_what_comes_a_second_time_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that breaks off again and again is given up, however much it sends."""
    monkeypatch.setenv("HARNESS_DOWNLOAD_STALL_S", "3")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    file = "/org/net/resolve/main/model.safetensors"
    with loopback.serving({file: CONTENT}, get=loopback.half) as site:
        order = Order(site.address, "org/net", None, ("model.safetensors",), str(tmp_path))
        with pytest.raises(NotFetchedError, match=r"less than 10 KiB/s in 3 s, last: Error while downloading"):
            fetch(order)
        assert sum(method == "GET" for method, _, _ in site.asked) > 1
    assert list(tmp_path.rglob("*.incomplete")) == []
