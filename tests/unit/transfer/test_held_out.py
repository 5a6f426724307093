"""A fold held out: who is trained on what, and that cached activations read in another order change no answer."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.backbones.backbone import Backbone
from harness.backbones.tensors import tensors_of
from harness.compute.runtime import Runtime
from harness.compute.thread_pool import ThreadPool
from harness.config import Augment, Metric, Precision, Schedule, TrainConfig
from harness.data.dataset import Dataset, Split
from harness.errors import DivergedError
from harness.features.cut import cut
from harness.features.store import FeatureStore
from harness.measure.objective import SingleLabel
from harness.transfer.depth import parse_freeze
from harness.transfer.held_out import HeldOut, folds_of, hold_out
from harness.transfer.inputs import Inputs, provide_inputs
from harness.transfer.probe import linear_probe
from harness.transfer.spec import Fitted, Settled, TrainingSpec, phases_of
from harness.transfer.train import fit
from tests.unit.tiny import random_backbone

RECIPE = TrainConfig(epochs=2, batch_size=8, lr=1e-3, lr_search=[1.0])


@pytest.fixture
def backbone() -> Backbone:
    """One network is enough here."""
    return random_backbone("test_resnet")


@dataclass(frozen=True)
class Folds:
    """Fits that hold a fold out, on the test's backbone."""

    backbone: Backbone
    runtime: Runtime
    store: FeatureStore

    def __call__(self, whole: Dataset, fold: HeldOut | None, depth: str = "0.5", cfg: TrainConfig = RECIPE, epoch: int = 2) -> Fitted:
        torch.manual_seed(0)
        dataset = whole if fold is None else fold.dataset
        spec = TrainingSpec(
            self.backbone,
            cut(self.backbone),
            dataset,
            parse_freeze(depth),
            cfg,
            self.runtime,
            seed=0,
            metric=Metric.accuracy,
            settled=Settled(epoch, 1.7),
        )
        inputs = self.inputs(whole, fold, depth, cfg)
        before = {name: tensor.clone() for name, tensor in tensors_of(self.backbone.trunk).items()}
        (fitted,) = fit([spec], inputs)
        assert not isinstance(fitted, DivergedError)
        with torch.no_grad():
            for name, tensor in tensors_of(self.backbone.trunk).items():
                tensor.copy_(before[name])
        return fitted

    def inputs(self, whole: Dataset, fold: HeldOut | None, depth: str, cfg: TrainConfig) -> Inputs:
        return provide_inputs(
            self.backbone,
            cut(self.backbone),
            whole,
            cfg,
            pool=ThreadPool(self.runtime),
            precision=Precision.float32,
            store=self.store,
            starts={phase.plan.first_changed_block for phase in phases_of(self.backbone, parse_freeze(depth), cfg)},
            passing=set(),
            fold=fold,
        )


@pytest.fixture
def train(backbone: Backbone, runtime: Runtime, tmp_path: Path) -> Folds:
    """Fits with a store of their own."""
    return Folds(backbone, runtime, FeatureStore(tmp_path / "features", max_gib=1))


def _ids(split: Split) -> set[str]:
    return {image.id for image in split.images}


def test_every_image_of_train_and_val_is_held_out_once(dataset: Dataset) -> None:
    """Folds share no image and leave none out; what is left of each is trained on; test is never there; labels stay with their images."""
    label_of = {image.id: label for split in (dataset.train, dataset.val) for image, label in zip(split.images, split.labels, strict=True)}
    held = [hold_out(dataset, fold, seed=3) for fold in range(folds_of(dataset))]
    ids = [name for each in held for name in _ids(each.dataset.val)]
    assert sorted(ids) == sorted(label_of)
    for each in held:
        assert _ids(each.dataset.train) == label_of.keys() - _ids(each.dataset.val)
        assert len(each.dataset.test) == 0
        for split in (each.dataset.train, each.dataset.val):
            assert [label_of[image.id] for image in split.images] == split.labels.tolist()


def test_folds_are_those_of_the_heads(dataset: Dataset) -> None:
    """As many, and with the same images in each, as heads of that seed are judged on."""
    features = np.random.default_rng(0).normal(size=(37, 4))
    labels = [dataset.train.labels, dataset.val.labels]
    probe = linear_probe(
        [features[:25], features[25:]],
        labels,
        metric=Metric.accuracy,
        class_weights_C=np.ones(3),
        objective=SingleLabel(np.full(3, 1 / 3)),
        seed=5,
    )
    names = np.array([image.id for split in (dataset.train, dataset.val) for image in split.images])
    assert folds_of(dataset) == len(np.unique(probe.folds_N))
    for fold in range(folds_of(dataset)):
        assert _ids(hold_out(dataset, fold, seed=5).dataset.val) == set(names[probe.folds_N == fold])


TWO_PHASES = replace(RECIPE, release="none", release_epochs=1, release_lr=1e-4)


@pytest.mark.parametrize(("depth", "cfg"), [("0.5", RECIPE), ("none", RECIPE), ("all", TWO_PHASES)])
def test_a_fold_is_trained_as_a_data_set_of_its_own_would_be(
    train: Folds, dataset: Dataset, tmp_path: Path, depth: str, cfg: TrainConfig
) -> None:
    """Activations that were cached for train and val, read in another order, give what images split that way from the start give."""
    held, own = hold_out(dataset, 1, seed=0), replace(train, store=FeatureStore(tmp_path / "own", max_gib=1))
    found, wanted = train(dataset, held, depth, cfg), own(held.dataset, None, depth, cfg)
    np.testing.assert_allclose(found.val_log_probs_NC, wanted.val_log_probs_NC, atol=2e-4)
    np.testing.assert_allclose(found.train_log_probs_NC, wanted.train_log_probs_NC, atol=2e-4)
    assert found.val_log_probs_NC.shape == (len(held.dataset.val), 3)


@pytest.mark.parametrize("cfg", [replace(RECIPE, augment=Augment.flip, views=2), replace(RECIPE, augment=Augment.flip), RECIPE])
def test_augmented_images_keep_their_labels(train: Folds, dataset: Dataset, cfg: TrainConfig) -> None:
    """Cached views, new ones and images as they are: each image of the fold's training has the colour of its class."""
    held = hold_out(dataset, 1, seed=0)
    inputs = train.inputs(dataset, held, "none", cfg).train(0)
    (batch,) = inputs.batches(np.arange(len(held.dataset.train)), 100, seed=0)
    (images_BCHW,), labels_B = batch
    assert torch.equal(images_BCHW.mean(dim=(2, 3)).argmax(dim=1), labels_B)
    assert labels_B.tolist() == held.dataset.train.labels.tolist()


def test_cached_activations_are_not_computed_anew(train: Folds, dataset: Dataset) -> None:
    """A fold reads what the candidate's own job has cached: no image goes through the frozen layers again."""
    train.inputs(dataset, None, "0.5", RECIPE)
    again = train.inputs(dataset, hold_out(dataset, 1, seed=0), "0.5", RECIPE)
    assert [cached.effort.num_passed for cached in again.all_views] == [0]


def test_the_labels_of_a_fold_have_no_say(train: Folds, dataset: Dataset) -> None:
    """With every label of the fold wrong, the start, its strength, the kept epoch and the trained network are what they were."""
    held = hold_out(dataset, 0, seed=0)
    val = held.dataset.val
    wrong = replace(held, dataset=replace(held.dataset, val=Split(val.images, (val.labels + 1) % 3)))
    one, other = train(dataset, held), train(dataset, wrong)
    np.testing.assert_array_equal(one.train_log_probs_NC, other.train_log_probs_NC)
    np.testing.assert_array_equal(one.val_log_probs_NC, other.val_log_probs_NC)
    assert one.probe is not None
    assert other.probe is not None
    assert one.probe.strength == other.probe.strength
    assert len(one.probe.labels_N) == len(held.dataset.train)


@pytest.mark.parametrize(("schedule", "epoch"), [(Schedule.held, 2), (Schedule.constant, 1), (Schedule.constant, 2)])
def test_what_the_own_job_chose_is_kept(train: Folds, dataset: Dataset, schedule: Schedule, epoch: int) -> None:
    """That epoch, whatever the fold says of the others, and that temperature; the network is that of the epoch."""
    fitted = train(dataset, hold_out(dataset, 0, seed=0), cfg=replace(RECIPE, schedule=schedule), epoch=epoch)
    assert (fitted.chosen_epoch, fitted.temperature, fitted.lr) == (epoch, 1.7, 1e-3)
    np.testing.assert_array_equal(fitted.val_log_probs_NC, fitted.objective.log_probs(fitted.raw_val_log_probs_NC, 1.7))
    own = fitted.curve[epoch]
    labels = hold_out(dataset, 0, seed=0).dataset.val.labels
    assert own.val_accuracy == pytest.approx((fitted.raw_val_log_probs_NC.argmax(axis=1) == labels).mean())
