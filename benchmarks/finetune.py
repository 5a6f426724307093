"""`python -m benchmarks.finetune`: fine-tuning at several depths against fastai's `fine_tune` and a plain good recipe, at equal time.

All sides start from the same bundled weights and see the same images, split and input size; what counts is the score on test images that no side chose
anything on. The harness runs a whole sweep over its depths, with its default recipe and empty folders. The others then get as many epochs as
take at least the wall time of that sweep. fastai is left out where it is not installed.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import Case, case_of, write_split
from benchmarks.head_only import save_weights
from benchmarks.kept import add_json, keep
from benchmarks.paired import Answers, IntArray, difference, interval, score
from benchmarks.pictures import LICENCE, PACKAGE
from benchmarks.side_by_side import BenchmarkError, describe_machine, last_json, machine_line, run_module, software
from benchmarks.sweeps import sweep
from harness.cli.command import quit_on_error
from harness.data.dataset import Dataset
from harness.data.load import load_dataset
from harness.study.row import Row

BACKBONE = "tf_efficientnet_lite0"
DEPTHS = ("all", "0.5", "none")
BEST, TUNED = "best on val", "best fine-tune on val"
PLAIN, FASTAI = "plain recipe", "fastai fine_tune"
MODULES = {PLAIN: "benchmarks.baselines.plain_tune", FASTAI: "benchmarks.baselines.fastai_tune"}
KEPT_COLUMNS = ("freeze", "chosen_epoch", "lr", "epochs", "train_s", "val_accuracy", "val_balanced_accuracy")


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


def run_round(case: Case, setting: Setting) -> Round:
    """Run every side on one split.

    Raises:
        BenchmarkError: a side failed, or the sweep used other images than the others.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = load_dataset(case.cfg, folder / "prepared")
        given = ["--backbone", BACKBONE, "--weights", str(save_weights(BACKBONE, folder)), "--split", str(write_split(data, folder))]
        given += ["--size", str(setting.size), *([] if case.flips else ["--no-flips"])]
        wall_s, rows, predicted = _run_harness(case, setting, data, folder)
        print(f"{wall_s:9.1f} s  harness, {case.cfg.name}, split {case.cfg.split_seed}", file=sys.stderr, flush=True)
        efforts = {freeze: Effort(wall_s, None) for freeze in predicted}
        for method in setting.baselines:
            if method != FASTAI or find_spec("fastai"):
                predicted[method], efforts[method] = _run_baseline(MODULES[method], [*given, "--seconds", str(wall_s)], folder)
                print(
                    f"{efforts[method].seconds:9.1f} s  {method}, {case.cfg.name}, split {case.cfg.split_seed}", file=sys.stderr, flush=True
                )
    return Round(Answers([image.id for image in data.test.images], data.test.labels, predicted), efforts, rows)


def _run_harness(case: Case, setting: Setting, data: Dataset, folder: Path) -> tuple[float, list[Row], dict[str, IntArray]]:
    """Wall time of the whole sweep (seconds), its rows, and by depth what its networks say of test."""
    asked = [f"backbone={BACKBONE}", f"freeze={','.join(DEPTHS)}", *case.overrides(), *setting.overrides]
    swept = sweep(folder / "swept", *asked)
    if {row.data_fingerprint for row in swept.rows} != {data.fingerprint}:
        raise BenchmarkError("the sweep did not use the images and split of the others; Case must describe data as the sweep reads it.")
    predicted = {}
    for row in swept.rows:
        test = swept.study.open_test(row.job_id, "benchmark finetune")
        if test is None or test.ids_N != [image.id for image in data.test.images]:
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


def gain(rounds: Sequence[Round], one: str, other: str) -> dict[str, float]:
    """How much better the score of `one` is, and its interval (fractions)."""
    answers, is_balanced = [each.answers for each in rounds], rounds[0].is_balanced
    low, high = interval(answers, one, other, is_balanced=is_balanced)
    return {"gain": difference(answers, one, other, is_balanced=is_balanced), "gain_low": low, "gain_high": high}


def line(rounds: Sequence[Round], method: str) -> dict[str, Any]:
    """A method's test scores, effort, and how much better the best depth is."""
    scores = [score(each.answers, method, is_balanced=each.is_balanced) for each in rounds]
    efforts = [each.efforts[method] for each in rounds]
    means = {"score": float(np.mean(scores)), "seconds": float(np.mean([effort.seconds for effort in efforts]))}
    return {"method": method, "scores": scores, "epochs": [effort.epochs for effort in efforts], **means, **gain(rounds, BEST, method)}


def table(name: str, rounds: Sequence[Round], record: Mapping[str, Any]) -> str:
    """What to print of `as_record`; differences in points."""
    first, num_tuned = rounds[0].rows[0], len(rounds) * (len(DEPTHS) - 1)
    return "\n".join([
        f"{name}: {first.n_train} train, {first.n_val} val, {first.n_test} test images, {first.num_classes} classes, splits: {len(rounds)}",
        f"test {record['metric'].replace('_', ' ')}, time of a split, how many points the best depth is better [95 % interval]",
        *(f"{line['score']:8.3f} {line['seconds']:8.0f} s {_points(line):>22}  {_named(line)}" for line in record["methods"]),
        *(f"{_points(found):>22} points better than the frozen model: {_harness(depth)}" for depth, found in record["over_frozen"].items()),
        f"fine-tunes that kept the weights from before the first step: {record['num_untrained']} of {num_tuned}",
    ])  # fmt: skip


def _points(found: Mapping[str, float]) -> str:
    return f"{100 * found['gain']:+.1f} [{100 * found['gain_low']:+.1f}, {100 * found['gain_high']:+.1f}]"


def _named(line: Mapping[str, Any]) -> str:
    method = line["method"]
    if method in MODULES:
        return f"{method}, {', '.join(map(str, line['epochs']))} epochs"
    return _harness(method)


def _harness(method: str) -> str:
    return f"harness, {method if method in (BEST, TUNED) else f'freeze={method}'}"


def as_record(rounds: Sequence[Round]) -> dict[str, Any]:
    """What was found on a data set, as plain JSON."""
    return {
        "metric": rounds[0].rows[0].primary_metric,
        "methods": [line(rounds, method) for method in rounds[0].answers.predicted],
        "over_frozen": {depth: gain(rounds, depth, "all") for depth in (*DEPTHS[1:], TUNED)},
        "num_untrained": sum(each.num_untrained for each in rounds),
        "rows": [[{name: getattr(row, name) for name in KEPT_COLUMNS} for row in each.rows] for each in rounds],
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
    parser.add_argument("--alone", action="store_true", help="the harness only, without the recipes that it is held against")
    add_json(parser)
    parser.add_argument("overrides", nargs="*", help="of the sweep, such as train.epochs=10")
    args = parser.parse_args()
    asked = Setting(args.images, args.size, tuple(range(args.splits)), tuple(args.overrides))
    asked = replace(asked, baselines=()) if args.alone else asked
    setting, names = (SHORT, ["digits"]) if args.short else (asked, args.data.split(","))
    with quit_on_error():
        where = describe_machine()
        print(f"{machine_line(where)}\n{BACKBONE}, input of {setting.size} pixels", flush=True)
        results = {}
        for name in names:
            if name == "emoji":
                print(f"emoji: from the npm package {PACKAGE}; {LICENCE}", flush=True)
            rounds = [run_round(case_of(name, setting.num_images, setting.size, split), setting) for split in setting.splits]
            results[name] = as_record(rounds)
            print(table(name, rounds, results[name]), flush=True)
        packages = ["torchvision", *(["fastai"] if find_spec("fastai") else [])]
        keep({"machine": where, **software(*packages), "setting": asdict(setting), "data": results}, args)


if __name__ == "__main__":
    main()
