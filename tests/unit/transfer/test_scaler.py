"""Training in float16: the loss is scaled so that small gradients do not vanish, and a step whose gradients overflow is left out."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.amp import GradScaler

from harness.backbones.backbone import Backbone
from harness.compute.runtime import Runtime
from harness.compute.thread_pool import ThreadPool
from harness.config import Device, Precision, Schedule, TrainConfig
from harness.errors import DivergedError
from harness.features.cut import difference
from harness.features.store import FeatureStore
from harness.transfer.inputs import provide_inputs
from harness.transfer.loop import Learner, new_learner, run_epoch
from harness.transfer.network import Tail
from harness.transfer.objective import SingleLabelLoss
from harness.transfer.spec import Fitted, phases_of
from harness.transfer.train import fit
from tests.unit.tiny import colours, images_of, random_backbone, settle
from tests.unit.transfer.test_loop import PLAIN_SGD, _batch, _tail
from tests.unit.transfer.test_train import Fit

NUM_BATCHES = 3


@pytest.fixture
def backbone() -> Backbone:
    """At 32 pixels."""
    found = random_backbone("test_resnet", 32)
    settle(found.trunk, images_of(found, 8, seed=2))
    return found


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums in one order, so that scaling by a power of two changes no bit of them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _learner(tail: Tail, scaler: GradScaler | None, cfg: TrainConfig = PLAIN_SGD) -> Learner:
    return new_learner(tail, cfg, lr=1e-3, epochs=1, epoch_steps=NUM_BATCHES, loss=SingleLabelLoss(), scaler=scaler)


def _trained(tail: Tail, backbone: Backbone, learner: Learner, micro_batch: int | None = None) -> tuple[float, float]:
    return run_epoch(tail, [_batch(backbone, 16, seed) for seed in range(NUM_BATCHES)], learner, micro_batch)


def _weights(tail: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in tail.parameters()]


@pytest.mark.parametrize("micro_batch", [None, 8])
@pytest.mark.parametrize("clip_grad", [None, 0.05])
def test_scaling_changes_no_step(backbone: Backbone, micro_batch: int | None, clip_grad: float | None) -> None:
    """Gradients are scaled back before they are clipped and used; the loss that is told is not scaled."""
    ends = []
    for scaler in (None, GradScaler("cpu", init_scale=2.0**10)):
        tail = copy.deepcopy(_tail(backbone).eval())
        seen = _trained(tail, backbone, _learner(tail, scaler, replace(PLAIN_SGD, clip_grad=clip_grad)), micro_batch)
        ends.append((seen, _weights(tail)))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=1e-6)
    assert all(difference(*pair) <= 1e-6 for pair in zip(ends[0][1], ends[1][1], strict=True))


def test_a_step_that_overflows_is_left_out(backbone: Backbone) -> None:
    """Weights, their average and the schedule stay; the scale is halved, and training goes on."""
    tail = _tail(backbone).eval()
    scaler = GradScaler("cpu", init_scale=2.0**126)
    learner = _learner(tail, scaler, replace(PLAIN_SGD, ema=0.9, schedule=Schedule.cosine))
    assert learner.average is not None
    before, average = _weights(tail), copy.deepcopy(dict(learner.average.averages))
    for group in learner.optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = scaler.scale(torch.full_like(parameter, 1e3))
    learner.step()
    assert all(torch.equal(*pair) for pair in zip(before, _weights(tail), strict=True))
    assert all(torch.equal(tensor, average[name]) for name, tensor in learner.average.averages.items())
    assert (scaler.get_scale(), learner.schedule.last_epoch) == (2.0**125, 0)
    _trained(tail, backbone, learner)
    assert learner.schedule.last_epoch == NUM_BATCHES
    assert any(not torch.equal(*pair) for pair in zip(before, _weights(tail), strict=True))


@pytest.mark.parametrize(("size", "num_left_out"), [(float("nan"), 16), (float("inf"), 16), (3e30, 0)])
def test_gradients_that_no_scale_saves_are_divergence(size: float, num_left_out: int) -> None:
    """After as many halvings as the scale allows; at once where the norm alone overflows, as no scale changes that."""
    layer, scaler = nn.Linear(4, 2), GradScaler("cpu", init_scale=2.0**16)
    learner = new_learner(layer, PLAIN_SGD, lr=1e-3, epochs=1, epoch_steps=1, loss=SingleLabelLoss(), scaler=scaler)
    scaler.scale(torch.ones(()))

    def step() -> None:
        for parameter in layer.parameters():
            parameter.grad = torch.full_like(parameter, size)
        learner.step()

    for _ in range(num_left_out):
        step()
    with pytest.raises(DivergedError, match=r"the norm of the gradients is (nan|inf); try a lower train.lr"):
        step()


def test_float16_trains_as_float32_does() -> None:
    """A few steps end within a hundredth of where float32 does, and they do move."""
    ends, backbone = [], random_backbone("test_vit", 32)
    settle(backbone.trunk, images_of(backbone, 8, seed=2))
    for runtime in (Runtime(Device.cpu, Precision.float32), Runtime(Device.cpu, Precision.float16)):
        tail = copy.deepcopy(_tail(backbone, runtime=runtime).eval())
        before, scaler = _weights(tail), runtime.scaler()
        assert (scaler is None) == (runtime.precision is Precision.float32)
        if scaler is not None:
            scaler = GradScaler("cpu", init_scale=2.0**10)  # at which no step is left out
        loss, _ = _trained(tail, backbone, _learner(tail, scaler))
        ends.append((loss, [new - old for new, old in zip(_weights(tail), before, strict=True)]))
    assert ends[0][0] == pytest.approx(ends[1][0], rel=0.01)
    moved, wanted = (torch.cat([part.flatten() for part in parts]) for _, parts in ends)
    assert 0 < float((moved - wanted).norm() / wanted.norm()) < 0.01


@pytest.mark.parametrize("depth", ["all", "0.5", "none"])
def test_a_whole_job_in_float16(depth: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its features are computed in float16, it trains from them in float16, and the val log loss is near that of float32."""
    monkeypatch.setattr("harness.features.mode.can_fuse", lambda *_: False)  # as on an accelerator
    losses = {}
    for precision in (Precision.float32, Precision.float16):
        runtime = Runtime(Device.cpu, precision)
        train = Fit(random_backbone("test_vit"), colours(), runtime, FeatureStore(tmp_path / precision.value, max_gib=1))
        spec = train.spec(depth, TrainConfig(epochs=2, batch_size=8, lr_search=[1.0]))
        inputs = provide_inputs(
            spec.backbone,
            spec.trunk,
            spec.dataset,
            spec.cfg,
            pool=ThreadPool(runtime),
            precision=precision,
            store=train.store,
            starts={phase.plan.first_changed_block for phase in phases_of(spec.backbone, spec.depth, spec.cfg)},
            passing=set(),
        )
        last = spec.trunk.last
        assert str(inputs.plain.about(last)["mode"]).split()[0] == precision.value
        (fitted,) = fit([spec], inputs)
        assert isinstance(fitted, Fitted)
        losses[precision] = fitted.curve[-1].val_loss
    assert losses[Precision.float16] == pytest.approx(losses[Precision.float32], rel=0.03)
