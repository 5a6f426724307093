"""`python -m benchmarks.pipeline`: whether a pass waits for its images: decoded on the way, decoded by another process, or kept.

On a processor whoever computes a piece decodes it first. `by another process` is how images come beside an accelerator: the harness's
own loader, one worker here, while the cores compute.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.figures import Figure, as_records, figure_table
from benchmarks.kept import add_json, keep
from benchmarks.parts import images_of, load, load_elpv
from benchmarks.side_by_side import BenchmarkError, describe_machine, machine_line, software
from harness.backbones.backbone import Backbone
from harness.cli.command import quit_on_error
from harness.compute.runtime import resolve_runtime
from harness.compute.thread_pool import ThreadPool
from harness.config import Device, Precision
from harness.data.dataset import ImageRef
from harness.features.address import block_digests, feature_address, pixel_address
from harness.features.cached_activations import CachedActivations, ViewCache
from harness.features.cut import CutTrunk, cut
from harness.features.mode import Chain, choose
from harness.features.provide import Request, fill
from harness.features.store import FeatureStore
from harness.features.view import View

BACKBONE, SAME_INPUT = "tf_efficientnet_lite0", "mobilenetv3_large_100"
"""The second sees images cut to the same size in the same way; it needs no weights for that."""
MAX_WAIT_FRAC = 0.1
"""The device never waits for input more than this share of the pass."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass over all images."""

    total_s: float
    wait_frac: float | None
    """None: nothing was decoded."""


class Line:
    """A backbone, its images, and a store that its passes share."""

    def __init__(self, backbone: Backbone, images: list[ImageRef], store: FeatureStore, pool: ThreadPool) -> None:
        self.view = View(images, backbone.preprocess)
        self.trunk: CutTrunk = cut(backbone)
        self.pool = pool
        self._store = store
        self._digests = block_digests(backbone)
        self._num_passes = 0

    def run(self) -> Pass:
        """A pass as a job makes it: trial, decoding or reading, computing, keeping. What the head sees is always computed anew."""
        self._num_passes += 1
        last = self.trunk.last
        features = feature_address(self.view, self._digests, last, self.pool.runtime.device, Precision.auto)
        cache = ViewCache(self._store, {0: pixel_address(self.view), last: features | {"number of the pass": self._num_passes}})
        cached, started = CachedActivations(self.view, self.trunk.last, self.pool), time.perf_counter()
        fill(cached, self.trunk, Request(frozenset(), final=True), cache, Precision.auto)
        return Pass(time.perf_counter() - started, cached.effort.wait_frac)

    def run_beside_workers(self) -> Pass:
        """The same computing with images that come from the loader's processes; nothing is kept."""
        cached, chain = CachedActivations(self.view, self.trunk.last, self.pool), self._chain()
        waited_s, started = self.pool.starved_s, time.perf_counter()

        def compute(pixels_BHWC: torch.Tensor) -> None:
            chain.run(cached.enter(0, (pixels_BHWC.permute(0, 3, 1, 2),)))

        _exhaust(self.pool, compute, self.pool.runtime.load(self.view.pixels(), self.pool.piece))
        total_s = time.perf_counter() - started
        return Pass(total_s, (self.pool.starved_s - waited_s) / total_s)

    def decode(self) -> float:
        """Seconds of decoding alone, on all cores."""
        pixels, started = self.view.pixels(), time.perf_counter()
        _exhaust(self.pool, pixels.__getitem__, range(len(pixels)))
        return time.perf_counter() - started

    def decode_in_workers(self) -> float:
        """Seconds of decoding alone, by the loader's processes."""
        started = time.perf_counter()
        for _ in self.pool.runtime.load(self.view.pixels(), self.pool.piece):
            pass
        return time.perf_counter() - started

    def _chain(self) -> Chain:
        pixels_BHWC = torch.stack(
            [torch.from_numpy(self.view.pixels()[index]) for index in range(min(self.pool.piece, len(self.view.images)))]
        )
        activations = CachedActivations(self.view, self.trunk.last, self.pool).enter(0, (pixels_BHWC.permute(0, 3, 1, 2),))
        chain, _ = choose(self.trunk, [0, self.trunk.last], activations, self.pool, Precision.auto)
        return chain


def _exhaust(pool: ThreadPool, function: Callable[..., object], pieces: object) -> None:
    for _ in pool.map(function, pieces):  # type: ignore[arg-type]
        pass


def measure(num_images: int) -> list[Figure]:
    """Every pass once, in an order in which each finds what it needs."""
    runtime = resolve_runtime(Device.cpu, Precision.auto)
    images, pool = images_of(load_elpv(num_images)), ThreadPool(runtime)
    first, second = load(BACKBONE, "pretrained", runtime), load(SAME_INPUT, "random", runtime)
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(Path(folder), max_gib=20)
        line = Line(first, images, store, pool)
        workers_s, beside = line.decode_in_workers(), line.run_beside_workers()
        decode_s, decoding, kept = line.decode(), line.run(), line.run()
        other = Line(second, images, store, pool).run()
    if decoding.wait_frac is None or beside.wait_frac is None or kept.wait_frac is not None:
        raise BenchmarkError(f"{BACKBONE}: the first pass must decode and the second must not; run the benchmark again with free disk.")
    return [
        Figure(decoding.total_s, "s", f"{BACKBONE}: pass over {len(images)} image files, each core decodes what it computes; pixels kept"),
        Figure(decoding.wait_frac, "", "share of that pass in which a core waited for input", at_most=MAX_WAIT_FRAC),
        Figure(beside.total_s, "s", "the same computing, images decoded by the loader's processes"),
        Figure(beside.wait_frac, "", "share of that pass in which a core waited for input", at_most=MAX_WAIT_FRAC),
        Figure(kept.total_s, "s", "the same pass from kept pixels"),
        Figure(decode_s, "s", "decoding alone, on all cores"),
        Figure(workers_s, "s", "decoding alone, by the loader's processes"),
        Figure(other.total_s, "s", f"{SAME_INPUT}: pass after that, same input size"),
        Figure(0.0 if other.wait_frac is None else float(len(images)), "images", f"decoded for {SAME_INPUT}", at_most=0),
    ]


def main() -> None:
    """Measure, print the table, write `benchmarks/pipeline.json`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pipeline", description="Time how images reach a pass.")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--short", action="store_true", help="120 images, whatever else is given; no file beside the module")
    add_json(parser)
    args = parser.parse_args()
    num_images = 120 if args.short else args.images
    with quit_on_error():
        where = describe_machine()
        print(machine_line(where), flush=True)
        figures = measure(num_images)
        print(figure_table(figures))
        record = {"machine": where, **software(), "setting": {"num_images": num_images}}
        keep(record | {"figures": as_records(figures)}, args, __file__)


if __name__ == "__main__":
    main()
