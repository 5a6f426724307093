"""The loop: a batch is computed at once, in pieces only for want of memory, and in the precision that is fast and right."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from harness.backbones.backbone import Backbone
from harness.compute.runtime import Runtime
from harness.config import Device, Optimizer, Precision, Schedule, TrainConfig
from harness.errors import DivergedError
from harness.features.cut import cut, difference
from harness.transfer.depth import parse_freeze
from harness.transfer.freeze import apply_freeze, plan_freeze
from harness.transfer.loop import lr_factor, new_learner, run_epoch
from harness.transfer.network import Network, Tail
from harness.transfer.objective import SingleLabelLoss
from harness.transfer.split_inputs import Batch
from tests.unit.tiny import PLAIN_CPU, images_of, random_backbone, settle

PLAIN_SGD = TrainConfig(optimizer=Optimizer.sgd, schedule=Schedule.constant, warmup_frac=0.0, weight_decay=0.0)

WEIGHTS_C = torch.tensor([0.5, 1.0, 3.0])


@pytest.fixture(params=["test_resnet", "test_vit"])
def backbone(request: pytest.FixtureRequest) -> Backbone:
    """At 32 pixels."""
    found = random_backbone(request.param, 32)
    settle(found.trunk, images_of(found, 8, seed=2))
    return found


def _tail(backbone: Backbone, boundary: int = 0, runtime: Runtime = PLAIN_CPU) -> Tail:
    torch.manual_seed(0)
    network = Network(backbone.trunk, nn.Linear(backbone.num_features, 3), runtime)
    return Tail(network, cut(backbone), boundary)


def _batch(backbone: Backbone, num_images: int, seed: int = 3) -> Batch:
    labels_B = torch.randint(0, 3, (num_images,), generator=torch.Generator().manual_seed(seed))
    return (images_of(backbone, num_images, seed),), labels_B


def _gradients(tail: Tail) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in tail.named_parameters() if parameter.requires_grad}


def _whole(tail: Tail, batch: Batch, weights_C: Tensor | None, smoothing: float = 0.0) -> tuple[float, dict[str, Tensor | None]]:
    """Loss and gradients as torch's documentation has them, on a copy."""
    tail = copy.deepcopy(tail)
    activations, labels_B = batch
    loss = functional.cross_entropy(tail(*activations), labels_B, weight=weights_C, label_smoothing=smoothing)
    torch.autograd.backward(loss)
    return loss.item(), _gradients(tail)


@pytest.mark.parametrize("weights_C", [None, WEIGHTS_C], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("num_images", [3, 21])
def test_gradients_in_pieces_are_those_of_the_batch(
    backbone: Backbone, num_images: int, weights_C: Tensor | None, smoothing: float
) -> None:
    """Summed over pieces they are those of the batch's mean loss, with class weights and smoothing too; so are loss and accuracy."""
    tail, batch = _tail(backbone).eval(), _batch(backbone, num_images)
    wanted_loss, wanted = _whole(tail, batch, weights_C, smoothing)
    with torch.no_grad():
        wanted_frac = (tail(*batch[0]).argmax(dim=1) == batch[1]).float().mean().item()
    calls = _counted(tail)
    learner = new_learner(tail, PLAIN_SGD, lr=1e-12, epochs=1, epoch_steps=1, loss=SingleLabelLoss(weights_C, smoothing))
    loss, hit_frac = run_epoch(tail, [batch], learner, micro_batch=8)
    assert len(calls) == math.ceil(num_images / 8)
    assert sum(calls) == num_images
    assert max(calls) - min(calls) <= 1, "no image is left alone"
    assert loss == pytest.approx(wanted_loss, rel=1e-5)
    assert hit_frac == pytest.approx(wanted_frac)
    _agree(_gradients(tail), wanted)


def _counted(tail: Tail) -> list[int]:
    """How many images each call of the tail gets from now on."""
    sizes: list[int] = []
    tail.register_forward_pre_hook(lambda _, activations: sizes.append(len(activations[0])))
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


def test_gradients_behind_a_boundary_are_those_of_the_batch(backbone: Backbone) -> None:
    """A tail that starts from cached activations, with the part before it frozen: what is free gets its gradients, what is frozen gets none."""
    boundary = len(backbone.blocks) - 2
    apply_freeze(backbone.trunk, plan_freeze(backbone.blocks, parse_freeze("-2")))
    (images_BCHW,), labels_B = _batch(backbone, 21)
    with torch.no_grad():
        activations = cut(backbone).segment(0, boundary)(images_BCHW)
    tail = _tail(backbone, boundary).eval()
    _, wanted = _whole(tail, (activations, labels_B), None)
    run_epoch(tail, [(activations, labels_B)], new_learner(tail, PLAIN_SGD, lr=1e-12, epochs=1, epoch_steps=1, loss=SingleLabelLoss()))
    _agree(_gradients(tail), wanted)
    free = {name for block in backbone.blocks[boundary:] for name in block.tensors} & dict(backbone.trunk.named_parameters()).keys()
    assert {name.removeprefix("network.trunk.") for name in wanted} - {"network.head.weight", "network.head.bias"} == free


def test_an_epoch_in_pieces_is_an_epoch(backbone: Backbone) -> None:
    """After several steps the weights are those that whole batches give."""
    batches = [_batch(backbone, num_images, seed) for seed, num_images in enumerate((16, 16, 5))]
    ends = []
    for micro_batch in (8, None):
        tail = copy.deepcopy(_tail(backbone).eval())
        learner = new_learner(tail, PLAIN_SGD, lr=1e-3, epochs=1, epoch_steps=3, loss=SingleLabelLoss())
        seen = run_epoch(tail, batches, learner, micro_batch)
        ends.append((seen, tail.state_dict()))
    (one_seen, one), (other_seen, other) = ends
    assert one_seen == pytest.approx(other_seen, rel=1e-5)
    assert all(difference(one[name], other[name]) <= 1e-5 for name in one if one[name].is_floating_point())


@pytest.mark.parametrize("micro_batch", [8, None])
def test_the_loss_of_each_image_is_multiplied_by_its_weight(backbone: Backbone, micro_batch: int | None) -> None:
    """In the order of the epoch's images, in pieces and in later batches too; what the batch is divided by stays."""
    tail, batches = _tail(backbone).eval(), [_batch(backbone, 5, seed=1), _batch(backbone, 16, seed=2)]
    weights_N, whole = torch.linspace(0, 2, 21), copy.deepcopy(tail)
    (images_BCHW,), labels_B = batches[1]
    torch.autograd.backward((weights_N[5:] * functional.cross_entropy(whole(images_BCHW), labels_B, reduction="none")).mean())
    learner = new_learner(tail, PLAIN_SGD, lr=1e-12, epochs=1, epoch_steps=2, loss=SingleLabelLoss())
    run_epoch(tail, batches, learner, micro_batch, weights_N)
    _agree(_gradients(tail), _gradients(whole))


def test_old_gradients_are_replaced(backbone: Backbone) -> None:
    """A second batch does not add to the first one's gradients."""
    tail, batches = _tail(backbone).eval(), [_batch(backbone, 16, seed=1), _batch(backbone, 16, seed=2)]
    _, wanted = _whole(tail, batches[1], None)
    run_epoch(tail, batches, new_learner(tail, PLAIN_SGD, lr=1e-12, epochs=1, epoch_steps=2, loss=SingleLabelLoss()))
    _agree(_gradients(tail), wanted)


@pytest.mark.parametrize("num_images", [3, 24])
def test_a_batch_is_computed_at_once(num_images: int) -> None:
    """Unless memory asks for less: batch-norm then sees all of it."""
    backbone = random_backbone("test_resnet", 32)
    tail = _tail(backbone).train()
    calls = _counted(tail)
    run_epoch(tail, [_batch(backbone, num_images)], new_learner(tail, PLAIN_SGD, lr=1e-12, epochs=1, epoch_steps=1, loss=SingleLabelLoss()))
    assert calls == [num_images]


class _Convolutions(TorchFunctionMode):
    """Notes in which precision convolutions compute, by whether they are depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d:
            image, weight, *_ = args
            is_lowered = torch.is_autocast_enabled("cpu")
            self.seen[weight.shape[1] == 1 < image.shape[1]].add(torch.get_autocast_dtype("cpu") if is_lowered else image.dtype)
        return func(*args, **(kwargs or {}))


def test_depthwise_convolutions_train_in_float32() -> None:
    """In bfloat16 on a processor, where their gradients are slow; without gradients, and in all other layers, it is bfloat16."""
    backbone = random_backbone("test_efficientnet", 32)
    tail = _tail(backbone, runtime=Runtime(Device.cpu, Precision.bfloat16)).eval()
    with _Convolutions() as training:
        tail(*_batch(backbone, 8)[0])
    with _Convolutions() as passing, torch.no_grad():
        tail(*_batch(backbone, 8)[0])
    assert training.seen == {True: {torch.float32}, False: {torch.bfloat16}}
    assert passing.seen == {True: {torch.bfloat16}, False: {torch.bfloat16}}


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_vit"])
def test_low_precision_gradients_are_those_of_float32(name: str) -> None:
    """Taken together they point the same way, but for rounding to 8 bits."""
    backbone = random_backbone(name, 32)
    settle(backbone.trunk, images_of(backbone, 8, seed=2))
    batch = _batch(backbone, 16)
    low, exact = (
        torch.cat([gradient.flatten() for gradient in _whole(tail, batch, None)[1].values() if gradient is not None])
        for tail in (
            _tail(backbone, runtime=Runtime(Device.cpu, precision)).eval() for precision in (Precision.bfloat16, Precision.float32)
        )
    )
    assert functional.cosine_similarity(low, exact, dim=0) > 0.95
    assert low.norm().item() == pytest.approx(exact.norm().item(), rel=0.1)


def test_blocks_near_the_input_learn_more_slowly(backbone: Backbone) -> None:
    """Every free parameter has one rate: the head the full one, each block half of the one behind it; a fixed block has none."""
    network = _tail(backbone).network
    apply_freeze(backbone.trunk, plan_freeze(backbone.blocks, parse_freeze("-2")))
    cfg = replace(PLAIN_SGD, layer_decay=0.5)
    learner = new_learner(network, cfg, lr=1.0, epochs=1, epoch_steps=1, loss=SingleLabelLoss(), blocks=backbone.blocks)
    rates = {id(parameter): group["lr"] for group in learner.optimizer.param_groups for parameter in group["params"]}
    found = {name: rates[id(parameter)] for name, parameter in network.named_parameters() if id(parameter) in rates}
    wanted = {"head.weight": 1.0, "head.bias": 1.0}
    for rate, block in zip((0.5, 0.25), backbone.blocks[::-1], strict=False):
        wanted |= {f"trunk.{name}": rate for name in block.tensors if name in dict(backbone.trunk.named_parameters())}
    assert found == wanted


def test_one_cycle_rises_and_falls_along_cosines() -> None:
    """Over 20 steps, 8 of them warm-up: the peak after the 8th, half of it after the 4th and the 14th, zero at the end."""
    factor = lr_factor(replace(PLAIN_SGD, schedule=Schedule.one_cycle, warmup_frac=0.4), epochs=2, epoch_steps=10)
    assert [factor(step) for step in (3, 7, 8, 14, 20)] == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.0])
    assert factor(0) < 1 / 8, "slower at first than a line"


def test_a_loss_that_is_not_finite_ends_the_epoch() -> None:
    """Before the weights take the step."""
    backbone = random_backbone("test_resnet", 32)
    tail = _tail(backbone).eval()
    with torch.no_grad():
        tail.network.head.get_parameter("bias").fill_(float("nan"))
    before = {name: parameter.clone() for name, parameter in backbone.trunk.named_parameters()}
    learner = new_learner(tail, PLAIN_SGD, lr=0.1, epochs=1, epoch_steps=1, loss=SingleLabelLoss())
    with pytest.raises(DivergedError, match=r"lower train\.lr"):
        run_epoch(tail, [_batch(backbone, 16)], learner)
    assert all(torch.equal(parameter, before[name]) for name, parameter in backbone.trunk.named_parameters())
