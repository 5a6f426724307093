"""Parts of the harness on their own, in this process: images at hand, a cut backbone, the rate of a pass and of a training step.

Used by the benchmarks that look inside a job. Shapes: N images, B images of a batch.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from harness.backbones.backbone import Backbone
from harness.backbones.catalog import resolve
from harness.backbones.load import load_backbone
from harness.backbones.weights import find_weights
from harness.compute.allocator import keep_freed_memory
from harness.compute.runtime import Runtime, resolve_runtime
from harness.compute.thread_pool import ThreadPool
from harness.config import Device, ElpvConfig, Features, Precision, TrainConfig
from harness.data.dataset import Dataset, ImageRef
from harness.data.splits import SPLITS
from harness.features.cached_activations import CachedActivations
from harness.features.cut import CutTrunk, cut
from harness.features.layout import Activations
from harness.features.mode import PLAIN, Chain, Mode
from harness.features.store import FeatureStore
from harness.features.view import View
from harness.transfer.depth import FreezeDepth
from harness.transfer.freeze import apply_freeze, plan_freeze, set_train_mode
from harness.transfer.inputs import provide_inputs
from harness.transfer.loop import new_learner, set_gradients
from harness.transfer.network import Network, Tail, new_head
from harness.transfer.objective import SingleLabelLoss

keep_freed_memory()  # as jobs do; threads that wait make no difference on a quiet machine

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]

BATCH_SIZE = 32
"""Of training, and of the plain forward pass."""

NUM_CLASSES = 2


@dataclass(frozen=True, slots=True)
class Subject:
    """A backbone on the processor, cut, with decoded and normalised images at hand."""

    backbone: Backbone
    trunk: CutTrunk
    pool: ThreadPool
    images_NCHW: torch.Tensor

    @property
    def runtime(self) -> Runtime:
        return self.pool.runtime

    def chain(self, mode: Mode, start: int = 0) -> Chain:
        """The trunk from a boundary to what the head sees."""
        return Chain(self.trunk, [start, self.trunk.last], mode, self.runtime)

    def activations(self, boundary: int) -> Activations:
        """Activations of all images at a boundary, computed in the runtime's precision; float32, and fit for training on."""
        if boundary == 0:
            return (self.images_NCHW,)
        chain = Chain(self.trunk, [0, boundary], Mode(self.runtime.precision, is_channels_last=True), self.runtime)
        found = [ends[-1] for ends in self.pool.map(chain.run, _split((self.images_NCHW,), self.pool.piece))]
        # What inference mode made cannot be trained on; a copy can.
        return tuple(torch.cat(parts).to(torch.float32, copy=True) for parts in zip(*found, strict=True))


def load_elpv(num_images: int | None) -> Dataset:
    """The images and the split of `data=elpv data.max_images=num_images`; None: all."""
    from harness.data.load import load_dataset

    with tempfile.TemporaryDirectory() as folder:
        return load_dataset(ElpvConfig(name="elpv", source="elpv", max_images=num_images), Path(folder))


def images_of(dataset: Dataset) -> list[ImageRef]:
    """Train, val and test, in the order of a pass."""
    return [*dataset.train.images, *dataset.val.images, *dataset.test.images]


def load(name: str, weights: str, runtime: Runtime) -> Backbone:
    """A backbone as a job loads it, placed on the device. `weights` is `pretrained` or `random`."""
    spec = resolve(name)
    backbone = load_backbone(spec, find_weights(spec, weights), image_size=None, features=Features.pooled, seed=0)
    runtime.place(backbone.trunk)
    return backbone


def bundled_features(image_size: int, name: str = "tf_efficientnet_lite0") -> tuple[FloatArray, IntArray]:
    """What the head of a bundled network sees of every elpv photograph, shape N x D, and whether the cell is defective."""
    dataset, runtime = load_elpv(None), resolve_runtime(Device.cpu, Precision.auto)
    spec = resolve(name)
    backbone = load_backbone(spec, find_weights(spec, "pretrained"), image_size=image_size, features=Features.pooled, seed=0)
    runtime.place(backbone.trunk)
    with tempfile.TemporaryDirectory() as folder:
        found = provide_inputs(
            backbone,
            cut(backbone),
            dataset,
            TrainConfig(),
            pool=ThreadPool(runtime),
            precision=Precision.auto,
            store=FeatureStore(Path(folder), max_gib=1),
            starts={len(backbone.blocks)},
            passing=set(),
        )
        features = [np.array(found.features(split)) for split in SPLITS]
    return np.concatenate(features), np.concatenate([getattr(dataset, split).labels for split in SPLITS])


def subject(name: str, weights: str, dataset: Dataset, num_images: int) -> Subject:
    """Load a backbone and decode the first images of a data set as it sees them."""
    runtime = resolve_runtime(Device.cpu, Precision.auto)
    backbone, pool = load(name, weights, runtime), ThreadPool(runtime)
    trunk = cut(backbone)
    view = View(images_of(dataset)[:num_images], backbone.preprocess)
    pixels_NHWC = np.stack(list(pool.map(view.pixels().__getitem__, range(len(view.images)))))
    (images_NCHW,) = CachedActivations(view, trunk.last, pool).enter(0, (torch.from_numpy(pixels_NHWC).permute(0, 3, 1, 2),))
    return Subject(backbone, trunk, pool, images_NCHW)


def run_in_pieces(chain: Chain, activations: Activations, pool: ThreadPool) -> None:
    """One pass as the harness makes it: each core takes whole pieces."""
    for _ in pool.map(chain.run, _split(activations, pool.piece)):
        pass


def run_plainly(chain: Chain, images_NCHW: torch.Tensor) -> None:
    """One pass as people write it: batch after batch, all cores on each operation."""
    for batch in _split((images_NCHW,), BATCH_SIZE):
        chain.run(batch)


def plain_pass(found: Subject) -> Callable[[], None]:
    """The network as it was built, in float32, ready to run over the subject's images."""
    return partial(run_plainly, found.chain(PLAIN), found.images_NCHW)


def training_step(found: Subject, depth: FreezeDepth, activations: Activations, precision: Precision) -> Callable[[], None]:
    """One training step on the first batch behind the boundary of a depth, ready to run.

    Batch-norm keeps its running statistics, as with pretrained weights. The learning rate is zero: the same work, and the
    weights stay as they are.

    Args:
        found: the backbone; its parameters are frozen as the depth says until the next call.
        depth: of freezing.
        activations: of the images at that boundary.
        precision: arithmetic of the trunk.
    """
    trunk, plan, cfg = found.backbone.trunk, plan_freeze(found.backbone.blocks, depth), TrainConfig()
    network = Network(trunk, new_head(found.backbone.num_features, NUM_CLASSES, cfg, seed=0), replace(found.runtime, precision=precision))
    apply_freeze(trunk, plan)
    set_train_mode(trunk, plan, fix_batch_norm=True)
    tail = Tail(network, found.trunk, found.trunk.nearest(plan.first_changed_block))
    batch = tuple(part[:BATCH_SIZE] for part in activations)
    labels_B = torch.arange(len(batch[0])) % NUM_CLASSES
    learner = new_learner(network, cfg, lr=0.0, epochs=1, epoch_steps=1, loss=SingleLabelLoss())

    def step() -> None:
        set_gradients(tail, [(*batch, labels_B)], SingleLabelLoss())
        learner.optimizer.step()

    return step


def best_s(calls: Mapping[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Shortest wall time of each call after one that is not timed; they take turns, so that a machine that slows down slows down all."""
    for call in calls.values():
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return {name: min(taken) for name, taken in times.items()}


def _split(activations: Activations, size: int) -> list[Activations]:
    return list(zip(*(torch.split(part, size) for part in activations), strict=True))
