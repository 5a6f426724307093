"""The true hub path, against a server on loopback that behaves as the hub does, or misbehaves."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from harness.backbones.catalog import resolve
from harness.study.store import Study
from tests.integration.commands import TINY
from tests.loopback import Visit, described, half, serving, whole

SCRIPT = """
import json, os, shutil, sys
from harness.backbones.catalog import resolve
from harness.backbones.load import load_backbone
from harness.backbones.weights import find_weights
from harness.config import Features
from harness.errors import BackboneError
for name in sys.argv[1:]:
    spec = resolve(name)
    try:
        found = find_weights(spec, "pretrained")
        if os.environ.get("NAMED_ONLY"):
            print(json.dumps({"sha256": found.sha256, "is_here": found.path is not None, "licence": found.licence}))
            continue
        if os.environ.get("ELSEWHERE"):
            shutil.rmtree(os.environ["HF_HOME"])
        trunk = load_backbone(spec, found, image_size=None, features=Features.pooled, seed=0).trunk
    except BackboneError as error:
        print(json.dumps({"error": str(error)}))
        continue
    total = float(sum(tensor.double().sum() for tensor in trunk.state_dict().values()))
    print(json.dumps({"source": found.source, "sha256": found.sha256, "tag": found.tag, "licence": found.licence, "total": total}))
"""


def _state(name: str) -> dict[str, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        state: dict[str, Tensor] = timm.create_model(name).state_dict()
    return state


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    """Address of a hub with test_resnet as safetensors, test_vit as a pickle only, and a broken test_vit2."""
    save_file(_state("test_resnet"), tmp_path / "model.safetensors")
    torch.save(_state("test_vit"), tmp_path / "pytorch_model.bin")
    safe, pickled = (tmp_path / "model.safetensors").read_bytes(), (tmp_path / "pytorch_model.bin").read_bytes()
    broken = "/timm/test_vit2.r160_in1k/resolve/main/model.safetensors"
    files = {
        "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors": safe,
        "/timm/test_vit.r160_in1k/resolve/main/pytorch_model.bin": pickled,
        broken: safe,
    }
    with serving(files, get=lambda visit, content: (half if visit.path == broken else whole)(visit, content)) as site:
        yield site.address


def _run(endpoint: str, home: Path, *names: str, offline: bool = False, **how: str) -> list[dict[str, object]]:
    """Each name's outcome in one fresh process: the hub client reads its environment when it is imported."""
    return _ended(_start(endpoint, home, *names, offline=offline, **how))


def _start(endpoint: str, home: Path, *names: str, offline: bool = False, **how: str) -> subprocess.Popen[str]:
    variables = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": str(int(offline)), "HARNESS_DOWNLOAD_STALL_S": "8"}
    environment = os.environ | variables | {"OMP_NUM_THREADS": "1"} | how
    command = [sys.executable, "-W", "error", "-c", SCRIPT, *names]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _ended(process: subprocess.Popen[str]) -> list[dict[str, object]]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def _total(state: dict[str, Tensor], *classifier: str) -> float:
    return float(sum(tensor.double().sum() for name, tensor in state.items() if not name.startswith(classifier)))


@pytest.mark.slow
def test_download_then_cache(hub: str, tmp_path: Path) -> None:
    """The first run downloads, the next finds the same bytes in the cache with the hub off; a pickle is the second choice."""
    resnet, vit = _run(hub, tmp_path / "home", "test_resnet", "test_vit")
    assert (resnet["source"], resnet["tag"], resnet["licence"]) == ("hub", "r160_in1k", "apache-2.0")
    assert resnet["sha256"] == hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    assert resnet["total"] == pytest.approx(_total(_state("test_resnet"), "fc."))
    assert vit["source"] == "hub"
    assert vit["total"] == pytest.approx(_total(_state("test_vit"), "head."))
    (again,) = _run(hub, tmp_path / "home", "test_resnet", offline=True)
    assert again == resnet | {"source": "cache"}


@pytest.mark.slow
def test_jobs_are_named_without_a_download(tmp_path: Path) -> None:
    """The hub says the hash of a large file: nothing comes before a network is built. A file whose hash it does not say comes at once."""
    for name in ("test_resnet", "test_vit"):
        save_file(_state(name), tmp_path / name)
    files = {
        f"/timm/{name}.r160_in1k/resolve/main/model.safetensors": (tmp_path / name).read_bytes() for name in ("test_resnet", "test_vit")
    }
    said, unsaid = files

    def unhashed(visit: Visit, content: bytes) -> None:
        visit.begin(200, described(content) | ({"ETag": '"version-1"'} if visit.path == unsaid else {}))
        visit.give(content)

    with serving(files, head=unhashed, get=unhashed) as site:
        found = _run(site.address, tmp_path / "home", "test_resnet", "test_vit", NAMED_ONLY="1")
        got = {path for method, path, _ in site.asked if method == "GET"} & set(files)
    assert [(each["sha256"], each["is_here"]) for each in found] == [
        (hashlib.sha256(files[said]).hexdigest(), False),
        (hashlib.sha256(files[unsaid]).hexdigest(), True),
    ]
    assert got == {unsaid}


@pytest.mark.slow
def test_another_machine_fetches_what_one_has(hub: str, tmp_path: Path) -> None:
    """A job that was made exact where the file is cached runs where it is not: the same commit is fetched there."""
    (first,) = _run(hub, tmp_path / "home", "test_resnet")
    (there,) = _run(hub, tmp_path / "home", "test_resnet", ELSEWHERE="1")
    assert there == first | {"source": "cache"}


@pytest.mark.slow
def test_one_process_fetches_for_all(hub: str, tmp_path: Path) -> None:
    """Two that need a file at the same time get it by one transfer; whoever comes later, with the hub away, finds it."""
    served = "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"
    content = (tmp_path / "model.safetensors").read_bytes()

    def slow(visit: Visit, content: bytes) -> None:
        visit.begin(200, described(content))
        visit.give(content[:100_000])
        visit.site.closing.wait(6)  # both have come by now
        visit.give(content[100_000:])

    with serving({served: content}, get=slow) as site:
        together = [_start(site.address, tmp_path / "home", "test_resnet") for _ in range(2)]
        outcomes = [_ended(process) for process in together]
        assert [path for method, path, _ in site.asked if method == "GET"].count(served) == 1
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0]["source"] == "hub"
    (later,) = _run(site.address, tmp_path / "home", "test_resnet", offline=True)
    assert later == outcomes[0][0] | {"source": "cache"}


@pytest.mark.slow
def test_broken_transfer_and_missing_file(hub: str, tmp_path: Path) -> None:
    """A transfer that breaks off is an error that says so and leaves nothing to trip over; so is a file that is not there."""
    broken, absent = _run(hub, tmp_path / "home", "test_vit2", "test_vit3")
    assert f"download from {hub}/timm/test_vit2.r160_in1k failed" in str(broken["error"])
    assert "holds none of model.safetensors, pytorch_model.bin" in str(absent["error"])
    left = [path for path in (tmp_path / "home").rglob("*") if path.is_file() and path.stat().st_size > 1000]
    assert left == []


@pytest.mark.slow
def test_damaged_cache_is_noticed(hub: str, tmp_path: Path) -> None:
    """A cached file whose content is no longer what was downloaded is refused."""
    _run(hub, tmp_path / "home", "test_resnet")
    (blob,) = (path for path in (tmp_path / "home").rglob("blobs/*"))
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    (outcome,) = _run(hub, tmp_path / "home", "test_resnet", offline=True)
    assert "is damaged" in str(outcome["error"])


@pytest.mark.slow
def test_a_sweep_downloads_then_trains(tmp_path: Path) -> None:
    """The first command of the README, against a hub that serves weights written here: three rows with source `hub`."""
    names = {"resnet50": "resnet50", "densenet121": "densenet121", "mobilenetv3": "mobilenetv3_large_100"}
    files: dict[str, bytes] = {}
    for model in names.values():
        save_file(_state(model), tmp_path / "weights.safetensors")
        tag = resolve(model).tag
        files[f"/timm/{model}.{tag}/resolve/main/model.safetensors"] = (tmp_path / "weights.safetensors").read_bytes()
    with serving(files) as site:
        environment = os.environ | {"HF_ENDPOINT": site.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
        options = [*TINY[:2], "data=digits", "data.max_images=40", "data.image_size=64", "freeze=all", "train.epochs=1"]
        command = [sys.executable, "-m", "harness.sweep", f"backbone={','.join(names)}", *options, f"results_dir={tmp_path / 'results'}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    rows = Study(tmp_path / "results" / "digits").rows()
    assert sorted((row.backbone, row.status, row.weights_source) for row in rows) == [(name, "ok", "hub") for name in sorted(names)]
    assert all(row.weights_sha256 for row in rows)
