"""Filled trunks: every architecture family builds, every tensor comes from the file, and what does not fit is refused."""

from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from harness.backbones.backbone import Backbone, Weights, WeightsSource
from harness.backbones.catalog import resolve
from harness.backbones.load import load_backbone
from harness.backbones.weights import find_weights
from harness.config import Features
from harness.errors import BackboneError


def _load(
    name: str, weights: str = "random", *, image_size: int | None = None, features: Features = Features.pooled, seed: int = 0
) -> Backbone:
    spec = resolve(name)
    return load_backbone(spec, find_weights(spec, weights), image_size=image_size, features=features, seed=seed)


def _save(state: dict[str, Tensor], path: Path) -> str:
    torch.save(state, path)
    return str(path)


def _whole(name: str, seed: int = 1) -> nn.Module:
    """The published network with 1000 classes and recognisable content: what a hub file holds."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        spec = resolve(name)
        if spec.library == "timm":
            model: nn.Module = timm.create_model(spec.model, num_classes=1000)
        else:
            options = {"init_weights": True, "aux_logits": True} if name == "googlenet" else {}
            model = get_model(spec.model, weights=None, **options)
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.add_(torch.rand_like(buffer))
    return model.eval()


@pytest.mark.parametrize(
    ("name", "size", "num_features"),
    [
        ("alexnet", 64, 4096),
        ("squeezenet", 64, 512),
        ("googlenet", 64, 1024),
        ("shufflenet", 64, 1024),
        ("resnet18", 32, 512),
        ("inception", 96, 2048),
        ("densenet", 64, 1024),
        ("mobilenetv2", 32, 1280),
        ("mobilenetv3", 32, 1280),
        ("efficientnet", 32, 1280),
        ("tf_efficientnet_lite0", 32, 1280),
        ("vit", 32, 384),
        ("convnext", 32, 768),
        ("swin", 64, 768),
        ("test_resnet", None, 96),
        ("test_vit", None, 64),
    ],
)
def test_families_build(name: str, size: int | None, num_features: int) -> None:
    """Each family gives one vector per image at a small size, in eval mode, with blocks that own every tensor once."""
    backbone = _load(name, image_size=size)
    images_BCHW = torch.zeros(2, 3, backbone.preprocess.image_size, backbone.preprocess.image_size)
    with torch.no_grad():
        assert backbone.trunk(images_BCHW).shape == (2, num_features)
    assert backbone.num_features == num_features
    assert not backbone.trunk.training
    tensors = [name for name, _ in backbone.trunk.named_parameters()] + [name for name, _ in backbone.trunk.named_buffers()]
    assert sorted(tensors) == sorted(tensor for block in backbone.blocks for tensor in block.tensors)
    assert len({block.name for block in backbone.blocks}) == len(backbone.blocks)


@pytest.mark.parametrize(
    ("name", "size"), [("alexnet", 64), ("googlenet", 64), ("shufflenet", 64), ("resnet18", 64), ("test_vit", None), ("inception", 96)]
)
def test_trunk_is_the_published_network_without_its_classifier(name: str, size: int | None, tmp_path: Path) -> None:
    """Filled from a hub-like file, trunk and the file's own last layer give the whole network's logits."""
    whole = _whole(name)
    backbone = _load(name, _save(whole.state_dict(), tmp_path / "w.pth"), image_size=size)
    images_BCHW = torch.rand(2, 3, *[backbone.preprocess.image_size] * 2)
    last = [module for module in whole.modules() if isinstance(module, nn.Linear)][-1]
    with torch.no_grad():
        assert torch.allclose(last(backbone.trunk(images_BCHW)), whole(images_BCHW), atol=1e-4)


@pytest.mark.parametrize(
    "name",
    ["deit_tiny_patch16_224", "convnext_atto", "swin_tiny_patch4_window7_224", "densenet121", "regnety_002", "mobilenetv3_small_050"],
)
@pytest.mark.parametrize("features", Features)
def test_files_with_a_classifier_load(name: str, features: Features, tmp_path: Path) -> None:
    """The classifier in a published file is dropped, everything else of the trunk comes from it."""
    state = _whole(name).state_dict()
    backbone = _load(name, _save(state, tmp_path / "w.pth"), features=features)
    prefix = "body." if features is Features.map else ""
    assert all(torch.equal(tensor, state[key.removeprefix(prefix)]) for key, tensor in backbone.trunk.state_dict().items())
    assert backbone.weights.source is WeightsSource.file
    assert (backbone.weights.tag, len(backbone.weights.sha256 or "")) == ("w.pth", 64)


def test_training_heads_in_a_file_are_ignored(tmp_path: Path) -> None:
    """inception_v3's published file carries an auxiliary classifier that serves training only."""
    state = _whole("inception").state_dict() | {"AuxLogits.fc.weight": torch.ones(1)}
    assert _load("inception", _save(state, tmp_path / "w.pth"), image_size=96).num_features == 2048


def test_position_embeddings_are_resized(tmp_path: Path) -> None:
    """A transformer's file fits another image size: its position embedding is interpolated, the rest is unchanged."""
    state = _whole("test_vit").state_dict()
    backbone = _load("test_vit", _save(state, tmp_path / "w.pth"), image_size=96)
    tensors = dict(backbone.trunk.named_parameters())
    assert backbone.preprocess.image_size == 96
    assert tensors["pos_embed"].shape[1] == (96 // 16) ** 2 + 1 != state["pos_embed"].shape[1]
    assert torch.equal(tensors["blocks.0.attn.qkv.weight"], state["blocks.0.attn.qkv.weight"])


@pytest.mark.parametrize("name", ["test_resnet", "squeezenet1_1"])
def test_file_that_does_not_fit_is_refused(name: str, tmp_path: Path) -> None:
    """A missing tensor, another shape and a tensor of another network are errors that name the tensor."""
    state = _whole(name).state_dict()
    first = next(key for key in state if key.endswith("weight"))
    damaged = {
        "lacks": {key: tensor for key, tensor in state.items() if key != first},
        "has another shape or type for": state | {first: torch.ones(1, 1)},
        "holds unknown": state | {"layer9.0.conv1.weight": torch.ones(1)},
    }
    for fault, tensors in damaged.items():
        with pytest.raises(BackboneError, match=f"does not fit the backbone: {fault} ({first}|layer9)"):
            _load(name, _save(tensors, tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("name", "tensor"), [("test_resnet", "layer1.0.conv1.weight"), ("squeezenet1_1", "features.0.bias"), ("test_vit", "head.bias")]
)
@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_weights_that_are_not_finite_are_refused(name: str, tensor: str, value: float, tmp_path: Path) -> None:
    """One NaN anywhere, the classifier included, is an error when the file is loaded and not a run that diverges."""
    state = _whole(name).state_dict()
    state[tensor].view(-1)[0] = value
    shown = "its classifier" if tensor.startswith("head.") else tensor
    with pytest.raises(BackboneError, match=rf"w\.pth: NaN or infinity in {shown}; give another file"):
        _load(name, _save(state, tmp_path / "w.pth"))


@pytest.mark.parametrize("name", ["test_resnet", "squeezenet1_1"])
def test_whole_numbers_are_refused(name: str, tmp_path: Path) -> None:
    """A quantised file has the right shapes and would be copied without a word."""
    state = {key: (tensor * 100).to(torch.int8) for key, tensor in _whole(name).state_dict().items()}
    with pytest.raises(BackboneError, match="has another shape or type for"):
        _load(name, _save(state, tmp_path / "w.pth"))


def test_parameters_saved_as_parameters_load(tmp_path: Path) -> None:
    """A file of tensors that want gradients is as good as one of plain tensors."""
    whole = _whole("test_vit")
    backbone = _load("test_vit", _save(dict(whole.named_parameters()), tmp_path / "w.pth"))
    assert backbone.source_head is not None


def test_missing_buffer_is_refused(tmp_path: Path) -> None:
    """Batch-norm statistics count as weights: a file without them would leave the network at its start."""
    state = {key: tensor for key, tensor in _whole("test_resnet").state_dict().items() if not key.endswith("running_mean")}
    with pytest.raises(BackboneError, match=r"lacks conv1\.1\.running_mean, .* and 12 more"):
        _load("test_resnet", _save(state, tmp_path / "w.pth"))


def test_random_weights_follow_the_seed_alone() -> None:
    """Same seed, same tensors, whatever the global random state, which is left alone."""
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = _load("test_resnet", seed=7).trunk.state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = _load("test_resnet", seed=7).trunk.state_dict(), _load("test_resnet", seed=8).trunk.state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["layer1.0.conv1.weight"], other["layer1.0.conv1.weight"])


def test_vgg_map_has_no_classifier_layers() -> None:
    """Without its top, VGG16 at 150 pixels gives 4 x 4 x 512 features and owns its convolutions only."""
    backbone = _load("vgg16", image_size=150, features=Features.map)
    assert backbone.num_features == 4 * 4 * 512
    assert len(backbone.blocks) == 13
    assert sum(parameter.numel() for parameter in backbone.trunk.parameters()) == 14_714_688


def test_map_of_a_transformer_is_its_tokens() -> None:
    """The map of a transformer is all of its tokens, flattened."""
    backbone = _load("test_vit", features=Features.map)
    assert backbone.num_features == ((160 // 16) ** 2 + 1) * 64


def test_size_that_does_not_work_is_an_error() -> None:
    """An architecture that cannot take an image size says so before anything trains."""
    with pytest.raises(BackboneError, match=r"inception_v3 does not work at 32 pixels .*data\.image_size"):
        _load("inception", image_size=32)


def test_preprocessing_is_that_of_the_weights() -> None:
    """Size, crop and normalisation follow the weights; another image size changes the size alone."""
    lite, mine = _load("tf_efficientnet_lite0").preprocess, _load("tf_efficientnet_lite0", image_size=96).preprocess
    assert (lite.image_size, lite.interpolation, lite.crop_frac, lite.crop_mode) == (224, "bicubic", 0.875, "center")
    assert (lite.mean, lite.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert (mine.image_size, mine.mean, mine.crop_frac) == (96, lite.mean, lite.crop_frac)
    alexnet, googlenet = _load("alexnet", image_size=64).preprocess, _load("googlenet", image_size=64).preprocess
    assert (alexnet.mean, alexnet.crop_frac, alexnet.interpolation) == ((0.485, 0.456, 0.406), 0.875, "bilinear")
    assert googlenet.mean == (0.5, 0.5, 0.5)


def test_weights_must_be_asked_for_by_name() -> None:
    """Random weights say so in every field."""
    assert find_weights(resolve("resnet18"), "random") == Weights(
        source=WeightsSource.random, path=None, tag="random", sha256=None, licence=None, imagenet_top1_frac=None
    )


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "test_vit", "shufflenet_v2_x0_5"])
def test_the_classifier_that_came_with_the_weights_is_kept(name: str, tmp_path: Path) -> None:
    """On the trunk's features it gives the probabilities of the whole published network."""
    whole = _whole(name)
    backbone = _load(name, _save(whole.state_dict(), tmp_path / "whole.pth"))
    images_BCHW = torch.randn(2, 3, backbone.preprocess.image_size, backbone.preprocess.image_size)
    assert backbone.source_head is not None
    with torch.no_grad():
        expected = whole(images_BCHW).softmax(dim=1).numpy()
        found = backbone.source_head.probabilities(backbone.trunk(images_BCHW).numpy())
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-7)


def test_no_classifier_is_made_up(tmp_path: Path) -> None:
    """Random weights came with none; SqueezeNet's is no linear layer on what its trunk yields; a feature map is not what it saw."""
    assert _load("test_vit", "random").source_head is None
    assert _load("squeezenet1_1", _save(_whole("squeezenet1_1").state_dict(), tmp_path / "s.pth")).source_head is None
    path = _save(_whole("test_vit").state_dict(), tmp_path / "v.pth")
    assert _load("test_vit", path, features=Features.map).source_head is None
