"""`python -m benchmarks.many_candidates`: time and peak memory of a ranking and its report, step by step, with thousands of candidates.

A study is simulated: rows as a sweep writes them, on disk, and what each candidate says of val. That is on disk as well (`--on-disk`) or, where it would not
fit there, made from a seed whenever it is read. Candidates are backbones at four freeze depths under some recipes; which images are hard is shared by all.
Shapes: N images, C classes.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.figures import Figure, as_records, figure_table
from benchmarks.kept import add_json, keep
from harness.config import Metric, RankConfig
from harness.files import digest
from harness.measure.quality import quality
from harness.reporting import build
from harness.select import contest, ranking, screen
from harness.select.comparison import Chance
from harness.select.contest import Contest
from harness.select.ranks import Leads
from harness.select.resamples import Resamples
from harness.select.sensitivity import Sensitivity
from harness.select.what_if import WhatIf
from harness.status import Status
from harness.study.row import Details, Row
from harness.study.row_file import RowFile, encode
from harness.study.store import Damage, FloatArray, IntArray, Predictions, Study

DEPTHS = {"all": 1.0, "0.5": 0.5, "0.25": 0.25, "none": 0.0}
RECIPES = ("short", "longer", "smaller-rate", "larger-rate", "augmented")
FAMILIES = ("resnet", "densenet", "efficientnet", "vit", "convnext", "regnet", "swin", "mobilenet")
NUM_BLOCKS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is simulated."""

    num_candidates: int
    num_images: int
    num_classes: int = 5

    @property
    def labels_N(self) -> IntArray:
        """Somewhat unequal classes."""
        share_C = np.linspace(2, 1, self.num_classes)
        return np.random.default_rng(1).choice(self.num_classes, self.num_images, p=share_C / share_C.sum()).astype(np.int64)

    @property
    def hard_N(self) -> FloatArray:
        """How hard each image is."""
        return np.random.default_rng(2).standard_normal(self.num_images, dtype=np.float32)

    @property
    def ids_N(self) -> list[str]:
        return [f"val/{i:06d}.png" for i in range(self.num_images)]

    def skill(self, k: int) -> float:
        """In standard deviations of how hard images are: of the backbone, of its depth, of the recipe and of the candidate."""
        backbone, place = divmod(k, len(DEPTHS) * len(RECIPES))
        parts = np.random.default_rng((3, backbone)).normal(1.0, 0.25), (0.0, 0.08, 0.12, 0.1)[place % 4], 0.02 * (place // 4)
        return float(sum(parts) + np.random.default_rng((4, k)).normal(0, 0.03))

    def says(self, k: int, labels_N: IntArray, hard_N: FloatArray) -> FloatArray:
        """Log-probabilities of one candidate, N x C."""
        rng, rows = np.random.default_rng((5, k)), np.arange(len(labels_N))
        is_right_N = 0.8 * hard_N + 0.6 * rng.standard_normal(len(labels_N), dtype=np.float32) < self.skill(k)
        called_N = np.where(is_right_N, labels_N, (labels_N + rng.integers(1, self.num_classes, len(labels_N))) % self.num_classes)
        sure_N = 0.5 + 0.45 * rng.random(len(labels_N), dtype=np.float32)
        found_NC = np.repeat(np.log((1 - sure_N) / (self.num_classes - 1))[:, None], self.num_classes, axis=1)
        found_NC[rows, called_N] = np.log(sure_N)
        return np.asarray(found_NC, dtype=np.float32)

    def row(self, k: int) -> Row:
        """Without scores."""
        number, place = divmod(k, len(DEPTHS) * len(RECIPES))
        freeze, recipe = list(DEPTHS)[place % 4], RECIPES[place // 4]
        family, rng = FAMILIES[number % len(FAMILIES)], np.random.default_rng((6, number))
        gmacs, frozen_frac = float(2 ** rng.normal(1, 1.5)), DEPTHS[freeze]
        params_m, latency_ms, name = 6 * gmacs**0.8, 12 * gmacs**0.8, f"{family}_{number:04d}"
        counts = np.bincount(self.labels_N, minlength=self.num_classes).tolist()
        names = [f"class {c}" for c in range(self.num_classes)]
        return Row(
            job_id=digest(f"{k}".encode())[:16],
            status=Status.ok.value,
            study="simulated",
            protocol="p1",
            backbone=name,
            model=name,
            family=family,
            weights="in1k",
            weights_source="cache",
            weights_sha256=f"sha-{name}",
            imagenet_top1_frac=min(0.7 + 0.08 * float(rng.normal(1, 0.5)), 0.92),
            freeze=freeze,
            num_frozen_blocks=round(frozen_frac * NUM_BLOCKS),
            num_blocks=NUM_BLOCKS,
            frozen_ok=True,
            recipe=recipe,
            recipe_hash=f"hash-{recipe}",
            seed=0,
            dataset="simulated",
            data_fingerprint="f1",
            image_size=224,
            epochs=3,
            epochs_trained=3,
            chosen_epoch=2,
            is_trained=True,
            model_blake2b=f"model-{k}",
            primary_metric=Metric.accuracy.value,
            precision="float32",
            device="cpu",
            num_classes=self.num_classes,
            n_train=4 * self.num_images,
            n_val=self.num_images,
            n_test=0,
            params_m=params_m,
            trainable_params_m=params_m * (1.01 - frozen_frac),
            gmacs=gmacs,
            frozen_macs_frac=0.99 * frozen_frac,
            latency_key=name,
            latency_ms_p50=latency_ms,
            latency_ms_min=0.99 * latency_ms,
            latency_ms_low=0.98 * latency_ms,
            latency_ms_high=1.03 * latency_ms,
            latency_ms_p95=1.2 * latency_ms,
            latency_steady=True,
            throughput_ips=1500 / latency_ms,
            peak_mem_mib=600 + 40 * params_m,
            weights_mib=3.82 * params_m,
            features_s=0.3 * latency_ms,
            train_s=90 * (1.3 - frozen_frac) * gmacs,
            total_s=110 * (1.3 - frozen_frac) * gmacs + 20,
            started_at=f"2025-03-{1 + k // 1440 % 28:02d}T{k // 60 % 24:02d}:{k % 60:02d}:00+00:00",
            harness_version="0.1.0",
            host="bench",
            details=Details(
                class_names=names,
                class_prior=[count / sum(counts) for count in counts],
                profile=_profile(names, counts),
                machine={"cpu_name": "simulated", "num_cores": 8, "num_threads": 2, "memory_gib": 32.0},
                transforms={"train": "resize to 224", "eval": "resize to 224"},
                recipe={"name": recipe, "epochs": 3},
                protocol={"data_fingerprint": "f1", "epochs": 3},
                command=[f"backbone={name}", f"freeze={freeze}", f"experiment={recipe}"],
            ),
        )


def _profile(names: list[str], counts: list[int]) -> dict[str, Any]:
    """Of a data set whose train split is as its val split."""
    return {
        "source": "folder",
        "root": "simulated",
        "num_found": 2 * sum(counts),
        "num_used": 2 * sum(counts),
        "class_counts": {split: dict(zip(names, counts, strict=True)) for split in ("train", "val")},
        "imbalance_ratio": max(counts) / min(counts),
        "split_origin": {"train": "official", "val": "official"},
        "widths": {"min": 120, "median": 300, "max": 640},
        "heights": {"min": 96, "median": 300, "max": 480},
        "modes": {"RGB": 2 * sum(counts)},
        "num_unreadable": 0,
        "unreadable": [],
        "num_duplicates_within": 0,
        "num_duplicates_across": 0,
        "num_label_conflicts": 0,
        "notes": [],
    }


@dataclass(frozen=True, slots=True)
class Simulated(Study):
    """A study whose predictions are made when they are read."""

    world: World
    labels_N: IntArray
    hard_N: FloatArray
    ids_N: list[str]
    place: dict[str, int]

    def predictions(self, job_id: str) -> tuple[Predictions, Predictions | None]:
        log_probs_NC = self.world.says(self.place[job_id], self.labels_N, self.hard_N)
        return Predictions(log_probs_NC, self.labels_N, self.ids_N), None

    def open_test(self, job_id: str, reason: str, by: str = "report") -> Predictions | None:
        """There is no test split."""
        assert job_id in self.place, (reason, by)
        return None

    def _lost(self, file: RowFile) -> Damage | None:
        assert file.row.job_id in self.place  # nothing that could be lost is on a disk
        return None


def write_study(world: World, root: Path, *, on_disk: bool) -> Study:
    """The rows and, with `on_disk`, the predictions. Their files are what the harness writes, without waiting for the disk."""
    study = Study(root)
    labels_N, hard_N, ids_N, place = world.labels_N, world.hard_N, world.ids_N, {}
    for folder in ("rows", "predictions"):
        (root / folder).mkdir(parents=True)
    shown = World(num_candidates=1, num_images=min(world.num_images, 1000), num_classes=world.num_classes)
    for k in range(world.num_candidates):
        row, vouched = world.row(k), None
        log_probs_NC = world.says(k, labels_N[: shown.num_images], hard_N[: shown.num_images])
        values, _ = quality(log_probs_NC, labels_N[: shown.num_images])
        if on_disk:
            content = io.BytesIO()
            np.savez_compressed(content, val_log_probs=log_probs_NC, val_labels=labels_N, val_ids=np.asarray(ids_N, dtype=np.str_))
            study.predictions_path(row.job_id).write_bytes(content.getvalue())
            vouched = digest(content.getvalue())
        scores: dict[str, Any] = {f"val_{name}": value for name, value in values.items()}
        row = replace(row, **scores)
        study.row_path(row.job_id).write_bytes(encode(RowFile(row, vouched or "0" * 32)))
        place[row.job_id] = k
    return study if on_disk else Simulated(root, world, labels_N, hard_N, ids_N, place)


STEPS: tuple[tuple[object, str], ...] = (
    (ranking, "load_screened"),
    (contest, "evidence_of"),
    (Resamples, "from_evidence"),
    (Chance, "of"),
    (Chance, "tied_set"),
    (Leads, "of"),
    (contest, "believe"),
    (WhatIf, "of"),
    (Contest, "picks"),
    (ranking, "open_recommended"),
    (ranking, "entries_of"),
    (Contest, "pairs"),
    (Sensitivity, "of"),
    (build, "write_table"),
    (build, "draw"),
    (build, "audit"),
    (build, "compose"),
    (build, "to_html"),
    (build, "to_markdown"),
    (build, "write_csv"),
)
"""What is timed by itself within a ranking and its report."""


class Meter:
    """Seconds of steps that call each other, and the most memory that the process held meanwhile."""

    def __init__(self, world: World) -> None:
        self.figures: list[Figure] = []
        self._size, self._open = f"{world.num_candidates:,} candidates x {world.num_images:,} images", [0.0]

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Print a step when it is over."""
        self._open[-1] = max(self._open[-1], _peak_mib())
        Path("/proc/self/clear_refs").write_text("5")
        self._open.append(0.0)
        start, start_cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            took_s, cpu_s = time.perf_counter() - start, time.process_time() - start_cpu
            peak_mib = max(self._open.pop(), _peak_mib())
            self._open[-1] = max(self._open[-1], peak_mib)
            print(f"{took_s:9.2f} s {cpu_s:9.2f} CPU s {peak_mib:8.0f} MiB  {'  ' * (len(self._open) - 1)}{name}", flush=True)
            self.figures.append(Figure(took_s, "s", f"{self._size}: {name}"))
            self.figures.append(Figure(cpu_s, "CPU s", f"{self._size}: {name}"))
            self.figures.append(Figure(peak_mib, "MiB", f"{self._size}: {name}"))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Time every one of `STEPS` whenever it is called."""
        with ExitStack() as stack:
            for owner, name in STEPS:
                stack.enter_context(patch.object(owner, name, self._timed(owner, name)))
            yield

    def _timed(self, owner: object, name: str) -> Any:
        function, what = getattr(owner, name), f"{owner.__name__}.{name}" if isinstance(owner, type) else name

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.step(what):
                return function(*args, **kwargs)

        is_bound = not isinstance(owner, type) or isinstance(vars(owner)[name], classmethod)
        return staticmethod(timed) if isinstance(owner, type) and is_bound else timed


def _peak_mib() -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def run(world: World, *, on_disk: bool, reports: bool) -> list[Figure]:
    """Rank one simulated study and, if wanted, write its report."""
    meter = Meter(world)
    with tempfile.TemporaryDirectory(prefix="many-candidates-") as folder:
        study = write_study(world, Path(folder) / "simulated", on_disk=on_disk)
        print(f"\n{world.num_candidates:,} candidates x {world.num_images:,} images", flush=True)
        with meter.step("read all rows"):
            study.rows()
        with meter.watching(), meter.step("report" if reports else "rank"):
            found = build.build_report(study, RankConfig()) if reports else ranking.rank(study, RankConfig())
        print(f"recommended: {found.recommended.label if found.recommended else None}, {len(found.tied)} tied")
        pages = [(path.name, path.stat().st_size / 2**20) for path in sorted(study.report_dir.glob("*.*"))]
        meter.figures += [Figure(size_mib, "MiB", f"size of {name}") for name, size_mib in pages]
        print("  ".join(f"{name} {size_mib:.1f} MiB" for name, size_mib in pages))
    return meter.figures


def agreement(world: World, room: int) -> list[Figure]:
    """The same study ranked with all candidates compared, and with as many as there is room for: what the second says otherwise."""
    with tempfile.TemporaryDirectory(prefix="many-candidates-") as folder:
        study = write_study(world, Path(folder) / "simulated", on_disk=False)
        whole, start = ranking.rank(study, RankConfig()), time.process_time()
        with patch.object(screen, "MOST", room), patch.object(screen, "LEAST", room):
            found = ranking.rank(study, RankConfig())
        cpu_s = time.process_time() - start
    picks = [[each.label for each in (of.recommended, of.budget, of.fastest)] for of in (whole.decision, found.decision) if of is not None]
    tied = [{entry.label for entry in each.tied} for each in (whole, found)]
    pairs = list(zip(whole.entries, found.entries, strict=True))
    apart = np.array([100 * (other.expected - one.expected) for one, other in pairs])
    compared = [not other.is_outranked for _, other in pairs]
    chances = [abs((one.prob_best or 0.0) - (other.prob_best or 0.0)) for one, other in pairs]
    size = f"{world.num_candidates:,} candidates x {world.num_images:,} images, {room} compared"
    found_figures = [
        Figure(float(sum(one == other for one, other in zip(*picks, strict=True))), "", f"{size}: of 3 picks the same", at_least=3),
        Figure(float(len(tied[0])), "", f"{size}: tied where all are compared"),
        Figure(float(len(tied[0] ^ tied[1])), "", f"{size}: tied in one of the two only", at_most=2),
        Figure(float(sum(one.label != other.label for one, other in pairs)), "", f"{size}: places by score that differ", at_most=0),
        Figure(max(chances), "", f"{size}: largest difference of a probability of being best", at_most=0.05),
        Figure(float(apart.mean()), "points", f"{size}: expected scores higher, in the mean"),
        Figure(float(apart[compared].std()), "points", f"{size}: how much that differs between those compared", at_most=0.1),
        Figure(cpu_s, "CPU s", size),
    ]
    print(figure_table(found_figures), flush=True)
    return found_figures


def main() -> None:
    """Print every step as it ends, and write the figures where asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_candidates", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--short", action="store_true", help="one report of 200 candidates, and 80 compared both ways")
    parser.add_argument("--candidates", type=int, help="how many, instead of the three sizes of the full form")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rank-only", action="store_true", help="no report, and predictions that are made when they are read")
    add_json(parser)
    args = parser.parse_args()
    sizes = [(World(num_candidates=k, num_images=1000), True) for k in (1000, 10_000)] + [
        (World(num_candidates=10_000, num_images=200_000), False)
    ]
    if args.short or args.candidates:
        sizes = [(World(num_candidates=args.candidates or 200, num_images=args.images), not args.rank_only)]
    both = World(num_candidates=80, num_images=2000) if args.short else World(num_candidates=300, num_images=20_000)
    figures = [] if args.candidates else agreement(both, room=both.num_candidates // 2 if args.short else 100)
    figures += [figure for world, is_report in sizes for figure in run(world, on_disk=is_report, reports=is_report)]
    keep({"figures": as_records(figures)}, args)


if __name__ == "__main__":
    main()
