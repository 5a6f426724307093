"""The loop: a batch in pieces is the batch, and is in pieces only where nothing joins its images."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import timm.layers
import torch
from torch import Tensor, nn
from torch.nn import functional

from harness.backbones.backbone import Backbone
from harness.config import Device, Optimizer, Precision, Schedule, TrainConfig
from harness.errors import DivergedError
from harness.features.cut import cut, difference
from harness.runtime import Runtime
from harness.team import Team
from harness.transfer import loop
from harness.transfer.depth import parse_freeze
from harness.transfer.freeze import apply_freeze, plan_freeze
from harness.transfer.loop import is_separable, new_learner, run_epoch
from harness.transfer.network import Network, Tail
from harness.transfer.samples import Batch
from tests.unit.tiny import PLAIN_CPU, images_of, random_backbone, settle, team_of

_timm: Any = timm

PLAIN_SGD = TrainConfig(optimizer=Optimizer.sgd, schedule=Schedule.constant, warmup_frac=0.0, weight_decay=0.0)

WEIGHTS_C = torch.tensor([0.5, 1.0, 3.0])


@pytest.fixture
def team() -> Team:
    """Two threads that take pieces of eight."""
    return team_of(2)


@pytest.fixture(params=["test_resnet", "test_vit"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    """At 32 pixels."""
    found = random_backbone(request.param, 32)
    settle(found.trunk, images_of(found, 8, seed=2))
    return found


def _tail(backbone: Backbone, boundary: int = 0, runtime: Runtime = PLAIN_CPU) -> Tail:
    torch.manual_seed(0)
    network = Network(backbone.trunk, nn.Linear(backbone.num_features, 3), runtime)
    trunk = cut(backbone)
    return Tail(network, trunk.segment(boundary, trunk.last))


def _batch(backbone: Backbone, num_images: int, seed: int = 3) -> Batch:
    labels_B = torch.randint(0, 3, (num_images,), generator=torch.Generator().manual_seed(seed))
    return (images_of(backbone, num_images, seed),), labels_B


def _gradients(tail: Tail) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in tail.named_parameters() if parameter.requires_grad}


def _whole(tail: Tail, batch: Batch, weights_C: Tensor | None) -> tuple[float, dict[str, Tensor | None]]:
    """Loss and gradients as torch's documentation has them, on a copy."""
    tail = copy.deepcopy(tail)
    crossing, labels_B = batch
    loss = functional.cross_entropy(tail(*crossing), labels_B, weight=weights_C)
    torch.autograd.backward(loss)
    return loss.item(), _gradients(tail)


@pytest.mark.parametrize("weights_C", [None, WEIGHTS_C], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("num_images", [3, 8, 21])
def test_gradients_in_pieces_are_those_of_the_batch(backbone: Backbone, team: Team, num_images: int, weights_C: Tensor | None) -> None:
    """Summed over pieces, one of them short, they are the gradients of the batch's mean loss, with class weights too; so are loss and accuracy."""
    tail, batch = _tail(backbone).eval(), _batch(backbone, num_images)
    wanted_loss, wanted = _whole(tail, batch, weights_C)
    with torch.no_grad():
        wanted_frac = (tail(*batch[0]).argmax(dim=1) == batch[1]).float().mean().item()
    calls = _counted(tail)
    learner = new_learner(tail, PLAIN_SGD, lr=1e-12, epochs=1, epoch_steps=1, class_weights_C=weights_C)
    loss, hit_frac = run_epoch(tail, [batch], learner, team)
    assert len(calls) == math.ceil(num_images / 8)
    assert sum(calls) == num_images
    assert max(calls) - min(calls) <= 1, "no image is left alone"
    assert loss == pytest.approx(wanted_loss, rel=1e-5)
    assert hit_frac == pytest.approx(wanted_frac)
    _agree(_gradients(tail), wanted)


def _counted(tail: Tail) -> list[int]:
    """How many images each call of the tail gets from now on."""
    sizes: list[int] = []
    tail.register_forward_pre_hook(lambda _, crossing: sizes.append(len(crossing[0])))
    return sizes


def _agree(found: dict[str, Tensor | None], wanted: dict[str, Tensor | None]) -> None:
    assert found.keys() == wanted.keys()
    assert found
    largest = max(tensor.abs().max().item() for tensor in wanted.values() if tensor is not None)
    for name, tensor in wanted.items():
        own = found[name]
        if tensor is None:
            assert own is None, name
        else:
            assert own is not None, name
            assert (own - tensor).abs().max() <= 1e-5 * largest, name


def test_gradients_behind_a_boundary_are_those_of_the_batch(backbone: Backbone, team: Team) -> None:
    """A tail that starts from kept rows, with the part before it fixed: what is free gets its gradients, what is fixed gets none."""
    boundary = len(backbone.blocks) - 2
    apply_freeze(backbone.trunk, plan_freeze(backbone.blocks, parse_freeze("-2")))
    (images_BCHW,), labels_B = _batch(backbone, 21)
    with torch.no_grad():
        crossing = cut(backbone).segment(0, boundary)(images_BCHW)
    tail = _tail(backbone, boundary).eval()
    _, wanted = _whole(tail, (crossing, labels_B), None)
    run_epoch(tail, [(crossing, labels_B)], new_learner(tail, PLAIN_SGD, lr=1e-12, epochs=1, epoch_steps=1, class_weights_C=None), team)
    _agree(_gradients(tail), wanted)
    free = {name for block in backbone.blocks[boundary:] for name in block.tensors} & dict(backbone.trunk.named_parameters()).keys()
    assert {name.removeprefix("network.trunk.") for name in wanted} - {"network.head.weight", "network.head.bias"} == free


def test_an_epoch_in_pieces_is_an_epoch(backbone: Backbone, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """After several steps the weights are those that whole batches give."""
    batches = [_batch(backbone, num_images, seed) for seed, num_images in enumerate((16, 16, 5))]
    ends = []
    for in_pieces in (True, False):
        tail = copy.deepcopy(_tail(backbone).eval())
        learner = new_learner(tail, PLAIN_SGD, lr=1e-3, epochs=1, epoch_steps=3, class_weights_C=None)
        with monkeypatch.context() as patch:
            patch.setattr(loop, "is_separable", lambda _, answer=in_pieces: answer)
            seen = run_epoch(tail, batches, learner, team)
        ends.append((seen, tail.state_dict()))
    (one_seen, one), (other_seen, other) = ends
    assert one_seen == pytest.approx(other_seen, rel=1e-5)
    assert all(difference(one[name], other[name]) <= 1e-5 for name in one if one[name].is_floating_point())


def test_old_gradients_are_replaced(backbone: Backbone, team: Team) -> None:
    """A second batch does not add to the first one's gradients."""
    tail, batches = _tail(backbone).eval(), [_batch(backbone, 16, seed=1), _batch(backbone, 16, seed=2)]
    _, wanted = _whole(tail, batches[1], None)
    run_epoch(tail, batches, new_learner(tail, PLAIN_SGD, lr=1e-12, epochs=1, epoch_steps=2, class_weights_C=None), team)
    _agree(_gradients(tail), wanted)


@pytest.mark.parametrize(
    ("precision", "is_training", "num_calls"),
    [(Precision.float32, False, 3), (Precision.float32, True, 1), (Precision.bfloat16, False, 1)],
    ids=["separable", "batch-norm", "bfloat16"],
)
def test_pieces_only_where_they_are_the_batch(team: Team, precision: Precision, is_training: bool, num_calls: int) -> None:
    """Batches that batch-norm joins, and those in low precision, go through in one call."""
    backbone = random_backbone("test_resnet", 32)
    tail = _tail(backbone, runtime=Runtime(Device.cpu, precision)).train(is_training)
    calls = _counted(tail)
    run_epoch(tail, [_batch(backbone, 24)], new_learner(tail, PLAIN_SGD, lr=1e-12, epochs=1, epoch_steps=1, class_weights_C=None), team)
    assert len(calls) == num_calls


def test_a_loss_that_is_not_finite_ends_the_epoch(team: Team) -> None:
    """Before the weights take the step."""
    backbone = random_backbone("test_resnet", 32)
    tail = _tail(backbone).eval()
    with torch.no_grad():
        tail.network.head.get_parameter("bias").fill_(float("nan"))
    before = {name: parameter.clone() for name, parameter in backbone.trunk.named_parameters()}
    learner = new_learner(tail, PLAIN_SGD, lr=0.1, epochs=1, epoch_steps=1, class_weights_C=None)
    with pytest.raises(DivergedError, match=r"lower train\.lr"):
        run_epoch(tail, [_batch(backbone, 16)], learner, team)
    assert all(torch.equal(parameter, before[name]) for name, parameter in backbone.trunk.named_parameters())


def _vit(**options: float) -> Callable[[], nn.Module]:
    return lambda: _timm.create_model("test_vit", num_classes=0, **options)


JOINED: dict[str, Callable[[], nn.Module]] = {
    "batch-norm": lambda: nn.BatchNorm2d(3),
    "batch-norm-1d": lambda: nn.BatchNorm1d(3),
    "dropout": lambda: nn.Dropout(0.1),
    "dropout-2d": lambda: nn.Dropout2d(0.1),
    "drop-path": lambda: _timm.layers.DropPath(0.1),
    "vit-drop-path": _vit(drop_path_rate=0.1),
    "vit-projection": _vit(proj_drop_rate=0.1),
    "vit-attention": _vit(attn_drop_rate=0.1),
    "alexnet": lambda: nn.Sequential(nn.Linear(3, 3), nn.Dropout()),
    "resnet": lambda: _timm.create_model("test_resnet", num_classes=0),
}

SEPARATE: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(3, 3),
    "layer-norm": lambda: nn.LayerNorm(3),
    "group-norm": lambda: nn.GroupNorm(1, 3),
    "no-dropout": lambda: nn.Dropout(0.0),
    "no-drop-path": lambda: _timm.layers.DropPath(0.0),
    "vit": _vit(),
}


@pytest.mark.parametrize("name", JOINED)
def test_what_joins_images_or_is_random_is_not_separable(name: str) -> None:
    """In train mode, however deep inside; in eval mode the same layers do neither."""
    module = nn.Sequential(nn.Identity(), JOINED[name]())
    assert not is_separable(module.train())
    assert is_separable(module.eval())


@pytest.mark.parametrize("name", SEPARATE)
def test_what_treats_each_image_alone_is_separable(name: str) -> None:
    """In both modes."""
    module = SEPARATE[name]()
    assert is_separable(module.train())
    assert is_separable(module.eval())


def test_one_layer_in_train_mode_is_enough() -> None:
    """A frozen part in eval mode does not make a free batch-norm separable."""
    module = nn.Sequential(nn.BatchNorm2d(3), nn.BatchNorm2d(3)).eval()
    assert is_separable(module)
    module[1].train()
    assert not is_separable(module)
