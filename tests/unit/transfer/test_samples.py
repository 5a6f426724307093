"""Batches: the rows or images that were asked for, in that order, with their labels."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from harness.backbones.backbone import Backbone
from harness.compute.thread_pool import ThreadPool
from harness.config import Augment
from harness.data.dataset import Dataset
from harness.data.transforms import eval_transform
from harness.features.bank import Bank, InMemory
from harness.features.cut import cut
from harness.features.rows import Layout
from harness.features.view import View
from harness.transfer.samples import Batch, DecodedSamples, KeptSamples
from tests.unit.tiny import PLAIN_CPU, random_backbone

BOUNDARY = 3


@pytest.fixture
def backbone() -> Backbone:
    """One is enough here: 32 pixels, as the images have."""
    return random_backbone("test_resnet", 32)


@pytest.fixture
def bank(backbone: Backbone, dataset: Dataset) -> Bank:
    """Of train, with nothing kept yet."""
    return Bank(View(dataset.train.images, backbone.preprocess), cut(backbone), ThreadPool(PLAIN_CPU))


def _numbered(bank: Bank, view: int) -> Bank:
    """Two parts per row that say which view and which image they are of."""
    of = Bank(bank.view, bank.trunk, bank.pool)
    rows_N = torch.arange(len(bank.view.images)).float()
    crossing = (100.0 * view + rows_N).reshape(-1, 1, 1, 1).expand(-1, 2, 3, 3), rows_N.reshape(-1, 1)
    layout = Layout.of(crossing)
    assert layout is not None
    of.hold(BOUNDARY, InMemory(layout.pack(crossing), {"layout": layout.to_json()}))
    return of


def _kept(bank: Bank, dataset: Dataset, num_views: int, rows_N: npt.NDArray[np.int64]) -> KeptSamples:
    return KeptSamples([_numbered(bank, view) for view in range(num_views)], BOUNDARY, rows_N, dataset.train.labels[rows_N])


def _joined(batches: Sequence[Batch]) -> tuple[tuple[Tensor, ...], Tensor]:
    parts = zip(*(crossing for crossing, _ in batches), strict=True)
    return tuple(torch.cat(part) for part in parts), torch.cat([labels_B for _, labels_B in batches])


@pytest.mark.parametrize("num_views", [1, 2, 5])
def test_kept_rows_come_in_the_asked_order(bank: Bank, dataset: Dataset, num_views: int) -> None:
    """Whatever view each sample is drawn from, its row is the sample's own, all parts are of one view, and the label is its label."""
    rows_N = np.arange(4, 25)  # samples of a split that begins at the fourth row
    samples = _kept(bank, dataset, num_views, rows_N)
    order_N = np.random.default_rng(0).permutation(len(rows_N))
    batches = list(samples.batches(order_N, 8, seed=7))
    assert [len(labels_B) for _, labels_B in batches] == [8, 8, 5]
    (maps, numbers), labels_N = _joined(batches)
    assert numbers[:, 0].tolist() == rows_N[order_N].tolist()
    assert labels_N.tolist() == dataset.train.labels[rows_N[order_N]].tolist()
    view_N = np.random.default_rng(7).integers(num_views, size=len(order_N))
    wanted = torch.from_numpy(100 * view_N + rows_N[order_N]).float()
    assert torch.equal(maps, wanted.reshape(-1, 1, 1, 1).expand(-1, 2, 3, 3))


def test_views_are_drawn_by_seed_and_all_of_them(bank: Bank, dataset: Dataset) -> None:
    """Equal seeds draw equal views, other seeds others, and no view is left out."""
    samples = _kept(bank, dataset, 3, np.arange(25))
    order_N = np.arange(25)
    drawn = [_joined(list(samples.batches(order_N, 8, seed)))[0][0][:, 0, 0, 0] // 100 for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert set(drawn[0].tolist()) == {0, 1, 2}


def test_a_view_that_no_sample_of_a_batch_draws_is_no_trouble(bank: Bank, dataset: Dataset) -> None:
    """Batches of one sample read one view only."""
    samples = _kept(bank, dataset, 4, np.arange(25))
    (_, numbers), _ = _joined(list(samples.batches(np.arange(25), 1, seed=0)))
    assert numbers[:, 0].tolist() == list(range(25))


def _decoded(bank: Bank, dataset: Dataset, *views: View, rows_N: npt.NDArray[np.int64] | None = None) -> DecodedSamples:
    rows_N = np.arange(len(dataset.train)) if rows_N is None else rows_N
    return DecodedSamples(bank.pool, views or [bank.view], rows_N, dataset.train.labels[rows_N])


def test_decoded_images_are_those_of_the_transform(bank: Bank, dataset: Dataset) -> None:
    """Bit by bit what the library's transform makes of each image, in the asked order, a short last batch included."""
    transform = eval_transform(bank.view.preprocess)
    rows_N = np.arange(4, 25)  # samples of a split that begins at the fourth row
    order_N = np.random.default_rng(0).permutation(len(rows_N))[:19]
    batches = list(_decoded(bank, dataset, rows_N=rows_N).batches(order_N, 8, seed=0))
    assert [len(labels_B) for _, labels_B in batches] == [8, 8, 3]
    (images_NCHW,), labels_N = _joined(batches)
    wanted = [transform(dataset.train.images[index].open()) for index in rows_N[order_N]]
    assert torch.equal(images_NCHW, torch.stack(wanted))
    assert labels_N.tolist() == dataset.train.labels[rows_N[order_N]].tolist()
    assert images_NCHW.dtype is torch.float32


def test_decoded_views_are_drawn_as_kept_ones_are(bank: Bank, dataset: Dataset) -> None:
    """Each image comes in the look that its drawn view has, the same look every time; all views are drawn."""
    views = [View(dataset.train.images, bank.view.preprocess, Augment.light, number) for number in range(3)]
    looks = [_joined(list(_decoded(bank, dataset, view).batches(np.arange(25), 8, seed=0)))[0][0] for view in views]
    order_N = np.random.default_rng(1).permutation(25)
    (images_NCHW,), _ = _joined(list(_decoded(bank, dataset, *views).batches(order_N, 8, seed=7)))
    view_N = np.random.default_rng(7).integers(3, size=25)
    assert set(view_N.tolist()) == {0, 1, 2}
    for image, view, index in zip(images_NCHW, view_N, order_N, strict=True):
        assert torch.equal(image, looks[view][index])
    assert not torch.equal(looks[0], looks[1])


@pytest.mark.parametrize("augment", [Augment.light, Augment.strong])
def test_random_changes_are_decided_by_the_seed(bank: Bank, dataset: Dataset, augment: Augment) -> None:
    """Equal seeds change the images equally, whatever this process drew before; other seeds and no augmentation differ."""

    def look(seed: int, of: Augment = augment) -> Tensor:
        view = View(dataset.train.images, bank.view.preprocess, of)
        (images_NCHW,), _ = _joined(list(_decoded(bank, dataset, view).batches(np.arange(16), 8, seed)))
        return images_NCHW

    first = look(1)
    torch.rand(5)
    assert torch.equal(first, look(1))
    assert not torch.equal(first, look(2))
    assert not torch.equal(first, look(1, Augment.none))


def test_random_changes_leave_this_process_alone(bank: Bank, dataset: Dataset) -> None:
    """They are drawn elsewhere: what is random here goes on as if nothing was decoded."""
    view = View(dataset.train.images, bank.view.preprocess, Augment.light)
    before = torch.get_rng_state()
    list(_decoded(bank, dataset, view).batches(np.arange(16), 8, seed=3))
    assert torch.equal(torch.get_rng_state(), before)
