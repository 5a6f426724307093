"""Fitting: what is chosen, what stays, and that shortcuts change no answer."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.backbones.backbone import Backbone
from harness.backbones.tensors import tensor_digest, tensors_of
from harness.compute.runtime import Runtime
from harness.compute.thread_pool import ThreadPool
from harness.config import Augment, HeadInit, Metric, Optimizer, Precision, Schedule, TrainConfig
from harness.data.dataset import Dataset
from harness.data.transforms import eval_transform
from harness.errors import DivergedError, FrozenChangedError
from harness.features.cut import cut
from harness.features.store import FeatureStore
from harness.measure.quality import quality
from harness.transfer import loop
from harness.transfer.depth import parse_freeze
from harness.transfer.freeze import plan_freeze
from harness.transfer.inputs import Inputs, provide_inputs
from harness.transfer.loop import new_learner
from harness.transfer.objective import SingleLabelLoss
from harness.transfer.predict import log_probabilities
from harness.transfer.spec import Fitted, TrainingSpec, phases_of
from harness.transfer.split_inputs import SplitInputs
from harness.transfer.train import fit, predict, seconds_per_image

QUICK = TrainConfig(epochs=2, batch_size=8)


@dataclass(frozen=True)
class Fit:
    """Fits on the test's backbone, data and store."""

    backbone: Backbone
    dataset: Dataset
    runtime: Runtime
    store: FeatureStore

    def __call__(self, depth: str, cfg: TrainConfig = QUICK, store: FeatureStore | None = None) -> Fitted:
        (fitted,) = self.several(depth, [(0, cfg)], store)
        if isinstance(fitted, DivergedError):
            raise fitted
        return fitted

    def several(
        self, depth: str, variants: list[tuple[int, TrainConfig]], store: FeatureStore | None = None
    ) -> list[Fitted | DivergedError]:
        torch.manual_seed(0)
        first = self.spec(depth, variants[0][1])
        specs = [replace(first, cfg=cfg, seed=seed) for seed, cfg in variants]
        return fit(specs, self.inputs(first, store or self.store))

    def spec(self, depth: str, cfg: TrainConfig = QUICK) -> TrainingSpec:
        trunk = cut(self.backbone)
        return TrainingSpec(self.backbone, trunk, self.dataset, parse_freeze(depth), cfg, self.runtime, 0, Metric.accuracy)

    def inputs(self, spec: TrainingSpec, store: FeatureStore) -> Inputs:
        return provide_inputs(
            spec.backbone,
            spec.trunk,
            spec.dataset,
            spec.cfg,
            pool=ThreadPool(spec.runtime),
            precision=Precision.float32,
            store=store,
            starts={phase.plan.first_changed_block for phase in phases_of(spec.backbone, spec.depth, spec.cfg)},
            passing=set(),
        )


@pytest.fixture
def train(backbone: Backbone, dataset: Dataset, runtime: Runtime, tmp_path: Path) -> Fit:
    """Fits with a store of their own."""
    return Fit(backbone, dataset, runtime, FeatureStore(tmp_path / "features", max_gib=1))


NO_STORE = FeatureStore(Path("nowhere"), max_gib=0)


def _val_loss(fitted: Fitted, backbone: Backbone, dataset: Dataset) -> float:
    transform = eval_transform(backbone.preprocess)
    images = torch.stack([transform(image.open()) for image in dataset.val.images])
    with torch.no_grad():
        log_probs = torch.log_softmax(fitted.network.eval()(images), dim=1).numpy()
    loss = quality(log_probs, dataset.val.labels)[0]["log_loss"]
    assert loss is not None
    return loss


@pytest.mark.parametrize("lr", [1e-4, 0.05])
@pytest.mark.parametrize("depth", ["0.5", "none"])
def test_the_better_end_of_training_is_kept(train: Fit, depth: str, lr: float) -> None:
    """The start or the last epoch, by the metric; the network that comes back scores on images what the curve says of it."""
    fitted = train(depth, replace(QUICK, lr=lr, lr_search=[1.0]))
    assert [point.epoch for point in fitted.curve] == [0, 1, 2]
    chosen, ends = fitted.curve[fitted.chosen_epoch], (fitted.curve[0], fitted.curve[-1])
    assert chosen in ends
    assert chosen.val_score == max(point.val_score for point in ends) == chosen.val_accuracy
    assert _val_loss(fitted, train.backbone, train.dataset) == pytest.approx(chosen.val_loss, rel=1e-4, abs=1e-6)


def test_a_lower_loss_does_not_win_over_a_higher_metric(train: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs whose logits grow too sure and yet are right more often are kept: log loss says 0, the metric says 2."""
    labels = train.dataset.val.labels
    wrong = [6, 3, 0]  # images, by epoch
    sure = [0.5, 6.0, 9.0]

    def said(*_: object) -> np.ndarray:
        called = labels.copy()
        called[: wrong[len(epochs)]] = (called[: wrong[len(epochs)]] + 1) % 3
        logits = torch.from_numpy(sure[len(epochs)] * np.eye(3)[called])
        logits[0, labels[0]] -= 30 * sure[len(epochs)]
        epochs.append(len(epochs))
        return torch.log_softmax(logits, dim=1).float().numpy()

    epochs: list[int] = []
    monkeypatch.setattr(
        "harness.transfer.training_run.log_probabilities",
        lambda *given, pool, what: said() if "epoch" in what else log_probabilities(*given, pool=pool, what=what),
    )
    fitted = train("none", replace(QUICK, lr_search=[1.0]))
    assert [point.val_loss for point in fitted.curve] == sorted(point.val_loss for point in fitted.curve)
    assert fitted.chosen_epoch == 2


def test_the_head_of_a_frozen_backbone_is_judged_out_of_fold(train: Fit) -> None:
    """Nothing is trained in steps; every image of train and val has a prediction of a head that did not see it, and a rate is not kept."""
    fitted = train("all")
    probe = fitted.probe
    assert probe is not None
    assert (fitted.chosen_epoch, len(fitted.curve), fitted.lr, fitted.lr_losses) == (0, 1, None, {})
    assert probe.log_probs_NC.shape == (25 + 12, 3)
    assert np.array_equal(probe.labels_N, np.concatenate([train.dataset.train.labels, train.dataset.val.labels]))
    np.testing.assert_allclose(np.exp(fitted.val_log_probs_NC).sum(axis=1), 1, rtol=1e-5)


def test_predictions_are_calibrated(train: Fit) -> None:
    """Val, test and train come at temperatures that lower or keep the log loss on val; the kept model's logits are divided by one number."""
    fitted = train("none", replace(QUICK, lr=0.05, lr_search=[1.0]))
    labels = train.dataset.val.labels
    raw, mended = (-found[np.arange(12), labels].mean() for found in (fitted.raw_val_log_probs_NC, fitted.val_log_probs_NC))
    assert fitted.temperature != 1
    assert mended < raw + 0.2


@pytest.mark.parametrize("depth", ["all", "0.5", "none"])
def test_colours_are_learnt(train: Fit, depth: str) -> None:
    """Three classes that differ in one channel are told apart at the chosen epoch, whatever is frozen."""
    fitted = train(depth, replace(QUICK, lr_search=[1.0]))
    assert next(point for point in fitted.curve if point.epoch == fitted.chosen_epoch).val_accuracy >= 0.75


@pytest.mark.parametrize("depth", ["all", "0.5", "none"])
def test_training_on_cached_activations_equals_running_the_frozen_part_again(train: Fit, depth: str) -> None:
    """With an empty store, with a filled one and with none at all the curves and the val predictions agree."""
    start = {name: tensor.clone() for name, tensor in train.backbone.trunk.state_dict().items()}
    fits = []
    for store in (train.store, train.store, NO_STORE):
        train.backbone.trunk.load_state_dict(start)
        fits.append(train(depth, store=store))
    first, again, plain = fits
    assert first.curve == again.curve
    for one, other in zip(first.curve, plain.curve, strict=True):
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-4, abs=1e-6)
    np.testing.assert_allclose(first.val_log_probs_NC, plain.val_log_probs_NC, atol=1e-3)


def test_the_frozen_part_runs_again_for_every_epoch_where_nothing_is_cached(train: Fit) -> None:
    """Images that change at random in every epoch go through the whole network; a flip that never happens changes nothing."""
    cfg = replace(QUICK, head_init=HeadInit.random, lr_search=[1.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.features.view.train_transform", lambda preprocess, _augment: eval_transform(preprocess))
        streamed = train("all", replace(cfg, augment=Augment.flip))
    cached = train("all", cfg)
    # Both learn from the same images; the order in which they come differs.
    assert streamed.curve[-1].val_loss == pytest.approx(cached.curve[-1].val_loss, rel=0.05)


def test_training_starts_before_the_first_block_that_may_change(train: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frozen is not unchanged: where something in a frozen block may change what it computes, the activations behind it are not read."""
    monkeypatch.setattr("harness.transfer.spec.plan_freeze", lambda *given: replace(plan_freeze(*given), first_changed_block=1))
    honest, boundaries = Inputs.split, list[int]()

    def split(self: Inputs, name: str, boundary: int) -> SplitInputs:
        boundaries.append(boundary)
        return honest(self, name, boundary)

    monkeypatch.setattr(Inputs, "split", split)
    fitted = train("all", replace(QUICK, head_init=HeadInit.random))
    assert (fitted.plan.num_frozen_blocks, fitted.unchanged) == (fitted.plan.num_blocks, 1)
    assert set(boundaries) == {1}
    assert len(fitted.curve) == QUICK.num_epochs


def test_augmented_views_are_cached_and_drawn_from(train: Fit, tmp_path: Path) -> None:
    """With two views the pass caches two changed copies of each train image; a second job with another seed passes nothing."""
    cfg = replace(QUICK, augment=Augment.strong, views=2)
    spec = train.spec("all", cfg)
    first, again = (train.inputs(spec, FeatureStore(tmp_path, max_gib=1)) for _ in range(2))
    assert [cached.effort.num_passed for cached in first.all_views] == [49, 25, 25]
    assert [cached.effort.num_passed for cached in again.all_views] == [0, 0, 0]
    views = [cached.final() for cached in first.views]
    assert not np.allclose(views[0], views[1])
    assert np.array_equal(views[0], again.views[0].final())
    start = {name: tensor.clone() for name, tensor in train.backbone.trunk.state_dict().items()}
    cached = train("0.5", cfg)
    train.backbone.trunk.load_state_dict(start)
    decoded = train("0.5", cfg, NO_STORE)
    for point, same in zip(cached.curve, decoded.curve, strict=True):
        assert point.val_loss == pytest.approx(same.val_loss, rel=1e-3, abs=1e-6), "the same two views, cached or decoded again"
    train.backbone.trunk.load_state_dict(start)
    one, other = train.several("all", [(0, cfg), (1, cfg)])
    assert isinstance(one, Fitted)
    assert isinstance(other, Fitted)
    assert one.curve != other.curve


def test_heads_do_not_depend_on_their_company(train: Fit) -> None:
    """Three seeds, one of which diverges, fitted together: each good one comes out as it does alone, but for the rounding of float64."""
    quick = replace(QUICK, head_init=HeadInit.random, lr_search=[1.0])
    variants = [(0, quick), (1, replace(quick, lr=1e30, warmup_frac=0.0, optimizer=Optimizer.sgd)), (2, replace(quick, lr=0.01))]
    variants = [(seed, replace(cfg, optimizer=Optimizer.sgd)) for seed, cfg in variants]
    together = train.several("all", variants)
    for index in (0, 2):
        (alone,) = train.several("all", [variants[index]])
        both = together[index]
        assert isinstance(alone, Fitted)
        assert isinstance(both, Fitted)
        np.testing.assert_allclose([point.val_loss for point in alone.curve], [point.val_loss for point in both.curve], rtol=1e-6)
        np.testing.assert_allclose(alone.val_log_probs_NC, both.val_log_probs_NC, atol=1e-5)
    assert isinstance(together[1], DivergedError)


def test_the_same_seed_gives_the_same_curve(backbone: Backbone, train: Fit) -> None:
    """Two fits from equal starts agree in every number."""
    start = {name: tensor.clone() for name, tensor in backbone.trunk.state_dict().items()}
    first = train("none")
    backbone.trunk.load_state_dict(start)
    second = train("none")
    assert first.curve == second.curve


def test_a_second_phase_releases_blocks(backbone: Backbone, train: Fit) -> None:
    """Phase 1 trains the head alone, phase 2 the released blocks too, and the curve counts on."""
    cfg = TrainConfig(epochs=1, batch_size=8, head_init=HeadInit.random, release="-1", release_epochs=2, release_lr=1e-3)
    fitted = train("all", cfg)
    assert [(point.epoch, point.phase) for point in fitted.curve] == [(1, 1), (2, 2), (3, 2)]
    assert fitted.plan.num_frozen_blocks == len(backbone.blocks) - 1


@pytest.mark.parametrize("victim", ["weight", "running_mean"])
def test_a_job_notices_when_freezing_is_broken(train: Fit, backbone: Backbone, victim: str, monkeypatch: pytest.MonkeyPatch) -> None:
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

    monkeypatch.setattr("harness.transfer.training_run.run_epoch", meddle)
    with pytest.raises(FrozenChangedError, match=name):
        train("0.5")


@pytest.mark.parametrize("depth", ["all", "none"])
def test_an_exploding_learning_rate_is_a_diverged_job(train: Fit, depth: str) -> None:
    """A loss that is not finite ends the job with advice."""
    with pytest.raises(DivergedError, match=r"lower train\.lr"):
        train(depth, replace(QUICK, lr=1e30, warmup_frac=0.0, optimizer=Optimizer.sgd, head_init=HeadInit.random))


def test_the_closed_form_head_needs_no_step(train: Fit) -> None:
    """On the features it was fitted on, the head separates the colours at epoch 0."""
    fitted = train("all", replace(QUICK, epochs=0))
    assert [point.epoch for point in fitted.curve] == [0]
    assert np.mean(fitted.train_log_probs_NC.argmax(axis=1) == train.dataset.train.labels) >= 0.9


def test_the_learning_rate_rises_and_falls() -> None:
    """Warm-up is linear to the peak, the cosine ends near zero, and norms and biases have no weight decay."""
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    cfg = TrainConfig(schedule=Schedule.cosine, warmup_frac=0.2, weight_decay=0.1)
    learner = new_learner(network, cfg, lr=1.0, epochs=1, epoch_steps=10, loss=SingleLabelLoss())
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


SEARCH = replace(QUICK, epochs=3, lr=1e-2)


def test_any_epoch_may_be_kept_where_the_rate_is_constant(train: Fit) -> None:
    """A constant rate ends nowhere in particular: the best epoch by the metric is kept, and its network comes back."""
    cfg = replace(QUICK, epochs=4, lr=0.03, lr_search=[1.0], schedule=Schedule.constant, head_init=HeadInit.random)
    fitted = train("none", cfg)
    chosen = next(point for point in fitted.curve if point.epoch == fitted.chosen_epoch)
    assert chosen.val_score == max(point.val_score for point in fitted.curve)
    assert _val_loss(fitted, train.backbone, train.dataset) == pytest.approx(chosen.val_loss, rel=1e-4, abs=1e-6)


def test_the_best_learning_rate_trains_from_the_start(train: Fit) -> None:
    """Each rate has a short training of its own from the same start; the curve is that of a run at the best of them alone."""
    start = {name: tensor.clone() for name, tensor in train.backbone.trunk.state_dict().items()}
    searched = train("0.5", SEARCH)
    assert searched.lr_losses.keys() >= {0.003, 0.01, 0.03}
    assert searched.lr is not None
    assert searched.lr_losses[searched.lr] == min(loss for loss in searched.lr_losses.values() if loss is not None)
    train.backbone.trunk.load_state_dict(start)
    alone = train("0.5", replace(SEARCH, lr=searched.lr, lr_search=[1.0]))
    assert alone.curve == searched.curve
    assert alone.lr_losses == {}


def test_heads_are_searched_too(train: Fit) -> None:
    """With the whole backbone frozen the same rates are tried, each to the end, and the head of the best one is kept."""
    searched = train("all", replace(SEARCH, head_init=HeadInit.random))
    each = [train("all", replace(SEARCH, head_init=HeadInit.random, lr=lr, lr_search=[1.0])) for lr in searched.lr_losses]
    same = next(fitted for fitted in each if fitted.lr == searched.lr)
    np.testing.assert_allclose([point.val_loss for point in searched.curve], [point.val_loss for point in same.curve], rtol=1e-6)


def test_a_rate_that_diverges_is_passed_over(train: Fit) -> None:
    """One rate that ends in infinity costs nothing but itself."""
    searched = train("0.5", replace(SEARCH, optimizer=Optimizer.sgd, lr_search=[0.01, 0.1, 1e12]))
    assert searched.lr is not None
    assert searched.lr < 1e10
    assert searched.lr_losses[1e10] is None


def _leg(train: Fit, cfg: TrainConfig, **asked: Any) -> Fitted:
    """A job of its own at half the depth: a backbone as it was loaded."""
    spec = replace(train.spec("0.5", cfg), **asked)
    (fitted,) = fit([spec], train.inputs(spec, train.store))
    assert isinstance(fitted, Fitted)
    return fitted


@pytest.mark.parametrize("cfg", [SEARCH, replace(SEARCH, lr_search=[1.0], optimizer=Optimizer.sgd)])
def test_a_short_training_is_one_rate_of_the_whole(train: Fit, cfg: TrainConfig) -> None:
    """It is a third of the epochs at the recipe's own rate; the whole that knows of it comes to what it comes to without, to the last bit."""
    start = {name: tensor.clone() for name, tensor in train.backbone.trunk.state_dict().items()}
    whole = train("0.5", cfg)
    train.backbone.trunk.load_state_dict(start)
    short = _leg(train, cfg, is_short=True)
    assert (short.is_complete, len(short.curve), list(short.lr_losses)) == (False, 2, [1e-2])
    assert all(whole.lr_losses[lr] == loss for lr, loss in short.lr_losses.items() if whole.lr_losses)
    train.backbone.trunk.load_state_dict(start)
    last = _leg(train, cfg, tried=short.lr_losses)
    assert (last.is_complete, last.curve, last.chosen_epoch, last.lr_losses) == (True, whole.curve, whole.chosen_epoch, whole.lr_losses)
    assert np.array_equal(last.val_log_probs_NC, whole.val_log_probs_NC)


def test_a_short_training_that_diverges_goes_down(train: Fit) -> None:
    """Where the middle rate ends in infinity the next lower one is tried, and both are told."""
    short = _leg(train, replace(SEARCH, optimizer=Optimizer.sgd, lr_search=[0.1, 1e12, 1e14]), is_short=True)
    assert short.lr_losses[1e10] is None
    assert short.lr == 1e-3
    assert short.lr_losses[1e-3] is not None


@pytest.mark.parametrize("depth", ["0.5", "none"])
def test_timing_other_depths_leaves_the_network_as_it_is(train: Fit, depth: str) -> None:
    """Weights, buffers, what is trainable and the modes of layers: all as before, and predictions too."""
    spec = train.spec("all")
    inputs = train.inputs(spec, train.store)
    (fitted,) = fit([spec], inputs)
    assert isinstance(fitted, Fitted)
    predicted_NC, before = predict(fitted, inputs, "test"), _state(fitted)
    found = seconds_per_image(spec, [parse_freeze(depth)], inputs)
    assert found[depth] > 0
    assert _state(fitted) == before
    assert np.array_equal(predict(fitted, inputs, "test"), predicted_NC)


def _state(fitted: Fitted) -> list[object]:
    network = fitted.network
    digests = {name: tensor_digest(tensor) for name, tensor in network.state_dict().items()}
    return [digests, [part.requires_grad for part in network.parameters()], [part.training for part in network.modules()]]
