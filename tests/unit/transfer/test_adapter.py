"""What an adapter trains in frozen blocks: exactly that moves, and merging a low-rank update changes no answer by a bit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from harness.backbones.backbone import Backbone
from harness.backbones.tensors import tensors_of
from harness.compute.runtime import Runtime
from harness.config import Adapter, BatchNorm, HeadInit, TrainConfig
from harness.data.dataset import Dataset
from harness.errors import ConfigError, FrozenChangedError
from harness.features.store import FeatureStore
from harness.jobs.keep import changed_tensors
from harness.transfer.adapter import add_low_rank, merge_low_rank, plan_adapter
from harness.transfer.depth import parse_freeze
from harness.transfer.freeze import FreezePlan, apply_freeze, plan_freeze, set_train_mode
from harness.transfer.loop import run_epoch
from harness.transfer.spec import Fitted
from harness.transfer.train import fit
from tests.unit.tiny import images_of, own_backbone, settle
from tests.unit.transfer.test_train import Fit

STEPS = TrainConfig(epochs=2, batch_size=8, lr=0.01, lr_search=[1.0], head_init=HeadInit.random)
ADAPTERS = [Adapter.norm, Adapter.bias, Adapter.lora]


def _plan(backbone: Backbone, adapter: Adapter, depth: str = "all") -> FreezePlan:
    return plan_adapter(plan_freeze(backbone.blocks, parse_freeze(depth)), backbone.trunk, backbone.blocks, adapter)


@pytest.fixture
def train(backbone: Backbone, dataset: Dataset, runtime: Runtime, tmp_path: Path) -> Fit:
    """Fits with a store of their own; every branch of the network says something."""
    settle(backbone.trunk, images_of(backbone, 16))
    return Fit(backbone, dataset, runtime, FeatureStore(tmp_path / "features", max_gib=1))


def _fitted(train: Fit, adapter: Adapter, depth: str = "all", cfg: TrainConfig = STEPS) -> Fitted:
    torch.manual_seed(0)
    spec = replace(train.spec(depth, cfg), adapter=adapter)
    (fitted,) = fit([spec], train.inputs(spec, train.store))
    assert isinstance(fitted, Fitted)
    return fitted


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("depth", ["all", "-1"])
def test_only_what_the_adapter_trains_moves(train: Fit, adapter: Adapter, depth: str) -> None:
    """Every other tensor of the frozen blocks is bit-identical after training, running statistics included, and every trained one has moved."""
    plan = _plan(train.backbone, adapter, depth)
    before = {name: tensor.clone() for name, tensor in tensors_of(train.backbone.trunk).items()}
    fitted = _fitted(train, adapter, depth, replace(STEPS, batch_norm=BatchNorm.batch))
    assert fitted.chosen_epoch == 2
    frozen_blocks = {name for block in train.backbone.blocks[: plan.num_frozen_blocks] for name in block.tensors}
    after = tensors_of(fitted.network.trunk)
    moved = {name for name in frozen_blocks if not torch.equal(before[name], after[name])}
    assert after.keys() == before.keys(), "updates are merged"
    assert moved == (plan.low_rank or plan.adapted) != set()
    assert fitted.as_loaded == frozen_blocks - moved
    assert 0 < fitted.num_trainable < sum(parameter.numel() for parameter in fitted.network.parameters())


def test_what_is_trained_is_what_it_is_called(backbone: Backbone) -> None:
    """Norms: one-dimensional tensors of norms; biases: every bias; low rank: matrices and kernels of one pixel."""
    shapes = {name: tuple(parameter.shape) for name, parameter in backbone.trunk.named_parameters()}
    norms, biases, low_rank = _plan(backbone, Adapter.norm), _plan(backbone, Adapter.bias), _plan(backbone, Adapter.lora)
    modules = [(path, module) for path, module in backbone.trunk.named_modules() if isinstance(module, nn.BatchNorm2d | nn.LayerNorm)]
    assert norms.adapted == {f"{path}.{name}" for path, _ in modules for name in ("weight", "bias")}
    assert biases.adapted == {name for name in shapes if name.endswith(".bias")}
    assert low_rank.low_rank == {
        name for name, shape in shapes.items() if name.endswith("weight") and len(shape) > 1 and shape[2:] in {(), (1, 1)}
    }
    assert low_rank.frozen == plan_freeze(backbone.blocks, parse_freeze("all")).frozen
    assert {norms.trains_head_only, biases.trains_head_only, low_rank.trains_head_only} == {False}


def test_activations_are_true_up_to_the_first_block_with_an_adapter(backbone: Backbone) -> None:
    """The first block that holds a tensor that changes, as cached activations of the blocks before it are still those of the network."""
    for adapter in ADAPTERS:
        plan = _plan(backbone, adapter)
        touched = plan.low_rank or plan.adapted
        holds = [not touched.isdisjoint(block.tensors) for block in backbone.blocks]
        assert plan.first_changed_block == holds.index(True)


def test_an_update_starts_at_nothing_and_merges_to_the_bit(backbone: Backbone) -> None:
    """Added, the network says what it said; trained, the merged one says what the unmerged one did; untrained weights keep every bit."""
    trunk, images = backbone.trunk.eval(), images_of(backbone, 4)
    loaded = {name: tensor.clone() for name, tensor in tensors_of(trunk).items()}
    plan = _plan(backbone, Adapter.lora)
    with torch.no_grad():
        first = trunk(images)
        add_low_rank(trunk, plan.low_rank, rank=2, seed=0)
        assert torch.equal(trunk(images), first)
        moved = sorted(plan.low_rank)[::2]
        for name in moved:
            trunk.get_parameter(f"{name.removesuffix('weight')}lora_up_OR").normal_(std=0.1)
        adapted = trunk(images)
        merge_low_rank(trunk)
        assert torch.equal(trunk(images), adapted)
        assert not torch.equal(adapted, first)
    after = tensors_of(trunk)
    assert after.keys() == loaded.keys()
    assert {name for name, tensor in after.items() if not torch.equal(tensor, loaded[name])} == set(moved)


def test_a_minus_zero_of_an_update_that_learnt_nothing_stays() -> None:
    """Zero added to minus zero is zero, which is another bit pattern."""
    layer = nn.Linear(3, 3)
    with torch.no_grad():
        layer.weight.fill_(-0.0)
    add_low_rank(layer, {"weight"}, rank=1, seed=0)
    merge_low_rank(layer)
    assert torch.signbit(layer.weight).all()


class _ReadsWeights(nn.Module):
    """Uses the weight of a layer without calling it, as some attention modules do."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(3, 3, 1)
        self.out = nn.Linear(3, 4)

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(self.mix(images_BCHW).mean((2, 3)), self.out.weight, self.out.bias)


def test_a_layer_whose_weight_is_read_from_outside_has_its_update() -> None:
    """The sum is in every read, so gradients reach the update and merging is exact there too."""
    backbone = own_backbone(_ReadsWeights(), ["mix", "out"])
    plan = _plan(backbone, Adapter.lora)
    add_low_rank(backbone.trunk, plan.low_rank, rank=2, seed=0)
    apply_freeze(backbone.trunk, plan)
    images = images_of(backbone, 2)
    backbone.trunk(images).square().sum().backward()
    ups = {name: parameter for name, parameter in backbone.trunk.named_parameters() if name.endswith("up_OR")}
    assert len(ups) == 2
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in ups.values())
    assert {name for name, parameter in backbone.trunk.named_parameters() if parameter.requires_grad} == plan.adapted


def test_frozen_blocks_stay_in_eval_mode(backbone: Backbone) -> None:
    """So that running statistics stay and dropout in frozen blocks draws nothing, whatever is trained in them."""
    for adapter in ADAPTERS:
        plan = _plan(backbone, adapter)
        set_train_mode(backbone.trunk, plan, fix_batch_norm=False)
        owners = [module for module in backbone.trunk.modules() if tensors_of(module)]
        assert not any(module.training for module in owners)


def test_a_frozen_weight_below_an_update_is_checked(train: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training step that moves the frozen weight itself is found."""
    name = min(_plan(train.backbone, Adapter.lora).low_rank)

    def nudge(*given: object, **more: object) -> tuple[float, float]:
        module = train.backbone.trunk.get_submodule(name.rpartition(".")[0])
        with torch.no_grad():
            module._parameters["weight"].add_(1e-3)  # type: ignore[union-attr]
        return run_epoch(*given, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("harness.transfer.training_run.run_epoch", nudge)
    with pytest.raises(FrozenChangedError, match=name):
        _fitted(train, Adapter.lora)


def test_a_kept_model_holds_what_the_adapter_changed(train: Fit) -> None:
    """And the head, and nothing of what is as it was loaded."""
    fitted = _fitted(train, Adapter.norm)
    kept = changed_tensors(fitted.network, fitted.as_loaded)
    assert kept.keys() == {f"trunk.{name}" for name in _plan(train.backbone, Adapter.norm).adapted} | {"head.weight", "head.bias"}


def test_the_rank_decides_how_much_is_trained(train: Fit) -> None:
    """Twice the rank has twice the parameters beside the head's."""
    head = sum(parameter.numel() for parameter in nn.Linear(train.backbone.num_features, 3).parameters())
    one, two = (_fitted(train, Adapter.lora, cfg=replace(STEPS, epochs=1, lora_rank=rank)).num_trainable - head for rank in (1, 2))
    assert two == 2 * one


def test_an_adapter_without_anything_to_adapt_is_refused() -> None:
    """By name, with what to give instead."""
    backbone = own_backbone(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.Flatten()), ["0"])
    for adapter, lacks in (
        (Adapter.norm, "normalisation layer"),
        (Adapter.bias, "bias"),
        (Adapter.lora, "linear layer or 1x1 convolution"),
    ):
        with pytest.raises(ConfigError, match=f"adapter={adapter.value} freeze=all: .* have no {lacks}; give another adapter"):
            _plan(backbone, adapter)
