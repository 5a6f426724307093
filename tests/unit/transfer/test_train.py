"""Fitting: what is chosen, what stays, and that shortcuts change no answer."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from harness.backbones.backbone import Backbone
from harness.config import Augment, HeadInit, Schedule, TrainConfig
from harness.data.dataset import Dataset
from harness.data.transforms import ImageDataset, eval_transform
from harness.errors import DivergedError, FrozenChangedError
from harness.measure.quality import quality
from harness.transfer import loop
from harness.transfer.depth import parse_freeze
from harness.transfer.freeze import tensors_of
from harness.transfer.loop import new_learner
from harness.transfer.network import Network, new_head, solve_head
from harness.transfer.predict import extract_features, log_probabilities
from harness.transfer.runtime import Runtime
from harness.transfer.train import Fitted, Task, fit

QUICK = TrainConfig(epochs=2, batch_size=8)


def _task(backbone: Backbone, dataset: Dataset, runtime: Runtime, depth: str, cfg: TrainConfig = QUICK) -> Task:
    torch.manual_seed(0)
    return Task(backbone, dataset, parse_freeze(depth), cfg, runtime, seed=0)


def _val_loss(fitted: Fitted, backbone: Backbone, dataset: Dataset) -> float:
    samples = ImageDataset(dataset.val, eval_transform(backbone.preprocess))
    log_probs = log_probabilities(fitted.network, samples, fitted.network.runtime, "val")
    loss = quality(log_probs, dataset.val.labels)[0]["log_loss"]
    assert loss is not None
    return loss


@pytest.mark.parametrize("depth", ["all", "0.5", "none"])
def test_the_epoch_with_the_lowest_val_loss_is_kept(backbone: Backbone, dataset: Dataset, runtime: Runtime, depth: str) -> None:
    """The network that comes back scores on images what the curve says of the chosen epoch, also when features were kept."""
    fitted = fit(_task(backbone, dataset, runtime, depth, replace(QUICK, lr=0.05)))
    assert [point.epoch for point in fitted.curve] == [0, 1, 2]
    best = min(fitted.curve, key=lambda point: point.val_loss)
    assert fitted.chosen_epoch == best.epoch
    assert _val_loss(fitted, backbone, dataset) == pytest.approx(best.val_loss, rel=1e-4)


@pytest.mark.parametrize("depth", ["all", "0.5", "none"])
def test_colours_are_learnt(backbone: Backbone, dataset: Dataset, runtime: Runtime, depth: str) -> None:
    """Three classes that differ in one channel are told apart at the chosen epoch, whatever is frozen."""
    fitted = fit(_task(backbone, dataset, runtime, depth))
    assert next(point for point in fitted.curve if point.epoch == fitted.chosen_epoch).val_accuracy >= 0.75


def test_training_on_kept_features_equals_running_the_frozen_trunk_again(backbone: Backbone, dataset: Dataset, runtime: Runtime) -> None:
    """With the whole trunk frozen, `augment=flip` with a flip that never happens takes the plain path: same curve."""
    kept = fit(_task(backbone, dataset, runtime, "all"))
    plain_dataset = replace(dataset, name="plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.transfer.train.train_transform", lambda preprocess, _augment: eval_transform(preprocess))
        plain = fit(_task(backbone, plain_dataset, runtime, "all", replace(QUICK, augment=Augment.flip)))
    for one, other in zip(kept.curve, plain.curve, strict=True):
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-4)


def test_the_same_seed_gives_the_same_curve(backbone: Backbone, dataset: Dataset, runtime: Runtime) -> None:
    """Two fits from equal starts agree in every number."""
    start = {name: tensor.clone() for name, tensor in backbone.trunk.state_dict().items()}
    first = fit(_task(backbone, dataset, runtime, "none"))
    backbone.trunk.load_state_dict(start)
    second = fit(_task(backbone, dataset, runtime, "none"))
    assert first.curve == second.curve


def test_a_second_phase_releases_blocks(backbone: Backbone, dataset: Dataset, runtime: Runtime) -> None:
    """Phase 1 trains the head alone, phase 2 the released blocks too, and the curve counts on."""
    cfg = TrainConfig(epochs=1, batch_size=8, head_init=HeadInit.random, release="-1", release_epochs=2, release_lr=1e-3)
    fitted = fit(_task(backbone, dataset, runtime, "all", cfg))
    assert [(point.epoch, point.phase) for point in fitted.curve] == [(1, 1), (2, 2), (3, 2)]
    assert fitted.plan.num_frozen_blocks == len(backbone.blocks) - 1


@pytest.mark.parametrize("victim", ["weight", "running_mean"])
def test_a_job_notices_when_freezing_is_broken(
    dataset: Dataset, runtime: Runtime, backbone: Backbone, victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever changes one frozen weight, or one running mean, during an epoch, makes the fit fail by name."""
    name = next((name for name in tensors_of(backbone.trunk) if name.endswith(victim)), None)
    if name is None:
        assert backbone.spec.model == "test_vit"  # layer norm keeps no statistics
        return
    honest = loop.run_epoch

    def meddle(*arguments: Any) -> tuple[float, float]:
        with torch.no_grad():
            tensors_of(backbone.trunk)[name].mul_(1.001).add_(1e-3)
        return honest(*arguments)

    monkeypatch.setattr("harness.transfer.train.run_epoch", meddle)
    with pytest.raises(FrozenChangedError, match=name):
        fit(_task(backbone, dataset, runtime, "all"))


def test_an_exploding_learning_rate_is_a_diverged_job(backbone: Backbone, dataset: Dataset, runtime: Runtime) -> None:
    """A loss that is not finite ends the job with advice."""
    with pytest.raises(DivergedError, match=r"lower train\.lr"):
        fit(_task(backbone, dataset, runtime, "none", replace(QUICK, lr=1e30, warmup_frac=0.0)))


def test_the_solved_head_is_scikit_learns_solution(backbone: Backbone, dataset: Dataset, runtime: Runtime) -> None:
    """On the features it was fitted on, the head's probabilities separate the colours without any training step."""
    head = new_head(backbone.num_features, 3, QUICK, seed=0)
    assert isinstance(head, torch.nn.Linear)
    network = Network(backbone.trunk, head, runtime)
    transform = eval_transform(backbone.preprocess)
    train, val = (extract_features(network, ImageDataset(split, transform), "") for split in (dataset.train, dataset.val))
    solve_head(head, train, dataset.train.labels, val, dataset.val.labels, class_weights=False)
    with torch.no_grad():
        predicted = head(torch.from_numpy(train)).argmax(dim=1).numpy()
    assert np.mean(predicted == dataset.train.labels) >= 0.9


def test_a_solved_head_of_two_classes_gives_the_sigmoid(backbone: Backbone, dataset: Dataset, runtime: Runtime) -> None:
    """scikit-learn keeps one row of weights for two classes; the head has two, with the same probabilities."""
    from sklearn.linear_model import LogisticRegression

    generator = np.random.default_rng(0)
    features = generator.normal(size=(60, 5)).astype(np.float32) * 3 + 1
    labels = (features[:, 0] + generator.normal(size=60) > 1).astype(np.int64)
    head = torch.nn.Linear(5, 2)
    solve_head(head, features, labels, features, labels, class_weights=False)
    with torch.no_grad():
        ours = torch.softmax(head(torch.from_numpy(features)), dim=1).numpy()
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    oracle = LogisticRegression(C=1.0, max_iter=300).fit(scaled, labels).predict_proba(scaled)
    np.testing.assert_allclose(ours, oracle, atol=2e-3)


def test_the_learning_rate_rises_and_falls() -> None:
    """Warm-up is linear to the peak, the cosine ends near zero, and norms and biases have no weight decay."""
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    cfg = TrainConfig(schedule=Schedule.cosine, warmup_frac=0.2, weight_decay=0.1)
    learner = new_learner(network, cfg, lr=1.0, num_steps=10, class_weights_C=None)
    rates = []
    for _ in range(10):
        rates.append(learner.optimizer.param_groups[0]["lr"])
        learner.optimizer.step()
        learner.schedule.step()
    assert rates[:2] == [0.5, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] < 0.05
    decays = {group["weight_decay"]: {p.ndim for p in group["params"]} for group in learner.optimizer.param_groups}
    assert decays == {0.1: {4}, 0.0: {1}}
