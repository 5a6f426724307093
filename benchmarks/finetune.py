"""`python -m benchmarks.finetune`: fine-tuning at several depths against fastai's `fine_tune` and a plain good recipe, at equal time.

All sides start from the same bundled weights and see the same images, split and input size; what counts is the score on test images that no side chose
anything on. The harness runs a whole sweep over its depths, with its default recipe and empty folders. The others then get as many epochs as
take at least the wall time of that sweep. fastai is left out where it is not installed.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.head_only import save_weights
from benchmarks.paired import Answers, IntArray, difference, interval, score
from benchmarks.pictures import LICENCE, PACKAGE, emoji_folder
from benchmarks.side_by_side import BenchmarkError, describe_machine, last_json, machine_line, run_module, software
from benchmarks.sweeps import sweep
from harness.cli import quit_on_error
from harness.config import DataConfig, ElpvConfig
from harness.data.dataset import Dataset, Split
from harness.data.load import load_dataset
from harness.study.row import Row

BACKBONE = "tf_efficientnet_lite0"
DEPTHS = ("all", "0.5", "none")
BEST, TUNED = "best on val", "best fine-tune on val"
PLAIN, FASTAI = "plain recipe", "fastai fine_tune"
MODULES = {PLAIN: "benchmarks.baselines.plain_tune", FASTAI: "benchmarks.baselines.fastai_tune"}
CACHE = Path("~/.cache/model-selection-harness/benchmarks")


@dataclass(frozen=True, slots=True)
class Setting:
    """What is run on every data set."""

    num_images: int = 1200
    size: int = 128
    splits: tuple[int, ...] = (0, 1, 2)
    overrides: tuple[str, ...] = ()
    """Of the sweep, beside those that say what is compared."""
    baselines: tuple[str, ...] = (PLAIN, FASTAI)


FULL = Setting()
SHORT = Setting(num_images=200, size=64, splits=(0,), baselines=(PLAIN,))


@dataclass(frozen=True, slots=True)
class Case:
    """A data set."""

    cfg: DataConfig
    flips: bool = True
    """Whether a mirrored image is still one of its class."""

    def overrides(self) -> list[str]:
        """How a sweep is told to use it."""
        cfg = self.cfg
        root = [f"data.root={cfg.root}"] if cfg.root else []
        size = [f"data.max_images={cfg.max_images}", f"data.image_size={cfg.image_size}", f"data.split_seed={cfg.split_seed}"]
        return [f"data={cfg.source}", f"data.name={cfg.name}", *root, *size]


@dataclass(frozen=True, slots=True)
class Effort:
    """What one method took on one split."""

    seconds: float
    epochs: int | None


@dataclass(frozen=True, slots=True)
class Round:
    """All methods on one split of a data set."""

    answers: Answers
    efforts: Mapping[str, Effort]
    rows: Sequence[Row]

    @property
    def is_balanced(self) -> bool:
        return self.rows[0].primary_metric == "balanced_accuracy"

    @property
    def num_untrained(self) -> int:
        """Fine-tunes whose kept weights are those from before the first step."""
        return sum(row.freeze != "all" and row.chosen_epoch == 0 for row in self.rows)


def case_of(name: str, setting: Setting) -> Case:
    """A data set by name, its pictures fetched where that is needed."""
    sizes: dict[str, Any] = {"max_images": setting.num_images, "image_size": setting.size}
    if name == "emoji":
        root = str(emoji_folder(CACHE.expanduser()))
        return Case(DataConfig(name=name, source="folder", root=root, **sizes))
    if name == "elpv":
        return Case(ElpvConfig(name=name, source=name, **sizes))
    if name == "digits":
        return Case(DataConfig(name=name, source=name, **sizes), flips=False)
    raise BenchmarkError(f"--data {name}: not a data set here; give some of emoji, elpv, digits.")


def run_round(case: Case, setting: Setting, split_seed: int) -> Round:
    """Run every side on one split.

    Raises:
        BenchmarkError: a side failed, or the sweep used other images than the others.
    """
    case = replace(case, cfg=replace(case.cfg, split_seed=split_seed))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = load_dataset(case.cfg, folder / "prepared")
        given = ["--backbone", BACKBONE, "--weights", str(save_weights(BACKBONE, folder)), "--split", str(_write_split(data, folder))]
        given += ["--size", str(setting.size), *([] if case.flips else ["--no-flips"])]
        wall_s, rows, predicted = _run_harness(case, setting, data, folder)
        efforts = {freeze: Effort(wall_s, None) for freeze in predicted}
        for method in setting.baselines:
            if method != FASTAI or find_spec("fastai"):
                predicted[method], efforts[method] = _run_baseline(MODULES[method], [*given, "--seconds", str(wall_s)], folder)
    return Round(Answers([image.id for image in data.test.images], data.test.labels, predicted), efforts, rows)


def _run_harness(case: Case, setting: Setting, data: Dataset, folder: Path) -> tuple[float, list[Row], dict[str, IntArray]]:
    """Wall time of the whole sweep (seconds), its rows, and by depth what its networks say of test."""
    asked = [f"backbone={BACKBONE}", f"freeze={','.join(DEPTHS)}", *case.overrides(), *setting.overrides]
    swept = sweep(folder / "swept", *asked)
    if {row.data_fingerprint for row in swept.rows} != {data.fingerprint}:
        raise BenchmarkError(
            "the sweep did not use the images and split of the others; case_of() must describe data as the sweep reads it."
        )
    predicted = {}
    for row in swept.rows:
        test = swept.study.open_test(row.job_id, "benchmark finetune")
        if test is None or test.labels_N.tolist() != data.test.labels.tolist():
            raise BenchmarkError(f"freeze={row.freeze}: its test predictions are not of the images and in the order that the others have.")
        predicted[row.freeze] = test.log_probs_NC.argmax(axis=1).astype(np.int64)
    predicted[BEST] = predicted[chosen(swept.rows).freeze]
    predicted[TUNED] = predicted[chosen([row for row in swept.rows if row.freeze != "all"]).freeze]
    return swept.wall_s, list(swept.rows), predicted


def chosen(rows: Sequence[Row]) -> Row:
    """The depth with the best val score in the metric that the data calls for; of equals the one that trains least."""

    def key(row: Row) -> tuple[float, int]:
        value = getattr(row, f"val_{row.primary_metric}")
        return (-1.0 if value is None else value, -DEPTHS.index(row.freeze))

    return max(rows, key=key)


def _run_baseline(module: str, given: Sequence[str], folder: Path) -> tuple[IntArray, Effort]:
    out = folder / "predicted.npy"
    found = last_json(run_module(module, *given, "--out", str(out)).stdout)
    return np.load(out), Effort(found["train_s"], found["epochs"])


def _write_split(data: Dataset, folder: Path) -> Path:
    """Every picture as the harness decodes it, as a file, and the list of them."""
    content: dict[str, Any] = {"class_names": data.class_names}
    content |= {name: _write_images(getattr(data, name), folder / name) for name in ("train", "val", "test")}
    path = folder / "split.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def _write_images(split: Split, folder: Path) -> list[tuple[str, int]]:
    folder.mkdir()
    samples = []
    for number, (image, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
        path = folder / f"{number}.png"
        image.open().save(path)
        samples.append((str(path), label))
    return samples


def lines(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """One record a method: test score, mean seconds of a split, and the interval of how much better the best depth is (fractions)."""
    answers, is_balanced = [each.answers for each in rounds], rounds[0].is_balanced
    found = []
    for method in answers[0].predicted:
        scores = [score(each, method, is_balanced=is_balanced) for each in answers]
        efforts = [each.efforts[method] for each in rounds]
        gain = difference(answers, BEST, method, is_balanced=is_balanced)
        low, high = interval(answers, BEST, method, is_balanced=is_balanced)
        record = {"method": method, "score": float(np.mean(scores)), "scores": scores, "gain": gain, "gain_low": low, "gain_high": high}
        found.append(
            record | {"seconds": float(np.mean([effort.seconds for effort in efforts])), "epochs": [effort.epochs for effort in efforts]}
        )
    return found


def table(name: str, rounds: Sequence[Round]) -> str:
    """What to print of a data set; differences in points."""
    first, metric = rounds[0].rows[0], str(rounds[0].rows[0].primary_metric).replace("_", " ")
    head = (
        f"{name}: {first.n_train} train, {first.n_val} val, {first.n_test} test images, {first.num_classes} classes, splits: {len(rounds)}"
    )
    body = [
        f"{line['score']:8.3f} {line['seconds']:8.0f} s {100 * line['gain']:+7.1f} [{100 * line['gain_low']:+.1f}, {100 * line['gain_high']:+.1f}]  {_named(line)}"
        for line in lines(rounds)
    ]
    gap = [100 * number for number in _over_frozen(rounds)]
    notes = [
        f"the best fine-tune on val is {gap[0]:+.1f} points [{gap[1]:+.1f}, {gap[2]:+.1f}] better than the fixed network",
        f"fine-tunes that kept the weights from before the first step: {sum(each.num_untrained for each in rounds)} of {len(rounds) * (len(DEPTHS) - 1)}",
    ]
    return "\n".join([head, f"test {metric}, time of a split, how many points the best depth is better [95 % interval]", *body, *notes])


def _named(line: Mapping[str, Any]) -> str:
    method = line["method"]
    if method in MODULES:
        return f"{method}, {', '.join(map(str, line['epochs']))} epochs"
    return f"harness, {method if method in (BEST, TUNED) else f'freeze={method}'}"


def _over_frozen(rounds: Sequence[Round]) -> tuple[float, float, float]:
    answers, is_balanced = [each.answers for each in rounds], rounds[0].is_balanced
    return (difference(answers, TUNED, "all", is_balanced=is_balanced), *interval(answers, TUNED, "all", is_balanced=is_balanced))


def as_record(rounds: Sequence[Round]) -> dict[str, Any]:
    """Plain JSON of a data set."""
    gain, low, high = _over_frozen(rounds)
    kept = ("freeze", "chosen_epoch", "lr", "epochs", "train_s", "val_accuracy", "val_balanced_accuracy")
    return {
        "metric": rounds[0].rows[0].primary_metric,
        "methods": lines(rounds),
        "tuned_over_frozen": {"gain": gain, "gain_low": low, "gain_high": high},
        "num_untrained": sum(each.num_untrained for each in rounds),
        "rows": [[{name: getattr(row, name) for name in kept} for row in each.rows] for each in rounds],
    }


def main() -> None:
    """Run every data set, print a table for each, write the record where one is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.finetune", description="Fine-tuning against fastai's and a plain good recipe, at equal time."
    )
    parser.add_argument("--data", default="emoji,elpv,digits", help="data sets, separated by commas")
    parser.add_argument("--images", type=int, default=FULL.num_images, help="of a data set, at most")
    parser.add_argument("--size", type=int, default=FULL.size, help="side of the input (pixels)")
    parser.add_argument("--splits", type=int, default=len(FULL.splits), help="how many")
    parser.add_argument(
        "--short", action="store_true", help="digits only, 200 images of 64 pixels, one split, no fastai, whatever else is given"
    )
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    parser.add_argument("overrides", nargs="*", help="of the sweep, such as train.epochs=10")
    args = parser.parse_args()
    asked = Setting(args.images, args.size, tuple(range(args.splits)), tuple(args.overrides))
    setting, names = (SHORT, ["digits"]) if args.short else (asked, args.data.split(","))
    with quit_on_error():
        where = describe_machine()
        print(f"{machine_line(where)}\n{BACKBONE}, input of {setting.size} pixels", flush=True)
        results = {}
        for name in names:
            if name == "emoji":
                print(f"emoji: from the npm package {PACKAGE}; {LICENCE}", flush=True)
            case = case_of(name, setting)
            rounds = [run_round(case, setting, split_seed) for split_seed in setting.splits]
            print(table(name, rounds), flush=True)
            results[name] = as_record(rounds)
        if args.json:
            packages = ["torchvision", *(["fastai"] if find_spec("fastai") else [])]
            record = {"machine": where, **software(*packages), "setting": asdict(setting), "data": results}
            args.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
