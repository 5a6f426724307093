"""Every recipe of the tutorials runs with one command, here on a few images and with random weights."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.cli.command import choices
from tests.integration.commands import QUICK, Command

SMALL = (*QUICK, "weights=random", "train.epochs=1")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """The folder layout of the tutorials: train/<class>/ and validation/<class>/, two classes."""
    for split, num_images in (("train", 10), ("validation", 6)):
        for shade, name in ((30, "cats"), (90, "dogs")):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(num_images):
                pixels = np.random.default_rng(shade * 100 + number + len(split)).integers(0, 80, (40, 50, 3)) + shade
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.jpg")
    return tmp_path / "photos"


def test_the_list_of_recipes_is_complete() -> None:
    """A recipe without a test below would be noticed here."""
    assert choices("experiment") == [
        "demo", "finetune_top", "resnet18_cifar10_head", "retrain_all", "vgg16_features", "vgg16_folder_two_phase"
    ]  # fmt: skip


def test_resnet18_head(run_sweep: Command) -> None:
    """A linear head on a fixed ResNet-18 at 32 pixels with flips and padded crops; the last epoch's numbers are in the row."""
    ended = run_sweep(*SMALL, "experiment=resnet18_cifar10_head", "data=digits", "data.max_images=60", "data.image_size=32")
    assert ended.status == 0, ended.err
    (row,) = ended.rows("resnet18_cifar10_head")
    assert (row.model, row.freeze, row.augment, row.batch_size, row.lr, row.image_size) == ("resnet18", "all", "pad_crop", 64, 1e-3, 32)
    assert row.trainable_params_m == pytest.approx((512 * 10 + 10) / 1e6)
    assert row.last_val_log_loss is not None


@pytest.mark.slow
def test_vgg16_in_two_phases(run_sweep: Command, photos: Path) -> None:
    """Flatten, 256 ReLU units and an output on the fixed VGG16, then the last three convolutions released."""
    ended = run_sweep(*SMALL, "experiment=vgg16_folder_two_phase", f"data.root={photos}", "train.release_epochs=1")
    assert ended.status == 0, ended.err
    (row,) = ended.rows("vgg16_folder_two_phase")
    assert (row.freeze, row.release, row.boundary, row.epochs) == ("all", "-3", "body.features.21", 2)
    head = 512 * 4 * 4 * 256 + 256 + 256 * 2 + 2
    assert row.trainable_params_m == pytest.approx((head + 3 * (512 * 512 * 9 + 512)) / 1e6)
    assert [point.phase for point in row.details.curve] == [1, 2]


@pytest.mark.slow
def test_vgg16_features(run_sweep: Command, photos: Path) -> None:
    """The classifier is trained on features that were computed once."""
    ended = run_sweep(*SMALL, "experiment=vgg16_features", f"data.root={photos}")
    assert ended.status == 0, ended.err
    (row,) = ended.rows("vgg16_features")
    assert row.features_s is not None
    assert row.features_s > 0
    assert row.frozen_macs_frac == pytest.approx(1, abs=0.01)


@pytest.mark.slow
def test_top_or_everything(run_sweep: Command, photos: Path) -> None:
    """The two recipes about one network fill one study under one protocol, so that the report compares them."""
    for experiment in ("finetune_top", "retrain_all"):
        ended = run_sweep(*SMALL, f"experiment={experiment}", "data=folder", f"data.root={photos}", "data.image_size=64")
        assert ended.status == 0, ended.err
    rows = ended.rows("finetune_or_retrain")
    assert [row.freeze for row in rows] == ["-2", "none"]
    assert len({row.protocol for row in rows}) == 1
