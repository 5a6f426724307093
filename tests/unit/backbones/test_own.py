"""Networks of the user's own: their names, the blocks found in them, and configurations that come from anywhere."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness.backbones.blocks import find_blocks, found_steps, given_steps, in_run_order
from harness.backbones.catalog import expand, resolve
from harness.backbones.spellings import own_place
from harness.config import name_and_weights
from harness.errors import BackboneError
from tests.integration.own_networks import Odd, Small


@pytest.mark.parametrize(
    ("typed", "name", "weights"),
    [
        ("resnet18", "resnet18", ""),
        ("resnet18@random", "resnet18", "random"),
        ("hf-hub:timm/resnet18.a1_in1k@mine.pth", "hf-hub:timm/resnet18.a1_in1k", "mine.pth"),
        ("hf-hub:me/mine", "hf-hub:me/mine", ""),
        ("hf-hub:me/mine@v1", "hf-hub:me/mine@v1", ""),
        ("hf-hub:me/mine@random", "hf-hub:me/mine", "random"),
        ("hf-hub:me/mine@v1@random", "hf-hub:me/mine@v1", "random"),
        ("hf-hub:me/mine@v1@a@b.pth", "hf-hub:me/mine@v1", "a@b.pth"),
        ("local-dir:~/mine@random", "local-dir:~/mine", "random"),
        ("python:nets:small@mine.pth", "python:nets:small", "mine.pth"),
    ],
)
def test_revisions_and_weights(typed: str, name: str, weights: str) -> None:
    """Behind `@` are weights, but for the first one of a repository that is not timm's; taken apart twice, a name stays what it is."""
    assert name_and_weights(typed) == (name, weights)
    assert name_and_weights(name) == (name, "")


def test_names_of_ones_own_are_no_patterns() -> None:
    """A folder may be called anything; timm's repositories are timm's names."""
    assert expand("local-dir:models [1]*") == ["local-dir:models [1]*"]
    assert own_place("hf-hub:timm/resnet18.a1_in1k") is own_place("resnet18") is None


class _Encoder(nn.Module):
    """Tokens, a list of layers that hold lists themselves, a norm; in a module around it, the stem last."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 4))
        self.encoder = nn.Module()
        self.encoder.layers = nn.ModuleList([nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(3)])
        self.encoder.position = nn.Parameter(torch.zeros(1, 4))
        self.norm = nn.LayerNorm(4)
        self.stem = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x) + self.token + self.encoder.position
        for layer in self.encoder.layers:  # type: ignore[union-attr]
            x = layer(x)
        found: Tensor = self.norm(x)
        return found


def _blocks(model: nn.Module, pattern: str | None, images: Tensor) -> dict[str, list[str]]:
    steps = found_steps(model) if pattern is None else given_steps(model, pattern)
    with torch.no_grad():
        steps = in_run_order(model, steps, lambda: model(images))
    return {block.name: [name.removeprefix(f"{block.name}.") for name in block.tensors] for block in find_blocks(model, steps)}


def test_blocks_are_found_in_the_order_in_which_they_run() -> None:
    """Members of lists, and what stands beside these; what a module holds itself goes with what runs first in it, norms with what is before."""
    found = _blocks(_Encoder(), None, torch.zeros(1, 4))
    assert list(found) == ["stem", "encoder.layers.0", "encoder.layers.1", "norm"]
    assert found["stem"] == ["token", "weight", "bias"]
    assert found["encoder.layers.0"] == ["encoder.position", "0.weight", "0.bias"]
    assert found["norm"] == ["encoder.layers.2.0.weight", "encoder.layers.2.0.bias", "weight", "bias"]
    assert list(_blocks(Small(), None, torch.zeros(1, 3, 16, 16))) == ["stem", "layers.0", "layers.1", "layers.2", "classifier"]
    odd = ["stem", "reused", "pair", "reads", "scales", "attends", "last", "classifier"]
    assert list(_blocks(Odd(), None, torch.zeros(1, 3, 16, 16))) == odd


@pytest.mark.parametrize("pattern", ["encoder.layers.*", r"encoder\.layers\.\d+"])
def test_blocks_are_taken_as_given(pattern: str) -> None:
    """By a pattern or a regular expression; what lies before and behind them is a block or joins one."""
    found = _blocks(_Encoder(), pattern, torch.zeros(1, 4))
    assert [name for name in found if name.startswith("encoder")] == [f"encoder.layers.{i}" for i in range(3)]
    assert sum(map(len, found.values())) == len(list(_Encoder().parameters()))


def test_a_pattern_that_is_none_or_matches_nothing() -> None:
    """The line says what there is."""
    with pytest.raises(BackboneError, match=r"blocks=blocks\.\*: matches no module with parameters; there are encoder, encoder.layers"):
        given_steps(_Encoder(), "blocks.*")
    with pytest.raises(BackboneError, match=r"blocks=\(: no regular expression"):
        given_steps(_Encoder(), "(")


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ("[", "is not in timm's format"),
        ("[]", "is not in timm's format"),
        ({"architectures": ["X"], "model_type": "vit"}, r"is not in timm's format \('architecture'\)"),
        ({"architecture": "nobodys_net"}, "asks for nobodys_net, an architecture that the timm here does not have"),
        ({"architecture": 18}, "asks for 18, an architecture that the timm here does not have"),
        ({"architecture": "resnet18", "pretrained_cfg": {}, "model_args": {"checkpoint_path": "/etc/passwd"}}, "asks for checkpoint_path"),
        ({"architecture": "resnet18", "pretrained_cfg": {}, "model_args": {"features_only": True}}, "asks for features_only"),
        ({"architecture": "resnet18", "pretrained_cfg": 3}, "is not in timm's format"),
    ],
)
def test_a_configuration_from_anywhere(tmp_path: Path, config: object, told: str) -> None:
    """It names an architecture and arguments that build it; what says where weights lie, or is no configuration of timm's, is refused."""
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
    with pytest.raises(BackboneError, match=told):
        resolve(f"local-dir:{tmp_path}")


def test_nothing_of_it_says_where_weights_lie(tmp_path: Path) -> None:
    """Only what concerns images and the classifier is taken; another configuration is another network, another licence is not."""

    def identity(**config: object) -> str:
        content = {"architecture": "resnet18", "pretrained_cfg": {"url": "http://evil", "file": "/x", "custom_load": True, **config}}
        (tmp_path / "config.json").write_text(json.dumps(content), encoding="utf-8")
        spec = resolve(f"local-dir:{tmp_path}")
        assert spec.own is not None
        assert "evil" not in spec.own.config
        assert "custom_load" not in spec.own.config
        return spec.identity

    assert identity() == identity(license="mit")
    assert identity() != identity(mean=[0.1, 0.2, 0.3])


def test_code_beside_a_function_is_part_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that takes its layers from a file beside it is another one when that file changes; other files do not matter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def identity(layers: str, others: str) -> str:
        (tmp_path / "own_layers.py").write_text(f"from torch import nn\ndef layer(): return nn.{layers}\n", encoding="utf-8")
        (tmp_path / "own_others.py").write_text(f"x = {others}\n", encoding="utf-8")
        (tmp_path / "own_nets.py").write_text("from own_layers import layer\ndef net(): return layer()\n", encoding="utf-8")
        for name in ("own_layers", "own_others", "own_nets"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        return resolve("python:own_nets:net").identity

    first = identity("ReLU()", "1")
    assert first == identity("ReLU()", "2222")
    assert first != identity("Sigmoid()", "1")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("python:nets", "give python:package.module:function"),
        ("python:no_such_module_of_mine:net", "cannot be imported"),
        ("python:torch:no_such_function", "no_such_function is not in"),
        ("python:torch:__version__", "name a function or a class"),
    ],
)
def test_functions_that_are_none(name: str, told: str) -> None:
    """One line each."""
    with pytest.raises(BackboneError, match=told):
        resolve(name)
