"""Batches: the activations or images that were asked for, in that order, with their labels."""

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
from harness.features.cached_activations import CachedActivations, InMemory
from harness.features.cut import cut
from harness.features.layout import Layout
from harness.features.view import View
from harness.transfer.split_inputs import Batch, CachedInputs, DecodedInputs
from tests.unit.tiny import PLAIN_CPU, random_backbone

BOUNDARY = 3


@pytest.fixture
def backbone() -> Backbone:
    """One is enough here: 32 pixels, as the images have."""
    return random_backbone("test_resnet", 32)


@pytest.fixture
def cached(backbone: Backbone, dataset: Dataset) -> CachedActivations:
    """Of train, with nothing cached yet."""
    return CachedActivations(View(dataset.train.images, backbone.preprocess), cut(backbone).last, ThreadPool(PLAIN_CPU))


def _numbered(cached: CachedActivations, view: int) -> CachedActivations:
    """Two parts per row that say which view and which image they are of."""
    of = CachedActivations(cached.view, cached.last, cached.pool)
    rows_N = torch.arange(len(cached.view.images)).float()
    activations = (100.0 * view + rows_N).reshape(-1, 1, 1, 1).expand(-1, 2, 3, 3), rows_N.reshape(-1, 1)
    layout = Layout.of(activations)
    assert layout is not None
    of.hold(BOUNDARY, InMemory(layout.pack(activations), {"layout": layout.to_json()}))
    return of


def _inputs(cached: CachedActivations, dataset: Dataset, num_views: int, rows_N: npt.NDArray[np.int64]) -> CachedInputs:
    return CachedInputs([_numbered(cached, view) for view in range(num_views)], BOUNDARY, rows_N, dataset.train.labels[rows_N])


def _joined(batches: Sequence[Batch]) -> tuple[tuple[Tensor, ...], Tensor]:
    parts = zip(*(activations for activations, _ in batches), strict=True)
    return tuple(torch.cat(part) for part in parts), torch.cat([labels_B for _, labels_B in batches])


@pytest.mark.parametrize("num_views", [1, 2, 5])
def test_cached_activations_come_in_the_asked_order(cached: CachedActivations, dataset: Dataset, num_views: int) -> None:
    """Whatever view each image is drawn from, its row is the image's own, all parts are of one view, and the label is its label."""
    rows_N = np.arange(4, 25)  # images of a split that begins at the fourth row
    inputs = _inputs(cached, dataset, num_views, rows_N)
    order_N = np.random.default_rng(0).permutation(len(rows_N))
    batches = list(inputs.batches(order_N, 8, seed=7))
    assert [len(labels_B) for _, labels_B in batches] == [8, 8, 5]
    (maps, numbers), labels_N = _joined(batches)
    assert numbers[:, 0].tolist() == rows_N[order_N].tolist()
    assert labels_N.tolist() == dataset.train.labels[rows_N[order_N]].tolist()
    view_N = np.random.default_rng(7).integers(num_views, size=len(order_N))
    wanted = torch.from_numpy(100 * view_N + rows_N[order_N]).float()
    assert torch.equal(maps, wanted.reshape(-1, 1, 1, 1).expand(-1, 2, 3, 3))


def test_views_are_drawn_by_seed_and_all_of_them(cached: CachedActivations, dataset: Dataset) -> None:
    """Equal seeds draw equal views, other seeds others, and no view is left out."""
    inputs = _inputs(cached, dataset, 3, np.arange(25))
    order_N = np.arange(25)
    drawn = [_joined(list(inputs.batches(order_N, 8, seed)))[0][0][:, 0, 0, 0] // 100 for seed in (1, 1, 2)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert set(drawn[0].tolist()) == {0, 1, 2}


def test_a_view_that_no_image_of_a_batch_draws_is_no_trouble(cached: CachedActivations, dataset: Dataset) -> None:
    """Batches of one image read one view only."""
    inputs = _inputs(cached, dataset, 4, np.arange(25))
    (_, numbers), _ = _joined(list(inputs.batches(np.arange(25), 1, seed=0)))
    assert numbers[:, 0].tolist() == list(range(25))


def _decoded(cached: CachedActivations, dataset: Dataset, *views: View, rows_N: npt.NDArray[np.int64] | None = None) -> DecodedInputs:
    rows_N = np.arange(len(dataset.train)) if rows_N is None else rows_N
    return DecodedInputs(cached.pool, views or [cached.view], rows_N, dataset.train.labels[rows_N])


def test_decoded_images_are_those_of_the_transform(cached: CachedActivations, dataset: Dataset) -> None:
    """Bit by bit what the library's transform makes of each image, in the asked order, a short last batch included."""
    transform = eval_transform(cached.view.preprocess)
    rows_N = np.arange(4, 25)  # images of a split that begins at the fourth row
    order_N = np.random.default_rng(0).permutation(len(rows_N))[:19]
    batches = list(_decoded(cached, dataset, rows_N=rows_N).batches(order_N, 8, seed=0))
    assert [len(labels_B) for _, labels_B in batches] == [8, 8, 3]
    (images_NCHW,), labels_N = _joined(batches)
    wanted = [transform(dataset.train.images[index].open()) for index in rows_N[order_N]]
    assert torch.equal(images_NCHW, torch.stack(wanted))
    assert labels_N.tolist() == dataset.train.labels[rows_N[order_N]].tolist()
    assert images_NCHW.dtype is torch.float32


def test_decoded_views_are_drawn_as_cached_ones_are(cached: CachedActivations, dataset: Dataset) -> None:
    """Each image comes as its drawn view changes it, the same every time; all views are drawn."""
    views = [View(dataset.train.images, cached.view.preprocess, Augment.light, number) for number in range(3)]
    seen = [_joined(list(_decoded(cached, dataset, view).batches(np.arange(25), 8, seed=0)))[0][0] for view in views]
    order_N = np.random.default_rng(1).permutation(25)
    (images_NCHW,), _ = _joined(list(_decoded(cached, dataset, *views).batches(order_N, 8, seed=7)))
    view_N = np.random.default_rng(7).integers(3, size=25)
    assert set(view_N.tolist()) == {0, 1, 2}
    for image, view, index in zip(images_NCHW, view_N, order_N, strict=True):
        assert torch.equal(image, seen[view][index])
    assert not torch.equal(seen[0], seen[1])


@pytest.mark.parametrize("augment", [Augment.light, Augment.strong])
def test_random_changes_are_decided_by_the_seed(cached: CachedActivations, dataset: Dataset, augment: Augment) -> None:
    """Equal seeds change the images equally, whatever this process drew before; other seeds and no augmentation differ."""

    def pixels(seed: int, of: Augment = augment) -> Tensor:
        view = View(dataset.train.images, cached.view.preprocess, of)
        (images_NCHW,), _ = _joined(list(_decoded(cached, dataset, view).batches(np.arange(16), 8, seed)))
        return images_NCHW

    first = pixels(1)
    torch.rand(5)
    assert torch.equal(first, pixels(1))
    assert not torch.equal(first, pixels(2))
    assert not torch.equal(first, pixels(1, Augment.none))


def test_random_changes_leave_this_process_alone(cached: CachedActivations, dataset: Dataset) -> None:
    """They are drawn elsewhere: what is random here goes on as if nothing was decoded."""
    view = View(dataset.train.images, cached.view.preprocess, Augment.light)
    before = torch.get_rng_state()
    list(_decoded(cached, dataset, view).batches(np.arange(16), 8, seed=3))
    assert torch.equal(torch.get_rng_state(), before)
