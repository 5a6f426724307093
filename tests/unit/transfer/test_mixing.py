"""Mixed images and their labels: what share of which image is in them, and that training sees them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from harness.backbones.backbone import Backbone
from harness.compute.runtime import Runtime
from harness.config import Augment, TrainConfig
from harness.data.dataset import Dataset
from harness.errors import ConfigError
from harness.features.store import FeatureStore
from harness.transfer import training_run
from harness.transfer.mixing import mixed
from harness.transfer.objective import SingleLabelLoss
from harness.transfer.split_inputs import Batch
from tests.unit.transfer.test_train import QUICK, Fit

LABELS_B = torch.tensor([0, 1, 2, 0, 1])
"""Of a batch of odd size: the first and the last image are mixed, and so on."""


def _batches(cfg: TrainConfig, number: int = 20, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Image k of a batch has the value k everywhere."""
    images_BCHW = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 3, 8, 8)
    for (found_BCHW,), shares_BC in mixed([((images_BCHW,), LABELS_B)] * number, cfg, 3, np.random.default_rng(seed)):
        yield found_BCHW, shares_BC


@pytest.mark.parametrize("cfg", [TrainConfig(mixup=0.4), TrainConfig(cutmix=1.0), TrainConfig(mixup=0.4, cutmix=1.0)], ids=str)
def test_labels_are_mixed_as_the_images_are(cfg: TrainConfig) -> None:
    """The share of an image's own pixels is that of its own class, and the rest is that of the image across."""
    own = []
    for images_BCHW, shares_BC in _batches(cfg):
        share = float(shares_BC[0, 0])
        assert images_BCHW[0].mean() == pytest.approx((1 - share) * 4, abs=1e-5)
        assert images_BCHW[3].mean() == pytest.approx(share * 3 + (1 - share) * 1, abs=1e-5)
        torch.testing.assert_close(
            shares_BC, torch.tensor([[share, 1 - share, 0], [1 - share, share, 0], [0, 0, 1], [share, 1 - share, 0], [1 - share, share, 0]])
        )
        own.append(share)
    assert 0 <= min(own) < max(own) <= 1


def test_mixup_blends_and_cutmix_replaces() -> None:
    """Every pixel between two images, or of one of them; with both, either happens."""

    def replaces(cfg: TrainConfig) -> set[bool]:
        return {set(images_BCHW[0].flatten().tolist()) <= {0.0, 4.0} for images_BCHW, _ in _batches(cfg)}

    assert [replaces(TrainConfig(mixup=0.4)), replaces(TrainConfig(cutmix=1.0))] == [{False}, {True}]
    assert replaces(TrainConfig(mixup=0.4, cutmix=1.0)) == {False, True}


def test_what_is_mixed_depends_on_the_seed_alone() -> None:
    """The same epoch again is the same; numpy's global generator has no say."""
    first, again, other = ([shares_BC for _, shares_BC in _batches(TrainConfig(mixup=1.0), 3, seed)] for seed in (1, 1, 2))
    assert all(map(torch.equal, first, again))
    assert not any(map(torch.equal, first, other))


@pytest.mark.parametrize("weights_C", [None, torch.tensor([1.0, 2.0, 5.0])])
def test_the_loss_takes_shares_of_classes(weights_C: Tensor | None) -> None:
    """Whole shares are the loss of the class itself; others are the mean of the losses by share."""
    loss, logits_BC = SingleLabelLoss(weights_C), torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    whole_BC = torch.nn.functional.one_hot(LABELS_B, 3).float()
    torch.testing.assert_close(loss.total(logits_BC, whole_BC), loss.total(logits_BC, LABELS_B))
    torch.testing.assert_close(torch.as_tensor(loss.share(whole_BC)), torch.as_tensor(loss.share(LABELS_B)))
    torch.testing.assert_close(loss.num_correct(logits_BC, whole_BC), loss.num_correct(logits_BC, LABELS_B))
    mixed_BC = 0.3 * whole_BC + 0.7 * whole_BC.flip(0)
    parts = 0.3 * loss.total(logits_BC, LABELS_B) + 0.7 * loss.total(logits_BC, LABELS_B.flip(0))
    torch.testing.assert_close(loss.total(logits_BC, mixed_BC), parts)


@pytest.fixture
def train(backbone: Backbone, dataset: Dataset, runtime: Runtime, tmp_path: Path) -> Fit:
    """Fits with a store of their own."""
    return Fit(backbone, dataset, runtime, FeatureStore(tmp_path / "features", max_gib=1))


@pytest.mark.parametrize("depth", ["all", "0.5"])
def test_mixed_images_go_through_every_layer(train: Fit, monkeypatch: pytest.MonkeyPatch, depth: str) -> None:
    """Whatever is frozen: a step trains on images, as activations of an image say nothing of a mixed one. The head learns something else by it."""
    seen: list[Batch] = []

    def spied(*given: object) -> Iterator[Batch]:
        for batch in mixed(*given):  # type: ignore[arg-type]
            seen.append(batch)
            yield batch

    monkeypatch.setattr(training_run, "mixed", spied)
    size = train.backbone.preprocess.image_size
    cfg = replace(QUICK, lr=0.01, lr_search=[1.0])
    plain = None if depth == "all" else train(depth, cfg).curve[-1].train_loss
    found = train(depth, replace(cfg, mixup=0.5))
    assert len(found.curve) == 3
    assert found.curve[-1].train_loss != plain
    assert {tuple(images_BCHW.shape[1:]) for (images_BCHW,), _ in seen} == {(3, size, size)}
    assert {shares_BC.shape[1] for _, shares_BC in seen} == {3}


def test_kept_views_are_not_mixed() -> None:
    """What is cached to be drawn from again is refused together with what makes every image new."""
    with pytest.raises(ConfigError, match=r"give train.views=1 with train.mixup or train.cutmix"):
        TrainConfig(augment=Augment.flip, views=2, mixup=0.2)
