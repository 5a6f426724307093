"""Names freed of what training scripts put in front, and what is said of files that do not fit."""

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from harness.backbones.catalog import resolve
from harness.backbones.checkpoint import read_state_dict
from harness.backbones.fit import bare, fits, require_fit
from harness.backbones.load import load_backbone
from harness.backbones.weights import find_weights
from harness.config import Features
from harness.errors import BackboneError


def state(name: str = "test_resnet") -> dict[str, Tensor]:
    """Weights of an architecture, its classifier included."""
    torch.manual_seed(1)
    found: dict[str, Tensor] = timm.create_model(name).state_dict()
    return found


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model.", "backbone.", "encoder.", "net.vision.body."]
)
@pytest.mark.parametrize("head", ["own", "none", "mlp", "outside"])
def test_a_prefix_of_all_tensors_goes_and_heads_do_not_matter(tmp_path: Path, prefix: str, head: str) -> None:
    """Whatever a training script put in front of a network and behind it, the network is filled with the file's numbers."""
    tensors = state()
    trunk = {name: tensor for name, tensor in tensors.items() if not name.startswith("fc.")}
    content = {prefix + name: tensor for name, tensor in (tensors if head == "own" else trunk).items()}
    if head == "mlp":
        content |= {f"{prefix}fc.0.weight": torch.ones(7, 3), f"{prefix}fc.2.scale": torch.ones(())}
    if head == "outside":
        content |= {"head.fc.weight": torch.ones(7, 3), "criterion.weight": torch.ones(7), "n_averaged": torch.tensor(5)}
    torch.save({"model_state_dict": content, "epoch": 3}, tmp_path / "w.pth")
    spec = resolve("test_resnet")
    weights = find_weights(spec, str(tmp_path / "w.pth"))
    found = load_backbone(spec, weights, image_size=32, features=Features.pooled, seed=0)
    filled = found.trunk.state_dict()
    assert all(torch.equal(filled[name], tensor) for name, tensor in trunk.items())


def test_a_first_module_is_no_prefix(tmp_path: Path) -> None:
    """All tensors of SqueezeNet without its classifier lie in `features`, which is the network's own."""
    from torchvision.models import squeezenet1_1

    tensors = {name: tensor for name, tensor in squeezenet1_1().state_dict().items() if name.startswith("features.")}
    assert list(bare(tensors, tensors)) == list(tensors)
    torch.save({f"model.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "w.pth")
    assert list(bare(read_state_dict(tmp_path / "w.pth"), tensors)) == list(tensors)


def test_names_of_their_own_lose_known_wrappers_only() -> None:
    """Checkpoints whose names timm translates are told by nothing but the wrappers that every framework uses."""
    given = {f"module._orig_mod.layers.{number}.weight": torch.ones(1) for number in range(3)}
    assert list(bare(given, ["blocks.0.weight"])) == [f"layers.{number}.weight" for number in range(3)]


def test_two_networks_in_one_file_are_refused(tmp_path: Path) -> None:
    """Neither of a teacher and its student is taken for the one that was meant; what was found is named."""
    torch.save({f"{who}.{name}": tensor for who in ("student", "teacher") for name, tensor in state().items()}, tmp_path / "w.pth")
    spec = resolve("test_resnet")
    with pytest.raises(BackboneError, match=r"lacks .*; its 184 tensors are student\.bn1\.bias") as refused:
        load_backbone(spec, find_weights(spec, str(tmp_path / "w.pth")), image_size=32, features=Features.pooled, seed=0)
    assert "\n" not in str(refused.value)


def test_misfit_names_three_tensors(tmp_path: Path) -> None:
    """The message names up to three tensors and counts the rest; the batch counter alone is no misfit."""
    require_fit(tmp_path, ["a"], missing=["bn.num_batches_tracked"], unexpected=[], mismatched={})
    with pytest.raises(BackboneError, match="lacks a, b, c and 2 more; its 1 tensors are x; give"):
        require_fit(tmp_path, ["x"], missing=list("abcde"), unexpected=[], mismatched={})


def test_names_in_a_file_cannot_break_the_line(tmp_path: Path) -> None:
    """Names of tensors are the file's own words: what is shown of them stays on one line without control characters."""
    name = "a\nb\x1b[31mc"
    with pytest.raises(BackboneError, match=r"holds unknown a b \[31mc; its 1 tensors are a b \[31mc; give"):
        require_fit(tmp_path, [name], missing=[], unexpected=[name], mismatched={})


def test_only_real_numbers_fill_real_places() -> None:
    """Whole and complex numbers do not pass, which torch would copy into real ones without a word; lower precision does."""
    place = torch.ones(2, 3)
    assert fits(torch.ones(2, 3, dtype=torch.float16), place)
    assert fits(torch.ones(()), torch.ones((), dtype=torch.int64))
    assert not fits(torch.ones(2, 3, dtype=torch.int8), place)
    assert not fits(torch.ones(2, 3, dtype=torch.complex64), place)
    assert not fits(torch.ones(2, 3).to_sparse(), place)
    assert not fits(torch.ones(3, 2), place)
