"""`python -m benchmarks.adapters`: what training inside frozen blocks gives and takes, by depth and adapter, where fine-tuning matters.

Sweeps of the harness with its default recipe over freeze depths and adapters: score on test images that nothing was chosen by, share of the
parameters that is trained, and time of training.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import case_of
from benchmarks.kept import add_json, keep
from benchmarks.paired import Answers, difference, interval, score
from benchmarks.side_by_side import BenchmarkError, describe_machine, machine_line, software
from benchmarks.sweeps import sweep
from harness.cli.command import quit_on_error
from harness.study.row import Row

BACKBONE = "tf_efficientnet_lite0"
SWEEPS = (("freeze=all,0.5,none", "adapter=none"), ("freeze=all,0.5", "adapter=norm,bias,lora"))
HEAD, WHOLE = "all", "none"
"""Strategies that the others are held against."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What is swept."""

    data: str
    num_images: int
    size: int
    splits: int
    backbone: str = BACKBONE
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Round:
    """All strategies on one split."""

    rows: Mapping[str, Row]
    """By strategy: depth and adapter."""
    answers: Answers

    @property
    def is_balanced(self) -> bool:
        return next(iter(self.rows.values())).primary_metric == "balanced_accuracy"


def run_round(setting: Setting, split: int) -> Round:
    """Sweep every strategy on one split. Raises BenchmarkError: a job failed, or predictions are missing."""
    case = case_of(setting.data, setting.num_images, setting.size, split)
    with tempfile.TemporaryDirectory() as name:
        for asked in SWEEPS:
            swept = sweep(Path(name), f"backbone={setting.backbone}", *asked, *case.overrides(), *setting.overrides)
        rows = {
            row.strategy: row for row in sorted(swept.rows, key=lambda row: (row.freeze != HEAD, row.freeze == WHOLE, row.adapter or ""))
        }
        tests = {name: swept.study.open_test(row.job_id, "benchmark adapters") for name, row in rows.items()}
    first = next(iter(tests.values()))
    if first is None:
        raise BenchmarkError("there are no test predictions; give a data set with a test split.")
    predicted = {name: test.log_probs_NC.argmax(axis=1).astype(np.int64) for name, test in tests.items() if test is not None}
    return Round(rows, Answers(first.ids_N, first.labels_N, predicted))


def line(rounds: Sequence[Round], name: str) -> dict[str, Any]:
    """One strategy: means over splits, and how many points it is better than the head alone and than the whole backbone trained."""
    rows, is_balanced = [each.rows[name] for each in rounds], rounds[0].is_balanced
    answers = [each.answers for each in rounds]
    gains = {
        f"over_{other}": [100 * difference(answers, name, other, is_balanced=is_balanced)]
        + [100 * end for end in interval(answers, name, other, is_balanced=is_balanced)]
        for other in (HEAD, WHOLE)
    }
    return {
        "strategy": name,
        "test_score": float(np.mean([score(each, name, is_balanced=is_balanced) for each in answers])),
        "val_score": float(np.mean([getattr(row, f"val_{row.primary_metric}") for row in rows])),
        "trained_frac": float(np.mean([(row.trainable_params_m or 0.0) / (row.params_m or 1.0) for row in rows])),
        "train_s": float(np.mean([row.train_s or 0.0 for row in rows])),
        "lrs": [row.lr for row in rows],
        "chosen_epochs": [row.chosen_epoch for row in rows],
        **gains,
    }


def table(setting: Setting, rounds: Sequence[Round], lines: Sequence[Mapping[str, Any]]) -> str:
    """What to print."""
    first = next(iter(rounds[0].rows.values()))
    sizes = f"{first.n_train} train, {first.n_val} val, {first.n_test} test images of {setting.size} pixels, {first.num_classes} classes"
    shown = (
        f"{each['test_score']:7.3f} {each['val_score']:7.3f} {each['trained_frac']:8.2%} {each['train_s']:8.1f} s  {_points(each)}  {each['strategy']}"
        for each in lines
    )
    return "\n".join([
        f"{setting.backbone} on {setting.data}: {sizes}, splits: {len(rounds)}",
        f"test and val {first.primary_metric}, share of the parameters trained, time of training with the search for a rate,",
        "points of the test score above the head alone [95 % interval]; freeze depth and adapter",
        *shown,
    ])  # fmt: skip


def _points(found: Mapping[str, Any]) -> str:
    gain, low, high = found[f"over_{HEAD}"]
    return f"{gain:+6.1f} [{low:+6.1f}, {high:+6.1f}]"


def main() -> None:
    """Run every split, print the table, write the record where one is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.adapters", description="Freeze depths and adapters where fine-tuning matters."
    )
    parser.add_argument("--data", default="digits", help="emoji, elpv or digits")
    parser.add_argument("--backbone", default=BACKBONE, help="a name that the sweep takes")
    parser.add_argument("--images", type=int, default=600, help="at most")
    parser.add_argument("--size", type=int, default=64, help="side of the input (pixels)")
    parser.add_argument("--splits", type=int, default=3, help="how many")
    parser.add_argument("--short", action="store_true", help="digits, 200 images of 64 pixels, one split, whatever else is given")
    add_json(parser)
    parser.add_argument("overrides", nargs="*", help="of the sweeps, such as train.epochs=10")
    args = parser.parse_args()
    asked = Setting(args.data, args.images, args.size, args.splits, args.backbone, tuple(args.overrides))
    setting = Setting("digits", 200, 64, 1) if args.short else asked
    with quit_on_error():
        where = describe_machine()
        print(machine_line(where), flush=True)
        rounds = [run_round(setting, split) for split in range(setting.splits)]
        lines = [line(rounds, name) for name in rounds[0].rows]
        print(table(setting, rounds, lines), flush=True)
        keep({"machine": where, **software(), "setting": asdict(setting), "lines": lines}, args)


if __name__ == "__main__":
    main()
