"""The moving average of weights, large gradients made smaller, smoothed targets: each changes what training does, with images and with cached features."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from harness.backbones.backbone import Backbone
from harness.compute.runtime import Runtime
from harness.config import HeadInit, Optimizer, Schedule, TrainConfig
from harness.data.dataset import Dataset
from harness.features.store import FeatureStore
from harness.transfer.averaging import WeightAverage
from harness.transfer.loop import new_learner
from harness.transfer.objective import SingleLabelLoss
from tests.unit.transfer.test_train import QUICK, Fit


def test_the_average_forgets_by_its_decay() -> None:
    """Early by its number of steps, later by the decay; whole numbers are the last ones; what is shown is taken away again."""
    moving, count = torch.zeros(3), torch.tensor(0)
    average = WeightAverage({"w": moving, "n": count}, decay=0.25)
    wanted = torch.zeros(3)
    for step in range(1, 6):
        moving += 1
        count += 1
        average.update()
        decay = min(0.25, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * step
    with average.shown():
        torch.testing.assert_close(moving, wanted)
        assert count == 5
    assert moving.tolist() == [5.0, 5.0, 5.0]
    average.keep()
    torch.testing.assert_close(moving, wanted)


def test_gradients_are_scaled_to_the_norm() -> None:
    """A step of plain descent is as long as the largest norm, and in its direction; a shorter one stays."""
    for largest, length in ((0.1, 0.1), (1e6, None)):
        layer = nn.Linear(4, 2)
        cfg = TrainConfig(optimizer=Optimizer.sgd, weight_decay=0.0, warmup_frac=0.0, schedule=Schedule.constant, clip_grad=largest)
        learner = new_learner(layer, cfg, lr=1.0, epochs=1, epoch_steps=1, loss=SingleLabelLoss())
        before = [parameter.detach().clone() for parameter in layer.parameters()]
        layer(torch.ones(3, 4)).square().sum().backward()
        norm = float(nn.utils.get_total_norm([parameter.grad for parameter in layer.parameters() if parameter.grad is not None]))
        learner.step()
        moved = float(nn.utils.get_total_norm([old - new for old, new in zip(before, layer.parameters(), strict=True)]))
        assert moved == pytest.approx(length or norm, rel=1e-4)


@pytest.fixture
def train(backbone: Backbone, dataset: Dataset, runtime: Runtime, tmp_path: Path) -> Fit:
    """Fits with a store of their own."""
    return Fit(backbone, dataset, runtime, FeatureStore(tmp_path / "features", max_gib=1))


def test_the_average_is_evaluated_and_kept(train: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network that comes back is the average, as the last point of the curve is; without it the last weights come back."""
    averages: list[WeightAverage] = []

    class Noted(WeightAverage):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            averages.append(self)

    monkeypatch.setattr("harness.transfer.loop.WeightAverage", Noted)
    cfg = replace(QUICK, lr=0.01, lr_search=[1.0], ema=0.9, head_init=HeadInit.random)
    fitted = train("0.5", cfg)
    kept = dict(fitted.network.named_parameters())
    assert averages
    assert all(torch.equal(kept[name], average) for name, average in averages[-1].averages.items() if name in kept)
    assert fitted.chosen_epoch == 2
    again = train("0.5", replace(cfg, ema=0.0))
    assert len(averages) == 1
    assert any(not torch.equal(kept[name], parameter) for name, parameter in again.network.named_parameters())


@pytest.mark.parametrize("changed", [{"ema": 0.9}, {"clip_grad": 0.01}, {"label_smoothing": 0.3}], ids=str)
@pytest.mark.parametrize("is_cached", [False, True])
def test_each_setting_does_something(train: Fit, changed: dict[str, Any], *, is_cached: bool) -> None:
    """For free layers, and for heads on cached features."""
    cfg = replace(QUICK, lr=0.01, lr_search=[1.0], head_init=HeadInit.random)
    plain, other = (train("all" if is_cached else "0.5", each) for each in (cfg, replace(cfg, **changed)))
    assert plain.curve[-1].val_loss != other.curve[-1].val_loss
