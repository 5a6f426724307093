"""Heads trained together: each is the head that a plain loop of torch's documentation would give."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from harness.config import Head, HeadInit, Metric, Optimizer, Schedule, TrainConfig
from harness.measure.choice import Selector
from harness.measure.objective import SingleLabel
from harness.measure.quality import quality
from harness.transfer import heads
from harness.transfer.heads import HeadData, HeadFit, HeadSpec, IntArray, train_heads
from harness.transfer.loop import new_learner
from harness.transfer.network import new_head
from harness.transfer.objective import Loss, SingleLabelLoss

EPOCHS = 3


@dataclass(frozen=True)
class Given(HeadData):
    """Data with the labels that its heads are judged by."""

    val_labels_M: IntArray
    num_classes: int


def _data(seed: int = 0, num_images: int = 21, num_features: int = 13, num_classes: int = 3, num_views: int = 1) -> Given:
    rng = np.random.default_rng(seed)
    centres_CD = rng.standard_normal((num_classes, num_features))
    labels_N, val_labels_M = rng.integers(0, num_classes, num_images), rng.integers(0, num_classes, 11)
    return Given(
        train_VND=(centres_CD[labels_N] + rng.standard_normal((num_views, num_images, num_features))).astype(np.float32),
        train_labels_N=labels_N,
        val_MD=(centres_CD[val_labels_M] + rng.standard_normal((11, num_features))).astype(np.float32),
        val_labels_M=val_labels_M,
        num_classes=num_classes,
        loss=SingleLabelLoss(),
    )


def _spec(data: Given, cfg: TrainConfig, seed: int = 0, lr: float = 0.01, weight_decay: float = 0.1) -> HeadSpec:
    return HeadSpec(seed, lr, weight_decay, new_head(data.val_MD.shape[1], data.num_classes, cfg, seed))


def _fit(specs: Sequence[HeadSpec], data: Given, cfg: TrainConfig, epochs: int = EPOCHS) -> list[HeadFit]:
    return train_heads(specs, data, cfg, _selector(data), epochs=epochs, phase=1, first_epoch=1)


def _selector(data: Given, metric: Metric = Metric.accuracy) -> Selector:
    return Selector.of(data.val_labels_M, metric, SingleLabel(np.full(data.num_classes, 1 / data.num_classes)))


def _plain(spec: HeadSpec, data: Given, cfg: TrainConfig) -> tuple[list[tuple[float, float]], dict[str, Tensor]]:
    """The loop as torch's documentation has it, for one head: (loss, accuracy) of each epoch, the last weights."""
    head = deepcopy(spec.start).double()
    features_ND, labels_N = torch.from_numpy(data.train_VND[0]).double(), torch.from_numpy(data.train_labels_N)
    loss = data.loss.double()
    order, num_steps = torch.Generator().manual_seed(spec.seed * 1000 + 1), -(-len(labels_N) // cfg.batch_size)
    learner = new_learner(head, replace(cfg, weight_decay=spec.weight_decay), lr=spec.lr, epochs=EPOCHS, epoch_steps=num_steps, loss=loss)
    seen = []
    for _ in range(EPOCHS):
        total, hits = 0.0, 0
        for batch_B in torch.split(torch.randperm(len(labels_N), generator=order), cfg.batch_size):
            logits_BC = head(features_ND[batch_B])
            mean = functional.cross_entropy(logits_BC, labels_N[batch_B], weight=loss.class_weights_C, label_smoothing=loss.label_smoothing)
            learner.optimizer.zero_grad()
            mean.backward()  # type: ignore[no-untyped-call]
            learner.step()
            total += mean.item() * len(batch_B)
            hits += int((logits_BC.argmax(dim=1) == labels_N[batch_B]).sum())
        seen.append((total / len(labels_N), hits / len(labels_N)))
    if learner.average is not None:
        learner.average.keep()
    return seen, head.state_dict()


@pytest.mark.parametrize("is_weighted", [False, True])
@pytest.mark.parametrize("head", Head)
@pytest.mark.parametrize("schedule", Schedule)
@pytest.mark.parametrize("optimizer", Optimizer)
def test_every_head_is_what_a_plain_torch_loop_gives(optimizer: Optimizer, schedule: Schedule, head: Head, is_weighted: bool) -> None:
    """Two heads with unlike rates and decays, 21 images in batches of 4: losses agree to 1e-10, weights to float32 rounding."""
    cfg = TrainConfig(optimizer=optimizer, schedule=schedule, head=head, head_hidden=5, head_init=HeadInit.random, batch_size=4)
    _require_plain(cfg, SingleLabelLoss(torch.tensor([0.5, 1.0, 3.0]) if is_weighted else None))


@pytest.mark.parametrize("clip_grad", [None, 0.3])
@pytest.mark.parametrize("ema", [0.0, 0.8])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_settings_of_a_step_are_those_of_the_plain_loop(clip_grad: float | None, ema: float, is_weighted: bool) -> None:
    """Large gradients are scaled down for each head by itself, weights averaged, targets smoothed: as the loop does it for one head."""
    cfg = TrainConfig(head=Head.mlp, head_hidden=5, head_init=HeadInit.random, batch_size=4, clip_grad=clip_grad, ema=ema)
    _require_plain(cfg, SingleLabelLoss(torch.tensor([0.5, 1.0, 3.0]) if is_weighted else None, label_smoothing=0.2))


def _require_plain(cfg: TrainConfig, loss: Loss) -> None:
    data = replace(_data(), loss=loss)
    specs = [_spec(data, cfg, seed=1, lr=0.02, weight_decay=0.5), _spec(data, cfg, seed=2, lr=0.003, weight_decay=0.0)]
    for spec, fit in zip(specs, _fit(specs, data, cfg), strict=True):
        seen, state = _plain(spec, data, cfg)
        for point, (mean, accuracy) in zip(fit.curve, seen, strict=True):
            assert point.train_loss == pytest.approx(mean, rel=1e-10, abs=1e-12)
            assert point.train_accuracy == pytest.approx(accuracy, abs=1e-12)
        assert fit.last.keys() == state.keys()
        for name, tensor in state.items():
            torch.testing.assert_close(fit.last[name], tensor.float(), rtol=1e-6, atol=1e-8)
        assert [(point.epoch, point.phase, point.lr) for point in fit.curve] == [(n + 1, 1, spec.lr) for n in range(EPOCHS)]


@pytest.mark.parametrize("head", Head)
@pytest.mark.parametrize("shape", [(21, 13, 3), (33, 64, 2), (10, 1280, 2), (50, 257, 10)])
def test_an_arm_does_not_depend_on_its_company(monkeypatch: pytest.MonkeyPatch, head: Head, shape: tuple[int, int, int]) -> None:
    """Alone, among ten, at another place among ten, or in another grouping: the same curve and log-probabilities, but for the rounding of float64."""
    cfg, data = TrainConfig(head=head, head_hidden=7, head_init=HeadInit.random, batch_size=4), _data(0, *shape)
    specs = [_spec(data, cfg, seed=seed, lr=0.001 * (seed + 1)) for seed in range(10)]
    together = _fit(specs, data, cfg)
    turned = _fit(specs[::-1], data, cfg)[::-1]
    monkeypatch.setattr(heads, "_GROUP_MIB", 0)
    alone = _fit(specs, data, cfg)
    for one, *others in zip(alone, together, turned, strict=True):
        for other in others:
            _agree(one, other)


def _agree(one: HeadFit, other: HeadFit) -> None:
    """Points to 1e-9; log-probabilities and weights, which are float32, to 1e-6; the same choice."""
    assert (one.best_evaluation, one.error, len(one.curve)) == (other.best_evaluation, other.error, len(other.curve))
    for point, same in zip(one.curve, other.curve, strict=True):
        assert astuple(point) == pytest.approx(astuple(same), rel=1e-9, abs=1e-9)
    for found, alike in zip(one.evaluations, other.evaluations, strict=True):
        np.testing.assert_allclose(found.log_probs_NC, alike.log_probs_NC, rtol=1e-6, atol=1e-6)
    for name, tensor in one.best.items():
        torch.testing.assert_close(tensor, other.best[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("optimizer", Optimizer)
def test_a_diverging_arm_leaves_the_others_alone(optimizer: Optimizer) -> None:
    """A start that is not finite ends its own head with an error and nothing good; its neighbours are as without it."""
    cfg, data = TrainConfig(optimizer=optimizer, batch_size=4), _data()
    good = [_spec(data, cfg, seed=seed) for seed in (0, 1)]
    bad = _spec(data, cfg, seed=2)
    bad.start.get_parameter("weight").data[0, 0] = torch.nan
    first, failed, second = _fit([good[0], bad, good[1]], data, cfg)
    assert failed.error == "train loss is nan; try a lower train.lr."
    assert (failed.curve, failed.evaluations, failed.best, failed.best_evaluation) == ((), (), {}, -1)
    for fit, alone in zip((first, second), _fit(good, data, cfg), strict=True):
        _agree(fit, alone)
    assert first.error is None


def test_an_arm_that_diverges_late_keeps_what_was_good() -> None:
    """A rate that overflows after some epochs: curve, best and last end before it; the words name the loss."""
    cfg, data = TrainConfig(optimizer=Optimizer.sgd, schedule=Schedule.constant, warmup_frac=0.0, batch_size=21), _data()
    fit = _fit([_spec(data, cfg, lr=1e6, weight_decay=1.0)], data, cfg, epochs=100)[0]
    assert fit.error is not None
    assert fit.error.endswith("; try a lower train.lr.")
    assert 0 < len(fit.curve) < 100
    again = _fit([_spec(data, cfg, lr=1e6, weight_decay=1.0)], data, cfg, epochs=len(fit.curve))[0]
    assert again.error is None
    assert all(torch.equal(fit.last[name], again.last[name]) for name in again.last)


def test_a_val_loss_that_is_not_finite_is_an_error_too() -> None:
    """Val features that overflow end the head after its first epoch, by number."""
    data = _data()
    data.val_MD[3, 2] = np.inf
    cfg = TrainConfig(batch_size=4)
    fit = train_heads([_spec(data, cfg)], data, cfg, _selector(data), epochs=2, phase=2, first_epoch=5)[0]
    assert fit.error == "val log loss is nan after epoch 5; try a lower train.lr."
    assert fit.curve == ()


def test_views_are_drawn_per_image_and_reproducibly() -> None:
    """Each view alone gives another curve than both; the same seed draws the same ones, another seed others."""
    cfg, data = TrainConfig(batch_size=4), _data(num_views=2)
    data.train_VND[0], data.train_VND[1] = 0.0, 1.0
    drawn = _drawn_views(data, cfg, seed=0)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_array_equal(drawn, _drawn_views(data, cfg, seed=0))
    assert not np.array_equal(drawn, _drawn_views(data, cfg, seed=1))
    assert not np.array_equal(drawn[:21], drawn[21:42])
    curves = [_fit([_spec(data, cfg)], part, cfg)[0].curve for part in (data, _one_view(data, 0), _one_view(data, 1))]
    assert len({curve[-1].train_loss for curve in curves}) == 3


class _Watched:
    """An array that keeps what was read of it; stands for one that lies on disk."""

    def __init__(self, array_VND: np.ndarray[Any, Any]) -> None:
        self._array_VND = array_VND
        self.shape = array_VND.shape
        self.read: list[np.ndarray[Any, Any]] = []

    def __len__(self) -> int:
        return len(self._array_VND)

    def __getitem__(self, key: Any) -> np.ndarray[Any, Any]:
        self.read.append(self._array_VND[key])
        return self.read[-1]


def _drawn_views(data: Given, cfg: TrainConfig, seed: int) -> np.ndarray[Any, Any]:
    """The first feature of every image read in training, in order."""
    watched: Any = _Watched(data.train_VND)
    _fit([_spec(data, cfg, seed=seed)], replace(data, train_VND=watched), cfg)
    return np.concatenate([rows_JBD[0, :, 0] for rows_JBD in watched.read])


def _one_view(data: Given, view: int) -> Given:
    return replace(data, train_VND=data.train_VND[view : view + 1])


def test_inputs_are_not_modified_and_may_be_read_only() -> None:
    """Starts are the same after training, and arrays that cannot be written will do."""
    cfg, data = TrainConfig(batch_size=4), _data()
    arrays = (data.train_VND, data.train_labels_N, data.val_MD, data.val_labels_M)
    for array in arrays:
        array.setflags(write=False)
    spec = _spec(data, cfg)
    before = {name: tensor.clone() for name, tensor in spec.start.state_dict().items()}
    fit = _fit([spec], data, cfg)[0]
    assert all(torch.equal(tensor, before[name]) for name, tensor in spec.start.state_dict().items())
    assert not torch.equal(fit.last["weight"], before["weight"])


def test_the_number_of_threads_is_put_back() -> None:
    """Training takes one thread and gives the others back."""
    cfg, data, before = TrainConfig(batch_size=4), _data(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        _fit([_spec(data, cfg)], data, cfg)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("metric", [Metric.accuracy, Metric.balanced_accuracy])
def test_the_best_epoch_has_the_highest_value(metric: Metric) -> None:
    """By the selector's metric, then by log loss; the first of equals. With rates that overshoot it is not the last for some head."""
    cfg, data = TrainConfig(batch_size=4, schedule=Schedule.constant), _data()
    specs, selector = [_spec(data, cfg, seed=seed, lr=0.3) for seed in range(4)], _selector(data, metric)
    fits = train_heads(specs, data, cfg, selector, epochs=8, phase=1, first_epoch=1)
    assert any(fit.best_evaluation != 7 for fit in fits)
    for fit in fits:
        assert fit.best_evaluation == selector.choose(fit.evaluations).position
        logits_MC = torch.from_numpy(data.val_MD) @ fit.best["weight"].T + fit.best["bias"]
        np.testing.assert_allclose(
            fit.evaluations[fit.best_evaluation].log_probs_NC, torch.log_softmax(logits_MC, dim=1), rtol=1e-3, atol=1e-4
        )
        assert {tensor.dtype for tensor in (*fit.best.values(), *fit.last.values())} == {torch.float32}


def test_val_in_chunks_is_val_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven val images in chunks of four give the log-probabilities of one chunk."""
    cfg, data = TrainConfig(batch_size=4), _data()
    whole = _fit([_spec(data, cfg)], data, cfg)[0]
    monkeypatch.setattr(heads, "_CHUNK_IMAGES", 4)
    np.testing.assert_allclose(
        _fit([_spec(data, cfg)], data, cfg)[0].evaluations[-1].log_probs_NC, whole.evaluations[-1].log_probs_NC, rtol=1e-6
    )


def test_no_epochs_and_no_arms_are_nothing_to_do() -> None:
    """No heads give no fits; no epochs give the start and an empty curve."""
    cfg, data = TrainConfig(batch_size=4), _data()
    assert _fit([], data, cfg) == []
    spec = _spec(data, cfg)
    fit = _fit([spec], data, cfg, epochs=0)[0]
    assert (fit.curve, fit.evaluations, fit.best, fit.best_evaluation, fit.error) == ((), (), {}, -1, None)
    assert all(torch.equal(fit.last[name], tensor) for name, tensor in spec.start.state_dict().items())


@settings(max_examples=25)
@given(seed=st.integers(0, 999), num_classes=st.integers(2, 7), num_images=st.integers(1, 40), lr=st.floats(1e-4, 1.0))
def test_curves_show_the_numbers_of_quality(seed: int, num_classes: int, num_images: int, lr: float) -> None:
    """Val loss and accuracy of every epoch are `quality`'s of the log-probabilities that come back; the score is the selector's."""
    cfg, data = TrainConfig(batch_size=8), _data(seed, num_images, 5, num_classes)
    for fit in _fit([_spec(data, cfg, seed=seed, lr=lr), _spec(data, cfg, seed=seed + 1, lr=lr)], data, cfg):
        for point, found in zip(fit.curve, fit.evaluations, strict=True):
            values, _ = quality(found.log_probs_NC, data.val_labels_M)
            assert (values["log_loss"], values["accuracy"]) == (point.val_loss, point.val_accuracy)
            assert point.val_score == found.value[0]
