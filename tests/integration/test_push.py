"""An exported folder goes to a hub on loopback, and timm loads it from there on a machine that has never seen it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.compute.runtime import resolve_runtime
from harness.config import Device, Precision
from harness.models.load_export import load_export
from tests.integration.test_export import SWEEP, photos
from tests.loopback import Post, Site, hub, serving

__all__ = ["photos"]

LOAD = """
import sys, timm, torch
model = timm.create_model("hf-hub:clinic/digits", pretrained=True).eval()
images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
torch.save({"logits": model(images).detach(), "names": model.pretrained_cfg["label_names"]}, sys.argv[1])
"""


def _run(site: Site | str, home: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as the hub client reads the environment when it is imported."""
    address = site if isinstance(site, str) else site.address
    environment = os.environ | {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "HF_TOKEN": "hf_secret", **more}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def results(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of a sweep with one exported model."""
    found = tmp_path_factory.mktemp("pushed") / "results"
    for line in (
        ["harness.sweep", *SWEEP, f"data.root={photos}", f"cache_dir={found / 'cache'}", "backbone=test_vit", "freeze=all"],
        ["harness.export", "formats=timm"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *line, f"results_dir={found}"], capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
    return found


def test_what_was_pushed_is_loaded_from_the_hub(results: Path, tmp_path: Path) -> None:
    """Made private, committed whole, and the same logits to the bit in a fresh cache on the other side."""
    with serving({}, post=hub) as site:
        done = _run(site, tmp_path / "here", "-m", "harness.push", f"results_dir={results}", "to=clinic/digits")
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert f"{site.address}/clinic/digits" in done.stdout
        assert {path for _, path, _ in site.asked if "create" in path or "commit" in path} == {
            "/api/repos/create",
            "/api/models/clinic/digits/commit/main",
        }
        assert sorted(path.rpartition("/")[2] for path in site.files) == [
            *("README.md", "config.json", "model.safetensors", "preprocessing.json")
        ]
        loaded = _run(site, tmp_path / "there", "-c", LOAD, str(tmp_path / "logits.pt"))
    assert loaded.returncode == 0, loaded.stderr
    found = torch.load(tmp_path / "logits.pt")
    (folder,) = (results / "digits" / "export").iterdir()
    model = load_export(folder, resolve_runtime(Device.cpu, Precision.float32))
    images: Tensor = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(model.network(images), found["logits"], atol=1e-6)
    assert found["names"] == ["digit 0", "digit 1", "digit 2"]


def _answering(status: int) -> Post:
    return lambda _, path, __: (status, {"error": f"no {path}"})


@pytest.mark.parametrize(
    ("post", "more", "said"),
    [
        (_answering(403), {}, "HTTP 403; the token may not write there"),
        (_answering(401), {}, "HTTP 401; the token is not known there"),
        (hub, {"HF_TOKEN": ""}, "nobody is logged in at"),
        (hub, {"HF_HUB_OFFLINE": "1"}, "is out of reach (HF_HUB_OFFLINE is set)"),
    ],
)
def test_what_the_hub_does_not_take_is_one_line(results: Path, tmp_path: Path, post: Post, more: dict[str, str], said: str) -> None:
    """No token, one that may not write, no hub: what is wrong and what to do; nothing of the token is shown."""
    with serving({}, post=post) as site:
        done = _run(site, tmp_path, "-m", "harness.push", f"results_dir={results}", "to=clinic/digits", **more)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "hf_secret" not in done.stderr
    assert site.files == {}


def test_a_hub_that_is_not_there_is_one_line(results: Path, tmp_path: Path) -> None:
    """Its address and why; so are wrong names and folders."""
    away = _run("http://127.0.0.1:9", tmp_path, "-m", "harness.push", f"results_dir={results}", "to=clinic/digits")
    assert (away.returncode, "http://127.0.0.1:9 is out of reach" in away.stderr, len(away.stderr.splitlines())) == (2, True, 1)
    nameless = _run("http://127.0.0.1:9", tmp_path, "-m", "harness.push", f"results_dir={results}", "to=digits")
    assert (nameless.returncode, "give the repository as ORGANISATION/NAME" in nameless.stderr) == (2, True)
    other = _run("http://127.0.0.1:9", tmp_path, "-m", "harness.push", f"folder={tmp_path}", "to=clinic/digits")
    assert (other.returncode, "is no exported model" in other.stderr) == (2, True)
