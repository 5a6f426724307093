"""Weighted images in training: the loss, and that no faster way to train treats them in another way."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.backbones.backbone import Backbone
from harness.compute.runtime import Runtime
from harness.config import BatchNorm, HeadInit, RefitOn, TrainConfig
from harness.data.dataset import Dataset
from harness.features.store import FeatureStore
from harness.transfer.held_out import hold_nothing_out, hold_out
from harness.transfer.objective import Loss, SeveralLabelsLoss, SingleLabelLoss
from harness.transfer.spec import Fitted, loss_of, objective_of
from harness.transfer.train import fit
from tests.unit.tiny import random_backbone
from tests.unit.transfer.test_train import NO_STORE, Fit

RECIPE = TrainConfig(epochs=2, batch_size=8, lr=0.01, lr_search=[1.0], batch_norm=BatchNorm.fixed)
WEIGHTS_N = np.array([0.0, 0.5, 1.5, 1.0, 1.0] * 5)
"""Of 25 images; those above 0 are 1 on average."""


@pytest.fixture
def backbone() -> Backbone:
    """One network is enough here."""
    return random_backbone("test_resnet", 32)


@pytest.fixture
def train(backbone: Backbone, dataset: Dataset, runtime: Runtime, tmp_path: Path) -> Fit:
    """Fits on weighted images, with a store of their own."""
    weighted = replace(dataset, train=replace(dataset.train, weights=WEIGHTS_N), val=replace(dataset.val, weights=np.ones(12)))
    return Fit(backbone, weighted, runtime, FeatureStore(tmp_path / "features", max_gib=1))


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("weights_C", [None, torch.tensor([0.5, 1.0, 3.0])])
def test_a_weight_multiplies_the_loss_of_its_image(several: bool, weights_C: torch.Tensor | None) -> None:
    """In pieces and in heads side by side; twice the weight is the image twice, and what the sum is divided by stays."""
    logits_BC = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    labels_B = (torch.arange(18).view(6, 3) // 2 % 2) if several else torch.arange(6) % 3
    loss: Loss = (SeveralLabelsLoss if several else SingleLabelLoss)(weights_C, label_smoothing=0.1)
    weights_B = torch.tensor([1.0, 2.0, 0.0, 1.0, 1.0, 3.0])
    places = torch.repeat_interleave(torch.arange(6), weights_B.long())
    total = loss.total(logits_BC, labels_B, weights_B)
    torch.testing.assert_close(total, loss.total(logits_BC[places], labels_B[places]))
    means_J = loss.means(torch.stack([logits_BC] * 2), torch.stack([labels_B] * 2), torch.stack([weights_B, torch.ones(6)]))
    torch.testing.assert_close(means_J[0], torch.as_tensor(loss.share(labels_B)) * total)
    torch.testing.assert_close(means_J[1], torch.as_tensor(loss.share(labels_B)) * loss.total(logits_BC, labels_B))


def _counted(dataset: Dataset) -> Dataset:
    return replace(dataset, train=dataset.train.take(dataset.train.counted_N))


def _without_weights(dataset: Dataset) -> Dataset:
    return replace(dataset, train=replace(dataset.train, weights=None), val=replace(dataset.val, weights=None))


def _same(one: Fitted, other: Fitted) -> None:
    np.testing.assert_allclose(one.val_log_probs_NC, other.val_log_probs_NC, atol=2e-4)
    for first, second in zip(one.curve[1:], other.curve[1:], strict=True):
        assert (first.train_loss, first.val_loss) == pytest.approx((second.train_loss, second.val_loss), rel=1e-3)


def test_cached_activations_and_images_learn_the_same(train: Fit) -> None:
    """Where frozen layers are read from the store and where each image goes through them; and it is not what the same images teach without weights."""
    plain, cfg = replace(train, dataset=_without_weights(_counted(train.dataset))), replace(RECIPE, head_init=HeadInit.random)
    before = {name: tensor.clone() for name, tensor in train.backbone.trunk.state_dict().items()}
    found = []
    for fits, store in ((train, train.store), (train, NO_STORE), (plain, train.store)):
        train.backbone.trunk.load_state_dict(before)
        found.append(fits("0.5", cfg, store))
    _same(found[0], found[1])
    assert not np.allclose(found[0].val_log_probs_NC, found[2].val_log_probs_NC, atol=2e-3)


def test_micro_batches_add_up(train: Fit) -> None:
    """A batch that is computed in pieces gives each image its own weight."""
    whole = train.spec("0.5", replace(RECIPE, head_init=HeadInit.random))
    before = {name: tensor.clone() for name, tensor in train.backbone.trunk.state_dict().items()}
    found = []
    for micro_batch in (None, 3):
        torch.manual_seed(0)
        train.backbone.trunk.load_state_dict(before)
        inputs = train.inputs(whole, train.store)
        inputs.pool.micro_batch = micro_batch
        (fitted,) = fit([whole], inputs)
        assert isinstance(fitted, Fitted)
        found.append(fitted)
    _same(*found)


@pytest.mark.parametrize("cfg", [RECIPE, replace(RECIPE, head_init=HeadInit.random)], ids=["closed form", "in steps"])
def test_heads_know_no_image_of_weight_0(train: Fit, cfg: TrainConfig) -> None:
    """Heads that train together, and closed-form ones: what is learned is what is learned without these images, and weights tell."""
    kept = _counted(train.dataset)
    fewer, even = (replace(train, dataset=each) for each in (kept, _without_weights(kept)))
    found, wanted, other = (
        {name: tensor.clone() for name, tensor in fits("all", cfg).network.head.state_dict().items()} for fits in (train, fewer, even)
    )
    if cfg.head_init is HeadInit.random:
        torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found["weight"], other["weight"], atol=1e-4)


@pytest.mark.parametrize("several", [False, True])
def test_class_shares_are_those_of_what_is_learned(train: Fit, several: bool) -> None:
    """Priors and class weights are those of each image as often as it weighs."""
    weights_N = np.array([0.0, 0.5, 2.0, 0.5, 1.0] * 5)
    labels = train.dataset.train.labels
    own = replace(train.dataset.train, weights=weights_N, labels=np.eye(3, dtype=np.int64)[labels] if several else labels)
    repeated = replace(own.take(np.repeat(np.arange(25), (2 * weights_N).astype(int))), weights=None)
    for cfg in (RECIPE, replace(RECIPE, class_weights=True)):
        one, other = (replace(train.spec("all", cfg), dataset=replace(train.dataset, train=each)) for each in (own, repeated))
        np.testing.assert_allclose(objective_of(one).prior_C, objective_of(other).prior_C)
        found, wanted = loss_of(one).class_weights_C, loss_of(other).class_weights_C
        assert (found is None) == (wanted is None) == (cfg is RECIPE)
        if found is not None:
            torch.testing.assert_close(found, wanted)


def test_images_dealt_anew_keep_their_weights(train: Fit) -> None:
    """In folds, and where a model is refitted."""
    parts = [train.dataset.train, train.dataset.val]
    known = {image.id: weight for part in parts for image, weight in zip(part.images, part.weights, strict=True)}  # type: ignore[arg-type]
    for held in (hold_out(train.dataset, 1, seed=0), hold_nothing_out(train.dataset, RefitOn.train_val)):
        for part in (held.dataset.train, held.dataset.val):
            assert part.weights is not None
            assert [known[image.id] for image in part.images] == part.weights.tolist()
