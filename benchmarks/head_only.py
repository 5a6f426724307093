"""The work that `tutorial_loop` and `fastai` time: train a new head on frozen backbones, with photographs of solar cells.

Both sides get the same files, the same split, the same weights and torch's own number of threads. The harness runs a sweep over each
backbone, and one over all where there are several, with empty cache and results folders; a baseline runs one process a backbone. Preparing what a baseline takes for
granted (split.json, and the weights as a file) counts for neither side.
"""

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.kept import add_json, keep
from benchmarks.side_by_side import (
    BenchmarkError,
    Side,
    describe_machine,
    last_json,
    machine_line,
    ratios,
    run_module,
    software,
    table,
    times,
)
from harness.config import ElpvConfig, Features
from harness.data.dataset import Split
from harness.data.images import FileImage

SHORT_IMAGES, SHORT_EPOCHS = 200, 2
HARNESS_RUNS = 3
"""For each run of a baseline, which takes minutes: seconds deserve a median. The short form has one."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is run on both sides."""

    backbones: tuple[str, ...]
    num_images: int
    epochs: int
    repeats: int
    harness_runs: int
    """For each repeat."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a baseline takes for granted: a list of labelled files, and the weights of each backbone as a file."""

    split: Path
    weights: dict[str, Path]
    num_train: int
    num_val: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Result:
    """One repeat of one side: wall time, and by backbone what its row or its last line says about the final model."""

    wall_s: float
    scores: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Contest:
    """The same backbones on both sides."""

    backbones: tuple[str, ...]
    harness: list[Result] = field(default_factory=list)
    baseline: list[Result] = field(default_factory=list)

    def sides(self, name: str) -> list[Side]:
        """The harness first."""
        named = {"harness": self.harness, name: self.baseline}
        return [Side(side, [result.wall_s for result in results]) for side, results in named.items()]

    def as_record(self, name: str) -> dict[str, Any]:
        """Raw times (seconds) and the baseline's median over the harness's."""
        sides = self.sides(name)
        return {"wall_s": {side.name: list(side.walls_s) for side in sides}, "ratio_to_harness": ratios(sides)[1]}


def compare(module_file: str, baseline: str, name: str, packages: Sequence[str]) -> None:
    """Run both sides as the command line asks, print the tables, write the record.

    Args:
        module_file: the benchmark's own file; its record lies beside it.
        baseline: module that is run once a backbone.
        name: what to call it.
        packages: whose versions belong in the record, besides the usual ones.

    Raises:
        HarnessError: a backbone is unknown or its weights are not here, or a process failed.
    """
    args = _read_arguments(name)
    setting = _setting(args)
    where = describe_machine()
    print(machine_line(where), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepare(setting, Path(folder))
        images = f"{prepared.num_train} train and {prepared.num_val} val images of elpv"
        print(
            f"head only, {images}, {setting.epochs} epochs; medians of {setting.harness_runs * setting.repeats} and {setting.repeats}",
            flush=True,
        )
        contests = _run_all(setting, prepared, baseline, name)
    for contest in contests:
        print(f"{', '.join(contest.backbones)}\n{table(contest.sides(name))}")
    last = contests[-1]
    scores = {"harness": last.harness[-1].scores, name: last.baseline[-1].scores}
    print(score_table(scores))
    alone = {contest.backbones[0]: contest.as_record(name) for contest in contests if len(contest.backbones) == 1}
    setting_json = {**asdict(setting), "num_train": prepared.num_train, "num_val": prepared.num_val}
    record = {"machine": where, **software("torchvision", *packages), "setting": setting_json, "alone": alone, "scores": scores}
    keep(record | times(last.sides(name)), args, module_file)


def _read_arguments(name: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"Time the harness against {name}: a new head on frozen backbones, elpv photographs.")
    parser.add_argument("--backbones", default="tf_efficientnet_lite0", help="timm names, separated by commas")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument(
        "--short",
        action="store_true",
        help=f"{SHORT_IMAGES} images, {SHORT_EPOCHS} epochs, whatever else is given; no file beside the module",
    )
    add_json(parser)
    args = parser.parse_args()
    if args.epochs < 1 or args.repeats < 1:
        raise BenchmarkError(f"--epochs {args.epochs} --repeats {args.repeats}: give 1 or more of each.")
    return args


def _setting(args: argparse.Namespace) -> Setting:
    num_images, epochs = (SHORT_IMAGES, SHORT_EPOCHS) if args.short else (args.images, args.epochs)
    return Setting(tuple(args.backbones.split(",")), num_images, epochs, args.repeats, 1 if args.short else HARNESS_RUNS)


def _run_all(setting: Setting, prepared: Prepared, baseline: str, name: str) -> list[Contest]:
    """A contest for each backbone, and where there are several a last one for all; sides alternate, as a machine may slow down."""
    alone = {backbone: Contest((backbone,)) for backbone in setting.backbones}
    together = Contest(setting.backbones)
    for _ in range(setting.repeats):
        for backbone, contest in alone.items():
            contest.harness.extend(_run_harness(setting, (backbone,), prepared.fingerprint))
            contest.baseline.append(run_baseline(setting, prepared, backbone, baseline))
            _say(contest.baseline[-1].wall_s, f"{name}, {backbone}")
        if len(alone) > 1:
            together.harness.extend(_run_harness(setting, setting.backbones, prepared.fingerprint))
            together.baseline.append(_sum([contest.baseline[-1] for contest in alone.values()]))
    return [*alone.values(), together] if len(alone) > 1 else list(alone.values())


def _run_harness(setting: Setting, backbones: tuple[str, ...], fingerprint: str) -> Iterator[Result]:
    for _ in range(setting.harness_runs):
        result = run_harness(setting, backbones, fingerprint)
        _say(result.wall_s, f"harness, {', '.join(backbones)}")
        yield result


def _sum(results: Sequence[Result]) -> Result:
    return Result(sum(result.wall_s for result in results), {name: row for result in results for name, row in result.scores.items()})


def _say(wall_s: float, what: str) -> None:
    print(f"{wall_s:9.1f} s  {what} is done", file=sys.stderr, flush=True)


def prepare(setting: Setting, folder: Path) -> Prepared:
    """Write split.json, from the very images and split of the sweep, and each backbone's weights, into `folder`."""
    from harness.data.load import load_dataset

    cfg = ElpvConfig(name="elpv", source="elpv", max_images=setting.num_images, test_frac=0)
    data = load_dataset(cfg, folder / "cache")
    path = folder / "split.json"
    content = {"class_names": data.class_names, "train": _samples(data.train), "val": _samples(data.val)}
    path.write_text(json.dumps(content), encoding="utf-8")
    weights = {backbone: save_weights(backbone, folder) for backbone in setting.backbones}
    return Prepared(path, weights, len(data.train), len(data.val), data.fingerprint)


def _samples(split: Split) -> list[tuple[str, int]]:
    files = [image for image in split.images if isinstance(image, FileImage)]
    return [(str(image.path), label) for image, label in zip(files, split.labels.tolist(), strict=True)]


def save_weights(backbone: str, folder: Path) -> Path:
    """Write the weights that come with a package, as a state dict that `torch.load` reads, into `folder`."""
    import torch

    from harness.backbones.catalog import resolve
    from harness.backbones.load import load_backbone
    from harness.backbones.weights import find_weights

    spec = resolve(backbone)
    if spec.model != backbone or spec.library != "timm":
        found = f"{spec.model} of {spec.library}"
        raise BenchmarkError(f"--backbones {backbone}: is {found}; the baselines take full timm names, such as tf_efficientnet_lite0.")
    loaded = load_backbone(spec, find_weights(spec, "pretrained"), image_size=None, features=Features.pooled, seed=0)
    path = folder / f"{backbone}.pt"
    torch.save(loaded.trunk.state_dict(), path)
    return path


def run_harness(setting: Setting, backbones: Sequence[str], fingerprint: str) -> Result:
    """One sweep with an empty cache; the time is that of the whole command, report included.

    Raises:
        BenchmarkError: the sweep failed, or used other images or another split than those of this fingerprint.
    """
    with tempfile.TemporaryDirectory() as folder:
        run = run_module(
            "harness.sweep",
            f"backbone={','.join(backbones)}",
            "freeze=all",
            "data=elpv",
            f"data.max_images={setting.num_images}",
            "data.test_frac=0",
            f"train.epochs={setting.epochs}",
            f"results_dir={folder}/results",
            f"cache_dir={folder}/cache",
        )
        with Path(folder, "results", "elpv", "results.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    if {row["data_fingerprint"] for row in rows} != {fingerprint}:
        raise BenchmarkError("the sweep did not use the images and split of the baseline; prepare() must load data as the sweep does.")
    return Result(run.wall_s, {row["backbone"]: _scores_of(row) for row in rows})


def _scores_of(row: dict[str, str]) -> dict[str, Any]:
    return {**{key: float(row[key]) for key in ("val_accuracy", "val_balanced_accuracy")}, "precision": row["precision"]}


def run_baseline(setting: Setting, prepared: Prepared, backbone: str, module: str) -> Result:
    """One process for one backbone."""
    weights = str(prepared.weights[backbone])
    given = ["--backbone", backbone, "--weights", weights, "--split", str(prepared.split), "--epochs", str(setting.epochs)]
    run = run_module(module, *given)
    return Result(run.wall_s, {backbone: last_json(run.stdout)})


def score_table(scores: dict[str, dict[str, Any]]) -> str:
    """One line a backbone and side: final accuracy and balanced accuracy on val, and the best epoch's accuracy where it is known."""
    return "\n".join(
        f"val accuracy {found['val_accuracy']:.3f}, balanced {found['val_balanced_accuracy']:.3f}"
        + (f", best epoch {found['best_val_accuracy']:.3f}" if "best_val_accuracy" in found else "")
        + f"  {side}, {backbone}"
        for side, by_backbone in scores.items()
        for backbone, found in by_backbone.items()
    )
