"""A training that was ended and taken up again is the training that was not."""

import copy
import errno
import hashlib
import io
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness.backbones.backbone import Backbone
from harness.backbones.tensors import network_digest
from harness.compute.runtime import Runtime
from harness.compute.thread_pool import ThreadPool
from harness.config import Adapter, Augment, Metric, Precision, Schedule, TrainConfig
from harness.data.dataset import Dataset
from harness.errors import DivergedError
from harness.features.cut import cut
from harness.features.store import FeatureStore
from harness.transfer import snapshots
from harness.transfer.checkpoints import Snapshot
from harness.transfer.depth import parse_freeze
from harness.transfer.inputs import provide_inputs
from harness.transfer.snapshots import Moment, Snapshots
from harness.transfer.spec import Fitted, SnapshotPlace, TrainingSpec, phases_of
from harness.transfer.train import fit
from tests.unit.tiny import random_backbone

QUICK = TrainConfig(epochs=3, batch_size=8)


class EndedError(Exception):
    """The process was told to go."""


@dataclass(frozen=True)
class Job:
    """Trained from the same weights as often as it is asked for."""

    backbone: Backbone
    dataset: Dataset
    runtime: Runtime
    cfg: TrainConfig
    adapter: Adapter = Adapter.none
    depth: str = "0.5"
    is_short: bool = False
    store: FeatureStore = field(kw_only=True)

    def __call__(self, place: SnapshotPlace | None = None) -> Fitted | DivergedError:
        backbone = replace(self.backbone, trunk=copy.deepcopy(self.backbone.trunk))
        trunk, depth = cut(backbone), parse_freeze(self.depth)
        spec = TrainingSpec(backbone, trunk, self.dataset, depth, self.cfg, self.runtime, 0, Metric.accuracy)
        spec = replace(spec, adapter=self.adapter, is_short=self.is_short, snapshots=place)
        inputs = provide_inputs(
            backbone,
            trunk,
            self.dataset,
            self.cfg,
            pool=ThreadPool(self.runtime),
            precision=Precision.float32,
            store=self.store,
            starts={phase.plan.first_changed_block for phase in phases_of(backbone, depth, self.cfg, self.adapter)},
            passing=set(),
        )
        (found,) = fit([spec], inputs)
        return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SnapshotPlace:
    """A snapshot after every epoch."""
    monkeypatch.setattr(snapshots, "WRITING_FRAC", 1e9)
    return SnapshotPlace(tmp_path / "snapshots" / "job.pt", "key", 0.0)


@pytest.fixture
def job(dataset: Dataset, runtime: Runtime, tmp_path: Path) -> Callable[..., Job]:
    """Of some recipe, on a network with batch norm."""
    store, backbone = FeatureStore(tmp_path / "features", max_gib=1), random_backbone("test_resnet")
    return lambda cfg=QUICK, **options: Job(backbone, dataset, runtime, cfg, store=store, **options)


def _ended_after(number: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Snapshots are written until the number is reached, and then the process goes; each one written is in the list."""
    written: list[int] = []
    write = Snapshots.write

    def wrapped(self: Snapshots, moment: Moment) -> None:
        write(self, moment)
        written.append(moment.num_done)
        if len(written) == number:
            raise EndedError

    monkeypatch.setattr(Snapshots, "write", wrapped)
    return written


def _said(found: Fitted | DivergedError) -> list[object]:
    if isinstance(found, DivergedError):
        return [str(found)]
    arrays = (found.val_log_probs_NC, found.raw_val_log_probs_NC, found.train_log_probs_NC)
    return [
        found.curve,
        found.chosen_epoch,
        found.lr,
        found.lr_losses,
        found.temperature,
        network_digest(found.network),
        *map(np.ndarray.tobytes, arrays),
    ]


RECIPES: dict[str, tuple[TrainConfig, dict[str, Any]]] = {
    "rates compared": (QUICK, {}),
    "rates widened": (replace(QUICK, lr=1e-2, lr_search=[0.5, 1.0]), {}),
    "a rate that diverges": (replace(QUICK, lr=1e-3, lr_search=[1.0, 1e20]), {}),
    "one rate, any epoch, an average": (replace(QUICK, lr_search=[1.0], schedule=Schedule.constant, ema=0.9), {}),
    "new images, mixed": (replace(QUICK, lr_search=[1.0], augment=Augment.light, mixup=0.4), {"depth": "all"}),
    "two phases": (replace(QUICK, epochs=1, lr_search=[0.3, 1.0], release="none", release_epochs=2), {}),
    "a first phase that diverges": (replace(QUICK, lr=1e20, lr_search=[1.0, 3.0], release="none", release_epochs=2), {}),
    "one epoch": (replace(QUICK, epochs=1, lr_search=[0.3, 1.0]), {}),
    "a short training": (QUICK, {"is_short": True}),
    "a short training that diverges at first": (replace(QUICK, lr=1e-3, lr_search=[1.0, 1e20]), {"is_short": True}),
    "low rank": (replace(QUICK, lr_search=[1.0]), {"adapter": Adapter.lora, "depth": "all"}),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_whoever_goes_on_ends_with_the_same_numbers(job: Callable[..., Job], place: SnapshotPlace, recipe: str) -> None:
    """Wherever it was ended: in the search for a rate, in the whole training, in either phase; to the last bit, and no epoch is done twice."""
    cfg, options = RECIPES[recipe]
    undisturbed = job(cfg, **options)
    expected = _said(undisturbed())
    with pytest.MonkeyPatch.context() as patch:
        written = _ended_after(0, patch)
        undisturbed(place)
    num_epochs = len(written)
    assert num_epochs >= 1 or recipe == "a first phase that diverges"
    for number in sorted({1, -(-num_epochs // 2), num_epochs - 1, num_epochs} & set(range(1, num_epochs + 1))):
        place.path.unlink()
        with pytest.MonkeyPatch.context() as patch, suppress(EndedError):
            _ended_after(number, patch)
            undisturbed(place)
        with pytest.MonkeyPatch.context() as patch:
            rest = _ended_after(0, patch)
            found = undisturbed(place)
        assert _said(found) == expected, number
        assert len(rest) == num_epochs - number, number


def test_what_is_not_of_this_training_is_not_gone_on_from(
    job: Callable[..., Job], place: SnapshotPlace, caplog: pytest.LogCaptureFixture
) -> None:
    """Another version or device, another network, a torn file, no snapshot at all: each is said, and training begins anew."""
    expected = _said(job()())
    with pytest.MonkeyPatch.context() as patch, suppress(EndedError):
        _ended_after(2, patch)
        job()(place)
    whole = place.path.read_bytes()
    found = torch.load(io.BytesIO(whole[16:]), weights_only=True)
    for reason, content in {"other versions": found | {"key": "other"}, "another network": found | {"now": {}}, "": {}}.items():
        place.path.write_bytes(_packed(content))
        caplog.clear()
        assert _said(job()(place)) == expected
        assert "is not used" in caplog.text
        assert reason in caplog.text
    weights = next(iter(found["now"].values())).numpy().tobytes()
    place_of_one = whole.index(weights)
    flipped = whole[:place_of_one] + bytes([whole[place_of_one] ^ 1]) + whole[place_of_one + 1 :]
    for torn in (b"", whole[: len(whole) // 2], b"nonsense", flipped):
        place.path.write_bytes(torn)
        caplog.clear()
        assert _said(job()(place)) == expected
        assert "it is damaged" in caplog.text


def test_a_file_that_would_run_code_does_not(job: Callable[..., Job], place: SnapshotPlace, tmp_path: Path) -> None:
    """Tensors and plain values are read and nothing else."""
    place.path.parent.mkdir()
    place.path.write_bytes(_packed({"key": place.key, "now": _Harmful(tmp_path / "harm")}))
    assert isinstance(job()(place), Fitted)
    assert not (tmp_path / "harm").exists()


def _packed(content: object) -> bytes:
    """As a snapshot is written."""
    packed = io.BytesIO()
    torch.save(content, packed)
    return hashlib.blake2b(packed.getvalue(), digest_size=16).digest() + packed.getvalue()


class _Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return (Path.touch, (self.path,))


def test_a_full_disk_costs_the_snapshot_only(
    job: Callable[..., Job], place: SnapshotPlace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once, and training goes on; also where it fills up while a snapshot is written."""
    expected = _said(job()())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", _full)
        assert _said(job()(place)) == expected
    assert caplog.text.count("No snapshot of this training is kept") == 1
    caplog.clear()
    monkeypatch.setattr(snapshots, "free_mib", lambda _: 1.0)
    assert _said(job()(place)) == expected
    assert caplog.text.count("No snapshot of this training is kept") == 1
    assert not place.path.exists()


def _full(_: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_writing_takes_little_of_the_time(place: SnapshotPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot that took a second is followed by none for fifty, however often they are wanted."""
    now = [0.0]
    monkeypatch.setattr("harness.transfer.snapshots.time.monotonic", lambda: now[0])
    monkeypatch.setattr(snapshots, "WRITING_FRAC", 0.02)
    monkeypatch.setattr(snapshots, "_write", lambda *_: now.__setitem__(0, now[0] + 1))
    kept = Snapshots(replace(place, every_s=10), {})
    now[0] = 9
    assert not kept.is_due
    now[0] = 10
    assert kept.is_due
    kept.write(Moment(1, 1, 0.1, 1, None, {}, Snapshot([], [], {}, {}), {}, 0.0))
    now[0] = 60
    assert not kept.is_due
    now[0] = 62
    assert kept.is_due
